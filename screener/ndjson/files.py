"""The lines of a folder of NDJSON, in pieces that can be read independently of each other."""

import gzip
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from screener.bulk.journal import load
from screener.errors import InputError

BLOCK_BYTES = 1 << 18  # beyond it every block costs fresh pages of memory: measured at twice the time
LINE_BYTES = 64 << 20  # a longer line is no resource that a server would take
TOO_LONG = "the line is longer than 64 MB"
CUT_SHORT = "the compressed file is cut short or damaged"
_GZIP_GAIN = 12  # how many times smaller NDJSON of FHIR gets, roughly: for planning only


class Piece(NamedTuple):
    """The lines of a file that begin at a byte from `start` to before `end`; a compressed file is one piece."""

    file: Path
    start: int
    end: int

    @property
    def size_bytes(self) -> int:
        """How much is to be read."""
        return self.end - self.start


class Block(NamedTuple):
    """Some whole lines, and the byte of the (decompressed) file at which they begin. `problem` says what is wrong with a line that
    cannot be read."""

    start: int
    data: bytes
    problem: str = ""


def ndjson_files(folder: Path, *, empty: bool = False) -> list[Path]:
    """The `.ndjson` and `.ndjson.gz` files of a folder, by name. InputError where there are none, unless it may be `empty`, and for a
    folder that an export is still filling."""
    try:
        files = sorted(p for p in folder.iterdir() if p.name.endswith((".ndjson", ".ndjson.gz")) and p.is_file())
    except OSError as error:
        raise InputError(
            f"Cannot read the folder {folder.name}: {error.strerror}", "Check the path after --from"
        ) from error
    if load(folder) is not None:
        raise InputError(f"The folder {folder.name} is in the middle of an export", "Finish it: screener export --out")
    if not files and not empty:
        raise InputError(
            f"The folder {folder.name} holds no .ndjson or .ndjson.gz file",
            "Name the folder of a bulk export after --from",
        )
    return files


def pieces(files: list[Path], size_bytes: int) -> list[Piece]:
    """The files in pieces of about `size_bytes`, in order."""
    found = []
    for file in files:
        size = _size(file)
        if file.suffix == ".gz":
            found.append(Piece(file, 0, size))
        else:
            found += [Piece(file, start, min(start + size_bytes, size)) for start in range(0, size, size_bytes)]
    return found


def plain_bytes(files: list[Path]) -> int:
    """About how much the files hold when decompressed."""
    return sum(_size(file) * (_GZIP_GAIN if file.suffix == ".gz" else 1) for file in files)


def blocks(piece: Piece) -> Iterator[Block]:
    """The lines of a piece. InputError for a file that cannot be read, or is not there any more."""
    try:
        if piece.file.suffix == ".gz":
            with gzip.open(piece.file, "rb") as packed:
                yield from _unpacked(cast("BinaryIO", packed))
        else:
            with piece.file.open("rb", buffering=0) as stream:
                yield from _cut(cast("BinaryIO", stream), piece.start, piece.end)
    except OSError as error:
        raise InputError(
            f"Cannot read {piece.file.name}: {error.strerror}", "Check that it is there, and its permissions"
        ) from error


def line_number(file: Path, offset: int) -> int:
    """The number of the line that begins at a byte, from 1."""
    number, left = 1, offset
    with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
        while left > 0 and (data := stream.read(min(left, BLOCK_BYTES))):
            number += data.count(b"\n")
            left -= len(data)
    return number


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise InputError(f"Cannot read {file.name}: {error.strerror}", "Export again") from error


def _unpacked(stream: BinaryIO) -> Iterator[Block]:
    at = 0
    try:
        for block in _cut(stream, 0, sys.maxsize):
            at = block.start + len(block.data)
            yield block
    except (EOFError, gzip.BadGzipFile, zlib.error):
        yield Block(at, b"", CUT_SHORT)


def _cut(stream: BinaryIO, start: int, end: int) -> Iterator[Block]:
    """Blocks of whole lines: the line that `start` lies in belongs to the piece before, unless it begins there."""
    position = max(start - 1, 0)
    stream.seek(position)
    between = start > 0  # in a line that is not ours
    held, held_at = b"", position
    while data := stream.read(BLOCK_BYTES):
        at, position = position, position + len(data)
        if between:
            cut = data.find(b"\n") + 1
            if not cut:
                continue
            data, at, between = data[cut:], at + cut, False
            if at >= end:
                return
        if not held:
            held_at = at
        last = position >= end
        cut = (data.find(b"\n", max(end - 1 - at, 0)) if last else data.rfind(b"\n")) + 1
        if cut:
            yield Block(held_at, held + data[:cut])
            if last:
                return
            held, held_at = data[cut:], at + cut
        else:
            held += data
        if len(held) > LINE_BYTES:
            yield Block(held_at, b"", TOO_LONG)
            if last:
                return
            held, between = b"", True
    if held:
        yield Block(held_at, held)
