"""`screener model card`: what a reader must know before using a model, written from its artefact."""

from pathlib import Path
from typing import Any

import click

from screener.commands._options import FileToWrite
from screener.commands.model_local import artefact_option


@click.command()
@artefact_option
@click.option("--out", type=FileToWrite(), help="File for the card (Markdown); without it the card is printed.")
@click.option(
    "--document-reference", type=FileToWrite(), help="File for a FHIR R4 DocumentReference that holds the card (JSON)."
)
@click.option(
    "--canonical-base",
    help="URL that identifiers in the DocumentReference begin with [default: that of `screener run`'s configuration].",
)
def card(
    artefact: str,
    out: Path | None,
    document_reference: Path | None,
    canonical_base: str | None,
) -> None:
    """Write the model card: what the model is for, its coefficients and where each comes from, its limits, TRIPOD+AI, PROBAST.

    Every figure is the artefact's, the paper's, or computed from these; a site's recalibrated artefact has its own card.

    \b
    Examples:  screener model card --out card.md
               screener model card --artefact shi2026-mg-continuous | less
               screener model card --artefact ours.json --out ours.md --document-reference ours-card.json
    """
    from model.artefact import load_document
    from model.card import card as write

    document = load_document(artefact)
    text = write(document)
    if document_reference:
        _write_reference(text, document, document_reference, canonical_base)
    if out:
        out.write_text(text, encoding="utf-8")
        click.echo(f"The card of {document['id']} {document['version']} is in {out}")
    elif not document_reference:
        click.echo(text, nl=False)


def _write_reference(text: str, document: dict[str, Any], file: Path, canonical_base: str | None) -> None:
    import json
    from datetime import UTC, datetime

    from model.card import document_reference
    from screener.assessment.identity import Canonical

    resource = document_reference(text, document, datetime.now(UTC), canonical_base or Canonical().base)
    file.write_text(json.dumps(resource, indent=1) + "\n", encoding="utf-8")
    click.echo(f"The DocumentReference is in {file}", err=True)
