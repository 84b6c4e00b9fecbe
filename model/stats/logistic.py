"""Logistic regression with weights and an offset, by Newton's method, to convergence."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelError
from model.odds import inverse_logit

Array = NDArray[np.float64]
_STEPS = 50
_TOLERANCE = 1e-12
_LEAST_EIGENVALUE = 1e-12
_COLLINEAR = "Two predictors say the same: the columns are collinear; leave one of them out"
_DIVERGED = "The regression does not converge: the outcome may be separated; use fewer predictors or a penalty"


class Fit(NamedTuple):
    """Coefficients of shape (k,), and their covariance (k, k): the inverse of the information at the solution."""

    coefficients: Array
    covariance: Array


def logistic(x: Array, y: Array, weights: Array, offset: Array | None = None) -> Fit:
    """Maximum likelihood of P(y = 1) = 1 / (1 + exp(-(x b + offset))).

    `x` (n, k) with its own column of ones, `y` (n,) of 0 and 1, `weights` (n,) that sum to the sample size. Raises ModelError
    where it does not converge (separation) or the columns are collinear.
    """
    _refuse_collinear(x, weights)
    shift = np.zeros(len(y)) if offset is None else offset
    b = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = inverse_logit(x @ b + shift)
        information = _information(x, weights, p)
        try:
            step = np.linalg.solve(information, x.T @ (weights * (y - p)))
        except np.linalg.LinAlgError as error:
            raise ModelError(_DIVERGED) from error  # the probabilities have run to 0 and 1
        b = b + step
        if np.max(np.abs(step)) < _TOLERANCE * (1 + np.max(np.abs(b))):
            return Fit(b, _inverse(information))
    raise ModelError(_DIVERGED)


class WaldRow(NamedTuple):
    """One term: `odds_ratio` per unit with its Wald interval; `p_value` two-sided."""

    name: str
    coefficient: float
    standard_error: float
    z: float
    p_value: float
    odds_ratio: float
    low: float
    high: float


def wald(fit: Fit, names: Sequence[str], level: float = 0.95) -> list[WaldRow]:
    """What a regression table prints, one row a coefficient in the order of `names`."""
    normal = NormalDist()
    half = normal.inv_cdf(0.5 + level / 2)
    rows = []
    for name, b, variance in zip(names, fit.coefficients, np.diag(fit.covariance), strict=True):
        error = math.sqrt(variance)
        z = float(b) / error
        limits = (math.exp(b - half * error), math.exp(b + half * error))
        # erfc keeps its digits where 1 - cdf has none left.
        rows.append(WaldRow(name, float(b), error, z, math.erfc(abs(z) / math.sqrt(2)), math.exp(b), *limits))
    return rows


def covariance_at(x: Array, weights: Array, linear_predictor: Array) -> Array:
    """The inverse of the information matrix (k, k) at given linear predictors (n,)."""
    return _inverse(_information(x, weights, inverse_logit(linear_predictor)))


def _refuse_collinear(x: Array, weights: Array) -> None:
    """By the least eigenvalue of the columns' products, each column scaled to length one: an exact solve may not notice."""
    products = (x * weights[:, None]).T @ x
    lengths = np.sqrt(np.diag(products))
    if not lengths.all() or np.linalg.eigvalsh(products / np.outer(lengths, lengths))[0] < _LEAST_EIGENVALUE:
        raise ModelError(_COLLINEAR)


def _inverse(matrix: Array) -> Array:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def _information(x: Array, weights: Array, p: Array) -> Array:
    information: Array = (x * (weights * p * (1 - p))[:, None]).T @ x
    return information
