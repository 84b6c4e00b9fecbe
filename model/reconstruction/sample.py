"""496 synthetic women who stand for the paper's: drawn from the reconstructed cohort, exchanged until they return its figures.

Any draw of 496 scatters about the published figures as the true cohort did about its own population. This one has the published
numbers of women in the four cells of group and magnesium category; then one woman after the other is exchanged for another of the
same cell where that brings Model 2, the group means and the SDs nearer to the paper's, as the reconstruction has them inside their
rounding. It is an illustration: no estimate of the artefact rests on it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.evidence import published
from model.predictors import MG
from model.reconstruction.conditioning import H4, Published, published_model_2
from model.reconstruction.copula import VARIABLES, Cohort
from model.stats.logistic import Array, logistic

_SEED = 496
_EXCHANGES = 4000
# Decimals that a laboratory and a chart give; magnesium lies on its grid already.
_DECIMALS = {
    "age_years": 0,
    "bmi_kg_m2": 1,
    "mg_mmol_l": 2,
    "p_mmol_l": 2,
    "ctx_ng_ml": 3,
    "p1np_ng_ml": 1,
    "ocn_ng_ml": 1,
}

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """`columns`: each variable (496,) in its unit; `mg_at_or_below` and `osteoporosis` (496,) 0 or 1; `distance` from the paper
    in squared standard errors, summed over four odds ratios, fourteen means and fourteen SDs."""

    columns: dict[str, Array]
    mg_at_or_below: Array
    osteoporosis: Array
    distance: float


def representative_sample(cohort: Cohort) -> Sample:
    """The same 496 women every time; some seconds."""
    rng = np.random.default_rng(_SEED)
    pool = _Pool(cohort)
    rows = np.concatenate([pool.draw(rng, cell, count) for cell, count in _cells()])
    best = pool.distance(rows)
    for _ in range(_EXCHANGES):
        place = int(rng.integers(len(rows)))
        tried = rows.copy()
        tried[place] = pool.another(rng, rows[place])
        distance = pool.distance(tried)
        if distance < best:
            rows, best = tried, distance
    return pool.sample(rows, best)


Cell = tuple[float, float]  # outcome and magnesium category


def _cells() -> list[tuple[Cell, int]]:
    """How many women the paper has in each cell."""
    figures = published()
    low = figures["table_2"]["at_or_below_cut_off"]
    return [
        cell
        for y, group in ((0.0, "without"), (1.0, "osteoporosis"))
        for cell in (((y, 1.0), low[group]), ((y, 0.0), figures["groups"][group] - low[group]))
    ]


class _Pool:
    """All women of the reconstructed cohort, rounded as they would have been written down."""

    def __init__(self, cohort: Cohort) -> None:
        self._columns = {name: np.round(cohort.columns[name], _DECIMALS[name]) for name in VARIABLES}
        self._side, self._y, self._weights = cohort.mg_at_or_below, cohort.osteoporosis, cohort.weights
        self._target: Published = published_model_2(published())
        self._moments = {(name, y): self._weighted_moments(name, y) for name in VARIABLES for y in (0, 1)}
        self._members: dict[Cell, tuple[Rows, Array]] = {}
        for cell, _ in _cells():
            rows = np.flatnonzero((self._y == cell[0]) & (self._side == cell[1]))
            self._members[cell] = rows, np.cumsum(self._weights[rows])

    def draw(self, rng: np.random.Generator, cell: Cell, count: int) -> Rows:
        """Rows of a cell by their weights."""
        rows, share = self._members[cell]
        found: Rows = rows[np.searchsorted(share, rng.random(count) * share[-1])]
        return found

    def another(self, rng: np.random.Generator, row: int) -> int:
        """Another row of the same cell."""
        return int(self.draw(rng, (float(self._y[row]), float(self._side[row])), 1)[0])

    def distance(self, rows: Rows) -> float:
        """From the published figures, in squared standard errors."""
        y = self._y[rows]
        x = np.column_stack([(self._side if name == MG else self._columns[name])[rows] for name in H4])
        design = np.column_stack([np.ones(len(x)), x - x.mean(axis=0)])
        b = logistic(design, y, np.ones(len(x))).coefficients[1:]
        total = float(np.sum(((b - self._target.log_odds) / self._target.standard_errors) ** 2))
        return total + sum(self._moments_apart(name, rows, y) for name in VARIABLES)

    def _weighted_moments(self, name: str, y: int) -> tuple[float, float]:
        """Mean and SD of a variable in one group of the whole reconstructed cohort."""
        member = self._y == y
        column, weights = self._columns[name][member], self._weights[member] / self._weights[member].sum()
        mean = float(column @ weights)
        return mean, float(np.sqrt(weights @ (column - mean) ** 2))

    def _moments_apart(self, name: str, rows: Rows, y: Array) -> float:
        total = 0.0
        for state in (0, 1):
            mean, sd = self._moments[name, state]
            column = self._columns[name][rows[y == state]]
            error = sd / np.sqrt(len(column))
            total += float((column.mean() - mean) / error) ** 2 + 2 * float((column.std(ddof=1) - sd) / error) ** 2
        return total

    def sample(self, rows: Rows, distance: float) -> Sample:
        """The chosen women."""
        columns = {name: column[rows] for name, column in self._columns.items()}
        return Sample(columns, self._side[rows], self._y[rows], distance)
