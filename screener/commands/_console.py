"""How a run looks on a terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from screener.base.plural import counted
from screener.run.job import Result
from screener.run.summary import rows

log = structlog.get_logger()
_SECONDS_BETWEEN_LINES = 10
_REASONS_SHOWN = 6  # of each outcome; the six kinds of write are always shown
_WITHHELD = (
    "Nothing was written: the difference is larger than the limits in [limits] allow. Look at it with --dry-run --show-patients, and "
    "find out what changed at the source. If it is right, run again with --accept-large-change."
)


@contextmanager
def bar(what: str = "patients") -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error."""
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    began = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None, rate="")

        def tell(done: int, total: int) -> None:
            rate = done / max(time.monotonic() - began, 1e-9)
            progress.update(task, completed=done, total=total, rate=f"{rate:.1f}/s" if done else "")

        yield tell


@contextmanager
def lines(what: str = "patients") -> Iterator[Callable[[int, int], None]]:
    """A log line now and then, with the rate so far and the time left at that rate."""
    began = last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            rate = done / (now - began)
            left = {"per_second": round(rate, 1), "seconds_left": round((total - done) / rate)} if done else {}
            log.info("progress", **{f"{what}_done": done, f"{what}_total": total}, **left)

    yield tell


def table(result: Result, *, every_reason: bool) -> None:
    """The summary as a table of at most 80 columns. Unless `every_reason`, the rare reasons of an outcome are one row."""
    summary = result.summary
    console = Console(highlight=False)
    if result.listed:
        _listed(result, console)
    grid = Table(
        title=f"{summary.mode} run, {counted(summary.patients_seen, 'patient')}", title_justify="left", width=78
    )
    for name, justify in (("outcome", "left"), ("reason", "left"), ("n", "right")):
        grid.add_column(name, justify=justify)  # type: ignore[arg-type]
    before = ""
    for group, item, count in rows(summary) if every_reason else _folded(rows(summary)):
        if before not in ("", group):
            grid.add_section()
        grid.add_row(group if group != before else "", item, str(count))
        before = group
    console.print(grid)
    console.print(f"{counted(summary.flagged, 'woman', 'women')} with magnesium at or below 0.845 mmol/L")
    if summary.by_result_date:
        console.print(
            "Patients were found by the dates of their results: what changed in older ones is found by the next backfill",
            style="yellow",
        )
    for kind, why in summary.exclusions_not_checked.items():
        console.print(f"Exclusions not checked: {kind} ({why})", style="yellow", markup=False)
    if summary.not_offered:
        console.print(f"Not offered by the source, and not asked for: {', '.join(summary.not_offered)}")
    if summary.results_without_patient:
        console.print(f"Results that name no patient, left out: {summary.results_without_patient}", style="yellow")
    console.print(
        f"{counted(summary.requests, 'request')}, {summary.bytes_read / 1e6:.1f} MB read, {summary.seconds:.1f} s, "
        f"{summary.peak_rss_bytes / 1e6:.0f} MB at most"
    )
    if not summary.dry_run and not summary.withheld:
        console.print(f"Run {summary.run_id}")
    for found in summary.limits_exceeded:
        console.print(f"Limit {found.limit}: {found.words}", style="bold red", markup=False)
    if summary.withheld:
        console.print(_WITHHELD, style="bold yellow", markup=False)
    elif result.why_dry:
        console.print(f"Nothing was written: {result.why_dry}", style="bold yellow")


def _folded(found: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """The most frequent reasons of each group, and the others together: the reasons of missing results alone have 62 combinations."""
    folded = []
    for group in dict.fromkeys(group for group, *_ in found):
        own = [row for row in found if row[0] == group]
        if len(own) <= _REASONS_SHOWN + 1:
            folded += own
            continue
        most = sorted(own, key=lambda row: -row[2])[:_REASONS_SHOWN]
        rest = [row for row in own if row not in most]
        folded += [row for row in own if row in most]
        folded.append((group, f"{len(rest)} rarer reasons (-v lists them)", sum(count for *_, count in rest)))
    return folded


def _listed(result: Result, console: Console) -> None:
    grid = Table(title="The difference, patient by patient", title_justify="left")
    for name in ("patient", "method", "change", "reason"):
        grid.add_column(name)
    for line in result.listed:
        grid.add_row(line.patient, line.method.value, line.action, line.reason)
    console.print(grid)


def counter(what: str) -> Callable[[int], None]:
    """Tells a growing number on standard error: in place on a terminal, a line now and then otherwise."""
    console = Console(stderr=True)
    last = time.monotonic()

    def tell(count: int) -> None:
        nonlocal last
        if console.is_terminal:
            console.print(f"{count} {what}", end="\r")
        elif time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            log.info(what.replace(" ", "_"), count=count)

    return tell
