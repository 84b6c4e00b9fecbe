"""The paper rerun: its tables recomputed, its method run on 496 synthetic women, the pictures redrawn, every difference explained."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model.artefact import Artefact, load_artefact
from model.evidence import published
from model.evidence.checks import Check, checks
from model.evidence.checks.rendering import shown
from model.local import paper
from model.local.cohort import LocalCohort
from model.odds import inverse_logit
from model.predictors import AGE, BMI, CTX, MG, PREDICTORS
from model.reconstruction.estimate import FORMS, Form
from model.reconstruction.recipe import Reconstruction, reconstruct
from model.reconstruction.sample import Sample, representative_sample
from model.report import beside
from model.report.figures.agreement import agreement
from model.report.figures.forest import Odds, forest
from model.report.figures.nomogram import nomogram
from model.report.page import Page, Picture, Section, Table, write_page
from model.report.parts import (
    NAMES,
    SHORT,
    calibration_section,
    lasso_section,
    model_table,
    nomogram_section,
    roc_picture,
    write_results,
)

_PRINTED = (MG, CTX, AGE, BMI)
# Of each printed term, a change that a reader can picture, in its unit.
_CHANGES = {
    MG: (NAMES[paper.CATEGORY], 1.0),
    CTX: ("β-CTx, per 0.5 ng/mL", 0.5),
    AGE: ("Age, per 10 years", 10.0),
    BMI: ("BMI, per 5 kg/m²", 5.0),
}
_EXAMPLE = dict(zip(PREDICTORS, (70.0, 24.0, 0.84, 1.10, 0.50, 60.0), strict=True))


def write_reproduction(folder: Path, resamples: int = 2000) -> Path:
    """`report.html`, `results.json`, the figures, and the synthetic women as `women.csv`; returns the page's path. A minute."""
    found = reconstruct()
    sample = representative_sample(found.cohort)
    women = LocalCohort(sample.columns, sample.mg_at_or_below == 1, sample.osteoporosis, {}, {})
    results = paper.run(women, resamples=resamples)
    write_results(results, folder)
    _write_women(sample, folder / "women.csv")
    sections = [
        _tables_section(),
        Section("Table 1: groups", [_GROUPS], [beside.table_1(results)]),
        Section("Table 2: ROC", [_ROC], [beside.table_2(results)], [roc_picture(results, women)]),
        _regressions(results, found),
        Section("Table 4: fractures", [_FRACTURES]),
        Section("Figures 1 and 3: what the text says of them", [_PICTURES], [beside.figures(results)]),
        lasso_section(results, women),
        _nomograms(women),
        calibration_section(results, women),
        _two_forms(women),
        _coefficients(found),
    ]
    return write_page(
        Page("Serum magnesium and osteoporosis: the published model, rerun", _lead(sample), sections), folder
    )


_GROUPS = (
    "Of the table's variables, those that the reconstruction has. Weight and height enter by BMI; bone densities and the other electrolytes "
    "are in no regression, and only recomputed above."
)
_ROC = (
    "A low value speaks for osteoporosis. The printed cut-off is kept for the category, though Youden's index chooses another one on "
    "the synthetic women."
)
_FRACTURES = (
    "Table 4 divides the same women by fracture, which no regression and no figure takes up. Its figures are recomputed from one another "
    "above; of them the reconstruction takes the means of all women, and no synthetic woman has a fracture."
)
_PICTURES = (
    "The paper's figures are pictures; its text gives these numbers of them. Curves, axes and net benefits can be compared by eye only: "
    "put the paper beside this page."
)


def _lead(sample: Sample) -> list[str]:
    source = published()["source"]
    return [
        (
            f"{source}. The women are synthetic: drawn from the cohort that was reconstructed from the printed tables, and exchanged one by one "
            f"until Model 2, means and SDs come back (squared distance from the paper {sample.distance:.2f} standard errors)."
        ),
        "What is shown on them illustrates the method. It is no evidence for or against the paper, and no estimate of the artefact rests on it.",
    ]


def _tables_section() -> Section:
    """Published against recomputed, from the tables themselves."""
    found = checks()
    agree = sum(check.agrees is True for check in found)
    wrong = [check for check in found if check.agrees is False]
    text = (
        f"{len(found)} figures can be recomputed from printed ones; {agree} agree with what is printed, {len(wrong)} differ, and the others "
        "have nothing printed to compare with. Those that differ come first; all of them follow, by table."
    )
    places = sorted({check.table.split(",")[0] for check in found})
    every = [_checks_table(name, [c for c in found if c.table.split(",")[0] == name]) for name in places]
    tables = [_checks_table("Figures that differ", wrong), *(replace(table, folded=True) for table in every)]
    return Section("Tables 1 to 4, published against recomputed", [text], tables)


def _checks_table(title: str, found: Sequence[Check]) -> Table:
    verdicts = {True: "agrees", False: "differs", None: ""}
    rows = [
        [
            check.table,
            check.row,
            check.quantity,
            check.published,
            shown(check.recomputed),
            verdicts[check.agrees],
            check.why,
        ]
        for check in found
    ]
    return Table(title, ("Place", "Row", "Figure", "Published", "Recomputed", "Verdict", "Why"), rows)


def _regressions(results: Mapping[str, Any], found: Reconstruction) -> Section:
    """Table 3 beside the regressions on the synthetic women."""
    printed = {name: published()["table_3_model_2"][name] for name in _CHANGES}
    series = {
        "Published Model 2": {
            label: _odds([printed[name]["odds_ratio"], *printed[name]["confidence_95"]], change)
            for name, (label, change) in _CHANGES.items()
        },
        "Four terms, synthetic women": _fitted(results, "model_2_four_printed"),
        "Seven terms, synthetic women": _fitted(results, "model_2_all_seven"),
        "Six terms, synthetic women": _fitted(results, "six_terms_category"),
    }
    text = (
        "Which terms Model 2 had is not clear: the text names seven, the table prints four. The published standard errors fit four terms; "
        f"with all seven that of beta-CTx would be {_ratio(found):.2f} times as wide as printed."
    )
    caption = "Odds ratios with 95 % intervals, for the change named at the left."
    picture = Picture("table3_forest", forest([label for label, _ in _CHANGES.values()], series), caption)
    tables = [beside.table_3(results), *(model_table(results, name) for name in paper.MODELS)]
    return Section("Table 3: regressions", [text], tables, [picture])


def _ratio(found: Reconstruction) -> float:
    """Standard error of beta-CTx with seven terms, against the printed one."""
    reading = found.readings["H7"]
    i = reading.terms.index(CTX)
    return float(np.sqrt(reading.fit.covariance[1 + i, 1 + i]) / found.published.standard_errors[i])


def _fitted(results: Mapping[str, Any], model: str) -> dict[str, Odds]:
    rows = {row["name"]: row for row in results["models"][model]["rows"]}
    found = {}
    for name, (label, change) in _CHANGES.items():
        row = rows[paper.CATEGORY if name == MG else name]
        found[label] = _odds([row[key] for key in ("odds_ratio", "low", "high")], change)
    return found


def _odds(per_unit: Sequence[float], change: float) -> Odds:
    """An odds ratio and its limits for a change by so many units."""
    value, low, high = (math.exp(change * math.log(ratio)) for ratio in per_unit)
    return Odds(value, low, high)


def _nomograms(women: LocalCohort) -> Section:
    """Figure 2: refitted on the synthetic women, and the artefacts that are shipped."""
    refitted = nomogram_section(women)
    drawn = [
        Picture(
            f"figure2_{name}",
            nomogram(load_artefact(name), _EXAMPLE),
            f"The shipped artefact {name}, with one reading.",
        )
        for name in ("shi2026-mg-category", "shi2026-mg-continuous")
    ]
    text = (
        "The paper prints its nomogram as a picture only. Below, the shipped artefacts, then the regressions on the synthetic women on the "
        "same axes."
    )
    return Section("Figure 2: nomogram", [text], pictures=[*drawn, *refitted.pictures])


def _two_forms(women: LocalCohort) -> Section:
    """Where category and number disagree."""
    category, continuous = load_artefact("shi2026-mg-category"), load_artefact("shi2026-mg-continuous")
    first, second = women.assess(category).risk, women.assess(continuous).risk
    apart = np.abs(first - second)
    text = (
        f"The paper does not say which form its nomogram takes. On the same women the two differ by {apart.mean():.1%} on average, "
        f"by more than 5 points in {np.mean(apart > 0.05):.0%} and by more than 10 in {np.mean(apart > 0.1):.0%}. At the cut-off the "
        f"category jumps by {_jump(category):.1%} for a woman with all else at the mean, where the number does not move."
    )
    picture = Picture(
        "category_or_number", agreement(first, second, category, continuous), "Magnesium as category and as number."
    )
    return Section("Magnesium: category or number", [text], pictures=[picture])


def _jump(category: Artefact) -> float:
    (mg,) = (p for p in category.predictors if p.name == MG)
    sides = np.array([0.0, 1.0])
    low, high = inverse_logit(category.intercept + mg.coefficient * (sides - mg.centre))
    return float(high - low)


def _coefficients(found: Reconstruction) -> Section:
    """Free against anchored, with what the assumptions do to each."""
    tables = [Table(f"Magnesium as {form}", _HEADS, list(_rows(found, form))) for form in FORMS]
    text = (
        "Anchored: published coefficients borrowed where they exist, the others estimated beside them. Free: all six estimated on the same "
        "reconstructed cohort. Spread: how far the priors on the correlations and the two readings of Model 2 move the anchored value."
    )
    return Section("Coefficients of the artefacts", [text, *_evidence_for_h4(found)], tables)


_HEADS = ("", "Anchored", "Sampling error", "Spread", "Free", "Free, standard error")


def _rows(found: Reconstruction, form: Form) -> Iterator[list[str]]:
    model, spread, free = found.models[form]["all"], found.spread[form]["all"], found.free[form]
    for i, name in enumerate(("intercept", *PREDICTORS)):
        values = (
            model.coefficients[i],
            np.sqrt(model.sampling[i, i]),
            np.sqrt(spread[i, i]),
            free.coefficients[i],
            np.sqrt(free.covariance[i, i]),
        )
        yield [SHORT.get(name, "Intercept at the centres"), *(f"{float(value):.5f}" for value in values)]


def _evidence_for_h4(found: Reconstruction) -> Iterator[str]:
    for name, reading in found.readings.items():
        errors = np.sqrt(np.diag(reading.fit.covariance))[1:5] / found.published.standard_errors
        ratios = ", ".join(f"{SHORT[term]} {ratio:.3f}" for term, ratio in zip(_PRINTED, errors, strict=True))
        yield f"{name}, {len(reading.terms)} terms: standard errors against the published ones, nothing adjusted: {ratios}."


def _write_women(sample: Sample, path: Path) -> None:
    """The columns that `screener model fit` reads."""
    names = [*sample.columns, "osteoporosis"]
    columns = [*sample.columns.values(), sample.osteoporosis]
    rows = [",".join(f"{value:g}" for value in row) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([",".join(names), *rows]) + "\n", encoding="utf-8")
