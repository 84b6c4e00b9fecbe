"""The job, top to bottom: open the site, hold the lease, decide, compare with the limits, write, close."""

import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import structlog
from structlog.contextvars import bound_contextvars

from screener.assessment.identity import source_of
from screener.base.addresses import spellings
from screener.base.errors import ConfigurationError, ExitCode, ScreenerError, as_screener_error
from screener.base.plural import counted
from screener.clinical.records import Outcome
from screener.config.settings import Settings
from screener.fhir.time import instant_text
from screener.run import audit, tasks
from screener.run.account import Account
from screener.run.comparison import compare
from screener.run.counts import Counts, DifferenceLine, RunTally
from screener.run.deadline import Deadline, Report
from screener.run.engine import Plan
from screener.run.engines import open_engine
from screener.run.figures import Figures
from screener.run.memory import Memory, RunJournal
from screener.run.opening import named_patients
from screener.run.options import Options
from screener.run.permission import check_may_write, why_dry
from screener.run.servers import ServerFeatures, Servers, connect_all, scoped
from screener.run.site import Site, StateAccess, open_site
from screener.run.summary import Summary, Watermark
from screener.run.tracing import Span, run_span
from screener.run.work_list import WorkListRow
from screener.state import State
from screener.stores.bulk.journal import remove
from screener.stores.patient_lists import NamedPatients
from screener.stores.protocols import Mode, Scope, everyone
from screener.stores.server_destination import ServerDestination

log = structlog.get_logger()


class Result(NamedTuple):
    """How a run ended: its summary, what stopped it before its end, and the difference patient by patient where that was asked for."""

    summary: Summary
    error: ScreenerError | None = None
    why_dry: str = ""
    listed: Sequence[DifferenceLine] = ()
    work_list: Sequence[WorkListRow] = ()  # every patient, where that was asked for
    earlier: Sequence[Figures] = ()  # of the runs that it was compared with


def execute(
    settings: Settings,
    options: Options,
    report: Report | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Result:
    """One run, from the lease to the ledger. It raises nothing that is about the run: `error` of the result has it.

    `report` shows the progress; `should_stop` is asked between two batches.
    """
    options = msgspec.structs.replace(options, run_id=options.run_id or str(uuid.uuid4()))
    account = Account(options)
    with run_span() as span, bound_contextvars(run_id=account.run_id):
        try:
            with ExitStack() as stack:
                try:
                    result = _run(settings, options, account, stack, Stop(report, should_stop))
                except Exception as error:
                    _enter_in_ledger(account, options, as_screener_error(error))
                    raise
        except Exception as error:  # noqa: BLE001 - every run has a summary, whatever ended it
            said = as_screener_error(error)
            result = Result(account.stopped(said), said)
        _trace(span, result.summary)
    return result


class Stop(NamedTuple):
    """How the caller follows a run, and how it stops it."""

    report: Report | None
    should_stop: Callable[[], bool] | None


class _Prepared(NamedTuple):
    """What a run has before it takes the lease. `since`: of a nightly run; `named`: the patients of the call."""

    site: Site
    servers: Servers
    memory: Memory
    named: NamedPatients
    since: str


def _enter_in_ledger(account: Account, options: Options, error: ScreenerError) -> None:
    """A row for a run that ended before it had one, because a server cannot be reached or another run holds the lease: who watches the
    ledger, the metrics or /health must see it."""
    site, now = account.opened, instant_text(datetime.now(UTC))
    if site is None or account.in_ledger or account.why_dry:
        return
    with suppress(ScreenerError):  # the run's own error says more
        site.state.begin_run(site.run_start(account.run_id, options.mode.value, now))
        site.state.end_run(account.run_id, now, int(error.exit_code), {"error": error.what})


def _run(settings: Settings, options: Options, account: Account, stack: ExitStack, stop: Stop) -> Result:
    settings = scoped(settings, options)
    site, servers, memory, named, since = _prepare(settings, options, account, stack)
    dry, output, tally = bool(account.why_dry), settings.output, account.tally
    pace = Deadline(options.until, stop.should_stop, stop.report, resumable=options.resumable and not dry)
    with memory.held(site.names.destination, settings.state.lease_seconds) as lease:
        account.in_ledger = True
        engine, as_of, shows = open_engine(settings, options, site, servers, tally, stack)
        account.reading = engine.reading
        plan = Plan(
            scope=_scope(named.patients, since, options.now or as_of, site.policy.lookback_days),
            batch_patients=settings.server.batch_patients,
            dry=dry,
            writes_at_once=output.bundle_entries * output.connections,
            limit=options.limit,
            again=frozenset() if options.partial else tally.watched,
            after=memory.done_until(as_of),
        )
        decided = engine.decide(plan, pace)
        account.stage_ends("read_and_decide")
        if not settings.beside_other_sources:
            _check_source(tally.decided(), site.writer.source_system)
        account.comparison = compare(account.compared(), memory.history(), settings.limits, shows)
        journal = RunJournal(memory, lease, tally)
        if account.comparison.withheld:
            tally.withhold()
        else:
            if not dry:
                engine.write(decided, pace, journal)
                pace.check_done(decided.done, decided.total)
            memory.save_failed(tally.counts.failed, tally.counts.recovered)
            account.tasks = _keep_tasks(settings, site, servers.destination) if not dry else None
        account.stage_ends("write")
        journal.before_write()
        summary = _close(account, plan.scope, named.left_out, memory)
    if options.bulk_folder is not None and not summary.withheld:
        remove(options.bulk_folder)  # patient data: removed when the run has come to its end
    if output.audit_event and servers.destination is not None and not (dry or summary.withheld):
        audit.write(servers.destination.client, summary, site.writer.canonical, site.writer.source_system)
    counts, earlier = tally.counts, account.comparison.earlier
    return Result(summary, None, account.why_dry, sorted(counts.listed), counts.work_list, earlier)


def _prepare(settings: Settings, options: Options, account: Account, stack: ExitStack) -> _Prepared:
    """Open the site, connect, and ask whether and since when. Raises ScreenerError where the run must not begin."""
    dry = account.why_dry = why_dry(options, settings.write)
    site = account.opened = open_site(settings, stack, options, state=_state_access(options, dry=bool(dry)))
    servers = account.servers = connect_all(settings, options, stack)
    if not dry and servers.destination is not None:
        check_may_write(settings, site.artefact, sandbox=servers.destination.is_sandbox)
    account.site, account.started = site, instant_text(servers.clock)
    start = site.run_start(account.run_id, options.mode.value, account.started)
    memory = Memory(site.state, start, site.watermark, options, dry=bool(dry))
    named = named_patients(options, servers.source, site.mapper)
    since = "" if named.patients else memory.since(State.place(site.state_url), site.names.watermark_prefix)
    account.tally = RunTally(show_patients=options.show_patients, watched=memory.waiting())
    account.stage_ends("prepare")
    return _Prepared(site, servers, memory, named, since)


def _state_access(options: Options, *, dry: bool) -> StateAccess:
    """A dry run makes no state, and neither does a nightly run: where it finds none, its URL may hold a typing error."""
    if dry:
        return "read"
    nightly = options.mode is Mode.NIGHTLY and options.since is None and options.from_folder is None
    return "write_existing" if nightly else "write"


def _scope(named: tuple[str, ...], since: str, now: datetime, lookback_days: int) -> Scope:
    if named:
        return Scope(Mode.NAMED, patients=named)
    if since:
        return Scope(Mode.NIGHTLY, since=since)
    return everyone(now.date(), lookback_days)


def _close(account: Account, scope: Scope, left_out: int, memory: Memory) -> Summary:
    """End the run: the ledger first. The watermark moves last, and only for a run that looked at everything.

    `left_out`: lines of a list that name no patient.
    """
    counts, comparison = account.tally.counts, account.comparison
    missing = counts.outcomes[Outcome.NOT_SCORABLE.value, "patient_missing"]
    most_missing = scope.mode is not Mode.NAMED and 2 * missing > counts.patients
    named_missing = bool(missing or left_out) and scope.mode is Mode.NAMED
    looked_again = scope.mode is Mode.NIGHTLY and (most_missing or bool(comparison.newly_unchecked))
    if most_missing:
        log.error(
            "most_patients_missing",
            missing=missing,
            of=counts.patients,
            remedy="Patient resources cannot be read for most results: check scopes, the export's types and only_tag",
        )
    if named_missing:
        said = {"missing": missing + left_out, "of": counts.patients}
        log.warning("patients_not_found", **said, remedy="Check the ids that were given")
    if scope.mode is Mode.NIGHTLY and comparison.newly_unchecked:
        log.warning(
            "type_no_longer_readable",
            types=list(comparison.newly_unchecked),
            remedy="assessments say that it was not checked; the next night looks at these patients again",
        )
    moves = not (comparison.withheld or looked_again)  # else the next night looks at these patients again
    watermark = Watermark(scope.since or None, memory.next_watermark() if moves else None)
    refused = account.tasks.failed if account.tasks else 0
    if refused:
        log.error("tasks_refused", tasks=refused, remedy="`screener doctor --write` tries one")
    incomplete = counts.failed or most_missing or named_missing or refused
    code = ExitCode.SOME_PATIENTS_FAILED if incomplete else ExitCode.DONE
    code = ExitCode.TOO_LARGE if comparison.withheld else code
    summary = account.end(account.summary(scope, watermark, code))
    memory.close(summary, finished=not comparison.withheld)
    return summary


def _check_source(counts: Counts, source_system: str) -> None:
    """ConfigurationError where assessments of another source stand for these patients: this run would write beside them."""
    if not counts.beside:
        return
    ((patient, identities),) = counts.beside_example.items()
    names = (source_of(identity, patient, spellings(source_system)) for identity in identities)
    name = next((name for name in names if name), "")
    known = f'source_system = "{name}"' if name else "source_system to the name under which they were written"
    raise ConfigurationError(
        f"Assessments of another source stand for {counted(counts.beside, 'patient')} of this run, and it would write beside them",
        f"If this site wrote them, set {known}. If another installation did, set beside_other_sources = true, or give each its own "
        "output.canonical; nothing was written",
    )


def _keep_tasks(settings: Settings, site: Site, there: ServerFeatures | None) -> tasks.TaskCounts | None:
    """Bring the Tasks up to date, where the site wants them. ServerError where that cannot be done: the next run does it."""
    if there is None or not settings.tasks.owner:
        return None
    output = settings.output
    with closing(ServerDestination(there.client, settings.written_to, site.writer.canonical, output)) as store:
        return tasks.keep(store, site.writer, settings.tasks, output.bundle_entries)


def _trace(span: Span, summary: Summary) -> None:
    counts = {"patients": summary.patients_seen, "requests": summary.requests, **summary.writes}
    span.ended(summary.mode, summary.exit_code, summary.stages, counts)
