"""The receiver operating characteristic curve, in the conventions of pROC 1.18 with its direction fixed.

The direction is never guessed: "<" says that cases have the higher scores, ">" that they have the lower ones (magnesium, phosphate).
A paper whose software guesses it can print sensitivity and specificity exchanged, as Table 2 of this one does.
"""

from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from model.errors import ModelError
from model.stats.checked import outcome
from model.stats.logistic import Array

Direction = Literal["<", ">"]


class RocCurve(NamedTuple):
    """Each (m,): thresholds are midpoints between neighbouring scores, with minus and plus infinity at the ends."""

    thresholds: Array
    sensitivity: Array
    specificity: Array


class Auc(NamedTuple):
    """With DeLong's standard error and an interval, kept inside 0 to 1."""

    value: float
    standard_error: float
    low: float
    high: float


class CutOff(NamedTuple):
    """`j` is Youden's index: sensitivity + specificity - 1."""

    threshold: float
    sensitivity: float
    specificity: float
    j: float


class DeLongTest(NamedTuple):
    """Of the difference between two AUCs on the same women."""

    difference: float
    z: float
    p_value: float


def auc(score: Array, y: Array, weights: Array) -> float:
    """Area under the ROC curve, ties counted half: the chance that a case scores above a non-case."""
    order = np.argsort(score, kind="stable")
    score, y, weights = score[order], y[order], weights[order]
    edges = np.flatnonzero(np.diff(score)) + 1
    starts = np.concatenate([[0], edges])
    cases = np.add.reduceat(weights * y, starts)
    others = np.add.reduceat(weights * (1 - y), starts)
    below = np.cumsum(others) - others
    return float(np.sum(cases * (below + others / 2)) / (cases.sum() * others.sum()))


def curve(score: Array, y: Array, *, direction: Direction) -> RocCurve:
    """Sensitivity and specificity at every threshold. A case is predicted beyond it, in the direction given."""
    y = outcome(y, score)
    values = np.unique(score)
    thresholds = np.concatenate([[-np.inf], (values[:-1] + values[1:]) / 2, [np.inf]])
    cases, others = np.sort(score[y == 1]), np.sort(score[y == 0])
    # Values that equal a threshold do not exist, but for infinite ends, where either side gives the same.
    low_cases = np.searchsorted(cases, thresholds) / len(cases)
    low_others = np.searchsorted(others, thresholds) / len(others)
    if direction == "<":
        return RocCurve(thresholds, 1 - low_cases, low_others)
    return RocCurve(thresholds, low_cases, 1 - low_others)


def youden(found: RocCurve) -> list[CutOff]:
    """Every threshold at which Youden's index is greatest: ties are not broken in silence."""
    j = found.sensitivity + found.specificity - 1
    best = np.flatnonzero(np.isclose(j, j.max(), rtol=0, atol=1e-12))
    columns = (found.thresholds, found.sensitivity, found.specificity, j)
    return [CutOff(*(float(column[i]) for column in columns)) for i in best]


def delong(score: Array, y: Array, *, direction: Direction, level: float = 0.95) -> Auc:
    """AUC with the variance of DeLong et al. (Biometrics 1988), by the ranks of Sun and Xu (2014)."""
    y = outcome(y, score)
    value, of_cases, of_others = _placements(score, y, direction)
    error = float(np.sqrt(_variance(of_cases) + _variance(of_others)))
    half = float(stats.norm.ppf(0.5 + level / 2)) * error
    return Auc(value, error, max(value - half, 0.0), min(value + half, 1.0))


def delong_test(first: tuple[Array, Direction], second: tuple[Array, Direction], y: Array) -> DeLongTest:
    """Two scores, each (n,) with its direction, of the same women: the paired test of their AUCs."""
    y = outcome(y, first[0], second[0])
    value1, cases1, others1 = _placements(first[0], y, first[1])
    value2, cases2, others2 = _placements(second[0], y, second[1])
    variance = _variance(cases1 - cases2) + _variance(others1 - others2)
    if not variance > 0:
        raise ModelError("both scores rank all women alike. There is no difference to test")
    z = (value1 - value2) / float(np.sqrt(variance))
    return DeLongTest(value1 - value2, z, 2 * float(stats.norm.sf(abs(z))))


def hanley_mcneil(value: float, cases: int, others: int) -> float:
    """Standard error of an AUC from the AUC alone (Hanley and McNeil, Radiology 1982)."""
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    variance = value * (1 - value) + (cases - 1) * (q1 - value**2) + (others - 1) * (q2 - value**2)
    return float(np.sqrt(variance / (cases * others)))


def _placements(score: Array, y: Array, direction: Direction) -> tuple[float, Array, Array]:
    """AUC, for each case the share of others below it, and for each other the share of cases above it; ties count half."""
    upward = score if direction == "<" else -score
    cases, others = upward[y == 1], upward[y == 0]
    if min(len(cases), len(others)) < 2:
        raise ModelError("a class has fewer than two women. An AUC has no interval then")
    whole = stats.rankdata(np.concatenate([cases, others]))
    of_cases = (whole[: len(cases)] - stats.rankdata(cases)) / len(others)
    of_others = 1 - (whole[len(cases) :] - stats.rankdata(others)) / len(cases)
    return float(of_cases.mean()), of_cases, of_others


def _variance(placements: Array) -> float:
    return float(np.var(placements, ddof=1)) / len(placements)
