"""Courses of a medicine that count only together: glucocorticoids taken for some months within a year.

Prescriptions, dispenses and statements of one course overlap; monthly prescriptions follow each other. What follows within
`GAP_DAYS` belongs to one series, and the days of intake in it are added up.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from screener.clinical.records import Exclusion

GAP_DAYS = 30
YEAR_DAYS = 365


def added_up(exclusions: Iterable[Exclusion]) -> tuple[Exclusion, ...]:
    """The statements, with each series of courses that is long enough as one statement, and without those that are not.

    A series excludes from its first day until `washout_days` after its last one.
    """
    rows = tuple(exclusions)
    if not any(row.minimum_days for row in rows):
        return rows
    kept = [row for row in rows if not row.minimum_days]
    for rule in sorted({row.rule for row in rows if row.minimum_days}):
        courses = sorted((r for r in rows if r.minimum_days and r.rule == rule), key=lambda r: (r.start_day, r.end_day))
        kept += [_whole(series) for series in _series(courses) if _most_days_in_a_year(series) >= _least(series)]
    return tuple(kept)


def _series(courses: Sequence[Exclusion]) -> Iterator[list[Exclusion]]:
    series: list[Exclusion] = []
    last = 0
    for course in courses:
        if series and course.start_day - last - 1 > GAP_DAYS:
            yield series
            series = []
        series.append(course)
        last = max(last, course.end_day) if len(series) > 1 else course.end_day
    if series:
        yield series


def _least(series: Sequence[Exclusion]) -> int:
    return min(course.minimum_days for course in series)


def _most_days_in_a_year(series: Sequence[Exclusion]) -> int:
    """The most days of intake within any 365 days; a day that two courses cover counts once."""
    spans = list(_covered(series))
    return max(_days_between(spans, start, start + YEAR_DAYS - 1) for start, _ in spans)


def _covered(series: Sequence[Exclusion]) -> Iterator[tuple[int, int]]:
    """The days of intake as spans that do not overlap, in order."""
    first, last = series[0].start_day, series[0].end_day
    for course in series[1:]:
        if course.start_day > last + 1:
            yield first, last
            first, last = course.start_day, course.end_day
        else:
            last = max(last, course.end_day)
    yield first, last


def _days_between(spans: Iterable[tuple[int, int]], first: int, last: int) -> int:
    return sum(max(0, min(end, last) - max(start, first) + 1) for start, end in spans)


def _whole(series: Sequence[Exclusion]) -> Exclusion:
    end = max(course.end_day for course in series)
    return msgspec.structs.replace(
        series[0], end_day=end + max(course.washout_days for course in series), minimum_days=0, washout_days=0
    )
