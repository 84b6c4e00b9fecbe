"""Dates: R4's grammar (hl7.org/fhir/R4/datatypes.html#dateTime), arithmetic worked by hand."""

from datetime import date

import pytest

from screener.clinical import dates
from screener.clinical.records import Moment

# 2024-05-01 is 19,844 days after 1970-01-01 (54 years of 365 days, 13 leap days before 2024, then 121 days into 2024:
# 31 + 29 + 31 + 30); 19,844 x 86,400 s.
MAY_DAY_S = 1_714_521_600


@pytest.mark.parametrize(
    ("text", "day", "seconds"),
    [
        ("2024-05-01", date(2024, 5, 1), MAY_DAY_S + 43_200),
        ("2024-05-01T00:00:00Z", date(2024, 5, 1), MAY_DAY_S),
        ("2024-05-01T10:30:05Z", date(2024, 5, 1), MAY_DAY_S + 37_805),
        ("2024-05-01T10:30:05+02:00", date(2024, 5, 1), MAY_DAY_S + 30_605),
        ("2024-05-01T23:00:00-05:00", date(2024, 5, 1), MAY_DAY_S + 86_400 + 14_400),
        ("2024-05-01T00:30:00+14:00", date(2024, 5, 1), MAY_DAY_S + 1_800 - 50_400),
        ("2024-05-01T10:30:05", date(2024, 5, 1), MAY_DAY_S + 37_805),
        ("2024-05-01T23:59:60Z", date(2024, 5, 1), MAY_DAY_S + 86_400),
    ],
)
def test_a_moment_has_the_day_as_written_and_the_instant_in_utc(text: str, day: date, seconds: int) -> None:
    assert dates.moment(text) == Moment(text, day.toordinal(), seconds * 1_000_000)


def test_fractions_are_kept_to_the_microsecond() -> None:
    assert dates.instant_us("2024-05-01T00:00:00.123Z") == MAY_DAY_S * 1_000_000 + 123_000
    assert dates.instant_us("2024-05-01T00:00:00.1234567Z") == MAY_DAY_S * 1_000_000 + 123_456
    assert dates.instant_of("2024-05-01T00:00:00.1+00:00") == MAY_DAY_S * 1_000_000 + 100_000


@pytest.mark.parametrize("text", ["2024", "2024-05"])
def test_a_year_or_month_is_too_coarse(text: str) -> None:
    assert dates.moment(text) == "date_imprecise"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2024-13",
        "2024-00-10",
        "2024-04-31",
        "2023-02-29",
        "1899-12-31",
        "2201-01-01",
        "0000",
        "20240501",
        "2024-5-1",
        "2024-W18-3",
        "2024-05-01T",
        "2024-05-01 10:30:00Z",
        "2024-05-01T10:30Z",
        "2024-05-01T24:00:00Z",
        "2024-05-01T10:60:00Z",
        "2024-05-01T10:30:00+0200",
        "2024-05-01T10:30:00+15:00",
        "2024-05-01T10:30:00+14:30",
        "2024-05-01T10:30:00,5Z",
        "2024-05-01T10:30:00.Z",
        "2024-05-01T10:30:00z",
        "\u0662\u0660\u0662\u0664-05-01",
    ],
)
def test_what_is_no_date_is_malformed(text: str) -> None:
    assert dates.moment(text) == "date_malformed"


def test_an_unreadable_instant_is_zero() -> None:
    assert dates.instant_us("soon") == 0


def test_partial_dates_have_a_first_and_a_last_day() -> None:
    assert dates.first_day("2024") == date(2024, 1, 1).toordinal()
    assert dates.last_day("2024") == date(2024, 12, 31).toordinal()
    assert dates.first_day("2024-02") == date(2024, 2, 1).toordinal()
    assert dates.last_day("2024-02") == date(2024, 2, 29).toordinal()
    assert dates.last_day("2023-12") == date(2023, 12, 31).toordinal()
    assert dates.last_day("2024-05-01T10:30:00Z") == date(2024, 5, 1).toordinal()
    assert (dates.first_day(None), dates.last_day("never")) == (0, 0)


@pytest.mark.parametrize(
    ("born", "on", "expected"),
    [
        ("1960-06-15", date(2024, 6, 14), (63, 63)),
        ("1960-06-15", date(2024, 6, 15), (64, 64)),
        ("1960-06", date(2024, 6, 15), (63, 64)),
        ("1960-06", date(2024, 7, 1), (64, 64)),
        ("1960", date(2024, 6, 15), (63, 64)),
        ("1960", date(2024, 12, 31), (64, 64)),
        ("1960-02-29", date(2023, 2, 28), (62, 62)),
        ("1960-02-29", date(2023, 3, 1), (63, 63)),
        ("1960-02-29", date(2024, 2, 29), (64, 64)),
    ],
)
def test_age_in_completed_years(born: str, on: date, expected: tuple[int, int]) -> None:
    assert dates.age_years(born, on.toordinal()) == expected


def test_age_of_no_date_is_an_error_without_the_text() -> None:
    with pytest.raises(ValueError, match="YYYY") as caught:
        dates.age_years("15.06.1960", 739_000)
    assert "15.06" not in str(caught.value)


def test_what_is_remembered_is_bounded() -> None:
    squares = dates.Remembered(lambda number: number * number, limit=3)  # type: ignore[var-annotated]
    assert [squares[number] for number in (1, 2, 3, 4, 2)] == [1, 4, 9, 16, 4]
    assert len(squares) <= 3
