"""The state of an export, in the folder that it fills. It is written before each step, so that any interruption can be resumed."""

import re
from pathlib import Path
from typing import TypeVar

import msgspec

from model.atomic import write_whole
from screener.base.errors import InputError
from screener.stores.bulk.protocol import ExportRequest, Manifest

JOURNAL = ".export-in-progress.json"
FINISHED = "export.json"
_PART = re.compile(r"\.[a-z]+-\d+\.part")  # a file that is not whole yet
_FILE = re.compile(r"(?:deleted-|error-)?[A-Za-z]+\.\d{5}\.ndjson(?:\.gz)?(?:\.not-read)?")

T = TypeVar("T")


class File(msgspec.Struct, frozen=True):
    """A file that is whole: its name in the folder, how many resources and bytes."""

    name: str
    resources: int
    size_bytes: int


class Journal(msgspec.Struct):
    """One export in progress."""

    base_url: str
    request: ExportRequest
    status_url: str = ""
    kicked_off: str = ""  # the instant of it, by the server's clock
    manifest: Manifest | None = None
    done: dict[str, File] = {}  # by place in the manifest ("output/3")


class Finished(msgspec.Struct, frozen=True):
    """A whole export, as its folder says it. With `since` it holds only what changed, and is not the whole truth."""

    host: str
    transaction_time: str
    level: str
    types: tuple[str, ...]
    since: str
    files: tuple[File, ...]
    errors: int = 0  # resources that the server could not export, which bulk.errors_allowed let pass
    remarks: int = 0  # what the server said beside that, as information or warning


def load(folder: Path) -> Journal | None:
    """The export that the folder is in the middle of, or None."""
    return _read(folder / JOURNAL, Journal)


def finished(folder: Path) -> Finished | None:
    """The whole export that the folder holds, or None where it was made otherwise."""
    return _read(folder / FINISHED, Finished)


def save(folder: Path, journal: Journal) -> None:
    """The journal, whole or as it was."""
    write(folder / JOURNAL, msgspec.json.encode(journal))


def finish(folder: Path, whole: Finished) -> None:
    """Say that the export is whole; the journal is not needed any more."""
    write(folder / FINISHED, msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n")
    (folder / JOURNAL).unlink(missing_ok=True)


def forget_files(folder: Path, journal: Journal) -> None:
    """Remove the files that are whole: another manifest may name fewer, and what is left would be read as data."""
    names = [file.name for file in journal.done.values()]
    journal.done = {}
    save(folder, journal)
    for name in names:
        (folder / name).unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Remove what an export that did not come to its end left: its journal, whole files, and parts of files."""
    begun = load(folder) is not None
    for entry in folder.iterdir():
        if _PART.fullmatch(entry.name) or (begun and _FILE.fullmatch(entry.name)):
            entry.unlink(missing_ok=True)
    (folder / JOURNAL).unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove a whole export, and the folder with it where nothing else is in it."""
    held = finished(folder)
    if held is None:
        return
    for file in held.files:
        (folder / file.name).unlink(missing_ok=True)
    (folder / FINISHED).unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def write(path: Path, content: bytes) -> None:
    """A file for its owner only, on the disk before it has its name."""
    write_whole(path, [content], private=True)


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(
            f"Cannot read {path.name} of {path.parent.name}: {type(error).__name__}",
            "Name another folder, or remove this one",
        ) from error
