"""`screener codes`: the value sets behind the exclusions."""

from datetime import UTC, datetime
from pathlib import Path

import click

from screener.base.plural import counted
from screener.commands._options import Common, FileToWrite, settings_options
from screener.commands.run import progress_bar

EPILOG = """\b
Example:
  SCREENER_SERVER_BASE_URL=https://tx.hospital.example/fhir screener codes expand --out expanded.csv
"""


@click.group(epilog=EPILOG)
def codes() -> None:
    """The value sets behind the exclusions: fill them from a terminology server."""


@codes.command(epilog=EPILOG)
@click.option("--out", type=FileToWrite(), required=True, help="CSV to write; name it in codes.expanded.")
@click.option("--accept-smaller", is_flag=True, help="Write the file also where a concept has lost codes.")
@settings_options
def expand(common: Common, *, out: Path, accept_smaller: bool) -> None:
    """Ask a terminology server for all descendants of our concepts, and keep the codes that no shipped list has.

    The server is server.base_url (ValueSet/$expand with is-a). Runs use the file offline; each row says which server gave it and
    when. Where the server fails, or gives nothing for a concept, or far less than the file has, the file stays as it was.
    """
    from screener.conformance.terminology import expand as expanded
    from screener.fhir.client import Client

    settings = common.settings()
    with Client(settings.server) as client, progress_bar(common, "concepts") as progress:
        found = expanded(client, out, datetime.now(UTC).date(), progress, accept_smaller=accept_smaller)
    click.echo(f"{counted(found.found, 'code')}, {found.new} of them on no shipped list: {out}")
    if found.gone:
        click.echo(f"{counted(found.gone, 'code')} of the file as it was no longer among them", err=True)
    click.echo(f'To use them: [codes] expanded = "{out}"')
