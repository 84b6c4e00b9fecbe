"""`screener run`: one run, now."""

import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import click

from screener.base.errors import ConfigurationError, InputError, ScreenerError, SummaryNotWritten
from screener.commands._options import Common, FileToWrite, Instant, settings_options

if TYPE_CHECKING:
    from screener.config.settings import Settings
    from screener.run.job import Result
    from screener.run.options import Options
    from screener.run.summary import Summary


class Files(NamedTuple):
    """The files that a call asks for."""

    summary: Path | None
    report: Path | None
    list: Path | None


EPILOG = """\b
Examples:
  screener run --backfill --dry-run            what a first run would write; writes nothing
  screener run --backfill                      once, over everyone
  screener run                                 every night: only what changed since
  screener run --backfill --until 2026-02-01T05:00:00+01:00    stops by then; called again, goes on
  screener run --backfill --bulk work          the same, read as files by Bulk Data Access
  screener run --backfill --from export --to out    folders of NDJSON instead of servers
  screener run --patient 4711 --dry-run --show-patients
A server is written to only with `write = "on"` (or SCREENER_WRITE=on).
"""


@click.command(epilog=EPILOG)
@click.option(
    "--backfill", is_flag=True, help="Everyone with a magnesium result or an assessment of ours: a full reconcile."
)
@click.option("--dry-run", is_flag=True, help="Do everything but write.")
@click.option(
    "--from", "from_folder", metavar="DIR", help="Read this folder of NDJSON, not the server (with Spark: or a URI)."
)
@click.option(
    "--bulk",
    "bulk_folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --backfill: export the server to this folder (Bulk Data) and read that; without: export what changed, to see whose "
    "records to read. Resumed, and emptied at the end.",
)
@click.option("--to", "to_folder", metavar="DIR", help="Write to this folder, not to the server.")
@click.option(
    "--engine",
    type=click.Choice(["folder", "spark"]),
    default="folder",
    help="Work on folders on this machine, or on Apache Spark (see deploy/spark).",
)
@click.option("--patient", "patients", multiple=True, metavar="ID", help="Only this patient (repeatable).")
@click.option(
    "--patients-from",
    metavar="FILE|Group/ID",
    default="",
    help="Only these: a file with an id a line, or the members of a Group of the server.",
)
@click.option(
    "--identifier-system",
    metavar="URI",
    default="",
    help="The file of --patients-from holds record numbers in this system (Patient.identifier), not ids.",
)
@click.option("--only-tag", metavar="SYSTEM|CODE", help="Only patients and resources that carry this tag.")
@click.option("--since", type=Instant(), help="Results changed since then, instead of since the watermark.")
@click.option("--limit", type=click.IntRange(min=1), default=None, metavar="N", help="At most N patients.")
@click.option(
    "--until",
    type=Instant(),
    help="Begin no batch after this instant (exit code 6); a third of the time is kept for writing. The same command later goes on "
    "where a backfill was.",
)
@click.option(
    "--restart",
    is_flag=True,
    help="With --backfill: begin again, even where an earlier one was stopped and would go on.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="At most N processes work on a folder [one on each core]; a small folder takes one.",
)
@click.option(
    "--accept-large-change",
    is_flag=True,
    help="Write this once, though the difference exceeds a limit of [limits] (exit code 7 without it).",
)
@click.option("--now", type=Instant(), help="The run's instant, for reproducible runs [the server's clock].")
@click.option("--run-id", type=click.UUID, help="The run's id in the ledger and on what it writes [a new one].")
@click.option("--summary", "summary_file", type=click.Path(path_type=Path), help="Write the summary as JSON.")
@click.option(
    "--report",
    "report_file",
    type=FileToWrite(),
    help="Write a report of the run for people, as one page of HTML (counts only).",
)
@click.option(
    "--export",
    "list_file",
    type=FileToWrite(),
    help="With --show-patients: write every patient with outcome, risk, magnesium and caveats (.csv or .parquet), the highest risks first.",
)
@click.option("--show-patients", is_flag=True, help="List the difference patient by patient (ids: patient data).")
@settings_options
def run(
    common: Common,
    *,
    backfill: bool,
    dry_run: bool,
    from_folder: str | None,
    bulk_folder: Path | None,
    to_folder: str | None,
    engine: Literal["folder", "spark"],
    patients: tuple[str, ...],
    patients_from: str,
    identifier_system: str,
    since: datetime | None,
    only_tag: str | None,
    limit: int | None,
    until: datetime | None,
    restart: bool,
    run_id: uuid.UUID | None,
    workers: int | None,
    accept_large_change: bool,
    now: datetime | None,
    summary_file: Path | None,
    report_file: Path | None,
    list_file: Path | None,
    show_patients: bool,
) -> None:
    """Bring the assessments up to date with the results, once and now.

    Without --backfill only patients whose magnesium, phosphate, beta-CTx or P1NP results changed since the last run are looked at.
    Running twice writes nothing new; what a crash left undone, the next run does.
    """
    if from_folder and workers != 1:
        _start_workers_ahead(Path(from_folder), workers or 0)
    from screener.run.options import Options

    options = Options(
        backfill=backfill,
        dry_run=dry_run,
        from_folder=Path(from_folder) if from_folder else None,
        to_folder=Path(to_folder) if to_folder else None,
        bulk_folder=bulk_folder,
        patients=patients,
        patients_from=patients_from or "",
        identifier_system=identifier_system,
        since=since,
        limit=limit or 0,
        until=until,
        restart=restart,
        run_id=str(run_id) if run_id else "",
        now=now,
        accept_large_change=accept_large_change,
        show_patients=show_patients,
        engine=engine,
        source_uri=from_folder or "",
        destination_uri=to_folder or "",
        workers=workers or 0,
    )
    _run_and_tell(common, options, only_tag, Files(summary_file, report_file, list_file))


def _run_and_tell(common: Common, options: "Options", only_tag: str | None, files: Files) -> None:
    """Run, and tell how it ended: on the terminal, in the files asked for, and to whom the configuration names."""
    from screener.run.job import Result
    from screener.run.summary import blank, concluded

    settings: Settings | None = None
    try:
        _check_list(files.list, show_patients=options.show_patients)
        settings = common.settings(only_tag=only_tag)
        result = _carried_out(common, settings, options, files.summary)
    except ScreenerError as error:  # it could not begin
        result = Result(concluded(blank(options.mode.value), error=error), error)
    if result.error is not None:
        _tell_failure(result.summary, files.summary, common.log_format)
    else:
        _tell(result, common, files)
    if settings is not None and (settings.follows_up or files.report is not None):
        from screener.operations.after_run import FollowUp, after_run, write_report

        site = FollowUp.of(settings)
        after_run(site, result.summary, result.earlier)
        if files.report is not None:
            write_report(site, result.summary, result.earlier, files.report)
    if result.error is not None:
        raise result.error
    if result.summary.exit_code:
        click.get_current_context().exit(result.summary.exit_code)


def _tell(result: "Result", common: Common, files: Files) -> None:
    show(result, common)
    if files.list is not None:
        _write_list(files.list, result)
    if files.summary is not None:
        _write_summary(files.summary, result.summary)


def _carried_out(common: Common, settings: "Settings", options: "Options", summary_file: Path | None) -> "Result":
    from screener.run.job import execute
    from screener.run.signals import stop_by_signal

    check_patient_ids(options.patients)
    _check(options)
    if summary_file is not None and not summary_file.resolve().parent.is_dir():
        raise ConfigurationError(
            f"The folder for {summary_file.name} does not exist", "Make it, or give --summary another path"
        )
    with progress_of_steps(common) as progress, stop_by_signal() as stop:
        return execute(settings, options, progress, stop.is_set)


def tell_usage_error(error: ScreenerError, file: str, *, as_json: bool) -> None:
    """The summary of a call whose options could not be read; `file` is "" where none was named."""
    from screener.run.summary import blank, concluded

    summary = concluded(blank("nightly"), error=error)
    if file and Path(file).absolute().parent.is_dir():
        with suppress(SummaryNotWritten):
            _write_summary(Path(file), summary)
    if as_json:
        click.echo(summary.to_line())


def _tell_failure(summary: "Summary", file: Path | None, log_format: str) -> None:
    """The summary of a run that was stopped, or that could not begin, where one was asked for."""
    if file is not None:
        with suppress(SummaryNotWritten):  # the run's own error says more
            _write_summary(file, summary)
    if log_format == "json":
        click.echo(summary.to_line())


def _check_list(file: Path | None, *, show_patients: bool) -> None:
    from screener.run.work_list import check

    if file is not None:
        check(file)
        if not show_patients:
            raise ConfigurationError(
                "--export writes patients into a file", "Say that you mean it: add --show-patients"
            )


def _write_list(file: Path, result: "Result") -> None:
    from screener.run.work_list import write

    write(file, result.work_list)


def _write_summary(file: Path, summary: "Summary") -> None:
    from model.atomic import write_whole

    try:
        write_whole(file, [summary.to_json().encode()], private=True)
    except OSError as error:
        raise SummaryNotWritten(
            f"The run is done, but its summary could not be written to {file.name}: {error.strerror}",
            "What it wrote is right; the summary is also in the state's ledger",
        ) from error


def _start_workers_ahead(folder: Path, wanted: int) -> None:
    """Let worker processes start early, while this one still imports, where the folder is worth it."""
    from screener.stores.folder import files, workers

    with suppress(InputError):  # what is wrong with the folder is said where it is opened
        if workers.processes_for(files.plain_bytes(files.entries_of(folder).files), wanted) > 1:
            workers.preload("screener.run.folder_engine")
            workers.start_ahead()


def _check(options: "Options") -> None:
    """ConfigurationError for options that contradict each other."""
    named = options.patients or options.patients_from
    if options.backfill and (options.since or named):
        raise ConfigurationError(
            "--backfill means everyone", "Leave out --since, --patient and --patients-from, or --backfill"
        )
    if options.bulk_folder and (options.from_folder or named):
        raise ConfigurationError(
            "--bulk asks the server for all, or for all that changed", "Leave out --from, --patient and --patients-from"
        )
    folders = options.source_uri and options.destination_uri
    if options.engine == "spark" and not (options.backfill and folders and not options.limit):
        raise ConfigurationError(
            "The Spark engine works from folder to folder, on everyone",
            "Give --backfill, --from and --to, and no --limit",
        )
    if options.identifier_system and (not options.patients_from or options.patients_from.startswith("Group/")):
        raise ConfigurationError(
            "--identifier-system says what the numbers of a file are", "Name the file: --patients-from FILE"
        )


def check_patient_ids(patients: Sequence[str]) -> None:
    """ConfigurationError for what can be no logical id."""
    from screener.stores.patient_lists import is_id

    if not all(is_id(patient) for patient in patients):
        raise ConfigurationError(
            "A patient is named by the logical id of a Patient (letters, digits, - and .)",
            "Leave out `Patient/` and any URL",
        )


def progress_bar(common: Common, what: str = "patients") -> AbstractContextManager[Callable[[int, int], None]]:
    """A context manager that gives a function of (done, total): a bar on a terminal, log lines otherwise, nothing with --quiet."""
    from screener.commands._console import bar, lines

    if common.log_format == "text" and sys.stderr.isatty() and not common.quiet:
        return bar(what)
    return lines(what)


@contextmanager
def progress_of_steps(common: Common) -> Iterator[Callable[[str, int, int], None]]:
    """A context manager that gives a function of (step, done, total): one progress bar after the other."""
    with ExitStack() as shown:
        bars: dict[str, Callable[[int, int], None]] = {}

        def tell(step: str, done: int, total: int) -> None:
            if step not in bars:
                shown.close()
                bars[step] = shown.enter_context(progress_bar(common, step))
            bars[step](done, total)

        yield tell


def show(result: "Result", common: Common) -> None:
    """The summary on standard output: a table for people, unless they asked for quiet; one JSON line with --log-format json."""
    if common.log_format == "json":
        click.echo(result.summary.to_line())
    elif not common.quiet or result.listed:
        from screener.commands._console import table

        table(result, every_reason=common.verbose)
