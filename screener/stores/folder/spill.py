"""Rows that do not fit into memory, on disk, by shard. One process writes a file and any process reads it.

Rows are kept in memory until `flush`, which appends them to the writer's own file, shard by shard, and returns where they are.
"""

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Generic, NamedTuple, TypeVar

from screener.base.errors import InputError

T = TypeVar("T")


class Segment(NamedTuple):
    """Where the shards of one flush are in a file: shard `i` from `offsets[i]` to `offsets[i + 1]`."""

    file: str
    offsets: Sequence[int]

    @property
    def size_bytes(self) -> int:
        """Its size on disk."""
        return self.offsets[-1] - self.offsets[0]


class Spill(Generic[T]):
    """Writes rows of one kind, shard by shard."""

    def __init__(self, file: Path, shards: int, encode: Callable[[list[T]], bytes]) -> None:
        self._file, self._encode = file, encode
        self._held: list[list[T]] = [[] for _ in range(shards)]

    def add(self, shard: int, thing: T) -> None:
        """Keep one row for its shard."""
        self._held[shard].append(thing)

    def flush(self) -> Segment:
        """Write the rows to the disk. InputError where it is full or cannot be written."""
        segment = append(self._file, (self._encode(things) if things else b"" for things in self._held))
        for things in self._held:
            things.clear()
        return segment


def append(file: Path, shards: Iterable[bytes]) -> Segment:
    """Add the shards' bytes to a file that only this process writes to. InputError where the disk is full."""
    try:
        with open_private(file, os.O_APPEND) as stream:
            offsets = array("Q", [stream.seek(0, os.SEEK_END)])
            for data in shards:
                offsets.append(offsets[-1] + stream.write(data))
    except OSError as error:
        raise cannot_spill(error) from error
    return Segment(file.name, offsets)


def stored(folder: Path, segments: Iterable[Segment], shard: int) -> Iterator[bytes]:
    """The rows of a shard in all flushes, in the order of the flushes."""
    with ExitStack() as stack:
        streams: dict[str, BinaryIO] = {}  # as many as there were writers
        for segment in segments:
            start, end = segment.offsets[shard], segment.offsets[shard + 1]
            if end > start:
                if segment.file not in streams:
                    streams[segment.file] = stack.enter_context((folder / segment.file).open("rb", buffering=0))
                streams[segment.file].seek(start)
                yield streams[segment.file].read(end - start)


def open_private(file: Path, how: int = os.O_TRUNC) -> BinaryIO:
    """A file to write to, readable by its owner only from its first byte: it holds patient data."""
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | how, 0o600), "wb")


def cannot_spill(error: OSError) -> InputError:
    """The error of a full or forbidden disk."""
    return InputError(
        f"Cannot write the run's temporary files: {error.strerror}",
        "Give folder.temporary a place with room for a fifth of the export; nothing was written to the destination",
    )
