"""Partial dates as ranges; expected values from Python's own calendar, or worked by hand."""

from datetime import UTC, datetime

import pytest

from screener.sandbox import dates

YEAR_2024 = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 10**6
DAY = 86_400 * 10**6


@pytest.mark.parametrize(
    ("text", "start", "width"),
    [
        ("2024", 0, 366 * DAY),
        ("2024-02", 31 * DAY, 29 * DAY),
        ("2024-01-02", DAY, DAY),
        ("2024-01-01T01:00Z", 3_600 * 10**6, 60 * 10**6),
        ("2024-01-01T00:00:01Z", 10**6, 10**6),
        ("2024-01-01T00:00:00.5Z", 500_000, 100_000),
        ("2024-01-01T00:00:00.123Z", 123_000, 1_000),
        ("2024-01-01T00:00:00.123456789Z", 123_456, 1),
        ("2024-01-01T02:00:00+02:00", 0, 10**6),
        ("2023-12-31T19:30:00-04:30", 0, 10**6),
        ("2024-01-01T00:00:00", 0, 10**6),
    ],
)
def test_range(text: str, start: int, width: int) -> None:
    assert dates.parse(text) == (YEAR_2024 + start, YEAR_2024 + start + width)


@pytest.mark.parametrize("text", ["", "24", "2024-1", "2024-13", "2024-02-30", "2024-01-01T25:00Z", "2024-01-01 08:00"])
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        dates.parse(text)


def test_periods() -> None:
    assert dates.of_element({"start": "2024"}) == (YEAR_2024, dates.OPEN_END)
    assert dates.of_element({"end": "2024-01-01"}) == (dates.OPEN_START, YEAR_2024 + DAY)
    assert [dates.of_element(value) for value in (None, {}, "soon", {"start": 3}, 7)] == [None] * 5
