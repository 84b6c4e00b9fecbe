"""Cron expressions as cron reads them, by the clock on the wall: no night is left out and none comes twice when the clocks change."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger

_LONGEST_GAP = timedelta(hours=3)  # clocks are put forward by two hours at most (Antarctica/Troll)


class Cron(BaseTrigger):  # type: ignore[misc]
    """The starts of a cron expression in a time zone.

    APScheduler's own trigger adds up differences of local times. It leaves out the midnight after the clocks are put forward and repeats
    the hour in which they are put back (agronholm/apscheduler#606). Here it sees wall-clock times without a zone. A start that falls into
    the hour left out comes as much later; one in the hour that comes twice is in the first of the two.
    """

    def __init__(self, expression: str, zone: ZoneInfo) -> None:
        """ValueError for what is no cron expression of five fields."""
        self._zone = zone
        self._ways = [CronTrigger.from_crontab(way, timezone=UTC) for way in _either_day(_with_day_names(expression))]

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """The first start from `now` on and after the previous one; earlier ones that were missed first, as APScheduler wants it."""
        after = None if previous_fire_time is None else previous_fire_time.astimezone(UTC) + timedelta(microseconds=1)
        earliest = now.astimezone(UTC) if after is None else min(now.astimezone(UTC), after)
        wall = earliest.astimezone(self._zone).replace(tzinfo=UTC, fold=0) - _LONGEST_GAP
        while True:
            found: list[datetime | None] = [way.get_next_fire_time(None, wall) for way in self._ways]
            walls = [one for one in found if one is not None]
            if not walls:
                return None
            wall = min(walls) + timedelta(microseconds=1)
            start = min(walls).replace(tzinfo=self._zone).astimezone(UTC)
            if start >= earliest and (after is None or start >= after):
                return start.astimezone(self._zone)


def _either_day(expression: str) -> list[str]:
    """The expressions that together mean this one: a day of the month and a day of the week are alternatives, as in cron(5)."""
    minute, hour, day, month, weekday = expression.split()
    if day.startswith("*") or weekday.startswith("*"):
        return [expression]
    return [f"{minute} {hour} {day} {month} *", f"{minute} {hour} * {month} {weekday}"]


_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY = re.compile(r"^(\*|[0-7](?:-[0-7])?)(?:/(\d+))?$")


def _with_day_names(expression: str) -> str:
    """The expression with cron's numbers for days of the week (0 and 7 are Sunday) as a list of names.

    APScheduler counts from Monday: it would run "0 4 * * 0" a day late. Raises ValueError unless there are five fields.
    """
    fields = expression.split()
    if len(fields) != 5:
        raise ValueError(f"{len(fields)} fields instead of five")
    if fields[4] != "*":
        fields[4] = ",".join(_day_names(part) for part in fields[4].split(","))
    return " ".join(fields)


def _day_names(part: str) -> str:
    """One entry of the field, numbers as names; names are left as they are."""
    found = _DAY.match(part)
    if found is None:
        return part
    first, _, last = ("0-6" if found[1] == "*" else found[1]).partition("-")
    days = range(int(first), int(last or first) + 1, int(found[2] or 1))
    return ",".join(_DAYS[day % 7] for day in days)
