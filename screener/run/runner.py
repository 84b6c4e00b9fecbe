"""A run from its settings: hold the lease, keep the watermark, close the books."""

import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from time import monotonic

import msgspec
import structlog

from screener import __version__
from screener.assessment.reconcile import Action, Rules
from screener.assessment.validate import Validator
from screener.clinical.records import Outcome
from screener.config.settings import Settings
from screener.errors import ConfigurationError, ExitCode, ScreenerError, UnforeseenError
from screener.ndjson.destination import FolderDestination
from screener.ndjson.source import FolderSource
from screener.ndjson.workers import peak_rss_bytes_of_workers
from screener.run.pipeline import Plan, Stores, run
from screener.run.setup import Options, Parts, instant_text
from screener.run.shards import Job, run_shares
from screener.run.summary import Summary, Watermark, peak_rss_bytes
from screener.run.tally import Account, Listed
from screener.state import Lease, ReceiptAction, ReceiptRow, RunStart, State
from screener.stores.protocols import Fate, Mode, Reading, Receipt, Scope

log = structlog.get_logger()

_GIVEN_UP_AFTER = timedelta(days=7)  # a full run that was left so long ago begins again
_ACTIONS: dict[Action, ReceiptAction] = {Action.CREATE: "created", Action.AMEND: "amended", Action.RETRACT: "retracted"}


class Result(msgspec.Struct, frozen=True):
    """What a run leaves: its summary, and the difference patient by patient where that was asked for."""

    summary: Summary
    listed: Sequence[Listed] = ()
    why_dry: str = ""


class Stopped(ScreenerError):
    """The run was asked to stop, and did so after the batch in hand. The watermark has not moved."""


class DeadlineReached(Stopped):
    """The run was given until now, and goes on when it is called again."""

    exit_code = ExitCode.DEADLINE


Progress = Callable[[int, int], None]


def execute(
    settings: Settings,
    options: Options,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Result:
    """One run, from the lease to the ledger. Raises ScreenerError where it cannot go on as a whole."""
    with ExitStack() as stack:
        return _Run(settings, options, stack, progress, should_stop).execute()


class _Run:
    """One run's lease, watermark and books."""

    def __init__(
        self,
        settings: Settings,
        options: Options,
        stack: ExitStack,
        progress: Progress | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self._settings, self._options, self._stack = settings, options, stack
        self._progress, self._should_stop = progress, should_stop
        self._began = monotonic()
        self._id = str(uuid.uuid4())
        self._parts = Parts(settings, options, stack)
        self._lease: Lease | None = None
        self._remembered: set[str] = set()  # failed patients that the retry set has from this run
        self._begun = ""  # of a full run: when it began, perhaps in an earlier call

    def execute(self) -> Result:
        self._state = self._stack.enter_context(State.open(self._settings.state.url))
        scope, again = self._scope(), self._patients_to_retry()
        waiting = {row.patient_id for row in self._state.retry_patients(self._parts.watermark_scope)}
        self._account = Account(show_patients=self._options.show_patients, watched=waiting)
        if self._parts.dry:
            return self._work(scope, again)
        seconds = self._settings.state.lease_seconds
        lease = self._state.lease(
            self._parts.destination_label, run_id=self._id, ttl_seconds=seconds, heartbeat_seconds=seconds / 6
        )
        self._lease = self._stack.enter_context(lease)
        self._state.begin_run(self._run_start())
        try:
            return self._work(scope, again)
        except Exception as error:
            told = error if isinstance(error, ScreenerError) else UnforeseenError.of(error)
            self._state.end_run(self._id, instant_text(datetime.now(UTC)), int(told.exit_code), {"error": told.what})
            raise told from error

    def _work(self, scope: Scope, again: frozenset[str]) -> Result:
        account = self._account
        plan = Plan(
            scope=scope,
            batch_patients=self._settings.server.batch_patients,
            dry=self._parts.dry,
            limit=self._options.limit,
            again=again,
            after=self._done_until(),
        )
        if self._options.engine == "spark":
            reading = self._on_spark(plan)
        else:
            source, destination = self._parts.source(), self._parts.destination()
            rules = self._parts.rules(destination)
            if isinstance(source, FolderSource) and isinstance(destination, FolderDestination) and not plan.limit:
                run_shares(self._job(plan, rules), source, destination, self, account)
            else:
                validator = Validator(every=self._options.to_folder is None)
                run(plan, rules, Stores(source, destination), validator, self, account)
            reading = source.reading
        self._remember(account)
        result = self._close(scope, reading, account)
        self._parts.clear()
        return result

    def _job(self, plan: Plan, rules: Rules) -> Job:
        return Job(
            plan,
            rules,
            self._parts.mapper,
            self._settings.exclusions.needs(),
            instant_text(self._parts.now),
            self._options.show_patients,
            self._account.watched,
        )

    def _on_spark(self, plan: Plan) -> Reading:
        try:
            from screener.run.spark_plan import Places, SparkDestination, run_on_spark  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ConfigurationError(
                f"The Spark engine lacks a package: {error.name}",
                "Install it: pip install 'osteoporosis-screener[spark]'",
            ) from error
        destination = SparkDestination()
        job = self._job(plan, self._parts.rules(destination))
        places = Places(self._options.source_uri, self._options.destination_uri, self._options.parquet)
        return run_on_spark(job, places, destination.device, self._settings.folder, self, self._account)

    # A full run over several calls

    @property
    def _resumable(self) -> bool:
        """Whether the run is a full one whose place is kept: what stopped it may stop it again."""
        return self._options.backfill and not (self._parts.dry or self._options.partial or self._options.from_folder)

    def _done_until(self) -> str:
        """The patient up to which an earlier call got; its beginning is then this run's, for the watermark. "" for none."""
        self._begun = instant_text(self._parts.started)
        held = self._state.unfinished(self._parts.watermark_scope) if self._resumable else None
        if held is None:
            return ""
        if self._options.anew or self._parts.started - datetime.fromisoformat(held.started) > _GIVEN_UP_AFTER:
            self._state.finished(self._parts.watermark_scope)
            return ""
        self._begun = held.started
        log.info(
            "backfill_goes_on", begun=held.started, why="an earlier call did not come to its end; --anew begins again"
        )
        return held.done_until

    # The pipeline's Watch.

    def batch_done(self, last_patient: str) -> None:
        """Failures first, then the place: what a kill leaves between the two is done twice and not lost."""
        if self._resumable:
            self._remember_failures()
            self._state.done_until(self._parts.watermark_scope, self._begun, last_patient)

    def before_write(self) -> None:
        """Never write without the lease."""
        if self._lease is not None:
            self._lease.check()

    def progress(self, done: int, total: int) -> None:
        """Tell whoever watches; stop between two batches where that was asked for."""
        if self._progress:
            self._progress(done, total)
        if done < total and self._options.until and datetime.now(UTC) >= self._options.until:
            remedy = "Call it again: it goes on where it was" if self._resumable else "Call it again"
            raise DeadlineReached(f"The time is up after {done} of {total} patients", remedy)
        if done < total and self._should_stop and self._should_stop():
            raise Stopped(
                f"Stopped after {done} of {total} patients",
                "What was written is right; the next run goes on from the old watermark",
            )

    def written(self, receipts: Sequence[Receipt]) -> None:
        """Into the ledger, before the next batch is begun; a folder is its own record."""
        if self._options.to_folder:
            return
        self._state.record_receipts(self._id, [_ledger_row(receipt) for receipt in receipts])

    # The watermark and the books.

    def _scope(self) -> Scope:
        named = self._parts.named()
        if named:
            return Scope(Mode.NAMED, patients=named)
        if self._options.backfill:
            oldest = self._parts.now.date() - timedelta(days=self._settings.policy.lookback_days)
            return Scope(Mode.BACKFILL, oldest=oldest.isoformat())
        if self._options.since:
            return Scope(Mode.NIGHTLY, since=instant_text(self._options.since))
        if self._options.from_folder:
            raise ConfigurationError("A folder has no watermark: it is read as a whole", "Add --backfill")
        since = self._state.watermark(self._parts.watermark_scope)
        if since is None:
            raise ConfigurationError(*self._why_no_watermark())
        return Scope(Mode.NIGHTLY, since=since)

    def _why_no_watermark(self) -> tuple[str, str]:
        if self._state.watermark_scopes(self._parts.watermark_prefix):
            return (
                "The policy, the exclusions, the code map or the model changed since the last full run",
                "Run `screener run --backfill` once: everyone is then judged anew",
            )
        return (
            "There has been no full run yet",
            "Run `screener run --backfill` once; the nightly runs follow on from it",
        )

    def _patients_to_retry(self) -> frozenset[str]:
        if self._options.partial:
            return frozenset()
        return frozenset(row.patient_id for row in self._state.retry_patients(self._parts.watermark_scope))

    def _remember(self, account: Account) -> None:
        """Failed patients are tried again by the next run.

        Only a run that came to its end says who need not be, and only if it judged by today's clock: one that stopped may have
        judged a patient and not yet written.
        """
        if self._parts.dry:
            return
        scope = self._parts.watermark_scope
        if self._options.now is None:
            self._state.forget(scope, account.settled)
        self._remember_failures()

    def _remember_failures(self) -> None:
        """Those that are not remembered yet."""
        new = {name: why for name, why in self._account.failed_patients.items() if name not in self._remembered}
        if new:
            self._state.remember_failures(self._parts.watermark_scope, new, instant_text(self._parts.started))
            self._remembered.update(new)

    def _close(self, scope: Scope, reading: Reading, account: Account) -> Result:
        """The watermark moves last, and only for a run that looked at all that it stands for, and still has its lease."""
        self.before_write()
        moves = not (self._parts.dry or self._options.partial or self._options.from_folder)
        watermark = Watermark(scope.since or None, self._begun if moves else None)
        missing = account.outcomes()[Outcome.NOT_SCORABLE.value].get("patient_missing", 0)
        most_missing = scope.mode is not Mode.NAMED and 2 * missing > account.patients_seen
        if most_missing:
            log.error(
                "most_patients_missing",
                missing=missing,
                of=account.patients_seen,
                remedy="Patient resources cannot be read for most results: check scopes, the export's types and only_tag",
            )
        code = ExitCode.SOME_PATIENTS_FAILED if account.failed_patients or most_missing else ExitCode.DONE
        summary = self._summary(scope, reading, account, watermark, code)
        if not self._parts.dry:
            self._state.end_run(self._id, instant_text(datetime.now(UTC)), int(code), summary.plain())
        if watermark.to:
            self._state.move_watermark(self._parts.watermark_scope, watermark.to)
        if self._resumable:
            self._state.finished(self._parts.watermark_scope)
        return Result(summary, account.listed, self._parts.why_dry)

    def _summary(
        self, scope: Scope, reading: Reading, account: Account, watermark: Watermark, code: ExitCode
    ) -> Summary:
        traffic = self._parts.client.traffic if self._parts.client else None
        artefact = self._parts.artefact
        return Summary(
            run_id=self._id,
            mode=scope.mode.value,
            dry_run=self._parts.dry,
            started=instant_text(self._parts.started),
            model={
                "id": artefact.id,
                "version": artefact.version,
                "checksum": artefact.checksum,
                "calibration": artefact.calibration,
            },
            patients_seen=account.patients_seen,
            outcomes=account.outcomes(),
            writes=account.writes(),
            write_reasons=account.write_reasons(),
            flagged=account.flagged,
            refusals=account.refusals(),
            caveats=account.caveats(),
            exclusions_not_checked=dict(sorted(reading.unchecked.items())),
            bad_lines=reading.bad_lines,
            requests=traffic.requests if traffic else 0,
            retries=traffic.retries if traffic else 0,
            bytes_read=reading.bytes_read + (traffic.bytes_read if traffic else 0),
            seconds=round(monotonic() - self._began, 3),
            peak_rss_bytes=peak_rss_bytes() + peak_rss_bytes_of_workers(),
            watermark=watermark,
            exit_code=int(code),
        )

    def _run_start(self) -> RunStart:
        settings = self._settings
        return RunStart(
            run_id=self._id,
            mode=self._mode.value,
            started=instant_text(self._parts.started),
            source=self._parts.source_label,
            destination=self._parts.destination_label,
            config_hash=self._parts.selection_digest,
            artefact_hash=self._parts.artefact.checksum,
            code_map_hash=self._parts.tables.digest(),
            policy_hash=settings.selection_digest(),
            model_id=f"{self._parts.artefact.id} {self._parts.artefact.version}",
            software_version=__version__,
        )

    @property
    def _mode(self) -> Mode:
        if self._options.patients or self._options.patients_from:
            return Mode.NAMED
        return Mode.BACKFILL if self._options.backfill else Mode.NIGHTLY


def _ledger_row(receipt: Receipt) -> ReceiptRow:
    done = receipt.fate is Fate.DONE
    return ReceiptRow(
        assessment_id=receipt.change.identity,
        action=_ACTIONS[receipt.change.action] if done else "failed",
        resource_id=receipt.id or None,
        version=receipt.version or None,
        status_code=receipt.status or None,
        reason=receipt.change.reason if done else f"write_{receipt.fate.value}",
    )
