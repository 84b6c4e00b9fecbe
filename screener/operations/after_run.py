"""What follows a run: its report, its metrics, its message. Each is tried, even where the run or another one failed."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import structlog

from model import ModelError, load_artefact
from screener.base.errors import ReportNotWritten, ScreenerError, as_screener_error
from screener.config.settings import MetricsSettings, NotifySettings, ReportSettings, Settings
from screener.operations import metrics, notification
from screener.operations.report import page
from screener.operations.report.blocks import Report
from screener.operations.report.run_report import run_report
from screener.run.figures import Figures
from screener.run.summary import Summary
from screener.state import State

log = structlog.get_logger()


class FollowUp(NamedTuple):
    """What follows a run at a site. `model`: id or file of its artefact."""

    model: str
    state_url: str
    report: ReportSettings
    metrics: MetricsSettings
    notify: NotifySettings

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings have it."""
        return cls(settings.model, settings.state.url, settings.report, settings.metrics, settings.notify)


def after_run(site: FollowUp, summary: Summary, earlier: Sequence[Figures] = ()) -> None:
    """Do what the site asks for. What fails is logged: the run itself has ended as it has."""
    steps = [("report", _leave_report), ("metrics", _write_metrics), ("notification", _notify)]
    for name, step in steps:
        try:
            step(site, summary, earlier)
        except Exception as error:  # noqa: BLE001 - nothing that follows a run may change how it ended
            said = as_screener_error(error)
            log.error("not_told_of_the_run", what=name, why=said.what, remedy=said.remedy)


def write_report(site: FollowUp, summary: Summary, earlier: Sequence[Figures], file: Path) -> None:
    """The report that the caller asked for. ReportNotWritten where it cannot be."""
    try:
        page.write(report_of(site, summary, earlier), file)
    except ScreenerError as error:
        raise ReportNotWritten(
            f"The run is done, but its report could not be written: {error.what}",
            f"`screener runs report {summary.run_id[:8]} --out FILE` makes it again from the ledger",
        ) from error


def report_of(site: FollowUp, summary: Summary, earlier: Sequence[Figures]) -> Report:
    """The report of a run, with the model where it still is the run's own."""
    try:
        artefact = load_artefact(site.model)
    except ModelError:
        artefact = None
    if artefact is not None and artefact.checksum != summary.model["checksum"]:
        artefact = None
    return run_report(summary, earlier, artefact, least=site.report.least_count)


def _leave_report(site: FollowUp, summary: Summary, earlier: Sequence[Figures]) -> None:
    folder = site.report.folder
    if folder is not None and not summary.dry_run:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{summary.started[:19].replace(':', '')}-{summary.mode}-{summary.run_id[:8]}.html"
        page.write(report_of(site, summary, earlier), folder / name)


def _write_metrics(site: FollowUp, summary: Summary, _: Sequence[Figures]) -> None:
    if site.metrics.file is not None and not summary.dry_run and State.is_there(site.state_url):
        with State.open(site.state_url) as state:
            metrics.write(state, site.metrics.file)


def _notify(site: FollowUp, summary: Summary, _: Sequence[Figures]) -> None:
    event, url = notification.event_of(summary, site.notify), notification.address(site.notify)
    if event is None or not url:
        return
    why = notification.send(url, notification.message(summary, event, site.report.least_count))
    if why:
        log.error("notification_not_sent", run_event=event.value, why=why, remedy="check the webhook (notify.url_file)")
    else:
        log.info("notification_sent", run_event=event.value)
