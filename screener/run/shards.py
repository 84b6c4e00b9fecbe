"""A run from folder to folder, share by share of the patients, on several processes.

Each share goes through the same pipeline as a whole run. The shares add up: to the same books and the same bytes, however many
processes there are.
"""

from collections.abc import Mapping, Sequence

import msgspec

from screener.assessment.reconcile import Rules
from screener.assessment.validate import Validator
from screener.clinical.mapping import Mapper
from screener.ndjson.destination import FolderDestination, ShareDestination, Standing, Writer
from screener.ndjson.scan import share_of
from screener.ndjson.shards import ShareSource, Table
from screener.ndjson.source import FolderSource
from screener.ndjson.workers import Workers
from screener.run.pipeline import Plan, Stores, Watch, run
from screener.run.tally import Account, Books
from screener.stores.protocols import Receipt


class Job(msgspec.Struct, frozen=True):
    """What every process has to know. `watched`: see Account."""

    plan: Plan
    rules: Rules
    mapper: Mapper
    needs: Mapping[str, str]
    now: str
    show_patients: bool
    watched: frozenset[str]


def run_shares(job: Job, source: FolderSource, destination: FolderDestination, watch: Watch, account: Account) -> None:
    """The same as `pipeline.run` for these stores. Raises ScreenerError where the run cannot go on: the destination is as it was."""
    shares = max(source.planned_shares(), destination.planned_shares())
    work = Progress(watch, shares)
    table = source.scan(shares, work.read)
    standing = destination.scan(shares)
    changed = False
    with Workers(min(source.workers, shares), Context, job, table, standing) as processes:
        for done, (books, altered) in enumerate(processes.map(judge_share, range(shares)), start=1):
            account.absorb(books)
            changed |= altered
            work.judged(done)
    if not job.plan.dry:
        watch.before_write()
        destination.replace(changed=changed)


class Progress:
    """How far the run is, in thousandths: of the time, reading takes the larger part."""

    def __init__(self, watch: Watch, shares: int) -> None:
        self._watch, self._shares = watch, shares

    def read(self, done: int, whole: int) -> None:
        """So many bytes of all."""
        self._watch.progress(700 * done // max(whole, 1), 1000)

    def judged(self, done: int) -> None:
        """So many shares."""
        self._watch.progress(700 + 300 * done // self._shares, 1000)


class Context:
    """What a process needs to work on shares."""

    def __init__(self, job: Job, table: Table, standing: Standing) -> None:
        self.job, self.table, self.standing = job, table, standing
        # These remember what they have seen.
        self.validator = Validator(every=False)
        self.writer = Writer(job.now)


def judge_share(context: Context, share: int) -> tuple[Books, bool]:
    """One share of the patients through the pipeline; returns its books, and whether anything of it changed."""
    job, table = context.job, context.table
    source = ShareSource(table, job.mapper, job.needs, [share])
    destination = ShareDestination(context.standing, [share], context.writer)
    account = Account(show_patients=job.show_patients, watched=job.watched)
    again = frozenset(patient for patient in job.plan.again if share_of(patient, table.shares) == share)
    plan = msgspec.structs.replace(job.plan, again=again)
    run(plan, job.rules, Stores(source, destination), context.validator, Unwatched(), account)
    return account.books, destination.changed


class Unwatched:
    """Watches nothing: a share's run is watched from outside."""

    def before_write(self) -> None: ...

    def progress(self, done: int, total: int) -> None: ...

    def batch_done(self, last_patient: str) -> None: ...

    def written(self, receipts: Sequence[Receipt]) -> None: ...
