"""Which regression Model 2 was: the standard errors to be expected from its published coefficients and Table 1's spreads.

No cohort is reconstructed here. The predictors are drawn from distributions with the means and SDs of all women, independent but for
the bone markers among themselves, and the information about the coefficients is that of 496 women.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from model.evidence.checks.result import Figures
from model.predictors import AGE, BMI, CTX, MG, OCN, P1NP, P

Array = NDArray[np.float64]

MARKER_CORRELATIONS = (0.5, 0.6, 0.7)  # of normal scores: usual among markers of bone turnover in one sample
_NORMAL, _MARKERS = (AGE, BMI, P), (CTX, P1NP, OCN)
_PRINTED = (MG, CTX, AGE, BMI)
_POINTS_LOG2 = 12


def standard_errors(figures: Figures, correlation: float, *, adjusted: bool) -> dict[str, float]:
    """Of the four printed log odds ratios; `adjusted` also for P, P1NP and OCN, the three that are named and not printed."""
    columns = _columns(figures, correlation)
    terms = (*_PRINTED, P, P1NP, OCN) if adjusted else _PRINTED
    centred = {name: columns[name] - columns[name].mean() for name in terms}
    rows = figures["table_3_model_2"]
    effect = np.sum([math.log(rows[name]["odds_ratio"]) * centred[name] for name in _PRINTED], axis=0)
    p = _risks(effect, figures["groups"]["osteoporosis"] / figures["cohort"]["women"])
    x = np.column_stack([np.ones(len(p)), *centred.values()])
    information = figures["cohort"]["women"] * (x * (p * (1 - p) / len(p))[:, None]).T @ x
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    return dict(zip(_PRINTED, (float(error) for error in errors[1:]), strict=False))


def mean_and_sd(figures: Figures, name: str) -> tuple[float, float]:
    """Of all women, from the two groups of Table 1."""
    row, sizes = figures["table_1"][name], figures["groups"]
    (n0, mean0, sd0), (n1, mean1, sd1) = ((sizes[group], *row[group]) for group in ("without", "osteoporosis"))
    between = n0 * n1 / (n0 + n1) * (mean1 - mean0) ** 2
    variance = ((n0 - 1) * sd0**2 + (n1 - 1) * sd1**2 + between) / (n0 + n1 - 1)
    return (n0 * mean0 + n1 * mean1) / (n0 + n1), math.sqrt(variance)


def _columns(figures: Figures, correlation: float) -> dict[str, Array]:
    """Quasi-random values (4096,) of each predictor; magnesium as its category."""
    n = 2**_POINTS_LOG2
    cells = stats.qmc.Sobol(7, scramble=False).random_base2(_POINTS_LOG2) + 0.5 / n
    scores = special.ndtri(cells)
    among = np.linalg.cholesky(np.full((3, 3), correlation) + np.eye(3) * (1 - correlation))
    markers = scores[:, 4:] @ among.T
    low = sum(figures["table_2"]["at_or_below_cut_off"].values()) / figures["cohort"]["women"]
    columns: dict[str, Array] = {MG: (cells[:, 0] < low).astype(np.float64)}
    for i, name in enumerate(_NORMAL, start=1):
        mean, sd = mean_and_sd(figures, name)
        columns[name] = mean + sd * scores[:, i]
    for i, name in enumerate(_MARKERS):
        mean, sd = mean_and_sd(figures, name)
        log_variance = math.log1p((sd / mean) ** 2)  # skewed, as SD / mean says
        columns[name] = np.exp(math.log(mean) - log_variance / 2 + math.sqrt(log_variance) * markers[:, i])
    return columns


def _risks(effect: Array, prevalence: float) -> Array:
    """With the intercept that returns the prevalence."""

    def excess(intercept: float) -> float:
        return float(special.expit(intercept + effect).mean()) - prevalence

    found: Array = special.expit(optimize.brentq(excess, -10, 10) + effect)
    return found
