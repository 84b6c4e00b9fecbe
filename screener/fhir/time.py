"""FHIR instants and Python's datetimes."""

from datetime import UTC, datetime


def instant_text(instant: datetime) -> str:
    """FHIR `instant` in UTC, to the millisecond."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_instant(text: str) -> datetime:
    """An instant in UTC; ValueError for any other text."""
    return datetime.fromisoformat(text).astimezone(UTC)
