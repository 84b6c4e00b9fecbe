"""Partial dates as ranges of time, and the prefixes of date searches (FHIR R4, search.html#date and #prefix).

Ranges are half open, in whole microseconds since 1970 UTC. What has no time zone is taken as UTC, the sandbox's own.
"""

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

Range = tuple[int, int]

OPEN_START, OPEN_END = -(2**62), 2**62

_DATE = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:T(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def parse(text: str) -> Range:
    """The time that a FHIR date, dateTime or instant may mean. Raises ValueError for any other text."""
    found = _DATE.fullmatch(text)
    if found is None:
        raise ValueError("no FHIR date")
    parts = {name: int(found[name] or least) for name, least in _LEAST.items()}
    start = datetime(**parts, tzinfo=UTC) - _offset(found["zone"])
    fraction = found["fraction"] or ""
    first = (start - _EPOCH) // _MICROSECOND + int(f"{fraction[:6]:0<6}")
    return first, first + _width(found, parts["year"], parts["month"])


_LEAST = {"year": 1, "month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0}


def _offset(zone: str | None) -> timedelta:
    if zone in (None, "Z"):
        return timedelta()
    assert zone is not None  # noqa: S101 - for the type checker; told apart above
    size = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
    return size if zone[0] == "+" else -size


def _width(found: re.Match[str], year: int, month: int) -> int:
    if found["fraction"]:
        return int(10 ** max(6 - len(found["fraction"]), 0))
    if found["second"]:
        length = timedelta(seconds=1)
    elif found["hour"]:
        length = timedelta(minutes=1)
    elif found["day"]:
        length = timedelta(days=1)
    elif found["month"]:
        length = timedelta(days=monthrange(year, month)[1])
    else:
        length = timedelta(days=366 if monthrange(year, 2)[1] == 29 else 365)
    return length // _MICROSECOND


def of_element(value: Any) -> Range | None:
    """The range of a dateTime, instant or Period as it stands in a resource; None for what cannot be read."""
    try:
        if isinstance(value, str):
            return parse(value)
        if isinstance(value, dict) and ("start" in value or "end" in value):
            start = parse(value["start"])[0] if "start" in value else OPEN_START
            return start, parse(value["end"])[1] if "end" in value else OPEN_END
    except (ValueError, TypeError):
        return None
    return None


def _within(target: Range, asked: Range) -> bool:
    return asked[0] <= target[0] and target[1] <= asked[1]


PREFIXES: dict[str, Callable[[Range, Range], bool]] = {
    "eq": _within,
    "ne": lambda target, asked: not _within(target, asked),
    "gt": lambda target, asked: target[1] > asked[1],
    "lt": lambda target, asked: target[0] < asked[0],
    "ge": lambda target, asked: target[1] > asked[1] or _within(target, asked),
    "le": lambda target, asked: target[0] < asked[0] or _within(target, asked),
    "sa": lambda target, asked: target[0] >= asked[1],
    "eb": lambda target, asked: target[1] <= asked[0],
}
