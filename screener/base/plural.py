"""Counts in words: "1 woman", "2 women"."""


def counted(count: int, one: str, many: str = "") -> str:
    """The count with its noun. `many`: the plural, where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
