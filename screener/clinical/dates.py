"""FHIR dates and times as the R4 grammar has them (hl7.org/fhir/R4/datatypes.html), and ages.

The grammar is checked by a pattern and the arithmetic left to `datetime`, which is C.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TypeVar

from screener.clinical.records import Moment

EARLIEST_YEAR, LATEST_YEAR = 1900, 2200
EPOCH_ORDINAL = 719_163  # date(1970, 1, 1).toordinal()
US_PER_SECOND = 1_000_000
US_PER_DAY = 86_400 * US_PER_SECOND

IMPRECISE = "date_imprecise"
MALFORMED = "date_malformed"

_NOON_US = US_PER_DAY // 2
# A day without an hour may have begun so long before its noon UTC: half a day, and 14 h of offset.
_DAY_MAY_BEGIN_US = 26 * 3600 * US_PER_SECOND
_PARTIAL = re.compile(r"([0-9]{4})(?:-(0[1-9]|1[0-2]))?")
_DAY = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
_DATE_TIME = re.compile(
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_WITHOUT_ZONE = datetime(1970, 1, 1)  # noqa: DTZ001 - of times that are taken as UTC

K = TypeVar("K")
V = TypeVar("V")


class Remembered(dict[K, V]):
    """Remembers what `read` made of each key, up to `limit` keys; then it is emptied. A hit costs one look-up in a dict.

    Errors are not remembered: what `read` raises is raised again each time.
    """

    def __init__(self, read: Callable[[K], V], limit: int) -> None:
        super().__init__()
        self._read = read
        self._limit = limit

    def __missing__(self, key: K) -> V:
        value = self._read(key)
        if len(self) >= self._limit:
            self.clear()
        self[key] = value
        return value


def instant_us(text: str) -> int:
    """Microseconds since 1970 of an instant (`meta.lastUpdated`), or 0 where the text is no instant.

    These only put copies and results in order, so what `datetime` understands beyond R4's grammar is taken as well.
    """
    try:
        since = datetime.fromisoformat(text) - _EPOCH
    except (ValueError, TypeError):  # a leap second, or no zone
        found = read_moment(text)
        return 0 if isinstance(found, str) else found.instant_us
    return since.days * US_PER_DAY + since.seconds * US_PER_SECOND + since.microseconds


def read_moment(text: str) -> Moment | str:
    """The moment of a dateTime, or why there is none: `IMPRECISE` or `MALFORMED`.

    A date alone counts as noon UTC of its day. A time without a zone, which R4 forbids and servers send all the same, is
    taken as UTC: only the order within a day can suffer.
    """
    if len(text) > 10:
        return _read_date_time(text)
    day = _day(text)
    if day:
        return Moment(text, day, (day - EPOCH_ORDINAL) * US_PER_DAY + _NOON_US)
    return IMPRECISE if _is_partial(text) else MALFORMED


def _read_date_time(text: str) -> Moment | str:
    if not _DATE_TIME.fullmatch(text):
        return MALFORMED
    # R4 lets a leap second be sent, `datetime` does not know it: it is the second after the 59th.
    leaps = text[17:19] == "60"
    try:
        when = datetime.fromisoformat(f"{text[:17]}59{text[19:]}" if leaps else text)
    except ValueError:  # 31 April
        return MALFORMED
    if not EARLIEST_YEAR <= when.year <= LATEST_YEAR:
        return MALFORMED
    return Moment(text, when.toordinal(), epoch_us(when) + leaps * US_PER_SECOND)


# The same, remembered: results of one blood draw share their times to the character.
moment = Remembered(read_moment, 65_536).__getitem__
instant_of = Remembered(instant_us, 65_536).__getitem__


def may_exist_at(text: str, now_us: int) -> bool:
    """Whether what is dated `text` can have happened at the instant `now_us`; True for what is no date."""
    found = moment(text)
    return isinstance(found, str) or may_be_at(found, now_us)


def may_be_at(dated: Moment, now_us: int) -> bool:
    """The same for what is a date."""
    slack_us = 0 if len(dated.text) > 10 else _DAY_MAY_BEGIN_US
    return dated.instant_us - slack_us <= now_us


def instant_text(instant_us_: int) -> str:
    """FHIR `instant` in UTC of microseconds since 1970, to the millisecond."""
    days, us = divmod(instant_us_, US_PER_DAY)
    seconds, us = divmod(us, US_PER_SECOND)
    return f"{_day_text(days)}T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{us // 1000:03d}Z"


@lru_cache(maxsize=16_384)
def _day_text(days: int) -> str:
    return (_EPOCH + timedelta(days=days)).date().isoformat()


def day_text(day: int) -> str:
    """A day (proleptic ordinal) as YYYY-MM-DD."""
    return date.fromordinal(day).isoformat()


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


def epoch_us(when: datetime) -> int:
    """Microseconds since 1970; a time without a zone is taken as UTC."""
    since = when - (_EPOCH if when.tzinfo else _EPOCH_WITHOUT_ZONE)
    return since.days * US_PER_DAY + since.seconds * US_PER_SECOND + since.microseconds


def _day(text: str) -> int:
    """The ordinal of a whole date; 0 for anything else and for days that do not exist or lie outside 1900..2200."""
    parts = _DAY.fullmatch(text)
    if not parts or not EARLIEST_YEAR <= int(parts[1]) <= LATEST_YEAR:
        return 0
    try:
        return date(int(parts[1]), int(parts[2]), int(parts[3])).toordinal()
    except ValueError:  # 31 April
        return 0


def _is_partial(text: str) -> bool:
    parts = _PARTIAL.fullmatch(text)
    return parts is not None and EARLIEST_YEAR <= int(parts[1]) <= LATEST_YEAR


@lru_cache(maxsize=65_536)
def _bounds(text: str) -> tuple[int, int]:
    """First and last day of a whole or partial date; (0, 0) where it is no date."""
    if not _is_partial(text):
        return _day(text), _day(text)
    year, month = int(text[:4]), int(text[5:7] or 0)
    first = date(year, month or 1, 1)
    after = date(year + 1, 1, 1) if month in (0, 12) else date(year, month + 1, 1)
    return first.toordinal(), after.toordinal() - 1
