"""A run from its settings: put the stores together, hold the lease, keep the watermark, close the books."""

import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import msgspec
import structlog

from model import Artefact, ModelError, load_artefact
from screener import __version__
from screener.assessment.identity import Canonical
from screener.assessment.reconcile import Action
from screener.assessment.resource import Voice
from screener.assessment.texts import Texts
from screener.clinical.mapping import Mapper
from screener.config import Settings
from screener.errors import ConfigurationError, ExitCode, ScreenerError, ServerError
from screener.fhir import capability
from screener.fhir.client import Client
from screener.pipeline import Plan, Rules, run
from screener.report.account import Account, Listed
from screener.report.summary import Summary, Watermark, peak_rss_bytes
from screener.site import site_tables
from screener.state import Lease, ReceiptAction, ReceiptRow, RunStart, State
from screener.stores.base import Destination, Fate, Mode, Receipt, Scope, Source
from screener.stores.folder import FolderDestination, FolderSource
from screener.stores.server import ServerDestination, ServerSource, with_magnesium

log = structlog.get_logger()

_ACTIONS: dict[Action, ReceiptAction] = {Action.CREATE: "created", Action.AMEND: "amended", Action.RETRACT: "retracted"}


class Options(msgspec.Struct, frozen=True):
    """What one call asks for, beside the settings."""

    backfill: bool = False
    dry_run: bool = False
    from_folder: Path | None = None
    to_folder: Path | None = None
    patients: tuple[str, ...] = ()
    since: datetime | None = None
    limit: int = 0
    now: datetime | None = None
    show_patients: bool = False

    @property
    def partial(self) -> bool:
        """Whether the run looks at other patients, or from another time, than the watermark stands for."""
        return bool(self.patients or self.since or self.limit or self.now)


class Result(msgspec.Struct, frozen=True):
    """What a run leaves: its summary, and the difference patient by patient where that was asked for."""

    summary: Summary
    listed: Sequence[Listed] = ()
    why_dry: str = ""


class Stopped(ScreenerError):
    """The run was asked to stop, and did so after the batch in hand. The watermark has not moved."""


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
    """One run's parts and books."""

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
        self._artefact = _artefact(settings.model)
        self._tables = site_tables(settings.codes)
        self._canonical = Canonical(settings.output.canonical)
        self._client = self._connect()
        self._started = self._server_time()
        self._now = options.now or self._started
        self._why_dry = self._why_nothing_is_written()
        self._lease: Lease | None = None

    def execute(self) -> Result:
        self._state = self._stack.enter_context(State.open(self._settings.state.url))
        scope, again = self._scope(), self._patients_to_retry()
        if self._dry:
            return self._work(scope, again)
        seconds = self._settings.state.lease_seconds
        lease = self._state.lease(
            self._destination_label, run_id=self._id, ttl_seconds=seconds, heartbeat_seconds=seconds / 6
        )
        self._lease = self._stack.enter_context(lease)
        self._state.begin_run(self._run_start())
        try:
            return self._work(scope, again)
        except ScreenerError as error:
            self._state.end_run(self._id, _text(datetime.now(UTC)), int(error.exit_code), {"error": error.what})
            raise

    def _work(self, scope: Scope, again: frozenset[str]) -> Result:
        source, destination = self._source(), self._destination()
        account = Account(show_patients=self._options.show_patients)
        plan = Plan(
            scope=scope,
            batch_patients=self._settings.server.batch_patients,
            dry=self._dry,
            limit=self._options.limit,
            again=again,
            validate_every=self._options.to_folder is None,
        )
        try:
            run(plan, self._rules(destination), source, destination, self, account)
        finally:
            self._remember(account)
        return self._close(scope, source, account)

    # The pipeline's Watch.

    def before_write(self) -> None:
        """Never write without the lease."""
        if self._lease is not None:
            self._lease.check()

    def progress(self, done: int, total: int) -> None:
        """Tell whoever watches; stop between two batches where that was asked for."""
        if self._progress:
            self._progress(done, total)
        if done < total and self._should_stop and self._should_stop():
            raise Stopped(
                f"Stopped after {done} of {total} patients",
                "What was written is right; the next run goes on from the old watermark",
            )

    def written(self, receipts: Sequence[Receipt]) -> None:
        """Into the ledger, before the next batch is begun."""
        self._state.record_receipts(self._id, [_ledger_row(receipt) for receipt in receipts])

    # The parts.

    @property
    def _dry(self) -> bool:
        return bool(self._why_dry)

    def _connect(self) -> Client | None:
        """The client of the server, where source or destination is one; what the server lacks is said first."""
        if self._options.from_folder and self._options.to_folder:
            return None
        return self._stack.enter_context(Client(self._settings.server))

    def _server_time(self) -> datetime:
        """The server's clock, before the first query; a folder has none but this machine's."""
        if self._client is None:
            return datetime.now(UTC)
        statement = capability.read(self._client)
        needed = {"RiskAssessment"} if self._options.from_folder else {"RiskAssessment", "Patient", "Observation"}
        if not self._options.from_folder:
            needed |= {kind for kind, need in self._settings.exclusions.needs().items() if need == "required"}
        if self._options.to_folder:
            needed -= {"RiskAssessment"}
        writes = self._settings.write == "on" and not self._options.to_folder and not self._options.dry_run
        missing = capability.lacks(statement, needed, writes=writes)
        if missing:
            raise ServerError(
                f"{self._client.host} does not offer: {', '.join(missing)}",
                "Grant or enable it, set the exclusions concerned to optional, or work on a bulk export (--from DIR --to DIR)",
            )
        if self._client.server_time is None:
            log.warning(
                "server_sends_no_date", remedy="this machine's clock is used: keep it in step with the server's"
            )
        return self._client.server_time or datetime.now(UTC)

    def _why_nothing_is_written(self) -> str:
        if self._options.dry_run:
            return "--dry-run"
        if self._options.to_folder is None and self._settings.write == "off":
            return 'write = "off" in the configuration'
        uncalibrated = self._artefact.calibration != "local" and not self._settings.acknowledge_uncalibrated
        if self._options.to_folder is None and uncalibrated:
            raise ConfigurationError(
                "The published model is not calibrated to this site's patients, and writing its risks to a server needs a yes",
                "Read 'What a risk means' in the README, then set acknowledge_uncalibrated = true",
            )
        return ""

    def _source(self) -> Source:
        needs = self._settings.exclusions.needs()
        if self._options.from_folder:
            mapper = Mapper(self._tables, use_preliminary=self._settings.codes.preliminary)
            return FolderSource(self._options.from_folder, mapper, needs, self._settings.folder.bad_lines_allowed)
        assert self._client is not None  # noqa: S101 - _connect
        mapper = Mapper(self._tables, self._settings.server.base_url, use_preliminary=self._settings.codes.preliminary)
        return ServerSource(self._client, self._settings.server, mapper, needs, with_magnesium)

    def _destination(self) -> Destination:
        if self._options.to_folder:
            return FolderDestination(self._options.to_folder, self._canonical, _text(self._now))
        assert self._client is not None  # noqa: S101 - _connect
        return ServerDestination(self._client, self._settings.server, self._canonical, self._settings.output)

    def _rules(self, destination: Destination) -> Rules:
        output = self._settings.output
        system, _, code = output.tag.partition("|")
        voice = Voice(
            canonical=self._canonical,
            artefact=self._artefact,
            texts=Texts(output.language),
            source_system=self._settings.identity_source,
            fraction=output.fraction,
            tags=((system, code),) if output.tag else (),
        )
        voice = msgspec.structs.replace(voice, device=destination.prepare(voice, dry=self._dry))
        return Rules(self._settings.policy.policy(), voice, int(self._now.timestamp() * 1_000_000))

    # The watermark and the books.

    @property
    def _destination_label(self) -> str:
        return str(self._options.to_folder.resolve()) if self._options.to_folder else self._settings.server.base_url

    @property
    def _watermark_scope(self) -> str:
        return f"{self._prefix}{self._settings.selection_digest(self._tables.digest())}"

    @property
    def _prefix(self) -> str:
        source = self._options.from_folder.resolve() if self._options.from_folder else self._settings.server.base_url
        return f"{source} -> {self._destination_label}#"

    def _scope(self) -> Scope:
        if self._options.patients:
            return Scope(Mode.NAMED, patients=self._options.patients)
        if self._options.backfill:
            oldest = self._now.date() - timedelta(days=self._settings.policy.lookback_days)
            return Scope(Mode.BACKFILL, oldest=oldest.isoformat())
        if self._options.since:
            return Scope(Mode.NIGHTLY, since=_text(self._options.since))
        if self._options.from_folder:
            raise ConfigurationError("A folder has no watermark: it is read as a whole", "Add --backfill")
        since = self._state.watermark(self._watermark_scope)
        if since is None:
            raise ConfigurationError(*self._why_no_watermark())
        return Scope(Mode.NIGHTLY, since=since)

    def _why_no_watermark(self) -> tuple[str, str]:
        if self._state.watermark_scopes(self._prefix):
            return (
                "The policy, the exclusions or the code map changed since the last full run",
                "Run `screener run --backfill` once: who is concerned is then decided anew",
            )
        return (
            "There has been no full run yet",
            "Run `screener run --backfill` once; the nightly runs follow on from it",
        )

    def _patients_to_retry(self) -> frozenset[str]:
        if self._options.partial:
            return frozenset()
        return frozenset(row.patient_id for row in self._state.retry_patients(self._watermark_scope))

    def _remember(self, account: Account) -> None:
        """Failed patients are tried again by the next run; the others of this run need not be."""
        if self._dry:
            return
        scope = self._watermark_scope
        waiting = {row.patient_id for row in self._state.retry_patients(scope)}
        self._state.forget(scope, waiting & account.settled)
        self._state.remember_failures(scope, account.failed_patients, _text(self._started))

    def _close(self, scope: Scope, source: Source, account: Account) -> Result:
        """The watermark moves last, and only for a run that looked at all that it stands for, and still has its lease."""
        self.before_write()
        moves = not (self._dry or self._options.partial or self._options.from_folder)
        watermark = Watermark(scope.since or None, _text(self._started) if moves else None)
        code = ExitCode.SOME_PATIENTS_FAILED if account.failed_patients else ExitCode.DONE
        summary = self._summary(scope, source, account, watermark, code)
        if not self._dry:
            self._state.end_run(self._id, _text(datetime.now(UTC)), int(code), summary.plain())
        if watermark.to:
            self._state.move_watermark(self._watermark_scope, watermark.to)
        return Result(summary, account.listed, self._why_dry)

    def _summary(self, scope: Scope, source: Source, account: Account, watermark: Watermark, code: ExitCode) -> Summary:
        traffic = self._client.traffic if self._client else None
        artefact = self._artefact
        return Summary(
            run_id=self._id,
            mode=scope.mode.value,
            dry_run=self._dry,
            started=_text(self._started),
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
            exclusions_not_checked=dict(sorted(source.reading.unchecked.items())),
            bad_lines=source.reading.bad_lines,
            requests=traffic.requests if traffic else 0,
            retries=traffic.retries if traffic else 0,
            bytes_read=source.reading.bytes_read + (traffic.bytes_read if traffic else 0),
            seconds=round(monotonic() - self._began, 3),
            peak_rss_bytes=peak_rss_bytes(),
            watermark=watermark,
            exit_code=int(code),
        )

    def _run_start(self) -> RunStart:
        settings = self._settings
        return RunStart(
            run_id=self._id,
            mode=self._mode.value,
            started=_text(self._started),
            source=self._prefix.partition(" -> ")[0],
            destination=self._destination_label,
            config_hash=settings.selection_digest(self._tables.digest()),
            artefact_hash=self._artefact.checksum,
            code_map_hash=self._tables.digest(),
            policy_hash=settings.selection_digest(),
            model_id=f"{self._artefact.id} {self._artefact.version}",
            software_version=__version__,
        )

    @property
    def _mode(self) -> Mode:
        if self._options.patients:
            return Mode.NAMED
        return Mode.BACKFILL if self._options.backfill else Mode.NIGHTLY


def _artefact(path: Path | None) -> Artefact:
    try:
        return load_artefact(path)
    except ModelError as error:
        raise ConfigurationError(f"The model cannot be used: {error}") from error


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
