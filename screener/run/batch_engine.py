"""The engine of servers: some hundred patients at a time, in this process. Each shard of a folder goes through it, too.

All patients are decided before the first is written, so that a run can be stopped while it has done nothing. A batch that is written
stays right whatever happens later: the next run finds it as it ought to be. So a crash is cured by running again.
"""

from collections.abc import Iterator, Sequence

import structlog

from screener.assessment.reconcile import WRITES, Action, Change, Rules
from screener.assessment.validate import Validator
from screener.base.batches import batches
from screener.clinical.records import Method, Outcome
from screener.run.counts import RunTally
from screener.run.deciding import Decision, Stores, check_required, decide
from screener.run.engine import Decided, Journal, NoJournal, Pace, Plan
from screener.run.pending import Pending
from screener.stores.patient_order import in_order, is_after
from screener.stores.protocols import Mode, Receipt, WriteResult

log = structlog.get_logger()


class DecidedBatches(Decided):
    """The changes wait in the engine. `last_patient` is the last who was looked at; see Plan for `writes_at_once`."""

    last_patient: str = ""
    writes_at_once: int = 1


class BatchEngine:
    """Takes the patients of a plan through the steps, batch by batch."""

    def __init__(
        self, stores: Stores, rules: Rules, validator: Validator, tally: RunTally, pending: Pending | None = None
    ) -> None:
        """`pending` takes the changes until they are written. Without it the destination has to keep them (`keeps_until_finish`)."""
        self.tally, self.reading = tally, stores.source.reading
        self._stores, self._rules, self._validator, self._pending = stores, rules, validator, pending

    def decide(self, plan: Plan, pace: Pace) -> DecidedBatches:
        """Read, judge and reconcile everyone. A destination that keeps changes until it is finished gets them at once."""
        patients = self._population(plan)
        decided = DecidedBatches(total=len(patients), writes_at_once=plan.writes_at_once)
        pace.progress("patients", 0, len(patients))
        for part in batches(patients, plan.batch_patients):
            self.tally.begin(part)
            changes = self._decided(part, dry=plan.dry)
            if self._pending is None or plan.dry:
                self._write_batch(changes, NoJournal())
                self.tally.close()
            else:
                addressed = self._stores.destination.with_destination_references(changes)
                self._pending.add(part[-1], self.tally.set_aside(changes), addressed)
            decided.done += len(part)
            decided.last_patient = part[-1]
            pace.progress("patients", decided.done, len(patients))
            if self._pending is not None and not plan.dry and pace.reading_ends():
                break
        return decided

    def write(self, decided: DecidedBatches, pace: Pace, journal: Journal) -> None:
        """Write what waits, as many changes at a time as the destination takes; then make it durable."""
        journal.before_write()
        self._stores.destination.begin()
        if self._pending is not None:
            self._write_pending(self._pending, decided.writes_at_once, pace, journal)
        self._stores.destination.finish()
        if decided.done:
            journal.batch_done(decided.last_patient)

    def _write_pending(self, pending: Pending, writes_at_once: int, pace: Pace, journal: Journal) -> None:
        done = 0
        for last_patient, counts, changes in pending.together(writes_at_once):
            self.tally.resume(counts)
            self._write_batch(changes, journal)
            self.tally.close()
            journal.batch_done(last_patient)
            done += len(changes)
            pace.progress("writes", done, pending.changes)

    def _population(self, plan: Plan) -> list[str]:
        """Each patient once, in the order of their keys: two runs over the same patients write in the same order."""
        source, destination = self._stores
        found = set(source.population(plan.scope))
        check_required(source)
        if source.reading.deleted:
            found.update(destination.resting_on(source.reading.deleted))
        if plan.scope.mode is Mode.BACKFILL:
            found.update(destination.patients())
        ordered = in_order({patient for patient in found if is_after(patient, plan.after)} | plan.again)
        return ordered[: plan.limit] if plan.limit else ordered

    def _decided(self, patients: Sequence[str], *, dry: bool) -> list[Change]:
        """Read, judge and reconcile one batch; returns what is to be written."""
        writes: list[Change] = []
        for decision in self._known_there(self._decide(patients)):
            self.tally.judged(decision.verdict, standing=bool(decision.standing))
            if decision.others:
                self.tally.beside(decision.verdict.patient, decision.others)
            writes += [change for change in decision.changes if self._to_write(change, dry=dry)]
        return writes

    def _decide(self, patients: Sequence[str]) -> list[Decision]:
        return decide(patients, self._stores, self._rules, self._failed)

    def _failed(self, patient: str) -> None:
        self.tally.ended(patient, Outcome.FAILED, "internal_error")

    def _known_there(self, decisions: list[Decision]) -> Iterator[Decision]:
        """The decisions without those of patients whom the destination does not know and who would get a first assessment: that is
        their outcome."""
        new = [d.verdict.patient for d in decisions if any(c.action is Action.CREATE for c in d.changes)]
        unknown = frozenset(self._stores.destination.unknown(new)) if new else frozenset()
        for decision in decisions:
            if decision.verdict.patient in unknown:
                self.tally.ended(decision.verdict.patient, Outcome.NOT_SCORABLE, "no_destination_patient")
            else:
                yield decision

    def _to_write(self, change: Change, *, dry: bool = False) -> bool:
        """Whether the change goes to the destination; what does not is counted here."""
        problem = self._validator.problem_of(change)
        if problem:
            log.error("invalid_resource", elements=problem)
            self.tally.changed(change, failed="invalid_resource")
            return False
        if change.action in WRITES and not dry:
            return True
        self.tally.changed(change)
        return False

    def _write_batch(self, changes: Sequence[Change], journal: Journal) -> None:
        """Write the changes of one batch; then try each that failed once more, alone."""
        failed: dict[str, set[Method]] = {}
        for receipt in self._written(changes, journal):
            if receipt.result is WriteResult.DONE:
                self.tally.changed(receipt.change)
            else:
                failed.setdefault(receipt.change.patient, set()).add(receipt.change.method)
        for patient, methods in failed.items():
            self._once_more(patient, frozenset(methods), journal)

    def _written(self, changes: Sequence[Change], journal: Journal) -> list[Receipt]:
        if not changes:
            return []
        journal.before_write(changes)
        receipts = self._stores.destination.apply(changes)
        journal.written(receipts)
        return receipts

    def _once_more(self, patient: str, methods: frozenset[Method], journal: Journal) -> None:
        """Read and decide again: a conflict means that somebody else wrote between our reading and our writing.

        One at a time. Only the methods with a change that failed: what went through for the other is counted.
        """
        for decision in self._known_there(self._decide([patient])):
            self.tally.judged(decision.verdict, standing=bool(decision.standing))
            for change in decision.changes:
                if change.method in methods and self._to_write(change):
                    self._write_alone(*self._stores.destination.with_destination_references([change]), journal=journal)

    def _write_alone(self, change: Change, *, journal: Journal) -> None:
        for receipt in self._written([change], journal):
            reason = "" if receipt.result is WriteResult.DONE else f"write_{receipt.result.value}"
            self.tally.changed(change, failed=reason)
            if reason:
                log.error("write_failed", reason=reason, status=receipt.status, codes=receipt.codes.strip())
