"""`screener export`: the server's Bulk Data export into a folder."""

from datetime import datetime
from pathlib import Path

import click

from screener.base.plural import counted
from screener.commands._options import Common, Instant, settings_options
from screener.commands.run import progress_bar

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
@click.option("--since", type=Instant(), help="Only what changed since then. No backfill takes such a folder.")
@click.option(
    "--restart", is_flag=True, help="Give up the export that the folder is in the middle of, and begin again."
)
@settings_options
def export(
    common: Common, *, out: Path, relevant: bool, types: tuple[str, ...], since: datetime | None, restart: bool
) -> None:
    """Fetch what a backfill reads as files (FHIR Bulk Data Access), checked against the server's own counts.

    The folder then holds patient data, for its owner only; export.json says from when it is and what it holds.
    """
    from contextlib import ExitStack

    from screener.config.scopes import with_scopes
    from screener.run.site import open_site
    from screener.stores.bulk.export import Exporter
    from screener.stores.bulk.request import needed

    settings = with_scopes(common.settings())
    with ExitStack() as stack:
        mapper = open_site(settings, stack, state="none").mapper if relevant else None
        needs = settings.exclusions.needs()
        request = needed(needs, settings.bulk.level, types=types, since=since, mapper=mapper)
        with progress_bar(common, "files") as progress:
            whole = Exporter(settings.server, settings.bulk).export(request, out, progress, restart=restart)
    resources = sum(file.resources for file in whole.files)
    megabytes = sum(file.size_bytes for file in whole.files) / 1e6
    click.echo(
        f"{counted(resources, 'resource')} in {counted(len(whole.files), 'file')}, {megabytes:.1f} MB, as of {whole.transaction_time}"
    )
