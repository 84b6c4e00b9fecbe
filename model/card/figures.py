"""The figures of the card that are not in the artefact: from the paper's data, or computed from them by the package's own code."""

import json
import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from scipy import special

from model.artefact import DEFAULT, SHIPPED, Artefact, load_artefact
from model.evidence import published
from model.evidence.checks import Check, checks
from model.evidence.checks.curves import Flag, magnesium_flag
from model.evidence.checks.result import NOT_PRINTED
from model.predictors import CTX, MG_CUT_OFF_MMOL_L, PREDICTORS
from model.reconstruction.copula import CohortMaker
from model.reconstruction.margins import POINTS, magnesium
from model.stats.logistic import Array

SCREENING_PREVALENCE = 0.20  # of the example; a site puts its own in its place
EXAMPLE_RISK = 0.80
REPEAT_ERROR_SD_MMOL_L = 0.02  # of a repeated magnesium, in the example
NEAR_MMOL_L = (0.01, 0.02)
LARGE_DIFFERENCES = (0.05, 0.10)
_NEEDED = "women needed to develop"  # as the checks name it
_DRAWS = 2000
_POINTS_LOG2 = 12


class CutOff(NamedTuple):
    """How the magnesium cut-off behaves in women like those of the paper.

    `near`: share of women within `NEAR_MMOL_L` of it; `flips`: share whose flag a repeat changes; `range_95`: where the best
    cut-off of other samples of the same size falls; `shown` and `true`: mean log odds ratio of such a cut-off in its own sample and
    in the population.
    """

    reported_values: tuple[float, float]
    near: tuple[float, ...]
    flips: float
    range_95: tuple[float, float]
    shown: float
    true: float


class Disagreement(NamedTuple):
    """Between the shipped models with magnesium as a category and as a number: mean, and share of women beyond `LARGE_DIFFERENCES`."""

    mean: float
    beyond: tuple[float, ...]


class Published(NamedTuple):
    """Of the paper."""

    women: int
    events: int
    flag: Flag
    errors: list[Check]
    derived: list[Check]
    texts: dict[str, str]

    @property
    def prevalence(self) -> float:
        """Share of the women with osteoporosis."""
        return self.events / self.women


def largest_jump(coefficient: float) -> float:
    """The most by which a category can move a risk: the maximum over x of expit(x + b) - expit(x), at x = -b / 2."""
    return math.tanh(abs(coefficient) / 4)


@cache
def of_the_paper() -> Published:
    """About a second: every check is computed."""
    figures, found = published(), checks()
    cohort, groups, text = figures["cohort"], figures["groups"], figures["text"]
    women, events = cohort["women"], groups["osteoporosis"]
    texts = {
        "women": str(women),
        "events": str(events),
        "without": str(groups["without"]),
        "prevalence": f"{100 * events / women:.0f} %",
        "minimum_age": str(cohort["minimum_age_years"]),
        "first_admission": cohort["first_admission"],
        "last_admission": cohort["last_admission"],
        "cut_off": str(MG_CUT_OFF_MMOL_L),
        "hosmer_lemeshow_p": str(text["hosmer_lemeshow_p"]["value"]),
        "needed_six": _needed(found, text["lasso_predictors"]["value"]),
        "needed_seven": _needed(found, text["model_2_terms"]["value"]),
        "ctx_mean": str(figures["table_1"][CTX]["without"][0]),
    }
    errors = [check for check in found if check.agrees is False]
    derived = [c for c in found if c.published == NOT_PRINTED or c.quantity.startswith(_NEEDED)]
    return Published(women, events, magnesium_flag(figures), errors, derived, texts)


def _needed(found: list[Check], terms: int) -> str:
    return next(str(c.recomputed) for c in found if c.quantity == f"{_NEEDED} {terms} terms")


@cache
def of_the_cut_off() -> CutOff:
    """From the reconstructed distribution of magnesium in the two groups; the samples are drawn with a fixed seed."""
    figures = published()
    sizes = (figures["groups"]["without"], figures["groups"]["osteoporosis"])
    masses = [group.masses / group.masses.sum() for group in magnesium(figures)]
    everyone = sum(size * mass for size, mass in zip(sizes, masses, strict=True)) / sum(sizes)
    away = np.abs(POINTS - float(MG_CUT_OFF_MMOL_L))
    middle, step = float(MG_CUT_OFF_MMOL_L), float(POINTS[1] - POINTS[0]) / 2
    chosen, shown, true = _chosen_cut_offs(masses, sizes)
    low, high = np.quantile(chosen, (0.025, 0.975), method="nearest")
    return CutOff(
        reported_values=(round(middle - step, 3), round(middle + step, 3)),
        near=tuple(float(everyone[away <= distance].sum()) for distance in NEAR_MMOL_L),
        flips=float(everyone @ special.ndtr(-away / REPEAT_ERROR_SD_MMOL_L)),
        range_95=(float(low), float(high)),
        shown=float(shown.mean()),
        true=float(true.mean()),
    )


def _chosen_cut_offs(masses: list[Array], sizes: tuple[int, int]) -> tuple[Array, Array, Array]:
    """Youden's cut-off in each of many samples, its log odds ratio there and in the population, each (draws,)."""
    rng = np.random.default_rng(1)
    counts = [np.cumsum(rng.multinomial(n, mass, _DRAWS), axis=1) for n, mass in zip(sizes, masses, strict=True)]
    best = np.argmax(counts[1] / sizes[1] - counts[0] / sizes[0], axis=1)
    # Half a woman in each cell, so that no sample is lost to an empty one.
    here = [(c[np.arange(_DRAWS), best] + 0.5) / (n + 1) for c, n in zip(counts, sizes, strict=True)]
    there = [np.cumsum(mass)[best] for mass in masses]
    shown, true = (special.logit(pair[1]) - special.logit(pair[0]) for pair in (here, there))
    return POINTS[best] + (POINTS[1] - POINTS[0]) / 2, shown, true


@cache
def of_the_two_forms() -> Disagreement:
    """On the reconstructed cohort, made again from the correlations that the shipped artefact records (reading H4)."""
    text = (files("model") / "artefacts" / f"{DEFAULT}.json").read_text(encoding="utf-8")
    reading = next(row for row in json.loads(text)["development"]["readings_of_model_2"] if row["name"] == "H4")
    correlations = {(row["pair"][0], row["pair"][1]): row["value"] for row in reading["correlations"]}
    cohort = CohortMaker(published(), _POINTS_LOG2).cohort(correlations)
    category, number = (_risk(load_artefact(name), cohort.columns, cohort.mg_at_or_below) for name in SHIPPED[:2])
    away, weights = np.abs(category - number), cohort.weights / cohort.weights.sum()
    return Disagreement(float(away @ weights), tuple(float(weights[away > limit].sum()) for limit in LARGE_DIFFERENCES))


def _risk(artefact: Artefact, columns: Mapping[str, Array], low_magnesium: Array) -> Array:
    linear = np.full(len(low_magnesium), artefact.intercept)
    for name, predictor in zip(PREDICTORS, artefact.predictors, strict=True):
        value = low_magnesium if predictor.form == "category" else columns[name]
        linear += predictor.coefficient * (value - predictor.centre)
    risk: Array = special.expit(linear)
    return risk
