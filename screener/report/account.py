"""The books of a run: every patient in exactly one outcome, every change in exactly one column."""

from collections import Counter

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


class Listed(msgspec.Struct, frozen=True):
    """One line of the difference, for `--show-patients` only."""

    patient: str
    method: Method
    action: str
    reason: str


class Account:
    """Counts patients by outcome and reason, changes by what became of them."""

    def __init__(self, *, show_patients: bool = False) -> None:
        self._seen: set[str] = set()
        self._outcomes: dict[str, tuple[str, str]] = {}
        self._writes: Counter[str] = Counter()
        self._reasons: Counter[tuple[str, str, str]] = Counter()
        self._show = show_patients
        self._refusals: Counter[tuple[str, str]] = Counter()
        self._refused: dict[str, tuple[tuple[str, str], ...]] = {}
        self._flagged: dict[str, bool] = {}
        self.listed: list[Listed] = []

    def saw(self, patients: set[str]) -> None:
        """These patients belong to the run."""
        self._seen |= patients

    def judged(self, verdict: Verdict) -> None:
        """A patient's verdict: outcome, flag, and the results that could not be used. A later one replaces it."""
        flag = verdict.occasions.get(Method.FLAG)
        refused = tuple((refusal.analyte.value, refusal.reason) for refusal in verdict.view.refusals)
        self.ended(verdict.patient, verdict.outcome, verdict.reason)
        self._flagged[verdict.patient] = flag is not None and flag.at_or_below_cut_off
        self._refusals.subtract(self._refused.pop(verdict.patient, ()))
        self._refusals.update(refused)
        if refused:
            self._refused[verdict.patient] = refused

    def ended(self, patient: str, outcome: Outcome, reason: str) -> None:
        """How a patient ended; a failure later in the run replaces what was said before it."""
        self._outcomes[patient] = (outcome.value, reason)

    def changed(self, change: Change, *, failed: str = "") -> None:
        """What became of a change: done (or not needed), or failed for a reason."""
        column = "failed" if failed else _COLUMN[change.action]
        self._writes[column] += 1
        reason = failed or change.reason
        if reason:
            self._reasons[(column, change.method.value, reason)] += 1
        if self._show and (failed or change.action is not Action.UNCHANGED):
            self.listed.append(Listed(change.patient, change.method, column, reason))
        if failed:
            self.ended(change.patient, Outcome.FAILED, failed)

    @property
    def flagged(self) -> int:
        """Patients with a flag raised."""
        return sum(self._flagged.values())

    @property
    def failed_patients(self) -> dict[str, str]:
        """Patients that failed, with the reason."""
        return {p: reason for p, (outcome, reason) in self._outcomes.items() if outcome == Outcome.FAILED}

    @property
    def patients_seen(self) -> int:
        """How many patients the run looked at."""
        return len(self._seen)

    @property
    def settled(self) -> set[str]:
        """Patients that ended otherwise than by failing."""
        return {p for p, (outcome, _) in self._outcomes.items() if outcome != Outcome.FAILED}

    def outcomes(self) -> dict[str, dict[str, int]]:
        """{outcome: {reason: patients}}, all outcomes named."""
        counted = Counter(self._outcomes.values())
        table: dict[str, dict[str, int]] = {outcome.value: {} for outcome in Outcome}
        for (outcome, reason), count in sorted(counted.items()):
            table[outcome][reason] = count
        return table

    def writes(self) -> dict[str, int]:
        """{column: changes}, all columns named."""
        return {name: self._writes[name] for name in COLUMNS}

    def write_reasons(self) -> dict[str, dict[str, dict[str, int]]]:
        """{column: {method: {reason: changes}}}."""
        table: dict[str, dict[str, dict[str, int]]] = {}
        for (column, method, reason), count in sorted(self._reasons.items()):
            table.setdefault(column, {}).setdefault(method, {})[reason] = count
        return table

    def refusals(self) -> dict[str, dict[str, int]]:
        """{analyte: {reason: results}}."""
        table: dict[str, dict[str, int]] = {}
        for (analyte, reason), count in sorted((+self._refusals).items()):
            table.setdefault(analyte, {})[reason] = count
        return table

    def check(self) -> None:
        """Raises AccountError where the outcomes do not add up to the patients seen."""
        if self._outcomes.keys() != self._seen:
            raise AccountError(
                f"The run saw {len(self._seen)} patients but accounts for {len(self._outcomes)}",
                "Do not use its figures; please report this with the run's log",
            )
