"""Ours beside R's: every closed-form quantity, and how far they are apart. Run: python -m tests.model.stats.agreement"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.predictors import PREDICTORS
from model.stats import calibration, decision, groups, performance, roc
from model.stats.logistic import Array, logistic, wald

GOLDEN = Path(__file__).parent / "golden"


class Pair(NamedTuple):
    """One quantity: R's number or numbers, and ours."""

    quantity: str
    r: Array
    ours: Array

    @property
    def difference(self) -> float:
        """The largest difference, relative to R's number where that is above 1e-3, else absolute to 1e-3."""
        r, ours = self.r[np.isfinite(self.r)], self.ours[np.isfinite(self.r)]
        return float(np.max(np.abs(r - ours) / np.maximum(np.abs(r), 1e-3), initial=0.0))


def data() -> dict[str, Array]:
    """The columns of data.csv."""
    with (GOLDEN / "data.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def golden() -> dict[str, Any]:
    """R's numbers."""
    found: dict[str, Any] = json.loads((GOLDEN / "closed_form.json").read_text(encoding="utf-8"))
    return found


def pairs() -> Iterator[Pair]:
    """Every quantity of the R script."""
    d, r = data(), golden()
    y, mg, low = d["osteoporosis"], d["mg_mmol_l"], d["mg_mmol_l"] <= 0.845
    yield from _groups(y, mg, low, r)
    yield from _regression(d, y, r)
    yield from _roc(d, y, r)
    yield from _calibration(y, np.array(r["other_risk"]), r)


def _groups(y: Array, mg: Array, low: Any, r: dict[str, Any]) -> Iterator[Pair]:
    tests = groups.t_test(mg[y == 1], mg[y == 0])
    for name, found in (("t_pooled", tests.pooled), ("t_welch", tests.welch)):
        yield from _fields(name, r[name], found)
    table = np.array([[np.sum(side & (y == case)) for case in (1, 0)] for side in (low, ~low)], dtype=float)
    for name, correction in (("chi_square", False), ("chi_square_yates", True)):
        yield from _fields(name, r[name], groups.chi_square(table, correction=correction))
    yield from _fields("odds_ratio", r["odds_ratio"], groups.odds_ratio(table))


def _regression(d: dict[str, Array], y: Array, r: dict[str, Any]) -> Iterator[Pair]:
    x = np.column_stack([np.ones(len(y)), *(d[name] for name in PREDICTORS)])
    fit = logistic(x, y, np.ones(len(y)))
    rows = wald(fit, ("intercept", *PREDICTORS))
    ours = {
        "coefficients": [row.coefficient for row in rows],
        "standard_errors": [row.standard_error for row in rows],
        "z": [row.z for row in rows],
        "p_value": [row.p_value for row in rows],
    }
    for name, values in ours.items():
        yield Pair(f"lrm {name}", np.array(r["lrm"][name]), np.array(values))
    found = performance.performance(y, 1 / (1 + np.exp(-x @ fit.coefficients)))
    for name in ("c", "dxy", "r2_nagelkerke", "r2_cox_snell", "brier", "log_likelihood"):
        yield _one(f"lrm {name}", r["lrm"][name], getattr(found, name))
    # Cox and Snell's R2 is 1 - exp(-ratio / n), and R's was made of its "Model L.R.".
    ratio = performance.likelihood_ratio(y, 1 / (1 + np.exp(-x @ fit.coefficients)), len(PREDICTORS))
    yield _one("lrm model likelihood ratio", -len(y) * np.log1p(-r["lrm"]["r2_cox_snell"]), ratio.statistic)


def _roc(d: dict[str, Array], y: Array, r: dict[str, Any]) -> Iterator[Pair]:
    curve = roc.curve(d["mg_mmol_l"], y, direction=">")
    # pROC lists the thresholds of ">" from high to low.
    for name in ("thresholds", "sensitivity", "specificity"):
        theirs = np.array([float(value) for value in r["roc_mg"][name]])
        yield Pair(f"roc {name}", theirs[::-1], getattr(curve, name))
    found = roc.delong(d["mg_mmol_l"], y, direction=">")
    for name, value in (
        ("auc", found.value),
        ("low", found.low),
        ("high", found.high),
        ("standard_error", found.standard_error),
    ):
        yield _one(f"delong {name}", r["roc_mg"][name], value)
    yield from _cut_offs("youden_mg", r["youden_mg"], roc.youden(curve))
    score, outcome = np.array([1.0, 2, 3, 4, 5, 6]), np.array([0.0, 0, 1, 0, 1, 1])
    yield from _cut_offs("youden_tied", r["youden_tied"], roc.youden(roc.curve(score, outcome, direction="<")))
    paired = roc.delong_test((d["mg_mmol_l"], ">"), (d["p_mmol_l"], ">"), y)
    yield from _fields("delong_paired", r["delong_paired"], paired)


def _calibration(y: Array, q: Array, r: dict[str, Any]) -> Iterator[Pair]:
    large, (intercept, slope) = calibration.in_the_large(y, q), calibration.intercept_and_slope(y, q)
    for name, found in (("in_the_large", large), ("calibration_intercept", intercept), ("calibration_slope", slope)):
        yield from _fields(name, r[name], found)
    yield _one("brier", r["brier_other"], performance.brier(y, q))
    test = calibration.hosmer_lemeshow(y, q, fitted=True)
    for name in ("statistic", "df", "p_value"):
        yield _one(f"hosmer_lemeshow {name}", r["hosmer_lemeshow"][name], getattr(test, name))
    for name in ("women", "observed", "expected"):
        ours = np.array([float(getattr(group, name)) for group in test.groups])
        yield Pair(f"hosmer_lemeshow {name}", np.array(r["hosmer_lemeshow"][name]), ours)
    at, smooth = calibration.smoothed(y, q)
    theirs = dict(zip(r["lowess"]["x"], r["lowess"]["y"], strict=True))
    yield Pair("lowess", np.array([theirs[value] for value in at.tolist()]), smooth)
    benefit = decision.net_benefit(y, q, np.array(r["net_benefit"]["thresholds"]))
    for name in ("model", "everyone"):
        yield Pair(f"net_benefit {name}", np.array(r["net_benefit"][name]), getattr(benefit, name))


def _cut_offs(quantity: str, r: dict[str, Any], found: list[roc.CutOff]) -> Iterator[Pair]:
    for name in ("threshold", "sensitivity", "specificity"):
        theirs = np.sort(np.atleast_1d(np.array(r[name], dtype=float)))
        yield Pair(f"{quantity} {name}", theirs, np.sort([getattr(cut, name) for cut in found]))


def _fields(quantity: str, r: dict[str, float], found: Any) -> Iterator[Pair]:
    for name, value in r.items():
        yield _one(f"{quantity} {name}", value, getattr(found, name))


def _one(quantity: str, r: float, ours: float) -> Pair:
    return Pair(quantity, np.array([r], dtype=float), np.array([ours], dtype=float))


if __name__ == "__main__":
    print(f"{'quantity':32} {'R':>22} {'ours':>22} {'difference':>10}")
    for pair in pairs():
        shown = (
            f"{side[0]:22.15g}" if len(side) == 1 else f"{len(side)} values".rjust(22) for side in (pair.r, pair.ours)
        )
        print(f"{pair.quantity:32} {' '.join(shown)} {pair.difference:10.1e}")
