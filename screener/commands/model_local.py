"""`screener model validate`, `recalibrate` and `fit`: the model on a site's own women."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from screener.base.plural import counted
from screener.commands._options import FileToWrite

if TYPE_CHECKING:
    from collections.abc import Callable

    from model.local.cohort import LocalCohort

F = TypeVar("F", bound="Callable[..., object]")
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
cohort_option = click.option(
    "--cohort", "cohort_file", type=_FILE, required=True, help="CSV or Parquet, one row a woman."
)


def accept_option(*what: str) -> "Callable[[F], F]":
    """`--accept`: what stops the command is meant."""
    meaning = {
        "units": "a predictor lies elsewhere than in the women of the model",
        "signs": "a refit turns a predictor against the paper",
        "same-women": "the model was made from these women",
    }
    said = "; ".join(f"{one}: {meaning[one]}" for one in what)
    return click.option("--accept", type=click.Choice(what), multiple=True, help=f"Go on although {said}.")


artefact_option = click.option(
    "--artefact",
    default="shi2026-mg-category",
    show_default=True,
    help="A site's artefact (a file), or the id of a shipped one: shi2026-mg-category, -mg-continuous, -mg-category-shrunken.",
)


@click.command()
@cohort_option
@artefact_option
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for results.json and figures.")
@click.option(
    "--bootstrap",
    type=click.IntRange(100, 100_000),
    help="Resamples for an interval of C that holds in small cohorts, too, e.g. 2000.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the bootstrap.")
@accept_option("units", "same-women")
def validate(
    cohort_file: Path, artefact: str, out: Path | None, bootstrap: int | None, seed: int, accept: tuple[str, ...]
) -> None:
    """Judge a model on a site's own women: discrimination, calibration, net benefit, by subgroup, with intervals.

    It says so where the women are too few to say anything (Riley's criteria). Columns of the cohort: age_years, bmi_kg_m2,
    mg_mmol_l, p_mmol_l, ctx_ng_ml, p1np_ng_ml, osteoporosis (0 or 1); assay and period divide it where they are there.

    \b
    Example:  screener model validate --cohort women.csv --out validation/
    """
    from model.artefact import load_artefact, load_document
    from model.local.cohort import read_cohort
    from model.local.validate import validate as judge

    model = load_artefact(artefact)
    women = read_cohort(cohort_file, further=model.further, accept_units="units" in accept)
    data = load_document(artefact).get("development", {}).get("data", {})
    developed_on = "" if "same-women" in accept else str(data.get("digest", ""))
    found = judge(women, model, resamples=bootstrap or 0, seed=seed, developed_on=developed_on)
    _say_left_out(women)
    click.echo(
        f"{model.id} {model.version} on {counted(women.size, 'woman', 'women')}, {women.events} with osteoporosis\n"
    )
    for line in _table([found["overall"], *found["subgroups"], *found["reduced"]]):
        click.echo(line)
    if found["c_bootstrap"]:
        click.echo(f"\nC of all women by {bootstrap} bootstrap resamples: {_interval(found['c_bootstrap'])}")
    click.echo("")
    for sentence in found["verdict"]:
        click.echo(f"- {sentence}")
    if out:
        from model.report.validation import write_validation

        click.echo(f"Results and figures are in {write_validation(found, women, model, out)}")


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """One line a group, estimates with their 95 % intervals."""
    heads = ("group", "women", "events", "C", "observed / expected", "in the large", "slope", "Brier")
    cells = [
        (
            row["name"],
            str(row["women"]),
            str(row["events"]),
            *(
                _interval(row[name])
                for name in ("c", "observed_expected", "calibration_in_the_large", "calibration_slope")
            ),
            f"{row['brier']:.3f}",
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in (heads, *cells)) for i in range(len(heads))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in (heads, *cells)
    ]


def _interval(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def _say_left_out(women: "LocalCohort") -> None:
    for column, count in women.left_out.items():
        click.echo(f"{count} rows are left out: {column} is empty")


@click.command()
@cohort_option
@artefact_option
@click.option(
    "--method",
    type=click.Choice(["intercept", "slope", "refit"]),
    default="intercept",
    show_default=True,
    help="intercept: the site's prevalence; slope: how far risks spread, too; refit: all coefficients, with a penalty.",
)
@click.option("--id", "name", required=True, help="Id of the site's artefact, e.g. hospital-x-2026.")
@click.option("--version", default="1.0.0", show_default=True, help="Its version; raise it with each new calibration.")
@click.option(
    "--add",
    "further",
    type=click.Choice(["ocn_ng_ml"]),
    multiple=True,
    help="With refit: a further predictor, from this column of the cohort (ocn_ng_ml: osteocalcin). `screener run` then reads it.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Deals women to folds (refit).")
@accept_option("units", "signs")
@click.option("--out", type=FileToWrite(), required=True, help="Artefact to write.")
def recalibrate(
    *,
    cohort_file: Path,
    artefact: str,
    method: Literal["intercept", "slope", "refit"],
    out: Path,
    name: str,
    version: str,
    further: tuple[str, ...],
    seed: int,
    accept: tuple[str, ...],
) -> None:
    """Fit a model to a site's own women, and write it as an artefact that `screener run` uses by its path.

    By intercept or slope the published model's own uncertainty is kept beside the site's: in simulations in which the published slopes
    hold at the site, the intervals of risks cover 99.9 % instead of 95: they are wider than need be there. Where the slopes do not hold,
    nothing is known of what the intervals cover. By refit they rest on the site's women alone.

    The new artefact is `local`: it needs no acknowledge_uncalibrated. Set `model` in the configuration to its path, then run a
    backfill: every assessment is rewritten by the new model.

    \b
    Example:  screener model recalibrate --cohort women.csv --method slope --id hospital-x --out hospital-x.json
    """
    from model.artefact import load_artefact, write_artefact
    from model.local.cohort import read_cohort
    from model.local.recalibrate import Identity
    from model.local.recalibrate import recalibrate as move

    model, further = load_artefact(artefact), tuple(dict.fromkeys(further))
    women = read_cohort(cohort_file, further=(*model.further, *further), accept_units="units" in accept)
    added = f", with {', '.join(further)} added" if further else ""
    identity = Identity(name, version, f"{model.title}; recalibrated ({method}{added})")
    document = move(women, model, method, identity, further=further, seed=seed, accept_signs="signs" in accept)
    write_artefact(document, out.absolute())
    made, development = load_artefact(out), document["development"]
    _say_left_out(women)
    for when, row in (("before", development["before"]), ("after (apparent)", development["after_apparent"])):
        click.echo(
            f"{when:17} observed / expected {_interval(row['observed_expected'])}, slope {_interval(row['calibration_slope'])}"
        )
    needed = development["women_needed"]
    if not needed["enough"]:
        click.echo(f"- Few women for this method: {women.size}, and {needed['all']} are needed ({needed['criteria']})")
    click.echo(f"{made.id} {made.version} written to {out}; validate it on other women than these")


@click.command()
@cohort_option
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write into.")
@click.option(
    "--resamples", type=click.IntRange(10, 100_000), default=2000, show_default=True, help="Of the bootstrap."
)
@click.option("--seed", type=int, default=1, show_default=True)
def fit(cohort_file: Path, out: Path, resamples: int, seed: int) -> None:
    """Run the paper's whole method on a cohort: every number in results.json, tables and figures in report.html.

    Columns: age_years, bmi_kg_m2, mg_mmol_l, p_mmol_l, ctx_ng_ml, p1np_ng_ml, osteoporosis (0 or 1),
    and ocn_ng_ml (osteocalcin) for the model with all seven terms.

    \b
    Example:  screener model fit --cohort women.csv --out fitted/
    """
    from model.local.cohort import read_cohort
    from model.local.paper import run
    from model.predictors import OCN
    from model.report.fitted import write_fitted

    women = read_cohort(cohort_file, optional=(OCN,))
    _say_left_out(women)
    results = run(women, resamples=resamples, seed=seed)
    for name, why in women.not_used.items():
        models = ", ".join(model for model, lacking in results["models_left_out"].items() if name in lacking)
        click.echo(f"{name} is {why}: {models} is left out", err=True)
    click.echo(f"Results and report of {women.size} women are in {write_fitted(results, women, out)}")
