"""`screener export`: the server's Bulk Data export into a folder."""

from pathlib import Path
from typing import Any

import click

from screener.commands._options import settings_options, start_logging
from screener.commands.run import Instant, progress_bar

EPILOG = """\b
Examples:
  screener export --out export                             what a backfill reads, of everyone
  screener export --out export --relevant                  of Observations only those with codes of ours
  SCREENER_BULK_LEVEL=Group/4711 screener export --out export
  screener run --backfill --from export
Interrupted at any point, the same command goes on where it was.
"""


@click.command(epilog=EPILOG)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to fill; empty, or of this export.",
)
@click.option(
    "--relevant", is_flag=True, help="Ask for our codes of Observations only, where the server can (_typeFilter)."
)
@click.option(
    "--type", "types", multiple=True, metavar="TYPE", help="These resource types instead of those that a run reads."
)
@click.option(
    "--since", type=Instant(), help="Only what changed since then: not the whole truth, and no run takes it for that."
)
@click.option(
    "--restart", is_flag=True, help="Give up the export that the folder is in the middle of, and begin again."
)
@settings_options
def export(config_file: Path | None, profile: str | None, log_format: str, verbose: bool, **given: Any) -> None:
    """Fetch what a backfill reads as files (FHIR Bulk Data Access), checked against the server's own counts.

    The folder then holds patient data, for its owner only; export.json says from when it is and what it holds.
    """
    from screener.bulk.export import export as exported
    from screener.bulk.request import needed
    from screener.config.settings import load

    start_logging(log_format, verbose=verbose)
    settings = load(config_file, profile)
    request = needed(settings, types=given["types"], since=given["since"], relevant=given["relevant"])
    with progress_bar(log_format, "files") as progress:
        whole = exported(settings, request, given["out"], progress, restart=given["restart"])
    resources = sum(file.resources for file in whole.files)
    megabytes = sum(file.size_bytes for file in whole.files) / 1e6
    click.echo(f"{resources} resources in {len(whole.files)} files, {megabytes:.1f} MB, as of {whole.transaction_time}")
