"""`screener plan`: which threshold a site can afford, and what it would find."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from screener.base.errors import ConfigurationError, InputError
from screener.commands._options import Common, settings_options
from screener.commands.model_local import artefact_option

if TYPE_CHECKING:
    from model.artefact import Artefact
    from model.local.plan import Plan

EPILOG = """\b
Examples:
  screener plan --cohort women.parquet --women 800 --capacity 200
  screener plan --cohort women.parquet --prevalence 22 --women 800 --out plan
  screener plan --run 0b6f --prevalence 22 --capacity 200
"""


@click.command(epilog=EPILOG)
@click.option(
    "--cohort",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="CSV or Parquet with outcomes, as `screener model cohort` writes it.",
)
@click.option("--run", metavar="ID", help="A run of the ledger: the risks of its own model, without outcomes.")
@artefact_option
@click.option(
    "--women", type=click.FloatRange(1), help="Women a year whom the job scores [those of the cohort or run]."
)
@click.option(
    "--prevalence",
    type=click.FloatRange(0, 100, min_open=True, max_open=True),
    help="Per cent of them with osteoporosis.",
)
@click.option("--capacity", type=click.FloatRange(0), help="DXA scans a year that the site has.")
@click.option(
    "--thresholds", default="30,40,50,60,70,80,90", show_default=True, metavar="LIST", help="Printed risks in per cent."
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for a report with a figure.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options
def plan(
    common: Common,
    *,
    cohort: Path | None,
    run: str | None,
    artefact: str,
    women: float | None,
    prevalence: float | None,
    capacity: float | None,
    thresholds: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Say for each threshold of the risk how many women a year it would send to DXA, how many with osteoporosis it would find and miss, and
    what that is worth (net benefit).

    With --cohort from outcomes of the site's own women; with --run from the risks of a run alone, which then have to be right.
    Intervals are shown, and it says so where the women are too few.
    """
    from model.artefact import load_artefact
    from model.errors import ModelError

    if (cohort is None) == (run is None):
        raise ConfigurationError("Give one of --cohort FILE and --run ID", "`screener model cohort` makes the first")
    chosen = click.get_current_context().get_parameter_source("artefact")
    if run is not None and chosen is click.core.ParameterSource.COMMANDLINE:
        raise ConfigurationError("The risks of a run are those of the model that it used", "Leave out --artefact")
    steps = _steps(thresholds)
    try:
        model = load_artefact(artefact)
        if cohort is not None:
            made = _of_cohort(cohort, model, steps, women, prevalence, capacity)
        else:
            made = _of_run(common, str(run), steps, women, prevalence, capacity)
    except ModelError as error:
        raise InputError(str(error)) from error
    if out is not None:
        from model.report.planning import write_plan

        write_plan(made, "Thresholds for DXA", out)
    _show(made, as_json=as_json)


def _steps(thresholds: str) -> list[float]:
    try:
        return [float(one) / 100 for one in thresholds.split(",")]
    except ValueError:
        raise ConfigurationError(
            f"--thresholds {thresholds}: not a list of percentages", "Write e.g. 40,50,60"
        ) from None


def _stands_for(calibration: str, own: float) -> float:
    """The prevalence that printed risks stand for: the paper's, or of a local model that of the site's own women."""
    from model.odds import PAPER_PREVALENCE

    return own if calibration == "local" else PAPER_PREVALENCE


def _of_cohort(
    file: Path,
    model: "Artefact",
    steps: list[float],
    women: float | None,
    prevalence: float | None,
    capacity: float | None,
) -> "Plan":
    from model.local.cohort import read_cohort
    from model.local.plan import of_cohort

    found = read_cohort(file, further=model.further)
    return of_cohort(
        found.osteoporosis,
        found.assess(model).risk,
        steps,
        stands_for=_stands_for(model.calibration, found.events / found.size),
        women=women or found.size,
        prevalence=None if prevalence is None else prevalence / 100,
        capacity=capacity,
    )


def _of_run(
    common: Common,
    run: str,
    steps: list[float],
    women: float | None,
    prevalence: float | None,
    capacity: float | None,
) -> "Plan":
    import numpy as np

    from model.local.plan import of_run
    from screener.commands.runs import one_run
    from screener.run.figures import kept
    from screener.state import State

    settings = common.settings()
    with State.open(settings.state.url, make=False) as state:
        row = one_run(state, run)
    figures = kept(row.summary)
    if figures is None or not figures.risks:
        raise InputError(f"The ledger has no risks of run {row.start.run_id[:8]}", "Name a run that scored women")
    if any(round(100 * step) % 5 for step in steps):
        raise ConfigurationError("A run keeps its risks in steps of 5 %", "Give --thresholds that are multiples of 5")
    # The run's own model, whichever the site uses now.
    judged_by = (row.summary or {}).get("model")
    calibration = str(judged_by.get("calibration", "")) if isinstance(judged_by, dict) else ""
    own = None if settings.output.prevalence is None else float(settings.output.prevalence)
    share = prevalence if prevalence is not None else own
    return of_run(
        np.array([(int(low) + 2.5) / 100 for low in figures.risks]),
        np.array(list(figures.risks.values())),
        steps,
        stands_for=_stands_for(calibration, (share or 50) / 100),
        women=women or figures.scored,
        prevalence=None if share is None else share / 100,
        capacity=capacity,
    )


def _show(made: "Plan", *, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from model.local.plan import HEADINGS, NOTE, affordable, cells

    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps(asdict(made), indent=2).replace("Infinity", "null"))
        return
    click.echo(
        f"{made.women:,.0f} women a year, {100 * made.prevalence:.0f} % with osteoporosis; based on {made.based_on}"
    )
    grid = Table(box=None, padding=(0, 1, 0, 0))
    for name in HEADINGS:
        grid.add_column(name, justify="right")
    for row in cells(made):
        grid.add_row(*row)
    Console(highlight=False, width=100).print(grid)
    click.echo(NOTE)
    if made.capacity is not None:
        click.echo(affordable(made))
    for warning in made.warnings:
        click.echo(f"Note: {warning}.")
