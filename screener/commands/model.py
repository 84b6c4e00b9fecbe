"""`screener model`: the published model rebuilt, checked, and made a site's own."""

from pathlib import Path
from typing import Any

import click

from screener.base.errors import InputError
from screener.commands._options import FileToWrite
from screener.commands.model_card import card
from screener.commands.model_cohort import cohort
from screener.commands.model_local import fit, recalibrate, validate
from screener.commands.model_page import page

EPILOG = """\b
Examples:
  screener model evidence
  screener model build --out shi2026.json
  screener model reproduce --out reproduction/
  screener model card --out card.md
  screener model page --out nomogram.html
\b
With a site's own women:
  screener model cohort --out women.parquet
  screener model validate --cohort women.parquet --out validation/
  screener model recalibrate --cohort women.parquet --id hospital-x --out hospital-x.json
"""

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


class ModelGroup(click.Group):
    """What the model refuses is shown as any other error: one message, no traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; ModelError becomes InputError."""
        try:
            return super().invoke(ctx)
        except ValueError as error:
            from model.errors import ModelError

            if isinstance(error, ModelError):
                raise InputError(str(error)) from error
            raise


@click.group(cls=ModelGroup, epilog=EPILOG)
def model() -> None:
    """The published model: what the paper prints, the model rebuilt from it, and a site's own data."""


@model.command()
@click.option("--all", "every", is_flag=True, help="Every check; without it those that do not agree, and a count.")
def evidence(every: bool) -> None:
    """Recompute the paper's printed figures, and say which agree and which do not, and why.

    \b
    Example:  screener model evidence --all
    """
    from model.evidence.checks import checks, render

    click.echo(render(checks(), every=every), nl=False)


@model.command()
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="File to write; with --variant all, a folder."
)
@click.option(
    "--variant",
    type=click.Choice(["category", "continuous", "shrunken", "all"]),
    default="category",
    show_default=True,
    help="Magnesium as the published category or as a number; slopes as published or shrunken.",
)
@click.option("--nomogram-readings", type=_FILE, help="CSV with values read off the paper's Figure 2.")
def build(out: Path, variant: str, nomogram_readings: Path | None) -> None:
    """Rebuild the artefact from the paper's figures: the same bytes every time, on any machine.

    \b
    Examples:  screener model build --out shi2026.json
               screener model build --nomogram-readings figure2.csv --out digitised.json
    """
    from model.reconstruction.build import build as build_artefacts

    for line in build_artefacts(out, variant, nomogram_readings):
        click.echo(line)


@model.command()
@click.option("--out", type=FileToWrite(), required=True, help="CSV file to write.")
def readings(out: Path) -> None:
    """Write an example of the file that `build --nomogram-readings` takes, as our own nomogram would be read.

    Columns: axis (a predictor, or risk), value (in the model's unit; a risk as a fraction), points above it.

    \b
    Example:  screener model readings --out figure2.csv
    """
    import csv

    from model import load_artefact
    from model.reconstruction.readings import COLUMNS, example

    with out.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([COLUMNS, *example(load_artefact())])
    click.echo(f"Readings of our own nomogram are in {out}: put those of the paper's in their place")


@model.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write into.")
@click.option(
    "--resamples", type=click.IntRange(10, 100_000), default=2000, show_default=True, help="Of the bootstrap."
)
def reproduce(out: Path, resamples: int) -> None:
    """Rerun the paper on 496 synthetic women that return its figures: every table and figure on one page, differences explained.

    \b
    Example:  screener model reproduce --out reproduction/
    """
    from model.report.reproduction import write_reproduction

    click.echo(f"The page is {write_reproduction(out, resamples)}")


for command in (card, page, cohort, validate, recalibrate, fit):
    model.add_command(command)
