"""`screener sandbox`: the embedded server, synthetic patients for any server, and the demonstration."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from screener.base.errors import of_extra
from screener.base.plural import counted
from screener.commands._options import Common, settings_options

if TYPE_CHECKING:
    from screener.config.settings import Settings

EPILOG = """\b
Examples:
  screener sandbox demo
  screener sandbox serve --port 8080 &
  SCREENER_SERVER_BASE_URL=http://127.0.0.1:8080/fhir screener sandbox seed --patients 500
  screener sandbox clean --profile hapi-sandbox
"""


@click.group(epilog=EPILOG)
def sandbox() -> None:
    """The embedded FHIR server, and synthetic patients for any server."""


@sandbox.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes any free one.")
@click.option(
    "--db", type=click.Path(path_type=Path, dir_okay=False), help="Keep the data in this SQLite file [in memory]."
)
@click.option(
    "--like",
    type=click.Choice(["epic-like", "oracle-like"]),
    help="Refuse what such a record system refuses, as far as that is public. It is read only: load --db without it first.",
)
def serve(port: int, db: Path | None, like: str | None) -> None:
    """Serve FHIR R4 on this machine only, until stopped. For trying and testing: it knows no authorisation.

    \b
    Example:  screener sandbox serve --port 8080 --db sandbox.sqlite
    """
    with of_extra("sandbox"):
        from screener.sandbox.app import serve as serve_app
    from screener.sandbox.profiles import PROFILES

    serve_app(port=port, db=db, like=PROFILES[like] if like else None)


@sandbox.command()
@click.option("--patients", type=click.IntRange(1, 1_000_000), default=500, show_default=True)
@click.option("--seed", "seed_number", type=int, default=1, show_default=True, help="The same seed, the same patients.")
@click.option(
    "--dxa-share",
    type=click.FloatRange(0, 1),
    default=0.4,
    show_default=True,
    help="Of the women of 50 and older with results: who has a DXA, for `screener model cohort`.",
)
@click.option("--today", type=click.DateTime(["%Y-%m-%d"]), help="Results end on this day [today].")
@click.option(
    "--bundle-entries",
    type=click.IntRange(1, 5000),
    default=500,
    show_default=True,
    help="Resources in each Bundle, about.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 16),
    default=4,
    show_default=True,
    help="Transactions at once; a server without transactions gets one batch after the other.",
)
@settings_options
def seed(
    common: Common,
    *,
    patients: int,
    seed_number: int,
    dxa_share: float,
    today: datetime | None,
    bundle_entries: int,
    connections: int,
) -> None:
    """Load synthetic patients into the configured server, each resource tagged so that `clean` can take it back.

    \b
    Example:  SCREENER_SERVER_BASE_URL=http://127.0.0.1:8080/fhir screener sandbox seed
    """
    from fhir_fixtures.population import generate
    from screener.fhir.client import Client
    from screener.sandbox.seeding import seed as seed_server

    settings = common.settings()
    last_day = (today or datetime.now(UTC)).date()
    resources = generate(patients, seed_number, last_day, tag=_tag(settings), dxa_share=dxa_share)
    with Client(settings.server) as client:
        sent = seed_server(
            client, resources, _counter("resources sent"), entries=bundle_entries, connections=connections
        )
    click.echo(f"{counted(sent, 'resource')} of {counted(patients, 'synthetic patient')} are on {client.host}")


@sandbox.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@settings_options
def clean(common: Common, *, yes: bool) -> None:
    """Delete all that carries the seed tag from the configured server: patients, results, assessments.

    \b
    Example:  screener sandbox clean --profile hapi-sandbox
    """
    from screener.fhir.client import Client
    from screener.sandbox.seeding import clean as clean_server

    settings = common.settings()
    with Client(settings.server) as client:
        if not yes:
            click.confirm(f"Delete everything tagged {_tag(settings)[1]!r} on {client.host}?", abort=True)
        deleted = clean_server(client, _tag(settings), settings.output.bundle_entries, _counter("resources deleted"))
    click.echo(f"{counted(deleted, 'resource')} deleted from {client.host}")


@sandbox.command()
@click.option("--patients", type=click.IntRange(50, 20_000), default=500, show_default=True)
def demo(patients: int) -> None:
    """The main job on an embedded server: backfill, the same again, then a corrected and a withdrawn result.

    \b
    Example:  screener sandbox demo --patients 200
    """
    with of_extra("sandbox"):
        from screener.commands.demo import Demo

    Demo(patients).play()


def _tag(settings: "Settings") -> tuple[str, str]:
    from screener.sandbox.seeding import SEED_TAG

    system, _, code = settings.output.tag.partition("|")
    return (system, code) if code else SEED_TAG


def _counter(what: str) -> Any:
    from screener.commands._console import counter

    return counter(what)
