"""A folder for the temporary files of a run. Only its owner can read it. It is removed with the run; where the run was killed, by
the next run."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from screener.stores.folder.spill import cannot_spill


class Workspace(NamedTuple):
    """Where a folder is worked on, and by at most how many processes (0: one on each core)."""

    scratch: Path
    workers: int = 0


_PREFIX = "screener-"
_LOCK = "in-use"


@contextmanager
def scratch(parent: Path | None) -> Iterator[Path]:
    """A new folder in `parent`, or where the system keeps temporary files. InputError where none can be made."""
    above = parent or Path(tempfile.gettempdir())
    _sweep(above)
    try:
        made = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=above))
        lock = (made / _LOCK).open("wb")
    except OSError as error:
        raise cannot_spill(error) from error
    with lock:
        # Locked before it has the name by which others look for what was left.
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = made.rename(made.with_name(made.name.removeprefix(".")))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _sweep(above: Path) -> None:
    """Remove what killed runs left: nobody holds their locks."""
    for folder in above.glob(f"{_PREFIX}*"):
        with suppress(OSError), (folder / _LOCK).open("rb") as lock:
            if folder.stat().st_uid == os.getuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
