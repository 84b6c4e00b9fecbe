"""`screener conformance`: what we write, described in FHIR."""

from pathlib import Path

import click

from screener.base.plural import counted
from screener.commands._options import Common, FileToWrite, settings_options

EPILOG = """\b
Examples:
  SCREENER_OUTPUT_CANONICAL=https://hospital.example/fhir/osteoporosis screener conformance --out conformance.tgz
  screener conformance --load                    to destination.base_url, or else to server.base_url
"""


@click.command(epilog=EPILOG)
@click.option("--out", type=FileToWrite(), help="FHIR package to write (.tgz).")
@click.option(
    "--views",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the inputs of the job as ViewDefinitions (SQL on FHIR).",
)
@click.option("--load", is_flag=True, help="Put the resources on the server that assessments are written to.")
@settings_options
def conformance(common: Common, *, out: Path | None, views: Path | None, load: bool) -> None:
    """Write what our assessments are made of, below output.canonical: extensions, code systems, value sets and profiles; the lists behind the
    exclusions; and who is assessed, as a PlanDefinition with the site's policy.
    """
    if not out and not load and not views:
        raise click.UsageError("say where to: --out FILE, --load, --views DIR, or several")
    from model import SHIPPED, load_artefact
    from screener import __version__
    from screener.assessment.identity import Canonical
    from screener.conformance import resources, write_package
    from screener.conformance.package import load as put
    from screener.fhir.client import Client

    settings = common.settings()
    canonical = Canonical(settings.output.canonical)
    artefacts = {name: load_artefact(name) for name in (*SHIPPED, settings.model)}
    found = resources(
        canonical, __version__, list({a.id: a for a in artefacts.values()}.values()), settings.policy.policy()
    )
    if out:
        write_package(out, found, canonical.base, __version__)
        click.echo(f"{counted(len(found), 'resource')} below {canonical.base}: {out}")
    if views:
        import json

        from screener.conformance.views import views as view_definitions

        views.mkdir(parents=True, exist_ok=True)
        for view in view_definitions(canonical, __version__):
            (views / f"{view['name']}.json").write_text(json.dumps(view, indent=2) + "\n", encoding="utf-8")
        click.echo(f"Written: {views}")
    if load:
        there = settings.written_to
        with Client(there) as client:
            click.echo(f"{counted(put(client, found), 'resource')} on {client.host}")
