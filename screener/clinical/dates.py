"""FHIR dates and times as the R4 grammar has them (hl7.org/fhir/R4/datatypes.html), and ages.

Every text falls into three parts that repeat from resource to resource: the day, the time of day, and what follows it
(fraction and zone). Each part is read once and remembered, which makes reading a time two or three look-ups.
"""

import re
from datetime import date
from functools import lru_cache

from screener.clinical.records import Moment

EARLIEST_YEAR, LATEST_YEAR = 1900, 2200
EPOCH_ORDINAL = 719_163  # date(1970, 1, 1).toordinal()
US_PER_SECOND = 1_000_000
US_PER_DAY = 86_400 * US_PER_SECOND

IMPRECISE = "date_imprecise"
MALFORMED = "date_malformed"

_NOON_US = US_PER_DAY // 2
_BAD = -1
_PARTIAL = re.compile(r"([0-9]{4})(?:-(0[1-9]|1[0-2]))?")
_DAY = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
_CLOCK = re.compile(r"T([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)")
_TAIL = re.compile(r"(?:\.([0-9]+))?(?:Z|([+-])(0[0-9]|1[0-3]|14):([0-5][0-9]))?")


def moment(text: str) -> Moment | str:
    """The moment that a dateTime names, or why it names none: `IMPRECISE` or `MALFORMED`.

    A date alone stands for noon UTC of its day. A time without a zone, which R4 forbids and servers send all the same, is
    taken as UTC: only the order within a day can suffer.
    """
    day = _day(text[:10])
    if day < 0:
        return IMPRECISE if _is_partial(text) else MALFORMED
    if len(text) == 10:
        return Moment(text, day, (day - EPOCH_ORDINAL) * US_PER_DAY + _NOON_US)
    within_us, shift_us = _clock_us(text[10:19]), _tail_us(text[19:])
    if within_us < 0 or shift_us is None:
        return MALFORMED
    return Moment(text, day, (day - EPOCH_ORDINAL) * US_PER_DAY + within_us + shift_us)


def instant_us(text: str) -> int:
    """Microseconds since 1970 of an instant (`meta.lastUpdated`, `issued`), or 0 where it is none."""
    found = moment(text)
    return 0 if isinstance(found, str) else found.instant_us


def first_day(text: str | None) -> int:
    """The earliest day that a whole or partial date allows, as an ordinal; 0 where it cannot be read."""
    return _bounds(text[:10])[0] if text else 0


def last_day(text: str | None) -> int:
    """The latest day that a whole or partial date allows, as an ordinal; 0 where it cannot be read."""
    return _bounds(text[:10])[1] if text else 0


def is_date(text: str) -> bool:
    """Whether `text` is a FHIR date (YYYY, YYYY-MM or YYYY-MM-DD) that exists and lies in 1900..2200."""
    return len(text) <= 10 and _bounds(text)[0] > 0


def age_years(birth_date: str, on_day: int) -> tuple[int, int]:
    """The least and the greatest age in completed years on day `on_day` (an ordinal) that `birth_date` allows.

    Someone born on 29 February completes a year on 1 March of a common year. `birth_date` is YYYY, YYYY-MM or
    YYYY-MM-DD; anything else raises ValueError.
    """
    first, last = _bounds(birth_date)
    if not first:
        raise ValueError("not a date of the form YYYY, YYYY-MM or YYYY-MM-DD")
    on = date.fromordinal(on_day)
    return _completed_years(date.fromordinal(last), on), _completed_years(date.fromordinal(first), on)


def _completed_years(born: date, on: date) -> int:
    return on.year - born.year - ((on.month, on.day) < (born.month, born.day))


@lru_cache(maxsize=65_536)
def _day(text: str) -> int:
    parts = _DAY.fullmatch(text)
    if not parts or not EARLIEST_YEAR <= int(parts[1]) <= LATEST_YEAR:
        return _BAD
    try:
        return date(int(parts[1]), int(parts[2]), int(parts[3])).toordinal()
    except ValueError:  # 31 April
        return _BAD


@lru_cache(maxsize=16_384)
def _clock_us(text: str) -> int:
    """Microseconds since midnight; a leap second (60) is the next second, as R4 lets servers send it."""
    parts = _CLOCK.fullmatch(text)
    if not parts:
        return _BAD
    return (int(parts[1]) * 3600 + int(parts[2]) * 60 + int(parts[3])) * US_PER_SECOND


@lru_cache(maxsize=16_384)
def _tail_us(text: str) -> int | None:
    """Microseconds to add for the fraction and the zone: east of Greenwich is earlier in UTC."""
    parts = _TAIL.fullmatch(text)
    if not parts or (parts[3] == "14" and parts[4] != "00"):
        return None
    fraction_us = int(parts[1][:6].ljust(6, "0")) if parts[1] else 0
    if not parts[2]:
        return fraction_us
    offset_us = (int(parts[3]) * 60 + int(parts[4])) * 60 * US_PER_SECOND
    return fraction_us - offset_us if parts[2] == "+" else fraction_us + offset_us


def _is_partial(text: str) -> bool:
    parts = _PARTIAL.fullmatch(text)
    return parts is not None and EARLIEST_YEAR <= int(parts[1]) <= LATEST_YEAR


@lru_cache(maxsize=65_536)
def _bounds(text: str) -> tuple[int, int]:
    """First and last day of a whole or partial date; (0, 0) where it is none."""
    if not _is_partial(text):
        day = max(_day(text), 0)
        return day, day
    year, month = int(text[:4]), int(text[5:7] or 0)
    first = date(year, month or 1, 1)
    after = date(year + 1, 1, 1) if month in (0, 12) else date(year, month + 1, 1)
    return first.toordinal(), after.toordinal() - 1
