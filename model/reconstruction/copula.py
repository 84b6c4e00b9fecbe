"""A cohort with the published margins: what the paper's 496 women must have looked like, as far as it says.

Each group is a Gaussian copula over the margins of `model.reconstruction.margins`. The points are quasi-random (Sobol), many more than
496 and weighted to the published numbers, so that no lucky draw decides a coefficient. Magnesium's category is not drawn:
every point is counted twice, once on each side of the cut-off, with the probability that the copula gives that side. So the
published counts hold exactly, and every estimate is a smooth function of the correlations.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from model.predictors import AGE, BMI, CTX, MG, OCN, P1NP, P
from model.reconstruction.margins import Magnesium, Quantile, magnesium, margins
from model.reconstruction.priors import Pair
from model.stats.logistic import Array

VARIABLES = (AGE, BMI, P, CTX, P1NP, OCN, MG)  # magnesium last: it is drawn given the others
_OTHERS = VARIABLES[:-1]
Correlations = Mapping[Pair, float]

LEAST_EIGENVALUE = 0.01  # of a correlation matrix; below it two variables would be all but one


@dataclass(frozen=True)
class Cohort:
    """`columns`: each variable (n,) in its unit; `osteoporosis` (n,) 0 or 1; `weights` (n,) that sum to 496.

    `mg_at_or_below` (n,) is 1 where magnesium lies at or below the cut-off, which falls between two values of its grid.
    """

    columns: Mapping[str, Array]
    mg_at_or_below: Array
    osteoporosis: Array
    weights: Array

    def terms(self, names: tuple[str, ...]) -> list[Array]:
        """The columns of a regression, each (n,); magnesium as its category."""
        return [self.mg_at_or_below if name == MG else self.columns[name] for name in names]

    def design(self, names: tuple[str, ...], centres: Mapping[str, float]) -> Array:
        """Ones and the named terms less their centres, (n, 1 + k)."""
        centred = [x - centres.get(name, 0.0) for name, x in zip(names, self.terms(names), strict=True)]
        return np.column_stack([np.ones(len(self.weights)), *centred])

    def mean(self, name: str) -> float:
        """Weighted mean of a term."""
        (column,) = self.terms((name,))
        return float(column @ self.weights / self.weights.sum())


class CohortMaker:
    """Makes cohorts that differ in their correlations only: 2 ** points_log2 points in each group, the same every time."""

    def __init__(self, figures: Mapping[str, Any], points_log2: int) -> None:
        self._sizes = (int(figures["groups"]["without"]), int(figures["groups"]["osteoporosis"]))
        self._quantiles = margins(figures)
        self.magnesium = magnesium(figures)
        n = 2**points_log2
        sequence = stats.qmc.Sobol(len(VARIABLES) + 1, scramble=False).random_base2(points_log2)
        # The sequence lies on multiples of 1/n and begins with 0; the middle of each cell has a finite normal score.
        middles = sequence + 0.5 / n
        self._scores = special.ndtri(middles[:, : len(_OTHERS)])
        self._within = middles[:, len(_OTHERS) : len(_OTHERS) + 2]

    def cohort(self, correlations: Correlations) -> Cohort:
        """The cohort with these correlations of normal scores; a pair that is not named has none."""
        matrix = correlation_matrix(correlations)
        others, to_mg = matrix[:-1, :-1], matrix[:-1, -1]
        z = self._scores @ np.linalg.cholesky(others).T
        slopes = np.linalg.solve(others, to_mg)
        mg_mean, mg_sd = z @ slopes, float(np.sqrt(1 - to_mg @ slopes))
        groups = [
            self._group(z, mg_mean, mg_sd, *parts)
            for parts in zip(self._quantiles, self.magnesium, self._sizes, strict=True)
        ]
        columns = {name: np.concatenate([group[0][name] for group in groups]) for name in VARIABLES}
        weights = np.concatenate([group[1] for group in groups])
        n = len(z)
        side = np.tile(np.repeat([1.0, 0.0], n), len(groups))
        return Cohort(columns, side, np.repeat([0.0, 1.0], 2 * n), weights)

    def _group(
        self, z: Array, mg_mean: Array, mg_sd: float, quantiles: Mapping[str, Quantile], mg: Magnesium, size: int
    ) -> tuple[dict[str, Array], Array]:
        """Columns and weights of one group: all points at or below the cut-off, then the same points above it."""
        cut = float(special.ndtri(mg.share_at_or_below))
        below = special.ndtr((cut - mg_mean) / mg_sd)
        weights = np.concatenate([below, 1 - below]) * (size / len(z))
        found = {name: np.tile(quantiles[name](z[:, i]), 2) for i, name in enumerate(_OTHERS)}
        # Within its side of the cut-off magnesium's own rank comes from the last columns of the sequence.
        ranks = (below * self._within[:, 0], below + (1 - below) * self._within[:, 1])
        found[MG] = np.concatenate([mg.values(mg_mean + mg_sd * special.ndtri(rank)) for rank in ranks])
        return found, weights


def correlation_matrix(correlations: Correlations) -> Array:
    """The (7, 7) matrix in the order of `VARIABLES`."""
    matrix = np.eye(len(VARIABLES))
    for (one, other), value in correlations.items():
        i, j = VARIABLES.index(one), VARIABLES.index(other)
        matrix[i, j] = matrix[j, i] = value
    return matrix


def is_proper(correlations: Correlations) -> bool:
    """Whether such correlations can exist together."""
    return bool(np.linalg.eigvalsh(correlation_matrix(correlations))[0] >= LEAST_EIGENVALUE)
