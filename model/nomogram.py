"""Risk, interval and points: for one woman or for millions, with the same digits.

All sums run over the predictors in their fixed order, element by element, in blocks that fit the cache: no matrix
product, whose order of summation (and so last digits) would depend on the number of rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from model.artefact import Artefact, Predictor
from model.errors import PredictorError
from model.predictors import MG

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

_BLOCK = 4096

# Beyond these no measurement of a living woman lies (units of the predictors); they catch 470 pg/mL given as ng/mL.
_POSSIBLE = {
    "age_years": (18.0, 130.0),
    "bmi_kg_m2": (7.0, 150.0),
    "mg_mmol_l": (0.05, 10.0),
    "p_mmol_l": (0.02, 10.0),
    "ctx_ng_ml": (0.001, 20.0),
    "p1np_ng_ml": (0.1, 5000.0),
}


@dataclass(frozen=True)
class Assessment:
    """What the nomogram says of n women; every array has shape (n,).

    Risks are fractions. `risk_low` and `risk_high` bound the model uncertainty interval (sampling and reconstruction). Points count
    as R's `rms::nomogram` draws them: 100 for the predictor with the widest effect over its axis.
    `extrapolated` says for each predictor where its value lies outside the development range; the value is used all the same.
    """

    risk: Array
    risk_low: Array
    risk_high: Array
    linear_predictor: Array
    points: dict[str, Array]
    total_points: Array
    extrapolated: dict[str, Flags]


def assess(artefact: Artefact, columns: Mapping[str, Array], mg_at_or_below_cut_off: Flags) -> Assessment:
    """Assess n women.

    `columns`: the six predictors by name, each (n,), in their units (years, kg/m2, mmol/L, mmol/L, ng/mL, ng/mL).
    `mg_at_or_below_cut_off` (n,): the flag, decided on decimals (`model.flag`), since a float cannot hold 0.845. Raises
    PredictorError for a column that is missing, of another length, or holds what cannot be a measurement.
    """
    category = np.ascontiguousarray(mg_at_or_below_cut_off, dtype=np.float64)
    values = [_column(predictor, columns, category) for predictor in artefact.predictors]
    n = len(category)
    linear, low, high = np.empty(n), np.empty(n), np.empty(n)
    factor = _factor(artefact.covariance)
    z = _normal_quantile(artefact.interval_level)
    for start in range(0, n, _BLOCK):
        part = slice(start, start + _BLOCK)
        centred = [x[part] - predictor.centre for x, predictor in zip(values, artefact.predictors, strict=True)]
        linear[part] = _linear(artefact, centred)
        half = z * _standard_error(factor, centred)
        low[part], high[part] = _risk(linear[part] - half), _risk(linear[part] + half)
    points = {p.name: _points(artefact, p, x) for p, x in zip(artefact.predictors, values, strict=True)}
    return Assessment(
        risk=_risk(linear),
        risk_low=low,
        risk_high=high,
        linear_predictor=linear,
        points=points,
        total_points=_sum(list(points.values())),
        extrapolated={p.name: _outside(p, np.asarray(columns[p.name], dtype=np.float64)) for p in artefact.predictors},
    )


def _column(predictor: Predictor, columns: Mapping[str, Array], category: Array) -> Array:
    """The values that enter the sum; magnesium as its category where the model takes that, its value checked all the same."""
    name = predictor.name
    if name not in columns:
        raise PredictorError(f"the column {name} is missing; give all six predictors")
    given = np.ascontiguousarray(columns[name], dtype=np.float64)
    if given.shape != category.shape:
        raise PredictorError(
            f"the column {name} has shape {given.shape}, the flag has {category.shape}; give one value a row"
        )
    low, high = _POSSIBLE[name]
    wrong = np.flatnonzero(~((given >= low) & (given <= high)))
    if wrong.size:
        raise PredictorError(
            f"{name}, row {wrong[0]}: not between {low:g} and {high:g} {predictor.unit} ({wrong.size} such rows); check value and unit"
        )
    return category if name == MG and predictor.form == "category" else given


def _linear(artefact: Artefact, centred: list[Array]) -> Array:
    total = np.full(len(centred[0]), artefact.intercept)
    for predictor, x in zip(artefact.predictors, centred, strict=True):
        total += predictor.coefficient * x
    return total


def _standard_error(factor: Array, centred: list[Array]) -> Array:
    """sqrt(x' C x) as the length of L' x, where C = L L': a sum of squares, so never below zero."""
    total = np.zeros(len(centred[0]))
    for column in range(factor.shape[1]):
        term = np.full(len(centred[0]), factor[0, column])
        for row, x in enumerate(centred, start=1):
            term += factor[row, column] * x
        total += term * term
    return np.sqrt(total)


def _factor(covariance: Array) -> Array:
    """L with L L' = covariance; rounding's negative eigenvalues count as zero."""
    values, vectors = np.linalg.eigh(covariance)
    factor: Array = vectors * np.sqrt(np.maximum(values, 0.0))
    return factor


def _risk(linear_predictor: Array) -> Array:
    risk: Array = 1.0 / (1.0 + np.exp(-linear_predictor))
    return risk


def _effect(predictor: Predictor) -> tuple[float, float]:
    """The least and the greatest contribution to the linear predictor over the axis."""
    ends = [predictor.coefficient * (end - predictor.centre) for end in predictor.axis]
    return min(ends), max(ends)


def points_per_logit(artefact: Artefact) -> float:
    """How many nomogram points one unit of the linear predictor is worth."""
    return 100.0 / max(high - low for low, high in (_effect(predictor) for predictor in artefact.predictors))


def least_linear_predictor(artefact: Artefact) -> float:
    """The linear predictor of a woman with no points: linear predictor = this + total points / points per logit."""
    return artefact.intercept + sum(_effect(predictor)[0] for predictor in artefact.predictors)


def _points(artefact: Artefact, predictor: Predictor, x: Array) -> Array:
    contribution = predictor.coefficient * (x - predictor.centre) - _effect(predictor)[0]
    points: Array = contribution * points_per_logit(artefact)
    return points


def _sum(columns: list[Array]) -> Array:
    total = np.zeros(len(columns[0]))
    for column in columns:
        total += column
    return total


def _outside(predictor: Predictor, x: Array) -> Flags:
    if predictor.form == "category":
        return np.zeros(len(x), dtype=np.bool_)
    low, high = predictor.development_range
    outside: Flags = (x < low) | (x > high)
    return outside


def _normal_quantile(level: float) -> float:
    return NormalDist().inv_cdf(0.5 + level / 2)
