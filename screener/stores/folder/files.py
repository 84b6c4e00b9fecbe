"""The lines of a folder of NDJSON, in pieces that can be read independently of each other."""

import gzip
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from screener.base.errors import InputError
from screener.stores.bulk.journal import FINISHED, JOURNAL, load

BLOCK_BYTES = 1 << 18  # beyond it every block costs fresh pages of memory: measured at twice the time
LINE_BYTES = 64 << 20  # a longer line is no resource that a server would take
TOO_LONG = "the line is longer than 64 MB"
CUT_SHORT = "the compressed file is cut short or damaged"
_DATA = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")
DELETED = "deleted-"  # begins the name of what an export says was deleted
NOT_READ = ".not-read"  # ends the name of what an export keeps and no run reads
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
    """The NDJSON files of a folder (`.ndjson`, `.jsonl`, also with `.gz`, in either case), by name.

    InputError where there are none, unless it may be `empty`; for a folder that an export is still filling; and for an entry that is
    named like data and is no file that can be read, because what it holds may exclude a woman.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"Cannot read the folder {folder.name}: {error.strerror}", "Check the path after --from"
        ) from error
    if load(folder) is not None:
        raise InputError(f"The folder {folder.name} is in the middle of an export", "Finish it: screener export --out")
    files = [entry for entry in entries if entry.name.lower().endswith(_DATA)]
    odd = next((entry for entry in files if not entry.is_file()), None)
    if odd is not None:
        raise InputError(f"{odd.name} is named like data and is no file that can be read", "Remove or mend it")
    if not files and not empty:
        raise InputError(
            f"The folder {folder.name} holds no NDJSON file ({', '.join(_DATA)})",
            "Name the folder of a bulk export after --from",
        )
    return files


def other_entries(folder: Path) -> list[str]:
    """The names of what is in a folder and is not read, sorted; without what an export of ours leaves there."""
    ours = (FINISHED, JOURNAL)
    names = (entry.name for entry in folder.iterdir())
    return sorted(n for n in names if not n.lower().endswith(_DATA) and n not in ours and not n.endswith(NOT_READ))


def is_compressed(file: Path) -> bool:
    """Whether the file is read through gzip."""
    return file.suffix.lower() == ".gz"


def pieces(files: list[Path], size_bytes: int) -> list[Piece]:
    """The files in pieces of about `size_bytes`, in order."""
    found = []
    for file in files:
        size = _size(file)
        if is_compressed(file):
            found.append(Piece(file, 0, size))
        else:
            found += [Piece(file, start, min(start + size_bytes, size)) for start in range(0, size, size_bytes)]
    return found


def plain_bytes(files: list[Path]) -> int:
    """About how much the files hold when decompressed."""
    return sum(_size(file) * (_GZIP_GAIN if is_compressed(file) else 1) for file in files)


def blocks(piece: Piece) -> Iterator[Block]:
    """The lines of a piece. InputError for a file that cannot be read, or is not there any more."""
    try:
        if is_compressed(piece.file):
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
    with gzip.open(file, "rb") if is_compressed(file) else file.open("rb") as stream:
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
