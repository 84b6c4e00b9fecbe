"""The job, top to bottom: plan, read, judge, reconcile, write, account.

Patients go through in batches. A batch that is written is done whatever happens later, for the same run again finds it as it
ought to be; so a crash is cured by running again.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import structlog

from screener.assessment.reconcile import WRITES, Action, Change, Rules, basis_to_read, reconcile
from screener.assessment.validate import Validator
from screener.clinical.judge import Verdict, judge
from screener.clinical.records import Method, Outcome, PatientRecord
from screener.run.tally import Account
from screener.stores.patient_order import comes_after, in_order
from screener.stores.protocols import Destination, Fate, Mode, Receipt, Scope, Source

log = structlog.get_logger()

T = TypeVar("T")


class Watch(Protocol):
    """What wants to know how the run goes on; every method may be called from the run's thread only."""

    def before_write(self) -> None:
        """Called before each batch is written: raise to stop (a lost lease, a signal)."""

    def progress(self, done: int, total: int) -> None:
        """Called after each batch."""

    def batch_done(self, last_patient: str) -> None:
        """Called when all patients up to this one, in the order of their places, are done."""

    def written(self, receipts: Sequence[Receipt]) -> None:
        """Called with the receipts of each batch."""


class Plan(msgspec.Struct, frozen=True):
    """Which patients, how many at a time, and whether anything is written."""

    scope: Scope
    batch_patients: int
    dry: bool
    limit: int = 0
    again: frozenset[str] = frozenset()  # patients that failed in an earlier run
    after: str = ""  # patients up to this one are done: an earlier run got so far


class Stores(NamedTuple):
    """Where a run reads and where it writes."""

    source: Source
    destination: Destination


def run(plan: Plan, rules: Rules, stores: Stores, validator: Validator, watch: Watch, account: Account) -> None:
    """Bring the destination to the desired state for the patients of the plan; `account` is the result.

    Raises ScreenerError where the run as a whole cannot go on; what it has written until then stands and is right.
    """
    patients = _population(plan, stores)
    batch = _Batch(plan, rules, stores, validator, watch, account)
    done = 0
    watch.progress(done, len(patients))
    for part in _parts(patients, plan.batch_patients):
        account.begin(part)
        batch.bring_into_step(part)
        account.close()
        watch.batch_done(part[-1])
        done += len(part)
        watch.progress(done, len(patients))
    if not plan.dry:
        stores.destination.finish()


def _population(plan: Plan, stores: Stores) -> list[str]:
    """Each patient once, in the order of their places: two runs over the same patients write in the same order."""
    found = set(stores.source.population(plan.scope))
    if plan.scope.mode is Mode.BACKFILL:
        found.update(stores.destination.patients())
    ordered = in_order({patient for patient in found if comes_after(patient, plan.after)} | plan.again)
    return ordered[: plan.limit] if plan.limit else ordered


def _parts(patients: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (patients[start : start + size] for start in range(0, len(patients), size))


class _Decision(msgspec.Struct, frozen=True):
    """What ought to happen for one patient."""

    verdict: Verdict
    changes: Sequence[Change]


class _Batch:
    """Some hundred patients at a time, through all the stages."""

    def __init__(
        self, plan: Plan, rules: Rules, stores: Stores, validator: Validator, watch: Watch, account: Account
    ) -> None:
        self._plan, self._rules, self._validator = plan, rules, validator
        self._source, self._destination = stores
        self._watch, self._account = watch, account

    def bring_into_step(self, patients: Sequence[str]) -> None:
        """Read, judge, reconcile and write one batch; then alone each change that did not go through."""
        writes: list[Change] = []
        for decision in self._known_there(self._decide(patients)):
            self._account.judged(decision.verdict)
            writes += [change for change in decision.changes if self._to_write(change)]
        failed: dict[str, set[Method]] = {}
        for receipt in self._write(writes):
            if receipt.fate is Fate.DONE:
                self._account.changed(receipt.change)
            else:
                failed.setdefault(receipt.change.patient, set()).add(receipt.change.method)
        for patient, methods in failed.items():
            self._once_more(patient, frozenset(methods))

    def _decide(self, patients: Sequence[str]) -> list[_Decision]:
        standing = self._destination.standing(patients)
        verdicts = self._judge(self._source.records(patients, standing.keys()))
        voice = self._rules.voice
        wanted: set[str] = set()
        for verdict in verdicts:
            held = standing.get(verdict.patient, ())
            wanted |= self._guarded(verdict.patient, basis_to_read, verdict, held, voice) or set()
        basis = self._source.basis(wanted) if wanted else {}
        decisions = []
        for verdict in verdicts:
            held = standing.get(verdict.patient, ())
            changes = self._guarded(verdict.patient, reconcile, verdict, held, basis, self._rules)
            if changes is not None:
                decisions.append(_Decision(verdict, changes))
        return decisions

    def _known_there(self, decisions: list[_Decision]) -> Iterator[_Decision]:
        """Without those who are to get a first assessment at a destination that does not know them: that is their outcome."""
        new = [d.verdict.patient for d in decisions if any(c.action is Action.CREATE for c in d.changes)]
        unknown = frozenset(self._destination.unknown(new)) if new else frozenset()
        for decision in decisions:
            if decision.verdict.patient in unknown:
                self._account.ended(decision.verdict.patient, Outcome.NOT_SCORABLE, "no_destination_patient")
            else:
                yield decision

    def _judge(self, records: Sequence[PatientRecord]) -> list[Verdict]:
        """All at once; where that fails, one by one."""
        rules = self._rules
        try:
            return judge(records, rules.policy, rules.voice.artefact, rules.now_us)
        except Exception as error:  # noqa: BLE001 - whatever it was, it must cost one patient at most
            log.warning("batch_judged_one_by_one", error=type(error).__name__)
        alone = (
            self._guarded(record.patient, judge, [record], rules.policy, rules.voice.artefact, rules.now_us)
            for record in records
        )
        return [verdict for verdicts in alone for verdict in verdicts or ()]

    def _guarded(self, patient: str, rule: Callable[..., T], *arguments: object) -> T | None:
        """The rule's answer; None where a record breaks it: that patient has failed, and no other."""
        try:
            return rule(*arguments)
        except Exception as error:  # noqa: BLE001 - an odd resource that nobody thought of
            log.error("patient_failed", error=type(error).__name__)
            self._account.ended(patient, Outcome.FAILED, "internal_error")
            return None

    def _to_write(self, change: Change) -> bool:
        """Whether the change goes to the destination; what does not is accounted for here."""
        problem = self._validator.problem_of(change)
        if problem:
            log.error("invalid_resource", elements=problem)
            self._account.changed(change, failed="invalid_resource")
            return False
        if change.action in WRITES and not self._plan.dry:
            return True
        self._account.changed(change)
        return False

    def _write(self, changes: Sequence[Change]) -> list[Receipt]:
        if not changes:
            return []
        self._watch.before_write()
        receipts = self._destination.apply(changes)
        self._watch.written(receipts)
        return receipts

    def _once_more(self, patient: str, methods: frozenset[Method]) -> None:
        """Look again and decide anew: a conflict means that somebody else was there between our look and our write.

        One at a time. Only the methods with a change that failed: what went through for the other is in the books.
        """
        for decision in self._known_there(self._decide([patient])):
            self._account.judged(decision.verdict)
            for change in decision.changes:
                if change.method in methods and self._to_write(change):
                    self._write_alone(change)

    def _write_alone(self, change: Change) -> None:
        for receipt in self._write([change]):
            reason = "" if receipt.fate is Fate.DONE else f"write_{receipt.fate.value}"
            self._account.changed(change, failed=reason)
            if reason:
                log.error("write_failed", reason=reason, status=receipt.status, codes=receipt.codes.strip())
