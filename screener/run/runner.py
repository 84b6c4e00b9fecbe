"""A run from its settings: hold the lease, keep the watermark, close the counts."""

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from time import monotonic

import msgspec
import structlog
from structlog.contextvars import bound_contextvars

from screener.assessment.identity import Canonical, device_uuid
from screener.assessment.reconcile import Rules
from screener.assessment.resource import AssessmentWriter, device
from screener.assessment.validate import Validator
from screener.bulk.journal import remove
from screener.clinical.records import Outcome
from screener.config.settings import Settings
from screener.errors import AuditNotWritten, ExitCode, ScreenerError, of_extra, told
from screener.fhir.time import instant_text
from screener.ndjson.workers import peak_rss_bytes, peak_rss_bytes_of_workers
from screener.run import audit, setup, tasks
from screener.run.comparison import Comparison
from screener.run.deadline import Deadline
from screener.run.figures import Figures
from screener.run.history import history
from screener.run.memory import Memory, open_state
from screener.run.names import RunNames, run_start
from screener.run.options import Options
from screener.run.permission import why_dry
from screener.run.pipeline import Plan, Stores, run
from screener.run.rules import assessment_writer, load_model_and_tables, make_rules, suppressed_at
from screener.run.servers import connect_all, scoped
from screener.run.shards import ShardTask, run_shards
from screener.run.summary import Summary, Watermark, blank, concluded
from screener.run.tally import Listed, RunTally
from screener.run.tracing import Span, run_span
from screener.run.work_list import Worked
from screener.state import Lease, State
from screener.stores.protocols import FullDestination, Mode, Reading, Receipt, Scope, everyone

log = structlog.get_logger()


class Result(msgspec.Struct, frozen=True):
    """The summary of a run, and the difference patient by patient where that was asked for."""

    summary: Summary
    listed: Sequence[Listed] = ()
    why_dry: str = ""
    worked: Sequence[Worked] = ()  # every patient, where that was asked for
    earlier: Sequence[Figures] = ()  # of the runs that it was compared with


class _Withheld(Exception):
    """The difference is larger than the limits allow: nothing is written."""


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
    """One run: opens what it needs, watches the pipeline, and closes the counts."""

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
        settings = scoped(settings, options)
        self._settings, self._options, self._stack = settings, options, stack
        self._progress = progress
        self._began = self._stage_began = monotonic()
        self._stages: dict[str, float] = {}
        self._id = run_id
        self._loaded = load_model_and_tables(settings)
        self._servers = connect_all(settings, options, stack)
        self._names = RunNames(settings, options)
        self._why_dry = why_dry(settings, options, self._loaded.artefact, self._servers)
        self._started = instant_text(self._servers.clock)
        self._start = run_start(run_id, options.mode.value, self._started, self._names, self._loaded, settings)
        self._deadline = Deadline(options.until, should_stop, resumable=options.resumable and not self._dry)
        self._lease: Lease | None = None
        self._tasks: tasks.TaskCounts | None = None
        self._left_out = 0  # lines of a list that name no patient
        self._tally, self._reading = RunTally(), Reading()
        self._comparison = Comparison(
            settings.limits, accepted=options.accept_large_change, to_folder=options.to_folder is not None
        )

    @property
    def _dry(self) -> bool:
        return bool(self._why_dry)

    def execute(self) -> Result:
        """From the lease to the ledger. Raises ScreenerError where the run cannot go on as a whole."""
        settings, names = self._settings, self._names
        state = self._stack.enter_context(open_state(settings.state.url, self._options, dry=self._dry))
        watermark = names.watermark(self._loaded.selection_digest(settings))
        self._memory = Memory(state, self._start, watermark, self._options, dry=self._dry)
        named, self._left_out = setup.named_patients(self._options, self._servers.source, self._loaded.mapper)
        since = "" if named else self._memory.since(State.place(settings.state.url), names.watermark_prefix)
        waiting = self._memory.waiting()
        again = frozenset[str]() if self._options.partial else waiting
        self._tally = RunTally(show_patients=self._options.show_patients, watched=waiting)
        self._stage_ends("prepare")
        if self._dry:
            return self._work(named, since, again)
        seconds = settings.state.lease_seconds
        lease = state.lease(names.destination, run_id=self._id, ttl_seconds=seconds, heartbeat_seconds=seconds / 6)
        self._lease = self._stack.enter_context(lease)
        self._memory.begin()
        try:
            return self._work(named, since, again)
        except Exception as error:
            said = told(error)
            if not isinstance(said, AuditNotWritten):  # the run itself has come to its end
                self._memory.end(int(said.exit_code), {"error": said.what})
            raise said from error

    def _stage_ends(self, name: str) -> None:
        """Keep how long a stage took."""
        now = monotonic()
        self._stages[name], self._stage_began = round(now - self._stage_began, 3), now

    def _work(self, named: tuple[str, ...], since: str, again: frozenset[str]) -> Result:
        if self._options.engine == "spark":
            as_of = self._servers.clock
            plan = self._plan(self._scope(named, since, as_of), again, as_of)
            reading = Reading()
            with suppress(_Withheld):
                reading = self._on_spark(plan, self._options.now or as_of)
        else:
            opened = setup.open_source(self._settings, self._options, self._loaded.mapper, self._servers, self._stack)
            plan = self._plan(self._scope(named, since, opened.as_of), again, opened.as_of)
            reading = self._reading = opened.source.reading
            self._comparison.source, self._comparison.unchecked = opened.server, reading.unchecked
            with suppress(_Withheld):
                self._through_the_pipeline(plan, opened)
        if self._comparison.withheld:
            self._tally.withhold()
        else:
            self._memory.save_failed(self._tally.failed_patients, self._tally.recovered)
            self._keep_tasks()
        result = self._close(plan.scope, reading)
        if self._options.bulk_folder is not None and not self._comparison.withheld:
            remove(self._options.bulk_folder)  # patient data: removed when the run has come to its end
        self._audit(result.summary)
        return result

    def _keep_tasks(self) -> None:
        """Bring the Tasks up to date, where the site wants them. ServerError where that cannot be done: the next run does it."""
        there = self._servers.destination
        if there is not None and self._settings.tasks.owner and not self._dry:
            self._tasks = tasks.keep(there.client, assessment_writer(self._settings, self._loaded), self._settings)

    def _audit(self, summary: Summary) -> None:
        """Leave an AuditEvent on the server that was written to, where the site wants one. AuditNotWritten where it takes none."""
        there, settings = self._servers.destination, self._settings
        if settings.output.audit_event and there is not None and not (self._dry or self._comparison.withheld):
            audit.write(there.client, summary, Canonical(settings.output.canonical), settings.identity_source)

    def _plan(self, scope: Scope, again: frozenset[str], as_of: datetime) -> Plan:
        return Plan(
            scope=scope,
            batch_patients=self._settings.server.batch_patients,
            dry=self._dry,
            writes_at_once=self._settings.output.bundle_entries * self._settings.output.connections,
            limit=self._options.limit,
            again=again,
            after=self._memory.done_until(as_of),
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
        writer = assessment_writer(self._settings, self._loaded)
        return self._rules_for(writer, destination.prepare(writer), now)

    def _rules_for(self, writer: AssessmentWriter, device_: str, now: datetime) -> Rules:
        suppressed = suppressed_at(self._memory.state, self._names.destination)
        return make_rules(self._settings, writer, device_, now, suppressed)

    def _shard_task(self, plan: Plan, rules: Rules, now: datetime) -> ShardTask:
        return ShardTask(
            plan,
            rules,
            self._loaded.mapper,
            self._settings.exclusions.needs(),
            instant_text(now),
            self._options.show_patients,
            self._tally.watched,
        )

    def _on_spark(self, plan: Plan, now: datetime) -> Reading:
        with of_extra("spark"):
            from screener.run.spark_plan import Locations, run_on_spark  # noqa: PLC0415 - an extra
        writer = assessment_writer(self._settings, self._loaded)
        name = device_uuid(writer.source_system)
        task = self._shard_task(plan, self._rules_for(writer, f"Device/{name}", now), now)
        locations = Locations(self._options.source_uri, self._options.destination_uri, self._options.parquet)
        return run_on_spark(task, locations, {"id": name, **device(writer)}, self._settings.folder, self, self._tally)

    # The pipeline's Watch.

    def progress(self, step: str, done: int, total: int) -> None:
        """Report the progress; stop between two batches where that was asked for."""
        if self._progress:
            self._progress(step, done, total)
        if done < total:
            self._deadline.check(f"{done} of {total} {step}")

    def reading_ends(self) -> bool:
        """Keep time for writing."""
        return self._deadline.reading_ends()

    def decided(self) -> None:
        """Leave everything as it is where the difference is larger than the limits allow."""
        self._stage_ends("read_and_decide")
        self._comparison.compare(self._tally.figures(), self._mode, history(self._memory.state, self._start))
        if self._comparison.withheld and not self._dry:
            raise _Withheld

    def before_write(self) -> None:
        """Never write without the lease."""
        if self._lease is not None:
            self._lease.check()

    def batch_done(self, last_patient: str) -> None:
        """Save how far the run got."""
        self._memory.batch_done(last_patient, self._tally.failed_patients)

    def ended_early(self, done: int, total: int) -> None:
        """What there was time to decide is written; the rest is for the next call."""
        raise self._deadline.reached(f"{done} of {total} patients")

    def written(self, receipts: Sequence[Receipt]) -> None:
        """Write receipts into the ledger before the next batch begins."""
        self._memory.written(receipts)

    def _scope(self, named: tuple[str, ...], since: str, as_of: datetime) -> Scope:
        if named:
            return Scope(Mode.NAMED, patients=named)
        if since:
            return Scope(Mode.NIGHTLY, since=since)
        return everyone((self._options.now or as_of).date(), self._settings.policy.lookback_days)

    def _close(self, scope: Scope, reading: Reading) -> Result:
        """End the run. The watermark moves last, and only for a run that looked at everything and still has its lease."""
        self._stage_ends("write")
        tally = self._tally
        self.before_write()
        watermark = Watermark(scope.since or None, None if self._comparison.withheld else self._memory.next_watermark())
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
        self._memory.close(summary, finished=not self._comparison.withheld)
        return Result(summary, tally.listed, self._why_dry, tally.worked, self._comparison.earlier)

    def _summary(self, scope: Scope, reading: Reading, watermark: Watermark, code: ExitCode) -> Summary:
        tally = self._tally
        clients = self._servers.clients
        artefact = self._loaded.artefact
        return Summary(
            run_id=self._id,
            mode=scope.mode.value,
            dry_run=self._dry,
            started=self._started,
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
            requests=sum(client.traffic.requests for client in clients),
            retries=sum(client.traffic.retries for client in clients),
            bytes_read=reading.bytes_read + sum(client.traffic.bytes_read for client in clients),
            seconds=round(monotonic() - self._began, 3),
            peak_rss_bytes=peak_rss_bytes() + peak_rss_bytes_of_workers(),
            watermark=watermark,
            exit_code=int(code),
            whole=not (self._options.limit or self._options.since or scope.mode is Mode.NAMED),
            withheld=self._comparison.withheld,
            accepted_large_change=bool(self._comparison.exceeded) and not self._comparison.withheld,
            limits_exceeded=tuple(self._comparison.exceeded),
            by_result_date=reading.by_result_date,
            totals_too_high=dict(sorted(sum((client.counts_too_high for client in clients), Counter()).items())),
            destination=self._names.destination_in_words,
            newly_flagged=tally.counts.newly_flagged,
            tasks=self._tasks,
            stages=self._stages,
            site_tables=self._loaded.site_tables,
            figures=tally.figures(),
        )

    def summary_so_far(self) -> Summary:
        """Of a run that did not come to its end."""
        return self._summary(Scope(self._mode), self._reading, Watermark(), ExitCode.OTHER)

    @property
    def _mode(self) -> Mode:
        return self._options.mode
