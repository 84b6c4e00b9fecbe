"""What an engine offers a run: decide the whole difference, then write it.

Three fulfil it: `batch_engine` (a server, or a folder in one process), `folder_engine` (folders, on all cores) and `spark_engine`.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import msgspec

from screener.assessment.reconcile import Change
from screener.run.counts import RunTally
from screener.stores.protocols import Receipt, Scope
from screener.stores.reading import Reading


class Plan(msgspec.Struct, frozen=True):
    """Which patients, how many at a time, and whether anything is written. `writes_at_once`: the changes that a destination takes
    together."""

    scope: Scope
    batch_patients: int
    dry: bool
    writes_at_once: int = 1
    limit: int = 0
    again: frozenset[str] = frozenset()  # patients that failed in an earlier run
    after: str = ""  # patients up to this one are done: an earlier run got so far


class Pace(Protocol):
    """Reports how far a run is, and stops it between two batches. Called from the run's thread only."""

    def progress(self, step: str, done: int, total: int) -> None:
        """Called at the start and after each batch; `step` names what is counted. Raises Stopped at a signal or a deadline."""

    def reading_ends(self) -> bool:
        """Whether no further batch is to be read, so that there is time to write what is decided."""


class Journal(Protocol):
    """Keeps what is written, as it is written."""

    def before_write(self, changes: Sequence[Change] = ()) -> None:
        """Called with each batch before it is sent: what is intended is kept. Raises LeaseLost where another run has the lease."""

    def written(self, receipts: Sequence[Receipt]) -> None:
        """Called with the receipts of each batch."""

    def batch_done(self, last_patient: str) -> None:
        """Called when all patients up to this one, in the order of their keys, are done."""


class Decided(msgspec.Struct):
    """A difference that is known and not written. `done` of `total` patients were looked at: reading may end early, for time to write."""

    done: int = 0
    total: int = 0


D = TypeVar("D", bound=Decided)


class Engine(Protocol[D]):
    """Reads, judges and writes the patients of a plan. Both methods raise ScreenerError where the run as a whole cannot go on."""

    reading: Reading  # what the source could not give; grows while it is read
    tally: RunTally  # the counts, of what is decided and then of what became of it

    def decide(self, plan: Plan, pace: Pace) -> D:
        """The whole difference. Nothing that others see is written."""

    def write(self, decided: D, pace: Pace, journal: Journal) -> None:
        """Write it. What is written before an error stands and is right: the next run finds it as it ought to be."""


class NoPace:
    """Of a part of a run, whose whole is paced elsewhere."""

    def progress(self, step: str, done: int, total: int) -> None: ...

    def reading_ends(self) -> bool:
        """Never."""
        return False


class NoJournal:
    """Of a folder, which is written as a whole."""

    def before_write(self, changes: Sequence[Change] = ()) -> None: ...

    def written(self, receipts: Sequence[Receipt]) -> None: ...

    def batch_done(self, last_patient: str) -> None: ...
