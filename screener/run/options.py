"""What one call of a run asks for, beside the settings."""

from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from screener.stores.protocols import Mode


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The request of one run; the command line and the scheduler make it."""

    backfill: bool = False
    dry_run: bool = False
    from_folder: Path | None = None
    to_folder: Path | None = None
    bulk_folder: Path | None = None  # export to it first, read that
    patients: tuple[str, ...] = ()
    patients_from: str = ""  # a file of ids, or "Group/ID" of the server
    identifier_system: str = ""  # of the record numbers in that file, "" where it holds ids
    since: datetime | None = None
    limit: int = 0
    until: datetime | None = None  # no batch is begun after it
    restart: bool = False  # a backfill begins again, wherever an earlier one got to
    now: datetime | None = None
    accept_large_change: bool = False  # write, whatever limits the difference exceeds
    show_patients: bool = False
    engine: Literal["folder", "spark"] = "folder"  # of a run from folder to folder
    source_uri: str = ""  # for Spark, the folders as they were named
    destination_uri: str = ""
    run_id: str = ""  # a UUID; "" for a new one
    workers: int = 0  # at most so many processes work on a folder; 0 for one on each core

    @property
    def mode(self) -> Mode:
        """Which patients the run looks at."""
        if self.patients or self.patients_from:
            return Mode.NAMED
        return Mode.BACKFILL if self.backfill else Mode.NIGHTLY

    @property
    def resumable(self) -> bool:
        """Whether it is a backfill whose progress is kept, where it writes: what stopped it may stop it again."""
        return self.backfill and not (self.partial or self.from_folder)

    @property
    def partial(self) -> bool:
        """Whether the run looks at other patients, or from another time, than the watermark is about."""
        return bool(self.patients or self.patients_from or self.since or self.limit or self.now)
