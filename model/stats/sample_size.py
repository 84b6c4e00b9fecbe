"""How many people a binary prediction model needs: to be developed, and to be validated elsewhere.

Development: Riley et al., Stat Med 2019;38:1276 and BMJ 2020;368:m441, as R's pmsampsize counts. Validation: Riley et al., Stat Med
2021;40:4230 and BMJ 2024;384:e074821, as pmvalsampsize counts, but in closed form and by quadrature where it simulates.
Every number is rounded up, so that it may exceed a published one by 1.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelError
from model.odds import inverse_logit

Array = NDArray[np.float64]
_Z = 1.959963984540054  # of a 95 % interval


class Development(NamedTuple):
    """People needed by each criterion; `n` meets all three."""

    shrinkage: int  # uniform shrinkage of at least the target, so little overfitting
    optimism: int  # apparent less true R2 (Nagelkerke) of at most the target
    overall_risk: int  # 95 % interval of the overall risk within the margin

    @property
    def n(self) -> int:
        """The largest of the three."""
        return max(self)


class LinearPredictor(NamedTuple):
    """Distribution of the log odds that a model gives: `values` (k,) and their `weights` (k,), which sum to 1."""

    values: Array
    weights: Array


class Widths(NamedTuple):
    """Of the 95 % intervals to be reached; the defaults are those of Riley et al."""

    observed_expected: float = 0.2
    calibration_slope: float = 0.2
    c_statistic: float = 0.1


class ExternalValidation(NamedTuple):
    """People needed for each interval to be as narrow as asked; `n` meets all three."""

    observed_expected: int
    calibration_slope: int
    c_statistic: int

    @property
    def n(self) -> int:
        """The largest of the three."""
        return max(self)


def max_r2_cox_snell(prevalence: float) -> float:
    """The Cox-Snell R2 of a model that foretells every outcome."""
    _require_inside("prevalence", prevalence, 0, 1)
    mean_log_likelihood = prevalence * math.log(prevalence) + (1 - prevalence) * math.log1p(-prevalence)
    return -math.expm1(2 * mean_log_likelihood)


def development(
    *,
    terms: int,
    prevalence: float,
    r2_cox_snell: float,
    shrinkage: float = 0.9,
    optimism: float = 0.05,
    risk_margin: float = 0.05,
) -> Development:
    """People needed to develop a logistic model of `terms` candidate coefficients (categories and splines count each).

    `r2_cox_snell` is what the model is expected to reach on new people. ModelError where a number cannot be: a share outside
    0 to 1, an R2 at or above its maximum for this prevalence, or above the shrinkage asked for.
    """
    highest = max_r2_cox_snell(prevalence)
    if terms < 1:
        raise ModelError(f"terms is {terms}; a model has at least one coefficient besides the intercept")
    _require_inside("shrinkage", shrinkage, 0, 1)
    _require_inside("r2_cox_snell", r2_cox_snell, 0, min(highest, shrinkage))
    _require_inside("optimism", optimism, 0, 1)
    _require_inside("risk_margin", risk_margin, 0, 1)
    least_shrinkage = r2_cox_snell / (r2_cox_snell + optimism * highest)
    return Development(
        shrinkage=_people_for_shrinkage(terms, r2_cox_snell, shrinkage),
        optimism=_people_for_shrinkage(terms, r2_cox_snell, least_shrinkage),
        overall_risk=math.ceil((_Z / risk_margin) ** 2 * prevalence * (1 - prevalence)),
    )


def external_validation(
    prevalence: float, c_statistic: float, linear_predictor: LinearPredictor, widths: Widths | None = None
) -> ExternalValidation:
    """People needed to measure the performance of a model that is assumed to be well calibrated where it is validated.

    `prevalence` and `c_statistic` are those expected there; so is `linear_predictor`, which should agree with both.
    """
    _require_inside("prevalence", prevalence, 0, 1)
    _require_inside("c_statistic", c_statistic, 0.5, 1)
    asked = widths or Widths()
    for name, width in asked._asdict().items():
        _require_inside(f"width of {name}", width, 0, math.inf)
    return ExternalValidation(
        observed_expected=_people_for_observed_expected(prevalence, asked.observed_expected),
        calibration_slope=_people_for_slope(linear_predictor, asked.calibration_slope),
        c_statistic=_people_for_c(prevalence, c_statistic, asked.c_statistic),
    )


def observed_linear_predictor(values: Array) -> LinearPredictor:
    """The log odds (n,) that the model gave to people like those of the validation."""
    if len(values) < 2 or not np.isfinite(values).all():
        raise ModelError("give the linear predictors of at least two people, each a finite number")
    return LinearPredictor(values, np.full(len(values), 1 / len(values)))


def _people_for_shrinkage(terms: int, r2_cox_snell: float, shrinkage: float) -> int:
    """Riley 2019, from Van Houwelingen's heuristic shrinkage factor."""
    return math.ceil(terms / ((shrinkage - 1) * math.log1p(-r2_cox_snell / shrinkage)))


def _people_for_observed_expected(prevalence: float, width: float) -> int:
    """The interval is symmetric on the log scale, around 1."""
    standard_error = math.asinh(width / 2) / _Z
    return math.ceil((1 - prevalence) / (prevalence * standard_error**2))


def _people_for_slope(linear_predictor: LinearPredictor, width: float) -> int:
    """From the information of one person about intercept and slope, where these are 0 and 1."""
    values, weights = linear_predictor
    p = inverse_logit(values)
    information = weights * p * (1 - p)
    total = float(information.sum())
    spread = float(information @ (values - float(information @ values) / total) ** 2)
    if spread <= 0:
        raise ModelError("the linear predictor is the same for everyone: there is no slope to measure")
    return math.ceil(1 / (spread * (width / (2 * _Z)) ** 2))


def _people_for_c(prevalence: float, c: float, width: float) -> int:
    """Newcombe's variance of the c-statistic (Stat Med 2006;25:559, method 4), solved for the number of people."""
    per_person = (1 - c) / (2 - c) + c / (1 + c)
    a = (width / (2 * _Z)) ** 2 * prevalence * (1 - prevalence)
    b, constant = c * (1 - c) * per_person / 2, c * (1 - c) * (1 - per_person)
    return math.ceil((b + math.sqrt(b**2 + 4 * a * constant)) / (2 * a))


def _require_inside(name: str, value: float, low: float, high: float) -> None:
    if not low < value < high:
        raise ModelError(f"{name} is {value}; it must lie above {low:g} and below {high:.4g}")
