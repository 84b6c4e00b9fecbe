"""The counts of a run: every patient in exactly one outcome, every change in exactly one column.

What is known of single patients is kept for a batch only, and then only counted: memory does not grow with the population.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import msgspec

from screener.assessment.reconcile import Action, Change
from screener.assessment.retraction import LIFTED
from screener.assessment.suppression import SUPPRESSED
from screener.base.errors import AccountError
from screener.clinical.judge import Verdict
from screener.clinical.merge import PatientView
from screener.clinical.records import NOT_UNDERSTOOD, Method, Outcome
from screener.run.figures import Figures, analyte_figures, by_risk, risk_step, size_of
from screener.run.work_list import WorkListRow, row_of

_COLUMN = {
    Action.CREATE: "created",
    Action.AMEND: "amended",
    Action.RETRACT: "retracted",
    Action.UNCHANGED: "unchanged",
    Action.STANDS: "stands",
}
COLUMNS = (*_COLUMN.values(), "failed")


class DifferenceLine(msgspec.Struct, frozen=True, order=True):
    """One line of the difference, for `--show-patients` only."""

    patient: str
    method: Method
    action: str
    reason: str


class PatientCounts(msgspec.Struct, array_like=True):
    """One patient's share of the counts."""

    outcome: tuple[str, str]
    flagged: bool = False
    caveats: frozenset[str] = frozenset()
    refused: tuple[tuple[str, str], ...] = ()
    standing: bool = False
    candidate: bool = False
    flag_made: bool = False
    types: frozenset[str] = frozenset()  # resource types with a statement about her that some rule is about
    used: tuple[
        tuple[str, str, str, int], ...
    ] = ()  # the results that her assessments rest on: analyte, code, unit, size
    risk: tuple[int, int] | None = None  # the steps of her risk and her Mg
    work_list_row: WorkListRow | None = None  # her line of the list, where one was asked for
    excluded_by: tuple[tuple[str, str], ...] = ()  # rule and row of the list, where she is kept out
    not_understood: tuple[tuple[str, str], ...] = ()  # type and code system of each statement that nobody here can read


class Counts(msgspec.Struct):
    """Counts that add up: those of shards of the patients are those of all of them."""

    patients: int = 0
    flagged: int = 0
    standing: int = 0
    candidates: int = 0
    flags_made: int = 0
    types: Counter[str] = msgspec.field(default_factory=Counter)
    used: Counter[tuple[str, str, str, int]] = msgspec.field(default_factory=Counter)
    risks: Counter[tuple[int, int]] = msgspec.field(default_factory=Counter)
    excluded_by: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    not_understood: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    writes: Counter[str] = msgspec.field(default_factory=Counter)
    reasons: Counter[tuple[str, str, str]] = msgspec.field(default_factory=Counter)
    refusals: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    caveats: Counter[str] = msgspec.field(default_factory=Counter)
    failed: dict[str, str] = msgspec.field(default_factory=dict)
    recovered: set[str] = msgspec.field(
        default_factory=set
    )  # of those that are watched, who ended otherwise than by failing
    listed: list[DifferenceLine] = msgspec.field(default_factory=list)
    newly_flagged: int = 0
    beside: int = 0  # patients with assessments of another source where one of ours would be created
    beside_example: dict[str, list[str]] = msgspec.field(default_factory=dict)  # of one of them: identities by patient
    work_list: list[WorkListRow] = msgspec.field(default_factory=list)

    def count(self, patients: Mapping[str, PatientCounts], watched: frozenset[str]) -> None:
        """Count these patients. `watched`: see RunTally."""
        every = patients.values()
        self.patients += len(patients)
        self.flagged += sum([one.flagged for one in every])
        self.standing += sum([one.standing for one in every])
        self.candidates += sum([one.candidate for one in every])
        self.flags_made += sum([one.flag_made for one in every])
        self.types.update([kind for one in every for kind in one.types])
        self.used.update([result for one in every for result in one.used])
        self.risks.update([one.risk for one in every if one.risk is not None])
        self.excluded_by.update([row for one in every for row in one.excluded_by])
        self.not_understood.update([row for one in every for row in one.not_understood])
        self.outcomes.update([one.outcome for one in every])
        self.refusals.update([refusal for one in every for refusal in one.refused])
        self.caveats.update([caveat for one in every for caveat in one.caveats])
        for one in every:
            if one.work_list_row is not None:
                one.work_list_row.outcome, one.work_list_row.reason = one.outcome
                self.work_list.append(one.work_list_row)
        failed = {name: one.outcome[1] for name, one in patients.items() if one.outcome[0] == Outcome.FAILED}
        self.failed |= failed
        self.recovered |= watched - failed.keys()

    def add(self, other: "Counts") -> None:
        """The counts of other patients."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if isinstance(mine, int):
                setattr(self, name, mine + theirs)
            elif isinstance(mine, list):
                mine.extend(theirs)
            else:
                mine.update(theirs)  # a Counter adds up, a set and a dict are joined

    @property
    def outcomes_by_reason(self) -> dict[str, dict[str, int]]:
        """{outcome: {reason: patients}}, all outcomes named."""
        return {outcome.value: {} for outcome in Outcome} | nested(self.outcomes)

    @property
    def writes_by_column(self) -> dict[str, int]:
        """{column: changes}, all columns named."""
        return {name: self.writes[name] for name in COLUMNS}

    @property
    def write_reasons(self) -> dict[str, dict[str, dict[str, int]]]:
        """{column: {method: {reason: changes}}}."""
        table: dict[str, dict[str, dict[str, int]]] = {}
        for (column, method, reason), count in sorted(self.reasons.items()):
            table.setdefault(column, {}).setdefault(method, {})[reason] = count
        return table

    def figures(self) -> Figures:
        """What later runs are compared with."""
        risks, risks_by_mg = by_risk(self.risks)
        return Figures(
            patients=self.patients,
            scored=sum(n for (outcome, _), n in self.outcomes.items() if outcome == Outcome.SCORED),
            standing=self.standing,
            candidates=self.candidates,
            flags_made=self.flags_made,
            flagged=self.flagged,
            created=self.writes["created"],
            amended=self.writes["amended"] - sum(n for (_, _, why), n in self.reasons.items() if why == LIFTED),
            retracted=self.writes["retracted"],
            failed=len(self.failed),
            types=dict(sorted(self.types.items())),
            analytes=analyte_figures(self.used, self.refusals),
            risks=risks,
            risks_by_mg=risks_by_mg,
            excluded_by=nested(self.excluded_by),
        )


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Counts, dec_hook=lambda _, held: Counter(held)).decode


def packed(counts: Counts) -> bytes:
    """The counts as bytes, for another process or machine."""
    return _encode(counts)


def unpacked(data: bytes) -> Counts:
    """The counts of `packed`."""
    return _decode(data)


class RunTally:
    """Counts patients by outcome and reason, changes by what became of them, one batch after the other.

    A patient with something to write may be set aside until it is written: see `set_aside` and `resume`.
    """

    def __init__(self, *, show_patients: bool = False, watched: Collection[str] = ()) -> None:
        """`watched`: patients of whom it is to be told that they ended otherwise than by failing."""
        self.counts = Counts()
        self._aside = Counts()  # of patients set aside: as if every write went through
        self._show, self.watched = show_patients, frozenset(watched)
        self._batch: frozenset[str] = frozenset()
        self._patients: dict[str, PatientCounts] = {}

    def begin(self, patients: Iterable[str]) -> None:
        """These patients are looked at next."""
        self._batch = frozenset(patients)

    def judged(self, verdict: Verdict, *, standing: bool = False) -> None:
        """A patient's verdict: outcome, flag, and the results that could not be used. A later one replaces it. `standing`: whether she
        has an assessment of ours."""
        flag = verdict.occasions.get(Method.FLAG)
        self._patients[verdict.patient] = PatientCounts(
            outcome=(verdict.outcome.value, verdict.reason),
            flagged=flag is not None and flag.at_or_below_cut_off,
            caveats=frozenset(
                [mark.partition(":")[0] for occasion in verdict.occasions.values() for mark in occasion.marks]
            ),
            refused=tuple([(refusal.analyte, refusal.reason) for refusal in verdict.view.refusals]),
            standing=standing,
            candidate=Method.FLAG in verdict.days and SUPPRESSED not in verdict.reasons.values(),
            flag_made=flag is not None,
            types=_types(verdict.view) if Method.FLAG in verdict.days else frozenset(),
            used=_used(verdict),
            risk=_risk(verdict),
            work_list_row=row_of(verdict) if self._show else None,
            excluded_by=_excluded_by(verdict),
            not_understood=tuple(
                [(row.resource, row.by) for row in verdict.view.conditions if row.rule == NOT_UNDERSTOOD]
            ),
        )

    def ended(self, patient: str, outcome: Outcome, reason: str) -> None:
        """How a patient ended; a failure later in the run replaces what was said before it."""
        self._patients.setdefault(patient, PatientCounts(("", ""))).outcome = (outcome.value, reason)

    def beside(self, patient: str, identities: Collection[str]) -> None:
        """A patient has assessments of another source."""
        self.counts.beside += 1
        if not self.counts.beside_example:
            self.counts.beside_example = {patient: sorted(identities)}

    def changed(self, change: Change, *, failed: str = "") -> None:
        """What became of a change: done (or not needed), or failed for a reason."""
        column = "failed" if failed else _COLUMN[change.action]
        counts = self.counts
        counts.writes[column] += 1
        if column == "created" and change.method is Method.FLAG:
            judged = self._patients.get(change.patient)
            counts.newly_flagged += judged is not None and judged.flagged
        reason = failed or change.reason
        if reason:
            counts.reasons[column, change.method.value, reason] += 1
        if self._show and (failed or change.action is not Action.UNCHANGED):
            counts.listed.append(DifferenceLine(change.patient, change.method, column, reason))
        if failed:
            self.ended(change.patient, Outcome.FAILED, failed)

    def close(self) -> None:
        """The batch is done. Raises AccountError where its outcomes are not those of its patients."""
        self._check()
        self.counts.count(self._patients, self._batch & self.watched)
        self._batch, self._patients = frozenset(), {}

    def set_aside(self, changes: Collection[Change]) -> dict[str, PatientCounts]:
        """The batch is decided, and these changes are still to be written: returns the counts of their patients, for `resume`, and
        closes the rest of the batch."""
        self._check()
        patients = {change.patient for change in changes}
        aside = {patient: self._patients.pop(patient) for patient in patients}
        self._aside.count(aside, frozenset())
        self._aside.writes.update(_COLUMN[change.action] for change in changes)
        self._aside.reasons.update((_COLUMN[c.action], c.method.value, c.reason) for c in changes if c.reason == LIFTED)
        self._batch -= patients
        self.close()
        return aside

    def resume(self, patients: dict[str, PatientCounts]) -> None:
        """The changes of these patients, set aside before, are written next."""
        self._aside = Counts()  # all is decided by now: from here on only what becomes of it counts
        self._batch, self._patients = frozenset(patients), patients

    def _check(self) -> None:
        if self._patients.keys() != self._batch:
            raise AccountError(
                f"The run looked at {len(self._batch)} patients but accounts for {len(self._patients)}",
                "Do not use its figures; please report this with the run's log",
            )

    def decided(self) -> Counts:
        """The counts so far, as if everything set aside were written."""
        together = Counts()
        together.add(self.counts)
        together.add(self._aside)
        return together

    def withhold(self) -> None:
        """Nothing is written: what was set aside counts as it was decided."""
        self.counts, self._aside = self.decided(), Counts()

    def add(self, counts: Counts) -> None:
        """The counts of other patients, counted elsewhere."""
        self.counts.add(counts)


def nested(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """{group: {name: count}}, sorted."""
    table: dict[str, dict[str, int]] = {}
    for (group, name), count in sorted(counts.items()):
        table.setdefault(group, {})[name] = count
    return table


def _risk(verdict: Verdict) -> tuple[int, int] | None:
    occasion = verdict.occasions.get(Method.NOMOGRAM)
    return risk_step(verdict.scores.risk, occasion.mg.value) if occasion and verdict.scores else None


def _excluded_by(verdict: Verdict) -> tuple[tuple[str, str], ...]:
    """The rows of the rule that keeps her out, each once."""
    rule = verdict.reason.removeprefix("excluded_")
    if rule == verdict.reason:
        return ()
    rows = {
        (rule, row.by or "by its words") for row in verdict.view.exclusions if row.rule.removesuffix("_local") == rule
    }
    return tuple(rows or {(rule, "by a measurement")})


def _used(verdict: Verdict) -> tuple[tuple[str, str, str, int], ...]:
    occasion = verdict.occasions.get(Method.NOMOGRAM) or verdict.occasions.get(Method.FLAG)
    if occasion is None:
        return ()
    return tuple([(fact.analyte, fact.code, fact.unit, size_of(fact.value)) for fact in occasion.facts])


def _types(view: PatientView) -> frozenset[str]:
    return frozenset([row.resource for row in view.exclusions] + [row.resource for row in view.menopause])
