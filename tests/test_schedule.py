"""When the resident worker starts what: cron expressions by the clock on the wall, over every change of the clocks."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from screener.config.settings import Settings
from screener.operations.cron import Cron
from screener.operations.schedule import triggers

FROM = datetime(2026, 1, 1, 12, tzinfo=UTC)


def starts(expression: str, zone: str, days: int) -> list[datetime]:
    """The starts of so many days from FROM, as APScheduler asks for them: each time a second after the last one."""
    cron = Cron(expression, ZoneInfo(zone))
    found: list[datetime] = []
    previous, now = None, FROM
    while True:
        following = cron.get_next_fire_time(previous, now)
        assert following is not None
        if following - FROM > timedelta(days=days):
            return found
        found.append(following)
        previous, now = following, following.astimezone(UTC) + timedelta(seconds=1)


def zones_that_change() -> list[str]:
    """One zone for each way in which clocks change within the next fourteen months."""
    seen: dict[tuple[timedelta | None, ...], str] = {}
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        offsets = tuple(zone.utcoffset(datetime(2026, 1, 1) + timedelta(days=day)) for day in range(420))  # noqa: DTZ001
        if len(set(offsets)) > 1:
            seen.setdefault(offsets, name)
    return list(seen.values())


@pytest.mark.parametrize("time", ["0 0", "30 0", "0 1", "30 1", "0 2", "30 2", "0 3", "30 3"])
def test_every_night_has_one_start_in_every_zone(time: str) -> None:
    """agronholm/apscheduler#606: the midnight after the clocks were put forward was left out."""
    zones = zones_that_change()
    assert len(zones) > 20
    for zone in zones:
        nights = Counter(start.date() for start in starts(f"{time} * * *", zone, 400))
        first = min(nights)
        assert nights == Counter(first + timedelta(days=day) for day in range(len(nights))), zone
        assert len(nights) >= 399


def test_starts_over_a_daylight_saving_switch() -> None:
    found = {start.date(): start for start in starts("30 2 * * *", "Europe/Berlin", 365)}
    assert str(found[date(2026, 3, 29)]) == "2026-03-29 03:30:00+02:00"
    assert "2026-03-29 00:30:00-01:00" in map(str, starts("30 23 * * *", "America/Godthab", 120))
    assert str(found[date(2026, 10, 25)]) == "2026-10-25 02:30:00+02:00"
    assert str(found[date(2026, 10, 26)]) == "2026-10-26 02:30:00+01:00"


def test_a_weekly_midnight_is_not_lost() -> None:
    """The Monday after the clocks were put forward."""
    found = [start.date() for start in starts("0 0 * * 1", "Europe/Berlin", 120)]
    assert date(2026, 3, 30) in found
    assert {(later - earlier).days for earlier, later in pairwise(found)} == {7}


def test_starts_that_were_missed_come_first() -> None:
    """As APScheduler wants it, which then runs them once (coalesce)."""
    cron = Cron("0 3 * * *", ZoneInfo("UTC"))
    missed = cron.get_next_fire_time(datetime(2026, 5, 1, 3, tzinfo=UTC), datetime(2026, 5, 4, 12, tzinfo=UTC))
    assert missed == datetime(2026, 5, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("weekday", "expected"),
    [
        ("0", {"Sun"}),
        ("7", {"Sun"}),
        ("1,3", {"Mon", "Wed"}),
        ("0-4", {"Sun", "Mon", "Tue", "Wed", "Thu"}),
        ("5-7", {"Fri", "Sat", "Sun"}),
        ("*/2", {"Sun", "Tue", "Thu", "Sat"}),
        ("*", {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}),
        ("sat", {"Sat"}),
    ],
)
def test_days_of_the_week_count_from_sunday_as_cron_does(weekday: str, expected: set[str]) -> None:
    assert {start.strftime("%a") for start in starts(f"0 4 * * {weekday}", "UTC", 21)} == expected


def test_a_day_of_the_month_and_one_of_the_week_are_alternatives_as_in_cron() -> None:
    found = starts("0 4 15 * 1", "UTC", 45)
    assert {start.day for start in found if start.strftime("%a") != "Mon"} == {15}
    assert sum(start.strftime("%a") == "Mon" for start in found) == 6
    assert len({*found}) == len(found)


def test_the_weekly_run_falls_on_a_sunday() -> None:
    trigger = triggers(Settings().schedule)["backfill"]
    following = trigger.get_next_fire_time(None, FROM)
    assert following is not None
    assert following.strftime("%A %H:%M") == "Sunday 04:00"


def test_a_day_that_never_comes() -> None:
    assert Cron("0 4 31 2 *", ZoneInfo("UTC")).get_next_fire_time(None, FROM) is None
