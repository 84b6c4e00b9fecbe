"""What a source and a destination must offer, and the values that pass between them and a run."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, timedelta
from enum import StrEnum
from typing import Protocol, TypeVar

import msgspec

from screener.assessment.evidence import Basis
from screener.assessment.reconcile import Change
from screener.assessment.resource import AssessmentWriter, Json
from screener.base.errors import ScreenerError
from screener.clinical.records import Medicine, PatientRecord
from screener.stores.reading import Reading


class Mode(StrEnum):
    """Which patients a run looks at."""

    NIGHTLY = "nightly"  # those with a change to a laboratory result since an instant
    BACKFILL = "backfill"  # everyone with a Mg result in the lookback, and everyone with an assessment of ours
    NAMED = "named"  # those given by id


class Scope(msgspec.Struct, frozen=True):
    """The patients of a run. `since` is an instant (nightly), `oldest` a date (backfill): both as FHIR text."""

    mode: Mode
    since: str = ""
    oldest: str = ""
    patients: tuple[str, ...] = ()


def everyone(today: date, lookback_days: int) -> Scope:
    """Everyone with a magnesium result in the lookback."""
    return Scope(Mode.BACKFILL, oldest=(today - timedelta(days=lookback_days)).isoformat())


class WriteResult(StrEnum):
    """How a write ended."""

    DONE = "done"
    CONFLICT = "conflict"  # somebody else was faster: read and decide again
    REJECTED = "rejected"


class Receipt(msgspec.Struct, frozen=True):
    """What became of one change. `status` is the HTTP status (0 for a folder), `codes` the server's issue codes."""

    change: Change
    result: WriteResult
    status: int = 0
    id: str = ""
    version: str = ""
    codes: str = ""


class PatientRow(Protocol):
    """A row that names its patient."""

    @property
    def patient(self) -> str:
        """The patient's logical id; never empty."""


R = TypeVar("R", bound=PatientRow)
R_co = TypeVar("R_co", bound=PatientRow, covariant=True)


class RowMapper(Protocol[R_co]):
    """Maps one resource, as it came, into rows, and says which resources it wants."""

    @property
    def kinds(self) -> Mapping[str, Sequence[str]]:
        """The resource types, and of each the codes as a token search takes them; none means all of that type."""

    def map(self, raw: bytes | msgspec.Raw) -> tuple[R_co, ...]:
        """The rows; () for what is not of interest. MalformedResource for what is no resource."""


class Source(Protocol):
    """Where the clinical resources are."""

    reading: Reading
    needs: Mapping[str, str]  # required, optional, if_offered or off for each excluding resource type

    def population(self, scope: Scope) -> Iterator[str]:
        """Ids of the patients that a scope names, in any order, perhaps repeated."""

    def records(self, patients: Sequence[str], standing: Collection[str]) -> list[PatientRecord]:
        """A record for each of the patients; an empty one where the source does not show the patient. A type that cannot be read is noted
        in `reading` and raises nothing: `screener.run.deciding` has the rule.

        `standing` names those with an assessment of ours: they are read whole even where the rules say early that there is
        nothing to assess.
        """

    def lacks(self, kinds: Mapping[str, str]) -> ScreenerError:
        """The error of required types that were not read whole, each with the reason."""

    def basis(self, observations: Collection[str]) -> dict[str, Basis]:
        """The present state of these Observations, each read by its id."""


class FullSource(Source, Protocol):
    """A source that can be asked for more than a run needs."""

    def read_more(self, mapper: RowMapper[R], patients: Sequence[str]) -> list[R]:
        """What `mapper` makes of these patients' resources, beside the records; a resource may come twice."""

    def medicines(self, names: Collection[str]) -> Mapping[str, Medicine]:
        """The Medication resources of these ids that can be read; one that no rule is about may come without its codes."""

    def women(self, born_until: str, at_most: int) -> tuple[list[str], int | None]:
        """Ids of women born on or before a date (FHIR text), at most so many, in the source's order; and how many there are, or
        None where the source does not say.
        """


class Destination(Protocol):
    """Where the assessments are."""

    keeps_until_finish: bool  # whether nobody sees what was written before `finish`

    def patients(self) -> Iterator[str]:
        """Ids of the patients with an assessment of ours."""

    def standing(self, patients: Sequence[str]) -> dict[str, list[Json]]:
        """The assessments of ours, by patient; a patient without any is left out."""

    def resting_on(self, observations: Collection[str]) -> Iterator[str]:
        """Ids of the patients with an assessment of ours that rests on one of these Observations."""

    def unknown(self, patients: Collection[str]) -> Collection[str]:
        """Those of the patients, about to get their first assessment, whom the destination does not know."""

    def with_destination_references(self, changes: Sequence[Change]) -> Sequence[Change]:
        """The changes as they will be written, patients and evidence named as the destination names them. Must follow `standing` and
        `unknown` of their patients; `apply` may come much later."""

    def begin(self) -> None:
        """Called once, before the first change is written and also where there is none: makes sure of the algorithm's Device."""

    def apply(self, changes: Sequence[Change]) -> list[Receipt]:
        """Write the changes (only those that write); a receipt for each, in the same order."""

    def finish(self) -> None:
        """Make what was written durable: the run has ended well."""


class FullDestination(Destination, Protocol):
    """A destination that also keeps the Device that performs the assessments."""

    def prepare(self, writer: AssessmentWriter) -> str:
        """The reference to the algorithm's Device, found or to be made; writes nothing."""
