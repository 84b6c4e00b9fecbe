"""The counts of a run: every patient in exactly one outcome, every change in exactly one column.

What is known of single patients is kept for a batch only, and then only counted: memory does not grow with the population.
"""

from collections import Counter
from collections.abc import Collection, Iterable

import msgspec

from screener.assessment.reconcile import Action, Change
from screener.clinical.judge import Verdict
from screener.clinical.records import Method, Outcome
from screener.errors import AccountError

_COLUMN = {
    Action.CREATE: "created",
    Action.AMEND: "amended",
    Action.RETRACT: "retracted",
    Action.UNCHANGED: "unchanged",
    Action.STANDS: "stands",
}
COLUMNS = (*_COLUMN.values(), "failed")


class Listed(msgspec.Struct, frozen=True, order=True):
    """One line of the difference, for `--show-patients` only."""

    patient: str
    method: Method
    action: str
    reason: str


class Counts(msgspec.Struct):
    """Counts that add up: those of shards of the patients are those of all of them."""

    patients: int = 0
    flagged: int = 0
    outcomes: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    writes: Counter[str] = msgspec.field(default_factory=Counter)
    reasons: Counter[tuple[str, str, str]] = msgspec.field(default_factory=Counter)
    refusals: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    caveats: Counter[str] = msgspec.field(default_factory=Counter)
    failed: dict[str, str] = msgspec.field(default_factory=dict)
    recovered: set[str] = msgspec.field(
        default_factory=set
    )  # of those that are watched, who ended otherwise than by failing
    listed: list[Listed] = msgspec.field(default_factory=list)

    def add(self, other: "Counts") -> None:
        """The counts of other patients."""
        self.patients += other.patients
        self.flagged += other.flagged
        self.outcomes += other.outcomes
        self.writes += other.writes
        self.reasons += other.reasons
        self.refusals += other.refusals
        self.caveats += other.caveats
        self.failed |= other.failed
        self.recovered |= other.recovered
        self.listed += other.listed


class RunTally:
    """Counts patients by outcome and reason, changes by what became of them, one batch after the other."""

    def __init__(self, *, show_patients: bool = False, watched: Collection[str] = ()) -> None:
        """`watched`: patients of whom it is to be told that they ended otherwise than by failing."""
        self.counts = Counts()
        self._show, self.watched = show_patients, frozenset(watched)
        self._batch: frozenset[str] = frozenset()
        self._outcomes: dict[str, tuple[str, str]] = {}
        self._refused: dict[str, tuple[tuple[str, str], ...]] = {}
        self._flagged: set[str] = set()
        self._caveats: dict[str, frozenset[str]] = {}

    def begin(self, patients: Iterable[str]) -> None:
        """These patients are looked at next."""
        self._batch = frozenset(patients)

    def judged(self, verdict: Verdict) -> None:
        """A patient's verdict: outcome, flag, and the results that could not be used. A later one replaces it."""
        flag = verdict.occasions.get(Method.FLAG)
        patient = verdict.patient
        self._outcomes[patient] = (verdict.outcome.value, verdict.reason)
        if flag is not None and flag.at_or_below_cut_off:
            self._flagged.add(patient)
        else:
            self._flagged.discard(patient)
        self._caveats[patient] = frozenset(
            [mark.partition(":")[0] for occasion in verdict.occasions.values() for mark in occasion.marks]
        )
        self._refused[patient] = tuple((refusal.analyte.value, refusal.reason) for refusal in verdict.view.refusals)

    def ended(self, patient: str, outcome: Outcome, reason: str) -> None:
        """How a patient ended; a failure later in the run replaces what was said before it."""
        self._outcomes[patient] = (outcome.value, reason)

    def changed(self, change: Change, *, failed: str = "") -> None:
        """What became of a change: done (or not needed), or failed for a reason."""
        column = "failed" if failed else _COLUMN[change.action]
        counts = self.counts
        counts.writes[column] += 1
        reason = failed or change.reason
        if reason:
            counts.reasons[column, change.method.value, reason] += 1
        if self._show and (failed or change.action is not Action.UNCHANGED):
            counts.listed.append(Listed(change.patient, change.method, column, reason))
        if failed:
            self.ended(change.patient, Outcome.FAILED, failed)

    def close(self) -> None:
        """The batch is done. Raises AccountError where its outcomes are not those of its patients."""
        if self._outcomes.keys() != self._batch:
            raise AccountError(
                f"The run looked at {len(self._batch)} patients but accounts for {len(self._outcomes)}",
                "Do not use its figures; please report this with the run's log",
            )
        counts = self.counts
        counts.patients += len(self._batch)
        counts.flagged += len(self._flagged)
        counts.outcomes.update(self._outcomes.values())
        for refused in self._refused.values():
            counts.refusals.update(refused)
        for caveats in self._caveats.values():
            counts.caveats.update(caveats)
        failed = {p: reason for p, (outcome, reason) in self._outcomes.items() if outcome == Outcome.FAILED}
        counts.failed |= failed
        counts.recovered |= (self._batch & self.watched) - failed.keys()
        self._batch = frozenset()
        self._outcomes, self._refused, self._flagged, self._caveats = {}, {}, set(), {}

    def add(self, counts: Counts) -> None:
        """The counts of other patients, counted elsewhere."""
        self.counts.add(counts)

    @property
    def flagged(self) -> int:
        """Patients with a flag raised."""
        return self.counts.flagged

    @property
    def failed_patients(self) -> dict[str, str]:
        """Patients that failed, with the reason."""
        return self.counts.failed

    @property
    def patients_seen(self) -> int:
        """How many patients the run looked at."""
        return self.counts.patients

    @property
    def recovered(self) -> set[str]:
        """Of the watched patients those that ended otherwise than by failing."""
        return self.counts.recovered

    @property
    def listed(self) -> list[Listed]:
        """The difference patient by patient, where that was asked for."""
        return sorted(self.counts.listed)

    def outcomes(self) -> dict[str, dict[str, int]]:
        """{outcome: {reason: patients}}, all outcomes named."""
        table: dict[str, dict[str, int]] = {outcome.value: {} for outcome in Outcome}
        for (outcome, reason), count in sorted(self.counts.outcomes.items()):
            table[outcome][reason] = count
        return table

    def writes(self) -> dict[str, int]:
        """{column: changes}, all columns named."""
        return {name: self.counts.writes[name] for name in COLUMNS}

    def write_reasons(self) -> dict[str, dict[str, dict[str, int]]]:
        """{column: {method: {reason: changes}}}."""
        table: dict[str, dict[str, dict[str, int]]] = {}
        for (column, method, reason), count in sorted(self.counts.reasons.items()):
            table.setdefault(column, {}).setdefault(method, {})[reason] = count
        return table

    def caveats(self) -> dict[str, int]:
        """{caveat: patients with an assessment that carries it}."""
        return dict(sorted(self.counts.caveats.items()))

    def refusals(self) -> dict[str, dict[str, int]]:
        """{analyte: {reason: results}}."""
        table: dict[str, dict[str, int]] = {}
        for (analyte, reason), count in sorted(self.counts.refusals.items()):
            table.setdefault(analyte, {})[reason] = count
        return table
