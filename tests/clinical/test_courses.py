"""Courses of a medicine, added up."""

import pytest

from screener.clinical.courses import added_up
from screener.clinical.records import Exclusion, Version


def course(first: int, last: int, name: str = "") -> Exclusion:
    """Days of intake from some day on, of a rule that counts from 90 days within a year, and for 180 days after."""
    name = name or f"m{first}"
    about = ("p1", "MedicationRequest", name, Version(1, 1), "glucocorticoid")
    return Exclusion(*about, 1000 + first, 1000 + last, minimum_days=90, washout_days=180)


@pytest.mark.parametrize(
    ("courses", "expected"),
    [
        ([(1, 90)], (1, 270)),
        ([(1, 89)], None),
        ([(1, 28), (32, 59), (63, 90), (94, 121)], (1, 301)),  # monthly prescriptions: 112 days of intake
        ([(1, 45), (1, 45)], None),  # a prescription and its dispense are one course
        ([(1, 60), (40, 90)], (1, 270)),  # overlapping days count once, and there are 90
        ([(1, 45), (76, 120)], (1, 300)),  # a gap of 30 days
        ([(1, 45), (77, 121)], None),  # of 31
        ([(1, 10), (35, 44), (69, 78), (103, 112)], None),  # 40 days of intake in a series
        ([(1, 400)], (1, 580)),
        ([(100, 150), (1, 60), (62, 99)], (1, 330)),  # in any order
    ],
)
def test_a_series_counts_from_ninety_days(courses: list[tuple[int, int]], expected: tuple[int, int] | None) -> None:
    found = added_up(course(first, last, f"m{n}") for n, (first, last) in enumerate(courses))
    assert [(row.start_day - 1000, row.end_day - 1000) for row in found] == ([expected] if expected else [])


def test_ninety_days_have_to_lie_within_a_year() -> None:
    """Three days every four weeks for years: a series, but never 90 days in 365."""
    rare = [course(28 * n, 28 * n + 2) for n in range(40)]
    assert added_up(rare) == ()
    often = [course(28 * n, 28 * n + 6) for n in range(40)]  # seven days of 28: 91 in 13 courses
    assert len(added_up(often)) == 1


def test_other_statements_are_left_as_they_are() -> None:
    other = Exclusion("p1", "Condition", "c1", Version(1, 1), "malignancy", 5, 0)
    assert added_up([other, course(1, 10)]) == (other,)
    assert added_up([other]) == (other,)


def test_the_year_has_365_days() -> None:
    """45 days, eleven single ones that hold the series together, and 34 that end on the 365th or on the 366th day."""
    between = [course(day, day, f"b{day}") for day in range(70, 325, 25)]
    assert len(between) == 11
    for last, counts in ((365, True), (366, False)):
        assert bool(added_up([course(1, 45, "first"), *between, course(last - 33, last, "last")])) is counts
