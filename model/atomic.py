"""Files that are there whole or not at all. For the model and for the job: the model knows nothing of the job."""

import fcntl
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_COPIED_BYTES = 64 << 20  # at a time


def write_whole(file: Path, parts: Iterable[bytes | Path], *, private: bool = False, public: bool = False) -> None:
    """Write beside `file`, flush to the disk, then take its place: what stood there stays until all is written.

    `parts`: bytes, or files whose content is copied. `private`: for its owner only from its first byte, because it holds patient
    data. `public`: for everybody, whatever the process's mask is, because another user's program reads it. OSError where the disk is full or
    forbidden.
    """
    remove_leftovers(file)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            with suppress(OSError):  # a file system that knows no locks
                fcntl.flock(stream, fcntl.LOCK_EX)
            for part in parts:
                if isinstance(part, Path):
                    _copy(part, stream)
                else:
                    stream.write(part)
            stream.flush()
            if public:
                os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _copy(file: Path, stream: BinaryIO) -> None:
    """Append a file's content; by the kernel where it can, which takes a tenth of the time of reading and writing."""
    with file.open("rb") as source:
        stream.flush()
        with suppress(AttributeError, OSError):  # another system, or two file systems: what is left is copied below
            while os.copy_file_range(source.fileno(), stream.fileno(), _COPIED_BYTES):
                pass
        shutil.copyfileobj(source, stream)


def remove_leftovers(file: Path) -> None:
    """Remove what killed processes left beside `file`: they may hold patient data, and nobody holds their locks."""
    for temporary in file.parent.glob(f".{file.name}.*.tmp"):
        with suppress(OSError), temporary.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink()
