"""Whether risks are as high as what is observed: in the large, slope, curve, Hosmer-Lemeshow."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from model.errors import ModelError
from model.stats.checked import logit, outcome, risks
from model.stats.logistic import Array, Fit, logistic
from model.stats.smoothing import smoother


class Estimate(NamedTuple):
    """With its standard error and interval, 95 % unless asked otherwise."""

    value: float
    standard_error: float
    low: float
    high: float


class Group(NamedTuple):
    """One group of the Hosmer-Lemeshow test."""

    women: int
    observed: int
    expected: float
    lowest_risk: float
    highest_risk: float


class HosmerLemeshow(NamedTuple):
    """`df`: the number of groups; two less for a model that is judged on the data it was fitted to (Hosmer, Lemeshow, Sturdivant 2013, 5.2.2 and 5.5)."""

    statistic: float
    df: int
    p_value: float
    groups: list[Group]


def in_the_large(y: Array, p: Array, level: float = 0.95) -> Estimate:
    """The intercept that is left with the logit of the risk as offset: 0 is right, above 0 says that risks are too low."""
    p = risks(p)
    y = outcome(y, p)
    fit = logistic(np.ones((len(y), 1)), y, np.ones(len(y)), logit(p))
    return _estimate(fit, 0, level)


def intercept_and_slope(y: Array, p: Array, level: float = 0.95) -> tuple[Estimate, Estimate]:
    """Of one regression of the outcome on the logit of the risk: 0 and 1 are right; a slope below 1 says too extreme."""
    p = risks(p)
    y = outcome(y, p)
    fit = logistic(np.column_stack([np.ones(len(y)), logit(p)]), y, np.ones(len(y)))
    return _estimate(fit, 0, level), _estimate(fit, 1, level)


def observed_expected(y: Array, p: Array, level: float = 0.95) -> Estimate:
    """Observed over expected number of women with osteoporosis; interval and standard error on the log scale (Debray et al.,
    BMJ 2017): the error of log(O/E) is sqrt((1 - prevalence) / O)."""
    p = risks(p)
    y = outcome(y, p)
    value = float(y.sum() / p.sum())
    error = float(np.sqrt((1 - y.mean()) / y.sum()))
    half = _z(level) * error
    return Estimate(value, error, value * float(np.exp(-half)), value * float(np.exp(half)))


def hosmer_lemeshow(y: Array, p: Array, groups: int = 10, *, fitted: bool) -> HosmerLemeshow:
    """`fitted`: the risks come from a model that was fitted to these women.

    Groups by type-7 quantiles of the risk, each without its lower and with its upper end, the first with both (R's
    `cut(..., include.lowest = TRUE)`). Ties can leave fewer groups than asked: ModelError below three."""
    p = risks(p)
    y = outcome(y, p)
    edges = np.unique(np.quantile(p, np.linspace(0, 1, groups + 1)))
    # Between edges that ties have moved apart a group can be empty: it does not count.
    member = np.unique(np.maximum(np.searchsorted(edges, p, side="left"), 1) - 1, return_inverse=True)[1]
    women = np.bincount(member)
    if len(women) < 3:
        raise ModelError("the risks fall into fewer than three groups. The test needs risks that differ more")
    observed, expected = np.bincount(member, y), np.bincount(member, p)
    statistic = float(np.sum((observed - expected) ** 2 / (expected * (1 - expected / women))))
    df = len(women) - 2 * fitted
    table = [
        Group(
            int(women[i]),
            int(observed[i]),
            float(expected[i]),
            float(p[member == i].min()),
            float(p[member == i].max()),
        )
        for i in range(len(women))
    ]
    return HosmerLemeshow(statistic, df, float(stats.chi2.sf(statistic, df)), table)


def smoothed(y: Array, p: Array, grid: Array | None = None) -> tuple[Array, Array]:
    """Observed against predicted risk by lowess without robustness steps, as rms's `val.prob` draws it: grid (m,) and curve (m,).

    Without a grid, at the distinct risks themselves; NaN beyond them.
    """
    p = risks(p)
    y = outcome(y, p)
    at = np.unique(p) if grid is None else np.asarray(grid, dtype=np.float64)
    curve = smoother()(p, y, at)
    if np.isnan(curve).all():
        raise ModelError("most risks are the same, or none lies in the grid. A curve needs risks that differ")
    return at, curve


def _estimate(fit: Fit, i: int, level: float) -> Estimate:
    value, error = float(fit.coefficients[i]), float(np.sqrt(fit.covariance[i, i]))
    return Estimate(value, error, value - _z(level) * error, value + _z(level) * error)


def _z(level: float) -> float:
    return float(stats.norm.ppf(0.5 + level / 2))
