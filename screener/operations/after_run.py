"""What follows a run: its report, its metrics, its message. Each is tried, even where the run or another one failed."""

from collections.abc import Sequence
from pathlib import Path

import structlog

from model import ModelError, load_artefact
from screener.config.settings import Settings
from screener.errors import ReportNotWritten, ScreenerError, told
from screener.operations import metrics, notification
from screener.report import page
from screener.report.blocks import Report
from screener.report.run_report import run_report
from screener.run.figures import Figures
from screener.run.summary import Summary
from screener.state import State

log = structlog.get_logger()


def after_run(settings: Settings, summary: Summary, earlier: Sequence[Figures] = ()) -> None:
    """Do what the settings ask for. What fails is logged: the run itself has ended as it has."""
    steps = [("report", _leave_report), ("metrics", _write_metrics), ("notification", _notify)]
    for name, step in steps:
        try:
            step(settings, summary, earlier)
        except Exception as error:  # noqa: BLE001 - nothing that follows a run may change how it ended
            said = told(error)
            log.error("not_told_of_the_run", what=name, why=said.what, remedy=said.remedy)


def write_report(settings: Settings, summary: Summary, earlier: Sequence[Figures], file: Path) -> None:
    """The report that the caller asked for. ReportNotWritten where it cannot be."""
    try:
        page.write(report_of(settings, summary, earlier), file)
    except ScreenerError as error:
        raise ReportNotWritten(
            f"The run is done, but its report could not be written: {error.what}",
            f"`screener runs report {summary.run_id[:8]} --out FILE` makes it again from the ledger",
        ) from error


def report_of(settings: Settings, summary: Summary, earlier: Sequence[Figures]) -> Report:
    """The report of a run, with the model where it still is the run's own."""
    try:
        artefact = load_artefact(settings.model)
    except ModelError:
        artefact = None
    if artefact is not None and artefact.checksum != summary.model["checksum"]:
        artefact = None
    return run_report(summary, earlier, artefact, least=settings.report.least_count)


def _leave_report(settings: Settings, summary: Summary, earlier: Sequence[Figures]) -> None:
    folder = settings.report.folder
    if folder is not None and not summary.dry_run:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{summary.started[:19].replace(':', '')}-{summary.mode}-{summary.run_id[:8]}.html"
        page.write(report_of(settings, summary, earlier), folder / name)


def _write_metrics(settings: Settings, summary: Summary, _: Sequence[Figures]) -> None:
    if settings.metrics.file is not None and not summary.dry_run and State.is_there(settings.state.url):
        with State.open(settings.state.url) as state:
            metrics.write(state, settings.metrics.file)


def _notify(settings: Settings, summary: Summary, _: Sequence[Figures]) -> None:
    event, url = notification.event_of(summary, settings.notify), notification.address(settings.notify)
    if event is None or not url:
        return
    why = notification.send(url, notification.message(summary, event, settings.report.least_count))
    if why:
        log.error("notification_not_sent", run_event=event.value, why=why, remedy="check the webhook (notify.url_file)")
    else:
        log.info("notification_sent", run_event=event.value)
