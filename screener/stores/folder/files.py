"""The lines of a folder of NDJSON, in pieces that can be read independently of each other."""

import bz2
import gzip
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from screener.base.errors import InputError, missing_package_error
from screener.stores.bulk.journal import FINISHED, JOURNAL, load

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES = 1 << 18  # beyond it every block costs fresh pages of memory: measured at twice the time
LINE_BYTES = 64 << 20  # a longer line is no resource that a server would take
TOO_LONG = "the line is longer than 64 MB"
CUT_SHORT = "the compressed file is cut short or damaged"
_PACKED = (".gz", ".bz2", ".xz", ".zst")
_DATA = tuple(f".{kind}{packed}" for kind in ("ndjson", "jsonl") for packed in ("", *_PACKED))
# Endings of what people and programs put beside an export, and what never holds resources.
_BESIDE = tuple(
    f".{ending}"
    for ending in [
        "md",
        "html",
        "pdf",
        "png",
        "svg",
        "csv",
        "tsv",
        "xlsx",
        "sha256",
        "md5",
        "asc",
        "sig",
        "toml",
        "yaml",
        "yml",
        "sql",
        "py",
        "sh",
        "sqlite",
        "sqlite-wal",
        "sqlite-shm",
        "prom",
        "lock",
    ]
)
_CHECKSUMS = (".sha256", ".md5", ".asc", ".sig")
_LOOKED_INTO = (".json", ".xml", ".txt", ".log")  # a summary or a note, or resources in another form
_RESOURCES = re.compile(
    rb'"resourceType"\s*:\s*"(?:Patient|Observation|Condition|Procedure|DiagnosticReport|Specimen|Medication\w*|Bundle|Parameters)"|'
    rb"http://hl7\.org/fhir\b"
)
DELETED = "deleted-"  # begins the name of what an export says was deleted
NOT_READ = ".not-read"  # ends the name of what an export keeps and no run reads
_SNIFFED_BYTES = 1 << 16
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


class Entries(NamedTuple):
    """What a folder holds: the files that are read, by name, and the names of what is known not to be data of ours."""

    files: list[Path]
    others: list[str]


def entries_of(folder: Path, *, empty: bool = False) -> Entries:
    """The NDJSON files of a folder (`.ndjson`, `.jsonl`, also compressed by gzip, bzip2, xz or zstd, in either case).

    InputError where there are none, unless it may be `empty`; for a folder that an export is still filling; and for an entry that may
    hold resources and cannot be read, because what it holds may exclude a woman.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"Cannot read the folder {folder.name}: {error.strerror}", "Check the path after --from"
        ) from error
    if load(folder) is not None:
        raise InputError(f"The folder {folder.name} is in the middle of an export", "Finish it: screener export --out")
    files, others = [], []
    for entry in entries:
        if entry.name in (FINISHED, JOURNAL) or entry.name.endswith(NOT_READ):
            continue
        if entry.name.lower().endswith(_DATA):
            files.append(_readable(entry))
        elif _is_beside(entry):
            others.append(entry.name)
        else:
            do = f"Unpack or rename it so that it ends in {', '.join(_DATA[:2])} (also with {', '.join(_PACKED)})"
            raise unread_entry_error(entry.name, folder.name, do)
    if not files and not empty:
        raise InputError(
            f"The folder {folder.name} holds no NDJSON file ({', '.join(_DATA[:2])})",
            "Name the folder of a bulk export after --from",
        )
    return Entries(files, others)


def unread_entry_error(name: str, folder: str, do: str) -> InputError:
    """The error of an entry that may hold resources and cannot be read."""
    return InputError(
        f"{name} in {folder} may hold resources and is not read: what it holds may exclude a woman",
        f"{do}, or move it elsewhere",
    )


def is_beside(name: str) -> bool:
    """Whether a file is known by its name not to be data of ours."""
    small = name.lower()
    if small == FINISHED or small.endswith(NOT_READ):
        return True
    return small.endswith(_BESIDE) and (small.endswith(_CHECKSUMS) or not ("ndjson" in small or "jsonl" in small))


def _readable(entry: Path) -> Path:
    if not entry.is_file():
        raise InputError(f"{entry.name} is named like data and is no file that can be read", "Remove or mend it")
    if entry.suffix.lower() == ".zst" and find_spec("zstandard") is None:
        raise missing_package_error("zstandard", "fast", f"unpack {entry.name}")
    return entry


def _is_beside(entry: Path) -> bool:
    """Whether an entry is known not to be data of ours: hidden, an empty folder or one of such entries, or a file of another kind."""
    name = entry.name.lower()
    if name.startswith("."):
        return not name.endswith(".part")
    if entry.is_dir():
        return all(_is_beside(inner) for inner in entry.iterdir())
    return is_beside(name) or (name.endswith(_LOOKED_INTO) and not _holds_resources(entry))


def _holds_resources(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            begin = stream.read(_SNIFFED_BYTES)
    except OSError:
        return True
    return _RESOURCES.search(begin) is not None


def is_compressed(file: Path) -> bool:
    """Whether the file is read through a decompressor, from its beginning only."""
    return file.suffix.lower() in _PACKED


class _Zstd(io.RawIOBase):
    """A zstd file of one or more frames. EOFError where one is damaged, or the last one is not whole, which the library's own reader passes
    over."""

    def __init__(self, file: Path) -> None:
        zstandard: Any = import_module("zstandard")  # an extra
        self._packed = file.open("rb")
        self._frame: Callable[[], Any] = lambda: zstandard.ZstdDecompressor().decompressobj()
        self._damaged: type[Exception] = zstandard.ZstdError
        self._now: Any = self._frame()
        self._held, self._begun = b"", False

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Decompress until there is something."""
        while not self._held:
            data = self._now.unused_data if self._now.eof else b""
            if self._now.eof:
                self._now, self._begun = self._frame(), False
            data = data or self._packed.read(BLOCK_BYTES)
            if not data:
                if self._begun:
                    raise EOFError
                return 0
            self._begun = True
            try:
                self._held = self._now.decompress(data)
            except self._damaged as error:
                raise EOFError from error
        view = memoryview(buffer).cast("B")
        taken = min(len(view), len(self._held))
        view[:taken] = self._held[:taken]
        self._held = self._held[taken:]
        return taken

    def close(self) -> None:
        """Close the file, too."""
        self._packed.close()
        super().close()


def _opened(file: Path) -> BinaryIO:
    """A file as a stream of its decompressed bytes."""
    ending = file.suffix.lower()
    if ending == ".zst":
        return cast("BinaryIO", io.BufferedReader(_Zstd(file), BLOCK_BYTES))
    openers: dict[str, Callable[..., object]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return cast("BinaryIO", openers[ending](file, "rb") if ending in openers else file.open("rb", buffering=0))


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
        with _opened(piece.file) as stream:
            yield from _unpacked(stream) if is_compressed(piece.file) else _cut(stream, piece.start, piece.end)
    except OSError as error:
        raise InputError(
            f"Cannot read {piece.file.name}: {error.strerror}", "Check that it is there, and its permissions"
        ) from error


def line_number(file: Path, offset: int) -> int:
    """The number of the line that begins at a byte, from 1."""
    number, left = 1, offset
    with _opened(file) as stream:
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
    except OSError as error:
        if error.errno is not None:
            raise  # of the disk; those of gzip and bzip2 have no number
        yield Block(at, b"", CUT_SHORT)
    except (EOFError, zlib.error, lzma.LZMAError):
        yield Block(at, b"", CUT_SHORT)


def _cut(stream: BinaryIO, start: int, end: int) -> Iterator[Block]:
    """Blocks of whole lines: the line that `start` lies in belongs to the piece before, unless it begins there."""
    position = max(start - 1, 0)
    if position:
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
