"""The job, top to bottom: plan, read, judge, reconcile, write, count.

Patients are worked on in batches. All of them are decided before the first is written, so that a run can be stopped while it has done
nothing. A batch that is written stays right whatever happens later: the next run finds it as it ought to be. So a crash is cured by
running again.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import structlog

from screener.assessment.reconcile import WRITES, Action, Change, Rules, basis_to_read, reconcile
from screener.assessment.resource import Json
from screener.assessment.suppression import obeyed
from screener.assessment.validate import Validator
from screener.batches import batches
from screener.clinical.judge import Verdict, judge
from screener.clinical.records import Method, Outcome, PatientRecord
from screener.run.pending import Part, Pending
from screener.run.tally import RunTally
from screener.stores.patient_order import in_order, is_after
from screener.stores.protocols import Destination, Mode, Receipt, Scope, Source, WriteResult

log = structlog.get_logger()

T = TypeVar("T")


class Watch(Protocol):
    """Is called as the run goes on, always from the run's thread."""

    def progress(self, step: str, done: int, total: int) -> None:
        """Called at the start and after each batch: raise to stop (a signal, a deadline). `step` names what is counted."""

    def reading_ends(self) -> bool:
        """Whether no further batch is to be read, so that there is time to write what is decided."""

    def decided(self) -> None:
        """Called when the whole difference is known and nothing is written: raise to leave it so."""

    def before_write(self) -> None:
        """Called before each batch is written: raise to stop (a lost lease)."""

    def written(self, receipts: Sequence[Receipt]) -> None:
        """Called with the receipts of each batch."""

    def batch_done(self, last_patient: str) -> None:
        """Called when all patients up to this one, in the order of their keys, are done."""

    def ended_early(self, done: int, total: int) -> None:
        """Called at the end where reading ended before all patients were looked at: raises."""


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


class Stores(NamedTuple):
    """Where a run reads and where it writes."""

    source: Source
    destination: Destination


def run(plan: Plan, rules: Rules, stores: Stores, validator: Validator, watch: Watch, tally: RunTally) -> None:
    """Write what ought to stand for the patients of the plan. `tally` has the result.

    Everything is decided before anything is written. Raises ScreenerError where the run as a whole cannot go on; what it has written
    until then stands and is right.
    """
    patients = _population(plan, stores)
    batch = _Batch(plan, rules, stores, validator, watch, tally)
    keeps = stores.destination.keeps_until_finish or plan.dry
    with Pending() as pending:
        done = 0
        watch.progress("patients", done, len(patients))
        for part in batches(patients, plan.batch_patients):
            tally.begin(part)
            changes = batch.decide(part)
            if keeps:
                batch.write(changes)
                tally.close()
            else:
                pending.add(part[-1], tally.set_aside(changes), stores.destination.addressed(changes))
            done += len(part)
            watch.progress("patients", done, len(patients))
            if not keeps and watch.reading_ends():
                break
        watch.decided()
        if plan.dry:
            return
        watch.before_write()
        stores.destination.begin()
        _write(pending.together(plan.writes_at_once), pending.changes, batch, watch, tally)
    stores.destination.finish()
    if done:
        watch.batch_done(patients[done - 1])
    if done < len(patients):
        watch.ended_early(done, len(patients))


def _write(parts: Iterable[Part], all_changes: int, batch: "_Batch", watch: Watch, tally: RunTally) -> None:
    """Write what was decided, part by part."""
    done = 0
    for last_patient, counts, changes in parts:
        tally.resume(counts)
        batch.write(changes)
        tally.close()
        watch.batch_done(last_patient)
        done += len(changes)
        watch.progress("writes", done, all_changes)


def _population(plan: Plan, stores: Stores) -> list[str]:
    """Each patient once, in the order of their keys: two runs over the same patients write in the same order."""
    found = set(stores.source.population(plan.scope))
    if stores.source.reading.deleted:
        found.update(stores.destination.resting_on(stores.source.reading.deleted))
    if plan.scope.mode is Mode.BACKFILL:
        found.update(stores.destination.patients())
    ordered = in_order({patient for patient in found if is_after(patient, plan.after)} | plan.again)
    return ordered[: plan.limit] if plan.limit else ordered


class Decision(msgspec.Struct, frozen=True):
    """What the rules say of one patient, what stands of her, and what ought to happen."""

    verdict: Verdict
    standing: Sequence[Json]
    changes: Sequence[Change]


Failed = Callable[[str], None]  # gets the id of each patient whose records break a rule


def decide(
    patients: Sequence[str], stores: Stores, rules: Rules, failed: Failed, *, whole: Collection[str] = ()
) -> list[Decision]:
    """Read, judge and reconcile these patients; nothing is written.

    A record that breaks a rule costs one patient and no other: `failed` gets her id, and she has no decision. Patients in `whole`, like those
    with an assessment, are read whole even where the rules say early that there is nothing to assess.
    """
    standing = stores.destination.standing(patients)
    records = stores.source.records(patients, standing.keys() | set(whole))
    verdicts = judge_records(
        records, lambda part: judge(part, rules.policy, rules.writer.artefact, rules.now_us), failed
    )
    if rules.suppressions.any:
        verdicts = [obeyed(verdict, rules.suppressions, rules.writer.source_system) for verdict in verdicts]
    wanted: set[str] = set()
    for verdict in verdicts:
        held = standing.get(verdict.patient, ())
        wanted |= _guarded(failed, verdict.patient, basis_to_read, verdict, held, rules.writer) or set()
    basis = stores.source.basis(wanted) if wanted else {}
    decisions = []
    for verdict in verdicts:
        held = standing.get(verdict.patient, ())
        changes = _guarded(failed, verdict.patient, reconcile, verdict, held, basis, rules)
        if changes is not None:
            decisions.append(Decision(verdict, held, changes))
    return decisions


def judge_records(
    records: Sequence[PatientRecord], rule: Callable[[Sequence[PatientRecord]], list[Verdict]], failed: Failed
) -> list[Verdict]:
    """The verdicts, all records at once; where that fails, one by one, and `failed` gets the ids of those that break the rule."""
    try:
        return rule(records)
    except Exception as error:  # noqa: BLE001 - whatever it was, it must cost one patient at most
        log.warning("batch_judged_one_by_one", error=type(error).__name__)
    alone = (_guarded(failed, record.patient, rule, [record]) for record in records)
    return [verdict for verdicts in alone for verdict in verdicts or ()]


def _guarded(failed: Failed, patient: str, rule: Callable[..., T], *arguments: object) -> T | None:
    """The rule's answer; None where a record breaks it: that patient has failed, and no other."""
    try:
        return rule(*arguments)
    except Exception as error:  # noqa: BLE001 - an odd resource that nobody thought of
        log.error("patient_failed", error=type(error).__name__)
        failed(patient)
        return None


class _Batch:
    """Takes some hundred patients at a time through the steps."""

    def __init__(
        self, plan: Plan, rules: Rules, stores: Stores, validator: Validator, watch: Watch, tally: RunTally
    ) -> None:
        self._plan, self._rules, self._validator = plan, rules, validator
        self._stores, self._watch, self._tally = stores, watch, tally

    def decide(self, patients: Sequence[str]) -> list[Change]:
        """Read, judge and reconcile one batch; returns what is to be written."""
        writes: list[Change] = []
        for decision in self._known_there(self._decide(patients)):
            self._tally.judged(decision.verdict, standing=bool(decision.standing))
            writes += [change for change in decision.changes if self._to_write(change)]
        return writes

    def write(self, changes: Sequence[Change]) -> None:
        """Write the changes of one batch; then try each that failed once more, alone."""
        failed: dict[str, set[Method]] = {}
        for receipt in self._write(changes):
            if receipt.result is WriteResult.DONE:
                self._tally.changed(receipt.change)
            else:
                failed.setdefault(receipt.change.patient, set()).add(receipt.change.method)
        for patient, methods in failed.items():
            self._once_more(patient, frozenset(methods))

    def _decide(self, patients: Sequence[str]) -> list[Decision]:
        return decide(patients, self._stores, self._rules, self._failed)

    def _failed(self, patient: str) -> None:
        self._tally.ended(patient, Outcome.FAILED, "internal_error")

    def _known_there(self, decisions: list[Decision]) -> Iterator[Decision]:
        """The decisions without those of patients whom the destination does not know and who would get a first assessment: that is
        their outcome."""
        new = [d.verdict.patient for d in decisions if any(c.action is Action.CREATE for c in d.changes)]
        unknown = frozenset(self._stores.destination.unknown(new)) if new else frozenset()
        for decision in decisions:
            if decision.verdict.patient in unknown:
                self._tally.ended(decision.verdict.patient, Outcome.NOT_SCORABLE, "no_destination_patient")
            else:
                yield decision

    def _to_write(self, change: Change) -> bool:
        """Whether the change goes to the destination; what does not is counted here."""
        problem = self._validator.problem_of(change)
        if problem:
            log.error("invalid_resource", elements=problem)
            self._tally.changed(change, failed="invalid_resource")
            return False
        if change.action in WRITES and not self._plan.dry:
            return True
        self._tally.changed(change)
        return False

    def _write(self, changes: Sequence[Change]) -> list[Receipt]:
        if not changes:
            return []
        self._watch.before_write()
        receipts = self._stores.destination.apply(changes)
        self._watch.written(receipts)
        return receipts

    def _once_more(self, patient: str, methods: frozenset[Method]) -> None:
        """Read and decide again: a conflict means that somebody else wrote between our reading and our writing.

        One at a time. Only the methods with a change that failed: what went through for the other is counted.
        """
        for decision in self._known_there(self._decide([patient])):
            self._tally.judged(decision.verdict, standing=bool(decision.standing))
            for change in decision.changes:
                if change.method in methods and self._to_write(change):
                    self._write_alone(*self._stores.destination.addressed([change]))

    def _write_alone(self, change: Change) -> None:
        for receipt in self._write([change]):
            reason = "" if receipt.result is WriteResult.DONE else f"write_{receipt.result.value}"
            self._tally.changed(change, failed=reason)
            if reason:
                log.error("write_failed", reason=reason, status=receipt.status, codes=receipt.codes.strip())
