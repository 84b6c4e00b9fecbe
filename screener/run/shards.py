"""A run from folder to folder, shard by shard of the patients, on several processes.

Each shard goes through the same pipeline as a whole run. The shards add up: to the same counts and the same bytes, however many
processes there are.
"""

from collections.abc import Mapping, Sequence

import msgspec

from screener.assessment.reconcile import Rules
from screener.assessment.validate import Validator
from screener.clinical.mapping import Mapper
from screener.ndjson.destination import FolderDestination, FolderShardDestination, LineWriter, StandingFile
from screener.ndjson.scan import shard_of
from screener.ndjson.shards import FolderShardSource, ScanResult
from screener.ndjson.source import FolderSource
from screener.ndjson.workers import Workers
from screener.run.pipeline import Plan, Stores, Watch, run
from screener.run.tally import Counts, RunTally
from screener.stores.protocols import Receipt

_BATCH_PATIENTS = 500  # who are scored in one call; no server is asked


class ShardTask(msgspec.Struct, frozen=True):
    """What every process has to know. `watched`: see RunTally."""

    plan: Plan
    rules: Rules
    mapper: Mapper
    needs: Mapping[str, str]
    now: str
    show_patients: bool
    watched: frozenset[str]


def run_shards(
    task: ShardTask, source: FolderSource, destination: FolderDestination, watch: Watch, tally: RunTally
) -> None:
    """Does what `pipeline.run` does, for folders. Raises ScreenerError where the run cannot go on: the destination is as it was."""
    shards = max(source.planned_shards(), destination.planned_shards())
    scanned = source.scan(
        shards,
        lambda done, whole: watch.progress("lines", done, whole),
        may_be_asked=not destination.is_empty(),  # only for what an assessment that stands rests on
    )
    standing = destination.scan(shards)
    changed = False
    with Workers(min(source.workers, shards), Context, task, scanned, standing) as processes:
        for done, (counts, changed_here) in enumerate(processes.map(judge_shard, range(shards)), start=1):
            tally.add(counts)
            changed |= changed_here
            seen = tally.patients_seen  # shards are about equally large
            watch.progress("patients", seen, round(seen * shards / done))
    watch.decided()
    if not task.plan.dry:
        watch.before_write()
        destination.replace(changed=changed)


class Context:
    """What a process needs to work on shards."""

    def __init__(self, task: ShardTask, scanned: ScanResult, standing: StandingFile) -> None:
        self.task, self.scanned, self.standing = task, scanned, standing
        # These are kept because they remember what they have seen.
        self.validator = Validator(every=False)
        self.lines = LineWriter(task.now)


def judge_shard(context: Context, shard: int) -> tuple[Counts, bool]:
    """Take one shard through the pipeline; returns its counts, and whether anything changed."""
    task, scanned = context.task, context.scanned
    source = FolderShardSource(scanned, task.mapper, task.needs, [shard])
    destination = FolderShardDestination(context.standing, [shard], context.lines)
    tally = RunTally(show_patients=task.show_patients, watched=task.watched)
    again = frozenset(patient for patient in task.plan.again if shard_of(patient, scanned.shards) == shard)
    plan = msgspec.structs.replace(task.plan, again=again, batch_patients=_BATCH_PATIENTS)
    run(plan, task.rules, Stores(source, destination), context.validator, Unwatched(), tally)
    return tally.counts, destination.changed


class Unwatched:
    """Does nothing: the run of all shards is watched."""

    def progress(self, step: str, done: int, total: int) -> None: ...

    def reading_ends(self) -> bool:
        """Never: a folder is written as a whole."""
        return False

    def decided(self) -> None: ...

    def before_write(self) -> None: ...

    def written(self, receipts: Sequence[Receipt]) -> None: ...

    def batch_done(self, last_patient: str) -> None: ...

    def ended_early(self, done: int, total: int) -> None: ...
