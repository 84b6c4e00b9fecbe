"""Counts for eyes outside the hospital: none that is about a few patients, and none from which such a one follows."""

LEAST = 5  # smaller counts are not shown, unless a call says otherwise


def shown(count: int, least: int) -> int | None:
    """The count, rounded to a multiple of `least`; None where it is above 0 and below that.

    Rounding is what keeps a small count hidden: from exact counts it would follow as the difference of a total and its parts.
    """
    if 0 < count < least:
        return None
    return count if least <= 1 else (2 * count + least) // (2 * least) * least


def said(count: int | None, least: int) -> str:
    """What `shown` gave, in words: "<5" for what is hidden."""
    return f"<{least}" if count is None else f"{count:,}"
