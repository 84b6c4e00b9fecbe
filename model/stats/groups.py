"""Two groups compared: t tests, chi-square, odds ratio. Conventions of R's `t.test` and `chisq.test`."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from model.errors import ModelError
from model.stats.checked import finite
from model.stats.logistic import Array

_LEVEL = 0.95


class TTest(NamedTuple):
    """`difference` is the first mean less the second; `low` and `high` bound it at 95 %."""

    difference: float
    standard_error: float
    df: float
    t: float
    p_value: float
    low: float
    high: float


class TwoTests(NamedTuple):
    """Student's test with the pooled variance, and Welch's."""

    pooled: TTest
    welch: TTest


class ChiSquare(NamedTuple):
    """Pearson's test of independence."""

    statistic: float
    df: int
    p_value: float


class OddsRatio(NamedTuple):
    """With Woolf's 95 % interval, and Wald's p-value of the log odds ratio."""

    value: float
    low: float
    high: float
    p_value: float


def t_test(a: Array, b: Array) -> TwoTests:
    """Two samples of shape (n1,) and (n2,). ModelError below two values each, or where a value is missing."""
    finite(a, b)
    if min(len(a), len(b)) < 2:
        raise ModelError("a group has fewer than two values. A t test needs more")
    return t_test_from_summary(
        (len(a), float(np.mean(a)), float(np.std(a, ddof=1))), (len(b), float(np.mean(b)), float(np.std(b, ddof=1)))
    )


def t_test_from_summary(first: tuple[int, float, float], second: tuple[int, float, float]) -> TwoTests:
    """Each group as number, mean and SD (n - 1), as papers print them."""
    (n1, mean1, sd1), (n2, mean2, sd2) = first, second
    if not sd1 + sd2 > 0:
        raise ModelError("all values of both groups are the same. There is nothing to test")
    pooled = ((n1 - 1) * sd1**2 + (n2 - 1) * sd2**2) / (n1 + n2 - 2)
    error = float(np.sqrt(pooled * (1 / n1 + 1 / n2)))
    v1, v2 = sd1**2 / n1, sd2**2 / n2
    welch_df = (v1 + v2) ** 2 / (v1**2 / (n1 - 1) + v2**2 / (n2 - 1))
    return TwoTests(
        pooled=_t(mean1 - mean2, error, n1 + n2 - 2), welch=_t(mean1 - mean2, float(np.sqrt(v1 + v2)), welch_df)
    )


def _t(difference: float, error: float, df: float) -> TTest:
    t = difference / error
    half = float(stats.t.ppf(0.5 + _LEVEL / 2, df)) * error
    p = 2 * float(stats.t.sf(abs(t), df))
    return TTest(difference, error, df, t, p, difference - half, difference + half)


def chi_square(table: Array, *, correction: bool = False) -> ChiSquare:
    """Counts of shape (r, c). `correction` is Yates's, which R applies to 2 x 2 tables unless told otherwise."""
    if (np.asarray(table) < 0).any() or not np.sum(table, axis=0).all() or not np.sum(table, axis=1).all():
        raise ModelError("a row or column of the table is empty. Leave it out")
    found = stats.chi2_contingency(table, correction=correction)
    return ChiSquare(float(found.statistic), int(found.dof), float(found.pvalue))


def odds_ratio(table: Array) -> OddsRatio:
    """Counts (2, 2): rows exposed and not, columns cases and others. ModelError where a cell is empty."""
    counts = np.asarray(table, dtype=np.float64)
    if counts.shape != (2, 2) or not (counts > 0).all():
        raise ModelError("the table is not 2 x 2 with all cells above 0. An odds ratio has no interval then")
    (a, b), (c, d) = counts
    log, error = np.log(a * d / (b * c)), np.sqrt((1 / counts).sum())
    half = stats.norm.ppf(0.5 + _LEVEL / 2) * error
    p = 2 * stats.norm.sf(abs(log / error))
    return OddsRatio(float(np.exp(log)), float(np.exp(log - half)), float(np.exp(log + half)), float(p))
