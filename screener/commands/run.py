"""`screener run`: one run, now."""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from screener.commands._options import settings_options, start_logging
from screener.errors import ConfigurationError, ExitCode, InputError

if TYPE_CHECKING:
    from screener.run.options import Options
    from screener.run.runner import Result

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


class Instant(click.ParamType[datetime]):
    """An ISO 8601 instant with its zone, e.g. 2026-01-31T02:00:00Z."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """`value` as an aware datetime."""
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no ISO 8601 instant; write e.g. 2026-01-31T02:00:00Z", param, ctx)
        if instant.tzinfo is None:
            self.fail(f"{value!r} has no time zone; add Z for UTC, or an offset like +01:00", param, ctx)
        return instant.astimezone(UTC)


@click.command(epilog=EPILOG)
@click.option(
    "--backfill", is_flag=True, help="Everyone with a magnesium result or an assessment of ours: a full reconcile."
)
@click.option("--dry-run", is_flag=True, help="Everything but the writes.")
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
    help="What works on folders: this machine, or Apache Spark (see deploy/spark).",
)
@click.option("--parquet", is_flag=True, help="With Spark: assessments as Parquet (patient, id, text), not as NDJSON.")
@click.option("--patient", "patients", multiple=True, metavar="ID", help="Only this patient (repeatable).")
@click.option(
    "--patients-from",
    metavar="FILE|Group/ID",
    default="",
    help="Only these: a file with an id a line, or the members of a Group of the server.",
)
@click.option("--only-tag", metavar="SYSTEM|CODE", help="Only patients and resources that carry this tag.")
@click.option("--since", type=Instant(), help="Results changed since then, instead of since the watermark.")
@click.option("--limit", type=click.IntRange(min=1), default=None, metavar="N", help="At most N patients.")
@click.option(
    "--until",
    type=Instant(),
    help="Begin no further batch after this; the same command then goes on with a backfill where it was (exit code 6).",
)
@click.option(
    "--restart", is_flag=True, help="With --backfill: begin again, though an earlier one did not come to its end."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Processes that work on folders [one on each core; one for a small folder].",
)
@click.option("--now", type=Instant(), help="The run's instant, for reproducible runs [the server's clock].")
@click.option("--summary", "summary_file", type=click.Path(path_type=Path), help="Write the summary as JSON.")
@click.option("--show-patients", is_flag=True, help="List the difference patient by patient (ids: patient data).")
@settings_options
def run(config_file: Path | None, profile: str | None, log_format: str, verbose: bool, **given: Any) -> None:
    """Bring the assessments into step with the results: once, now.

    Without --backfill only patients whose magnesium, phosphate, beta-CTx or P1NP results changed since the last run are looked at.
    Running twice writes nothing new; what a crash left undone, the next run does.
    """
    if given["from_folder"] and given["workers"] != 1:
        _start_workers_ahead(Path(given["from_folder"]), given["workers"] or 0)
    from screener.config.settings import load
    from screener.run.runner import execute

    start_logging(log_format, verbose=verbose)
    flags = {"server": {"only_tag": given["only_tag"]}} if given["only_tag"] else {}
    settings = load(config_file, profile, flags)
    options = _options(given)
    summary_file: Path | None = given["summary_file"]
    if summary_file is not None and not summary_file.resolve().parent.is_dir():
        raise ConfigurationError(
            f"The folder for {summary_file.name} does not exist", "Make it, or give --summary another path"
        )
    # From folder to folder the patients are not counted before they are read.
    whole = bool(options.from_folder and options.to_folder and not options.limit)
    with progress_bar(log_format, "thousandths" if whole else "patients") as progress:
        result = execute(settings, options, progress)
    if summary_file is not None:
        summary_file.write_text(result.summary.to_json(), encoding="utf-8")
    show(result, log_format)
    if result.summary.exit_code:
        click.get_current_context().exit(int(ExitCode.SOME_PATIENTS_FAILED))


def _start_workers_ahead(folder: Path, wanted: int) -> None:
    """Let worker processes start beside this one's own imports, where the folder is worth it."""
    from screener.ndjson import (
        files,
        workers,
    )

    with suppress(InputError):  # what is wrong with the folder is said where it is opened
        if workers.processes_for(files.plain_bytes(files.ndjson_files(folder)), wanted) > 1:
            workers.start_ahead()


def _options(given: dict[str, Any]) -> "Options":
    from screener.run.options import Options

    check_patient_ids(given["patients"])
    if given["backfill"] and (given["since"] or given["patients"] or given["patients_from"]):
        raise ConfigurationError(
            "--backfill means everyone", "Leave out --since, --patient and --patients-from, or --backfill"
        )
    if given["bulk_folder"] and (given["from_folder"] or given["patients"] or given["patients_from"]):
        raise ConfigurationError(
            "--bulk asks the server for all, or for all that changed", "Leave out --from, --patient and --patients-from"
        )
    source, destination = given["from_folder"] or "", given["to_folder"] or ""
    if given["engine"] == "spark" and not (given["backfill"] and source and destination and not given["limit"]):
        raise ConfigurationError(
            "The Spark engine works from folder to folder, on everyone",
            "Give --backfill, --from and --to, and no --limit",
        )
    if given["parquet"] and given["engine"] != "spark":
        raise ConfigurationError("Only the Spark engine writes Parquet", "Add --engine spark")
    return Options(
        engine=given["engine"],
        source_uri=source,
        destination_uri=destination,
        parquet=given["parquet"],
        bulk_folder=given["bulk_folder"],
        backfill=given["backfill"],
        dry_run=given["dry_run"],
        from_folder=Path(source) if source else None,
        to_folder=Path(destination) if destination else None,
        patients=tuple(given["patients"]),
        patients_from=given["patients_from"],
        since=given["since"],
        limit=given["limit"] or 0,
        until=given["until"],
        restart=given["restart"],
        now=given["now"],
        workers=given["workers"] or 0,
        show_patients=given["show_patients"],
    )


def check_patient_ids(patients: Sequence[str]) -> None:
    """ConfigurationError for what can be no logical id."""
    from screener.stores.patient_lists import is_id

    if not all(is_id(patient) for patient in patients):
        raise ConfigurationError(
            "A patient is named by the logical id of a Patient (letters, digits, - and .)",
            "Leave out `Patient/` and any URL",
        )


def progress_bar(log_format: str, what: str = "patients") -> AbstractContextManager[Callable[[int, int], None]]:
    """A context manager that gives a function of (done, total): a bar on a terminal, log lines otherwise."""
    from screener.commands._console import bar, lines

    if log_format == "text" and sys.stderr.isatty():
        return bar(what)
    return lines(what)


def show(result: "Result", log_format: str) -> None:
    """The summary on standard output: a table for people, one JSON line with --log-format json."""
    if log_format == "json":
        import msgspec

        click.echo(msgspec.json.encode(result.summary).decode())
        return
    from screener.commands._console import table

    table(result)
