"""Sequences in batches."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`size` items at a time, in order; the last batch has what is left."""
    return (items[start : start + size] for start in range(0, len(items), size))
