"""A cohort with the published margins: what the paper's 496 women must have looked like, as far as it says.

Each group is a Gaussian copula over margins that return the published means and standard deviations, inside their rounding
and calibrated to the other published figures: t-test p-values, the magnesium AUC, the counts at the cut-off. The points are
quasi-random (Sobol), many more than 496, and weighted to the published numbers, so that no lucky draw decides a coefficient.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from scipy import optimize, special, stats

from model.fit import Array, auc
from model.predictors import AGE, BMI, CTX, MG, P1NP, PREDICTORS, P

MINIMUM_AGE_YEARS = 50.0
Pair = tuple[str, str]
Correlations = Mapping[Pair, float]
Margin = Callable[[Array], Array]  # (n,) standard normal scores to (n,) values with the margin's distribution

_LEAST_EIGENVALUE = 0.01
_GRID = 0.01  # magnesium is reported to 0.01 mmol/L


@dataclass(frozen=True)
class Cohort:
    """`values` (n, 6) in the predictors' order and units, `osteoporosis` (n,) 0 or 1, `weights` (n,) that sum to 496."""

    values: Array
    osteoporosis: Array
    weights: Array

    def column(self, name: str) -> Array:
        """One predictor, (n,)."""
        return self.values[:, PREDICTORS.index(name)]

    @cached_property
    def mg_at_or_below(self) -> Array:
        """1 where magnesium lies at or below the cut-off; on the 0.01 grid 0.845 falls between two values."""
        return (self.column(MG) < 0.845).astype(float)

    def design(self, names: tuple[str, ...], centres: Mapping[str, float]) -> Array:
        """Ones and the named predictors less their centres, (n, 1 + k); magnesium as its category."""
        columns = [self.mg_at_or_below if name == MG else self.column(name) for name in names]
        centred = [column - centres.get(name, 0.0) for name, column in zip(names, columns, strict=True)]
        return np.column_stack([np.ones(len(self.weights)), *centred])


class Margins:
    """The margins of both groups, solved once from the published figures."""

    def __init__(self, published: Mapping[str, Any]) -> None:
        self.sizes = (int(published["groups"]["without"]), int(published["groups"]["osteoporosis"]))
        table = published["table_1"]
        self._by_group: list[dict[str, Margin]] = []
        magnesium = _magnesium(published)
        for group, name in enumerate(("without", "osteoporosis")):
            means = {key: self._mean(row, group) for key, row in table.items()}
            sds = {key: row[name][1] for key, row in table.items()}
            self._by_group.append(
                {
                    AGE: _truncated_normal(means[AGE], sds[AGE]),
                    BMI: _normal(means[BMI], sds[BMI]),
                    MG: magnesium[group],
                    P: _normal(means[P], sds[P]),
                    CTX: _log_normal(means[CTX], sds[CTX]),
                    P1NP: _log_normal(means[P1NP], sds[P1NP]),
                }
            )

    def _mean(self, row: Mapping[str, Any], group: int) -> float:
        """The group's mean; where a p-value is printed, moved inside its rounding so that the pooled t-test returns it."""
        low, high = row["without"][0], row["osteoporosis"][0]
        if "p_value" not in row:
            return float((low, high)[group])
        n0, n1 = self.sizes
        pooled = ((n0 - 1) * row["without"][1] ** 2 + (n1 - 1) * row["osteoporosis"][1] ** 2) / (n0 + n1 - 2)
        t = stats.t.isf(row["p_value"] / 2, n0 + n1 - 2)
        difference = float(np.sign(high - low) * t * np.sqrt(pooled * (1 / n0 + 1 / n1)))
        middle = (low + high) / 2
        return float(middle + difference * (group - 0.5))

    def cohort(self, correlations: Correlations, points_log2: int) -> Cohort:
        """The cohort of a copula with these correlations, 2 ** points_log2 points in each group."""
        factor = np.linalg.cholesky(correlation_matrix(correlations))
        scores = _normal_points(points_log2) @ factor.T
        groups = [
            np.column_stack([margins[name](scores[:, i]) for i, name in enumerate(PREDICTORS)])
            for margins in self._by_group
        ]
        n = len(scores)
        weights = np.concatenate([np.full(n, size / n) for size in self.sizes])
        return Cohort(np.vstack(groups), np.repeat([0.0, 1.0], n), weights)


def correlation_matrix(correlations: Correlations) -> Array:
    """The (6, 6) matrix of pairwise correlations; a pair that is not named has none."""
    matrix = np.eye(len(PREDICTORS))
    for (one, other), value in correlations.items():
        i, j = PREDICTORS.index(one), PREDICTORS.index(other)
        matrix[i, j] = matrix[j, i] = value
    return _nearest_proper(matrix)


def _nearest_proper(matrix: Array) -> Array:
    """The matrix itself where it is positive definite; else with its eigenvalues lifted, scaled back to ones on the diagonal."""
    values, vectors = np.linalg.eigh(matrix)
    if values[0] >= _LEAST_EIGENVALUE:
        return matrix
    lifted = (vectors * np.maximum(values, _LEAST_EIGENVALUE)) @ vectors.T
    scale = 1 / np.sqrt(np.diag(lifted))
    proper: Array = lifted * np.outer(scale, scale)
    return proper


@cache
def _normal_points(points_log2: int) -> Array:
    """Sobol points, each in the middle of its cell, as independent standard normal scores (n, 6)."""
    uniform = stats.qmc.Sobol(len(PREDICTORS), scramble=False).random_base2(points_log2)
    return np.asarray(special.ndtri(uniform + 0.5 / 2**points_log2))


def _normal(mean: float, sd: float) -> Margin:
    return lambda z: mean + sd * z


def _log_normal(mean: float, sd: float) -> Margin:
    variance = np.log1p((sd / mean) ** 2)
    return lambda z: np.asarray(np.exp(np.log(mean) - variance / 2 + np.sqrt(variance) * z))


def _truncated_normal(mean: float, sd: float) -> Margin:
    """Normal cut off at 50 years, with the published mean and SD after the cut."""

    def distance(x: Array) -> list[float]:
        found = stats.truncnorm((MINIMUM_AGE_YEARS - x[0]) / x[1], np.inf, x[0], x[1])
        return [float(found.mean()) - mean, float(found.std()) - sd]

    location, scale = optimize.root(distance, [mean - 3, sd * 1.3]).x
    cut = special.ndtr((MINIMUM_AGE_YEARS - location) / scale)
    return lambda z: np.asarray(location + scale * special.ndtri(cut + (1 - cut) * special.ndtr(z)))


def _magnesium(published: Mapping[str, Any]) -> list[Margin]:
    """Left-skewed margins on the 0.01 grid, one a group: published mean, SD, share at the cut-off, and the AUC between.

    A Gaussian cannot do it: the share of the osteoporosis group would need a mean of 0.849, and 0.84 was printed.
    """
    table, counts = published["table_1"][MG], published["table_2"]["at_or_below_cut_off"]
    n0, n1 = published["groups"]["without"], published["groups"]["osteoporosis"]
    shares = (counts["without"] / n0, counts["osteoporosis"] / n1)
    sds = (table["without"][1], table["osteoporosis"][1])

    def masses(shift: float) -> list[Array]:
        spread = (sds[0] - shift, sds[1] + shift)
        return [_grid_masses(*figures) for figures in zip(_MG_MEANS_MMOL_L, spread, shares, strict=True)]

    def auc_error(shift: float) -> float:
        return _grid_auc(*masses(shift)) - float(published["table_2"]["mg_auc"])

    # Both SDs are printed as 0.06: moved apart inside their rounding, so that the AUC comes back.
    shift = optimize.brentq(auc_error, 0.0, 0.0049, xtol=1e-9)
    return [_on_grid(mass) for mass in masses(shift)]


# Inside the rounding of 0.87 and 0.84 (Table 1) and of the pooled mean in Table 4 (0.853 to 0.863): without, with osteoporosis.
_MG_MEANS_MMOL_L = (0.8660, 0.8445)

_POINTS = np.round(np.arange(0.40, 1.31, _GRID), 2)


def _grid_masses(mean: float, sd: float, share: float) -> Array:
    """A left-skewed normal, binned to the grid, with this mean and SD and this share at or below 0.84."""

    def binned(shape: float) -> Array:
        delta = shape / np.sqrt(1 + shape**2)
        scale = np.sqrt((sd**2 - _GRID**2 / 12) / (1 - 2 * delta**2 / np.pi))
        location = mean - scale * delta * np.sqrt(2 / np.pi)
        edges = np.concatenate([_POINTS - _GRID / 2, [_POINTS[-1] + _GRID / 2]])
        mass = np.diff(stats.skewnorm.cdf(edges, shape, location, scale))
        return np.asarray(mass / mass.sum(), dtype=np.float64)

    return binned(optimize.brentq(lambda shape: binned(shape)[_POINTS < 0.845].sum() - share, -12.0, -0.2))


def _grid_auc(without: Array, osteoporosis: Array) -> float:
    """The chance that a woman with osteoporosis has the lower magnesium, ties counted half."""
    weights = np.concatenate([without, osteoporosis])
    label = np.repeat([0.0, 1.0], len(without))
    return auc(-np.tile(np.arange(len(without), dtype=float), 2), label, weights)


def _on_grid(mass: Array) -> Margin:
    limits = special.ndtri(np.minimum(np.cumsum(mass), 1.0))
    return lambda z: np.asarray(_POINTS[np.minimum(np.searchsorted(limits, z), len(_POINTS) - 1)])
