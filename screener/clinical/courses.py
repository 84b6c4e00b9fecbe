"""Courses of a medicine that count only together: glucocorticoids taken for some months within a year.

Prescriptions, dispenses and statements of one course overlap; monthly prescriptions follow each other. What follows within
`GAP_DAYS` belongs to one series, and the days of intake in it are added up. Where it is not said how long a medicine was taken, each
order and each dispense is a sign that it was: what follows such a sign within `SIGN_GAP_DAYS` belongs to it, and the days between count.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from screener.clinical.records import LENGTH_UNKNOWN, Exclusion

GAP_DAYS = 30
SIGN_GAP_DAYS = 100  # own choice: the longest usual supply is one of three months
YEAR_DAYS = 365


def added_up(exclusions: Iterable[Exclusion]) -> tuple[Exclusion, ...]:
    """The statements, with each series of courses that is long enough as one statement, and without those that are not.

    A series holds from its first day until `washout_days` after its last one. One that is too short, as far as is known, and has a
    course of unknown length, becomes a caveat.
    """
    rows = tuple(exclusions)
    if not any(row.minimum_days for row in rows):
        return rows
    kept = [row for row in rows if not row.minimum_days]
    for rule in sorted({row.rule for row in rows if row.minimum_days}):
        courses = sorted((r for r in rows if r.minimum_days and r.rule == rule), key=lambda r: (r.start_day, r.end_day))
        for series in _series(courses):
            if _most_days_in_a_year(series) >= _least(series):
                kept.append(_whole(series))
            elif not series[0].caveat and not all(course.length_known for course in series):
                whole = _whole(series)
                kept.append(msgspec.structs.replace(whole, rule=f"{LENGTH_UNKNOWN}:{rule}", caveat=True))
    return tuple(kept)


def _series(courses: Sequence[Exclusion]) -> Iterator[list[Exclusion]]:
    series: list[Exclusion] = []
    until = 0  # the last day on which a course begins that belongs to the series
    for course in courses:
        if series and course.start_day - 1 > until:
            yield series
            series, until = [], 0
        series.append(course)
        until = max(until, course.end_day + (GAP_DAYS if course.length_known else SIGN_GAP_DAYS))
    if series:
        yield series


def _least(series: Sequence[Exclusion]) -> int:
    return min(course.minimum_days for course in series)


def _most_days_in_a_year(series: Sequence[Exclusion]) -> int:
    """The most days of intake within any 365 days; a day that two courses cover counts once."""
    spans = list(_covered(series))
    return max(_days_between(spans, start, start + YEAR_DAYS - 1) for start, _ in spans)


def _covered(series: Sequence[Exclusion]) -> Iterator[tuple[int, int]]:
    """The days of intake as spans that do not overlap, in order. A course of unknown length lasts until the next one begins."""
    days = [(course.start_day, course.end_day) for course in series]
    for place, course in enumerate(series[:-1]):
        if not course.length_known and series[place + 1].start_day - course.end_day - 1 <= SIGN_GAP_DAYS:
            days[place] = (course.start_day, max(course.end_day, series[place + 1].start_day - 1))
    first, last = days[0]
    for start, end in days[1:]:
        if start > last + 1:
            yield first, last
            first, last = start, end
        else:
            last = max(last, end)
    yield first, last


def _days_between(spans: Iterable[tuple[int, int]], first: int, last: int) -> int:
    return sum(max(0, min(end, last) - max(start, first) + 1) for start, end in spans)


def _whole(series: Sequence[Exclusion]) -> Exclusion:
    end = max(course.end_day for course in series)
    return msgspec.structs.replace(
        series[0], end_day=end + max(course.washout_days for course in series), minimum_days=0, washout_days=0
    )
