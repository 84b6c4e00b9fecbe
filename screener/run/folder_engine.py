"""The engine of folders: shard by shard of the patients, on several processes.

Each shard goes through the batch engine. The shards add up: to the same counts and the same bytes, however many processes there are.
"""

from collections.abc import Mapping

import msgspec

from screener.assessment.reconcile import Rules
from screener.assessment.validate import Validator
from screener.clinical.mapping import Mapper
from screener.run.batch_engine import BatchEngine
from screener.run.counts import Counts, RunTally
from screener.run.deciding import Stores, check_required
from screener.run.engine import Decided, Journal, NoJournal, NoPace, Pace, Plan
from screener.stores.folder.destination import FolderDestination, FolderShardDestination, LineWriter, StandingFile
from screener.stores.folder.scan import shard_of
from screener.stores.folder.shards import FolderShardSource, ScanResult
from screener.stores.folder.source import FolderSource
from screener.stores.folder.workers import Workers, preload

preload(__name__)
_BATCH_PATIENTS = 500  # who are scored in one call; no server is asked


class ShardTask(msgspec.Struct, frozen=True):
    """What every process has to know. `now` is an instant as FHIR writes it; `watched`: see RunTally."""

    rules: Rules
    mapper: Mapper
    needs: Mapping[str, str]
    now: str
    show_patients: bool
    watched: frozenset[str]


class DecidedFolder(Decided):
    """The new assessments are in the scratch folder; `changed` is whether they differ from those that stand."""

    changed: bool = False


class FolderEngine:
    """From folder to folder."""

    def __init__(self, source: FolderSource, destination: FolderDestination, task: ShardTask, tally: RunTally) -> None:
        self.tally, self.reading = tally, source.reading
        self._source, self._destination, self._task = source, destination, task

    def decide(self, plan: Plan, pace: Pace) -> DecidedFolder:
        """Read the folder once, then judge its shards."""
        shards = max(self._source.planned_shards(), self._destination.planned_shards())
        scanned = self._source.scan(
            shards,
            lambda done, whole: pace.progress("lines", done, whole),
            may_be_asked=not self._destination.is_empty(),  # only for what an assessment that stands rests on
        )
        check_required(self._source)
        standing = self._destination.scan(shards)
        decided = DecidedFolder()
        context = (self._task, plan, scanned, standing)
        with Workers(min(self._source.workers, shards), ShardContext, *context) as processes:
            for done, (counts, changed) in enumerate(processes.map(judge_shard, range(shards)), start=1):
                self.tally.add(counts)
                decided.changed |= changed
                decided.done = self.tally.counts.patients  # shards are about equally large
                pace.progress("patients", decided.done, round(decided.done * shards / done))
        decided.total = decided.done
        return decided

    def write(self, decided: DecidedFolder, pace: Pace, journal: Journal) -> None:  # noqa: ARG002 - one step
        """Put the new files in the place of the old ones. Where that fails, the folder stays as it was."""
        journal.before_write()
        self._destination.replace(changed=decided.changed)


class ShardContext:
    """What a process needs to work on shards."""

    def __init__(self, task: ShardTask, plan: Plan, scanned: ScanResult, standing: StandingFile) -> None:
        self.task, self.plan, self.scanned, self.standing = task, plan, scanned, standing
        # These are kept because they remember what they have seen.
        self.validator = Validator(every=False)
        self.lines = LineWriter(task.now)


def judge_shard(context: ShardContext, shard: int) -> tuple[Counts, bool]:
    """Take one shard through the batch engine; returns its counts, and whether anything changed."""
    task, scanned = context.task, context.scanned
    source = FolderShardSource(scanned, task.mapper, task.needs, [shard])
    destination = FolderShardDestination(context.standing, [shard], context.lines)
    again = frozenset(patient for patient in context.plan.again if shard_of(patient, scanned.shards) == shard)
    plan = msgspec.structs.replace(context.plan, again=again, batch_patients=_BATCH_PATIENTS)
    return decide_and_write(plan, task, Stores(source, destination), context.validator), destination.changed


def decide_and_write(plan: Plan, task: ShardTask, stores: Stores, validator: Validator) -> Counts:
    """All of a plan into a destination that nobody else sees yet."""
    tally = RunTally(show_patients=task.show_patients, watched=task.watched)
    engine = BatchEngine(stores, task.rules, validator, tally)
    decided = engine.decide(plan, NoPace())
    if not plan.dry:
        engine.write(decided, NoPace(), NoJournal())
    return tally.counts
