"""A run from its settings: hold the lease, keep the watermark, close the counts."""

import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from time import monotonic

import msgspec
import structlog
from structlog.contextvars import bound_contextvars

from screener import __version__
from screener.assessment.identity import Canonical, device_uuid
from screener.assessment.reconcile import Rules
from screener.assessment.resource import AssessmentWriter, device
from screener.assessment.validate import Validator
from screener.bulk.journal import remove
from screener.clinical.records import Outcome
from screener.config.settings import Settings
from screener.errors import AuditNotWritten, ConfigurationError, ExitCode, ScreenerError, told
from screener.fhir.time import instant_text, parse_instant
from screener.ndjson.workers import peak_rss_bytes, peak_rss_bytes_of_workers
from screener.run import audit, setup
from screener.run.comparison import Comparison
from screener.run.figures import Figures
from screener.run.history import history
from screener.run.options import Options
from screener.run.pipeline import Plan, Stores, run
from screener.run.receipts import ledger_row
from screener.run.shards import ShardTask, run_shards
from screener.run.summary import Summary, Watermark, blank, concluded
from screener.run.tally import Listed, RunTally
from screener.run.tasks import TaskCounts, keep
from screener.run.tracing import Span, run_span
from screener.run.work_list import Worked
from screener.state import Lease, RunStart, State
from screener.stores.protocols import FullDestination, Mode, Reading, Receipt, Scope
from screener.stores.server_destination import ServerDestination

log = structlog.get_logger()

_SHARE_OF_TIME_TO_READ = 2 / 3  # of the time until a run's deadline
_GIVEN_UP_AFTER = timedelta(days=7)  # a backfill that was left so long ago begins again


class Result(msgspec.Struct, frozen=True):
    """The summary of a run, and the difference patient by patient where that was asked for."""

    summary: Summary
    listed: Sequence[Listed] = ()
    why_dry: str = ""
    worked: Sequence[Worked] = ()  # every patient, where that was asked for
    earlier: Sequence[Figures] = ()  # of the runs that it was compared with


class _Withheld(Exception):
    """The difference is larger than the limits allow: nothing is written."""


class Stopped(ScreenerError):
    """The run was asked to stop, and did so after the batch in hand. The watermark has not moved."""


class DeadlineReached(Stopped):
    """The time that the run was given is up; it goes on when it is called again."""

    exit_code = ExitCode.DEADLINE


Progress = Callable[[str, int, int], None]  # (what is counted, done, total)


def execute(
    settings: Settings,
    options: Options,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Result:
    """One run, from the lease to the ledger. Raises ScreenerError, with its summary, where it cannot go on as a whole."""
    run_id = str(uuid.uuid4())
    with run_span() as span, bound_contextvars(run_id=run_id):
        try:
            result = _executed(settings, options, progress, should_stop, run_id)
        except ScreenerError as error:
            if isinstance(error.summary, Summary):
                _trace(span, error.summary)
            raise
        _trace(span, result.summary)
        return result


def _trace(span: Span, summary: Summary) -> None:
    counts = {"patients": summary.patients_seen, "requests": summary.requests, **summary.writes}
    span.ended(summary.mode, summary.exit_code, summary.stages, counts)


def _executed(
    settings: Settings,
    options: Options,
    progress: Progress | None,
    should_stop: Callable[[], bool] | None,
    run_id: str,
) -> Result:
    runner: Runner | None = None
    try:
        with ExitStack() as stack:
            runner = Runner(settings, options, stack, progress, should_stop, run_id=run_id)
            return runner.execute()
    except Exception as error:
        said = told(error)
        so_far = runner.summary_so_far() if runner else blank(options.mode.value, run_id)
        said.summary = said.summary or concluded(so_far, error=said)
        if said is error:
            raise
        raise said from error


class Runner:
    """One run: its lease, its watermark and its counts."""

    def __init__(
        self,
        settings: Settings,
        options: Options,
        stack: ExitStack,
        progress: Progress | None,
        should_stop: Callable[[], bool] | None,
        *,
        run_id: str,
    ) -> None:
        """Reads the model and the tables, and asks the servers what they can do."""
        settings = setup.scoped(settings, options)
        self._settings, self._options, self._stack = settings, options, stack
        self._progress, self._should_stop = progress, should_stop
        self._began = self._stage_began = monotonic()
        self._stages: dict[str, float] = {}
        self._began_at = self._batch_began = datetime.now(UTC)
        self._id = run_id
        self._method = setup.read_method(settings)
        self._servers = setup.connect_all(settings, options, stack)
        self._names = setup.RunNames(settings, options, self._method)
        self._why_dry = setup.why_dry(settings, options, self._method.artefact, self._servers)
        self._started = self._servers.clock
        self._lease: Lease | None = None
        self._tasks: TaskCounts | None = None
        self._left_out = 0  # lines of a list that name no patient
        self._tally, self._reading = RunTally(), Reading()
        self._remembered: set[str] = set()  # failed patients that the retry set has from this run
        self._comparison = Comparison(
            settings.limits, accepted=options.accept_large_change, to_folder=options.to_folder is not None
        )
        self._begun = ""  # what the watermark moves to: the instant of the data, perhaps that of an earlier call

    @property
    def _dry(self) -> bool:
        return bool(self._why_dry)

    def execute(self) -> Result:
        """From the lease to the ledger. Raises ScreenerError where the run cannot go on as a whole."""
        self._state = self._stack.enter_context(self._open_state())
        named, self._left_out = setup.named_patients(self._options, self._servers.source, self._method.mapper)
        since = "" if named else self._since()
        again = self._patients_to_retry()
        waiting = {row.patient_id for row in self._state.retry_patients(self._names.watermark)}
        self._tally = RunTally(show_patients=self._options.show_patients, watched=waiting)
        self._stage_ends("prepare")
        if self._dry:
            return self._work(named, since, again)
        seconds = self._settings.state.lease_seconds
        lease = self._state.lease(
            self._names.destination, run_id=self._id, ttl_seconds=seconds, heartbeat_seconds=seconds / 6
        )
        self._lease = self._stack.enter_context(lease)
        self._state.begin_run(self._run_start())
        try:
            return self._work(named, since, again)
        except Exception as error:
            said = told(error)
            if not isinstance(said, AuditNotWritten):  # the run itself has come to its end
                self._state.end_run(
                    self._id, instant_text(datetime.now(UTC)), int(said.exit_code), {"error": said.what}
                )
            raise said from error

    def _stage_ends(self, name: str) -> None:
        """Keep how long a stage took."""
        now = monotonic()
        self._stages[name], self._stage_began = round(now - self._stage_began, 3), now

    def _open_state(self) -> State:
        """A dry run makes none, and neither does a nightly run: where it finds none, its URL may hold a typing error."""
        url = self._settings.state.url
        if self._dry:
            return State.to_read(url)
        nightly = self._mode is Mode.NIGHTLY and self._options.since is None and self._options.from_folder is None
        return State.open(url, make=not nightly)

    def _work(self, named: tuple[str, ...], since: str, again: frozenset[str]) -> Result:
        if self._options.engine == "spark":
            as_of = self._servers.clock
            plan = self._plan(self._scope(named, since, as_of), again, as_of)
            reading = Reading()
            with suppress(_Withheld):
                reading = self._on_spark(plan, self._options.now or as_of)
        else:
            opened = self._open_source()
            plan = self._plan(self._scope(named, since, opened.as_of), again, opened.as_of)
            reading = self._reading = opened.source.reading
            self._comparison.source, self._comparison.unchecked = opened.server, reading.unchecked
            with suppress(_Withheld):
                self._through_the_pipeline(plan, opened)
        if self._comparison.withheld:
            self._tally.withhold()
        else:
            self._remember()
            self._keep_tasks()
        result = self._close(plan.scope, reading)
        if self._options.bulk_folder is not None and not self._comparison.withheld:
            remove(self._options.bulk_folder)  # patient data: removed when the run has come to its end
        self._audit(result.summary)
        return result

    def _keep_tasks(self) -> None:
        """Bring the Tasks up to date, where the site wants them. ServerError where that cannot be done: the next run does it."""
        there, settings = self._servers.destination, self._settings
        if self._dry or there is None or not settings.tasks.owner:
            return
        writer = setup.assessment_writer(settings, self._method)
        at = settings.destination if settings.destination.base_url else settings.server
        store = ServerDestination(there.client, at, writer.canonical, settings.output)
        self._stack.callback(store.close)
        self._tasks = keep(there.client, store, writer, settings.tasks, settings.output.bundle_entries)

    def _audit(self, summary: Summary) -> None:
        """Leave an AuditEvent on the server that was written to, where the site wants one. AuditNotWritten where it takes none."""
        there = self._servers.destination
        if self._settings.output.audit_event and there is not None and not (self._dry or self._comparison.withheld):
            canonical = Canonical(self._settings.output.canonical)
            try:
                audit.write(there.client, audit.audit_event(summary, canonical, self._settings.identity_source))
            except AuditNotWritten as error:
                error.summary = concluded(summary, error=error)  # of the run, which has come to its end
                raise

    def _open_source(self) -> setup.Opened:
        return setup.open_source(self._settings, self._options, self._method.mapper, self._servers, self._stack)

    def _plan(self, scope: Scope, again: frozenset[str], as_of: datetime) -> Plan:
        return Plan(
            scope=scope,
            batch_patients=self._settings.server.batch_patients,
            dry=self._dry,
            writes_at_once=self._settings.output.bundle_entries * self._settings.output.connections,
            limit=self._options.limit,
            again=again,
            after=self._done_until(as_of),
        )

    def _through_the_pipeline(self, plan: Plan, opened: setup.Opened) -> None:
        """Folder to folder on all cores, everything else batch by batch in this process."""
        now = self._options.now or opened.as_of
        if opened.folder and self._options.to_folder and not plan.limit:
            folder = setup.open_destination_folder(self._settings, self._options.to_folder, now, self._stack)
            task = self._shard_task(plan, self._rules(folder, now), now)
            run_shards(task, opened.folder, folder, self, self._tally)
            return
        destination = setup.open_destination(self._settings, self._options, self._servers, opened, now, self._stack)
        self._comparison.destination = destination
        validator = Validator(every=self._options.to_folder is None)
        stores = Stores(opened.source, destination)
        run(plan, self._rules(destination, now), stores, validator, self, self._tally)

    def _rules(self, destination: FullDestination, now: datetime) -> Rules:
        writer = setup.assessment_writer(self._settings, self._method)
        return self._rules_for(writer, destination.prepare(writer), now)

    def _rules_for(self, writer: AssessmentWriter, device_: str, now: datetime) -> Rules:
        suppressed = setup.suppressed_at(self._state, self._names.destination)
        return setup.make_rules(self._settings, writer, device_, now, suppressed)

    def _shard_task(self, plan: Plan, rules: Rules, now: datetime) -> ShardTask:
        return ShardTask(
            plan,
            rules,
            self._method.mapper,
            self._settings.exclusions.needs(),
            instant_text(now),
            self._options.show_patients,
            self._tally.watched,
        )

    def _on_spark(self, plan: Plan, now: datetime) -> Reading:
        try:
            from screener.run.spark_plan import Locations, run_on_spark  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ConfigurationError(
                f"The Spark engine lacks a package: {error.name}",
                "Install it: pip install 'osteoporosis-screener[spark]'",
            ) from error
        writer = setup.assessment_writer(self._settings, self._method)
        name = device_uuid(writer.source_system)
        task = self._shard_task(plan, self._rules_for(writer, f"Device/{name}", now), now)
        locations = Locations(self._options.source_uri, self._options.destination_uri, self._options.parquet)
        return run_on_spark(task, locations, {"id": name, **device(writer)}, self._settings.folder, self, self._tally)

    # A full run over several calls

    @property
    def _resumable(self) -> bool:
        """Whether the run is a backfill whose progress is kept: what stopped it may stop it again."""
        return self._options.backfill and not (self._dry or self._options.partial or self._options.from_folder)

    def _done_until(self, as_of: datetime) -> str:
        """The last patient of an earlier call, "" for none. The watermark then takes the instant of that call's data."""
        # Never ahead of this machine's clock: what a server with a fast one dates in between would be missed.
        self._begun = instant_text(min(as_of, datetime.now(UTC)))
        held = self._state.unfinished(self._names.watermark) if self._resumable else None
        if held is None:
            return ""
        if self._options.restart or self._started - parse_instant(held.started) > _GIVEN_UP_AFTER:
            self._state.finished(self._names.watermark)
            return ""
        self._begun = held.started
        log.info(
            "backfill_goes_on",
            begun=held.started,
            why="an earlier call did not come to its end; --restart begins again",
        )
        return held.done_until

    # The pipeline's Watch.

    def progress(self, step: str, done: int, total: int) -> None:
        """Report the progress; stop between two batches where that was asked for."""
        if self._progress:
            self._progress(step, done, total)
        if done < total:
            self._stop_where_asked(f"{done} of {total} {step}")

    def _stop_where_asked(self, how_far: str) -> None:
        if self._options.until and datetime.now(UTC) >= self._options.until:
            raise self._deadline_reached(how_far)
        if self._should_stop and self._should_stop():
            raise Stopped(
                f"Stopped after {how_far}",
                "What was written is right; the next run goes on from the old watermark",
            )

    def _deadline_reached(self, how_far: str) -> DeadlineReached:
        remedy = "Call it again: it goes on where it was" if self._resumable else "Call it again"
        return DeadlineReached(f"The time is up after {how_far}", remedy)

    def reading_ends(self) -> bool:
        """Where the run has a deadline: a third of its time is left for writing, and no batch is begun that would take of it."""
        if self._options.until is None:
            return False
        now = datetime.now(UTC)
        batch, self._batch_began = now - self._batch_began, now
        return now + batch >= self._began_at + (self._options.until - self._began_at) * _SHARE_OF_TIME_TO_READ

    def decided(self) -> None:
        """Leave everything as it is where the difference is larger than the limits allow."""
        self._stage_ends("read_and_decide")
        self._comparison.compare(self._tally.figures(), self._mode, history(self._state, self._run_start()))
        if self._comparison.withheld and not self._dry:
            raise _Withheld

    def before_write(self) -> None:
        """Never write without the lease."""
        if self._lease is not None:
            self._lease.check()

    def batch_done(self, last_patient: str) -> None:
        """Save the failures first, then the progress: after a kill between the two, patients are done twice and none is lost."""
        if self._resumable:
            self._remember_failures()
            self._state.done_until(self._names.watermark, self._begun, last_patient)

    def ended_early(self, done: int, total: int) -> None:
        """What there was time to decide is written; the rest is for the next call."""
        raise self._deadline_reached(f"{done} of {total} patients")

    def written(self, receipts: Sequence[Receipt]) -> None:
        """Write receipts into the ledger before the next batch begins. A folder needs none."""
        if self._options.to_folder:
            return
        self._state.record_receipts(self._id, [ledger_row(receipt) for receipt in receipts])

    # The watermark and the counts.

    def _since(self) -> str:
        """The instant since which a nightly run looks for changes; "" for a backfill. ConfigurationError where there is no
        watermark."""
        if self._options.backfill:
            return ""
        if self._options.since:
            return instant_text(self._options.since)
        if self._options.from_folder:
            raise ConfigurationError("A folder has no watermark: it is read as a whole", "Add --backfill")
        since = self._state.watermark(self._names.watermark)
        if since is None:
            raise ConfigurationError(*self._why_no_watermark())
        return since

    def _scope(self, named: tuple[str, ...], since: str, as_of: datetime) -> Scope:
        if named:
            return Scope(Mode.NAMED, patients=named)
        if since:
            return Scope(Mode.NIGHTLY, since=since)
        oldest = (self._options.now or as_of).date() - timedelta(days=self._settings.policy.lookback_days)
        return Scope(Mode.BACKFILL, oldest=oldest.isoformat())

    def _why_no_watermark(self) -> tuple[str, str]:
        if self._state.watermark_scopes(self._names.watermark_prefix):
            return (
                "The policy, the exclusions, the code map or the model changed since the last full run",
                "Run `screener run --backfill --dry-run` to see what it does to everyone, then with --accept-large-change instead",
            )
        return (
            f"There has been no full run yet, as far as the state at {State.place(self._settings.state.url)} knows",
            "Run `screener run --backfill` once; the nightly runs follow on from it",
        )

    def _patients_to_retry(self) -> frozenset[str]:
        if self._options.partial:
            return frozenset()
        return frozenset(row.patient_id for row in self._state.retry_patients(self._names.watermark))

    def _remember(self) -> None:
        """Save the patients that failed: the next run tries them again.

        Only a run that came to its end removes patients from the retry set, and only if it judged by today's clock: a run that
        stopped may have judged a patient without writing.
        """
        if self._dry:
            return
        scope = self._names.watermark
        if self._options.now is None:
            self._state.forget(scope, self._tally.recovered)
        self._remember_failures()

    def _remember_failures(self) -> None:
        """Save the failures that are not saved yet."""
        new = {name: why for name, why in self._tally.failed_patients.items() if name not in self._remembered}
        if new:
            self._state.remember_failures(self._names.watermark, new, instant_text(self._started))
            self._remembered.update(new)

    def _close(self, scope: Scope, reading: Reading) -> Result:
        """End the run. The watermark moves last, and only for a run that looked at everything and still has its lease."""
        self._stage_ends("write")
        tally = self._tally
        self.before_write()
        moves = not (self._dry or self._comparison.withheld or self._options.partial or self._options.from_folder)
        watermark = Watermark(scope.since or None, self._begun if moves else None)
        missing = tally.outcomes()[Outcome.NOT_SCORABLE.value].get("patient_missing", 0)
        most_missing = scope.mode is not Mode.NAMED and 2 * missing > tally.patients_seen
        if most_missing:
            log.error(
                "most_patients_missing",
                missing=missing,
                of=tally.patients_seen,
                remedy="Patient resources cannot be read for most results: check scopes, the export's types and only_tag",
            )
        if scope.mode is Mode.NIGHTLY and (most_missing or self._comparison.newly_unchecked()):
            watermark = msgspec.structs.replace(watermark, to=None)  # the next night looks at these patients again
        named_missing = bool(missing or self._left_out) and scope.mode is Mode.NAMED
        if named_missing:
            log.warning(
                "patients_not_found",
                missing=missing + self._left_out,
                of=tally.patients_seen,
                remedy="Check the ids that were given",
            )
        incomplete = tally.failed_patients or most_missing or named_missing
        code = ExitCode.SOME_PATIENTS_FAILED if incomplete else ExitCode.DONE
        code = ExitCode.TOO_LARGE if self._comparison.withheld else code
        summary = concluded(self._summary(scope, reading, watermark, code), why_dry=self._why_dry)
        if not self._dry:
            self._state.end_run(self._id, instant_text(datetime.now(UTC)), int(code), summary.plain())
        if watermark.to:
            self._state.move_watermark(self._names.watermark, watermark.to)
        if self._resumable and not self._comparison.withheld:
            self._state.finished(self._names.watermark)
        return Result(summary, tally.listed, self._why_dry, tally.worked, self._comparison.earlier)

    def _summary(self, scope: Scope, reading: Reading, watermark: Watermark, code: ExitCode) -> Summary:
        tally = self._tally
        server = self._servers.source or self._servers.destination
        traffic = server.client.traffic if server else None
        artefact = self._method.artefact
        return Summary(
            run_id=self._id,
            mode=scope.mode.value,
            dry_run=self._dry,
            started=instant_text(self._started),
            model={
                "id": artefact.id,
                "version": artefact.version,
                "checksum": artefact.checksum,
                "calibration": artefact.calibration,
            },
            patients_seen=tally.patients_seen,
            outcomes=tally.outcomes(),
            writes=tally.writes(),
            write_reasons=tally.write_reasons(),
            flagged=tally.flagged,
            refusals=tally.refusals(),
            caveats=tally.caveats(),
            exclusions_not_checked=dict(sorted(reading.unchecked.items())),
            bad_lines=reading.bad_lines,
            requests=traffic.requests if traffic else 0,
            retries=traffic.retries if traffic else 0,
            bytes_read=reading.bytes_read + (traffic.bytes_read if traffic else 0),
            seconds=round(monotonic() - self._began, 3),
            peak_rss_bytes=peak_rss_bytes() + peak_rss_bytes_of_workers(),
            watermark=watermark,
            exit_code=int(code),
            whole=not (self._options.limit or self._options.since or scope.mode is Mode.NAMED),
            withheld=self._comparison.withheld,
            accepted_large_change=bool(self._comparison.exceeded) and not self._comparison.withheld,
            limits_exceeded=tuple(self._comparison.exceeded),
            by_result_date=reading.by_result_date,
            totals_too_high=dict(sorted(server.client.counts_too_high.items())) if server else {},
            destination=self._names.destination_in_words,
            newly_flagged=tally.counts.newly_flagged,
            tasks=self._tasks,
            stages=self._stages,
            site_tables=self._method.site_tables,
            figures=tally.figures(),
        )

    def summary_so_far(self) -> Summary:
        """Of a run that did not come to its end."""
        return self._summary(Scope(self._mode), self._reading, Watermark(), ExitCode.OTHER)

    def _run_start(self) -> RunStart:
        settings = self._settings
        return RunStart(
            run_id=self._id,
            mode=self._mode.value,
            started=instant_text(self._started),
            source=self._names.source,
            destination=self._names.destination,
            config_hash=self._names.selection_digest,
            artefact_hash=self._method.artefact.checksum,
            code_map_hash=self._method.tables.digest(),
            policy_hash=settings.selection_digest(),
            model_id=f"{self._method.artefact.id} {self._method.artefact.version}",
            software_version=__version__,
        )

    @property
    def _mode(self) -> Mode:
        return self._options.mode
