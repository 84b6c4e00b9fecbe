"""Risk, interval and points: for one woman or for millions, with the same digits.

All sums run over the predictors in their fixed order, element by element, in blocks that fit the cache: no matrix
product, whose order of summation (and so last digits) would depend on the number of rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from model.artefact import Nomogram, Predictor
from model.errors import PredictorError
from model.odds import inverse_logit

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Assessment:
    """What the nomogram says of n women; every array has shape (n,).

    Risks are fractions. `risk_low` and `risk_high` bound the model uncertainty interval (sampling and reconstruction). Points count
    as R's `rms::nomogram` draws them: 100 for the predictor with the widest effect over its axis, none at each axis's end
    of least effect (so that a value beyond that end has points below none); they are exact, not rounded.
    `extrapolated` says for each predictor where its value lies outside the development range; the value is used all the same.
    """

    risk: Array
    risk_low: Array
    risk_high: Array
    linear_predictor: Array
    points: dict[str, Array]
    total_points: Array
    extrapolated: dict[str, Flags]


def assess(nomogram: Nomogram, columns: Mapping[str, Array], mg_at_or_below_cut_off: Flags) -> Assessment:
    """Assess n women, by an artefact (all six predictors) or by one of its reduced nomograms.

    `columns`: the nomogram's predictors by name, each (n,), in their units (years, kg/m2, mmol/L, mmol/L, ng/mL, ng/mL).
    `mg_at_or_below_cut_off` (n,): the flag, decided on decimals (`model.flag`), since a float cannot hold 0.845. Raises
    PredictorError for a column that is missing, of another shape, or holds what cannot be a measurement.
    """
    flags = np.asarray(mg_at_or_below_cut_off)
    if flags.dtype != np.bool_ or flags.ndim != 1:
        raise PredictorError("the flag of magnesium is not one truth value a row; take it from `model.flag`")
    given = [_column(predictor, columns, flags) for predictor in nomogram.predictors]
    found = _empty(nomogram, len(flags))
    formula = _Formula(nomogram)
    for start in range(0, len(flags), _BLOCK):
        part = slice(start, start + _BLOCK)
        formula.fill(found, part, [column[part] for column in given], flags[part])
    return found


class _Formula:
    """A nomogram made ready for blocks of rows."""

    def __init__(self, nomogram: Nomogram) -> None:
        self._intercept, self._predictors = nomogram.intercept, nomogram.predictors
        self._covariance: list[list[float]] = nomogram.covariance.tolist()
        self._z = NormalDist().inv_cdf(0.5 + nomogram.interval_level / 2)
        self._points_per_logit = nomogram.points_per_logit

    def fill(self, found: Assessment, part: slice, given: Sequence[Array], flags: Flags) -> None:
        """Write the results of one block into `found`."""
        centred = [_centred(p, x, flags) for p, x in zip(self._predictors, given, strict=True)]
        linear, total = np.full(len(flags), self._intercept), np.zeros(len(flags))
        for predictor, value, x in zip(self._predictors, given, centred, strict=True):
            contribution = predictor.coefficient * x
            linear += contribution
            points = (contribution - predictor.effect[0]) * self._points_per_logit
            total += points
            found.points[predictor.name][part] = points
            low, high = predictor.development_range
            found.extrapolated[predictor.name][part] = (value < low) | (value > high)
        half = self._z * np.sqrt(self._variance(centred))
        found.linear_predictor[part], found.total_points[part] = linear, total
        found.risk[part] = inverse_logit(linear)
        found.risk_low[part], found.risk_high[part] = inverse_logit(linear - half), inverse_logit(linear + half)

    def _variance(self, centred: Sequence[Array]) -> Array:
        """x' C x with x = (1, centred values): the lower triangle, each off-diagonal element counted twice."""
        variance = np.full(len(centred[0]), self._covariance[0][0])
        for i, x in enumerate(centred, start=1):
            row = self._covariance[i]
            inner = row[i] * x
            inner += 2 * row[0]
            for j in range(1, i):
                inner += 2 * row[j] * centred[j - 1]
            inner *= x
            variance += inner
        # A semi-definite matrix, rounded, may yield less than nothing by some last digits.
        np.maximum(variance, 0.0, out=variance)
        return variance


def _column(predictor: Predictor, columns: Mapping[str, Array], flags: Flags) -> Array:
    """A column as given, once it is known to hold only possible values."""
    name = predictor.name
    if name not in columns:
        raise PredictorError(f"the column {name} is missing; give all predictors of the nomogram")
    try:
        given = np.ascontiguousarray(columns[name], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PredictorError(f"the column {name} does not hold numbers; give them in {predictor.unit}") from error
    if given.shape != flags.shape:
        raise PredictorError(
            f"the column {name} has shape {given.shape}, the flag has {flags.shape}; give one value a row"
        )
    low, high = predictor.possible
    # A comparison with NaN is false, so that NaN is not possible either.
    if given.size and not (given.min() >= low and given.max() <= high):
        wrong = np.flatnonzero(~((given >= low) & (given <= high)))
        raise PredictorError(
            f"{name}, row {wrong[0]}: not a number from {low:g} to {high:g} {predictor.unit} ({wrong.size} such rows); "
            "check value and unit"
        )
    return given


def _centred(predictor: Predictor, given: Array, flags: Flags) -> Array:
    values: Array = flags.astype(np.float64) if predictor.form == "category" else given
    return values - predictor.centre


def _empty(nomogram: Nomogram, n: int) -> Assessment:
    """Room for the results, in one piece: fresh memory costs more than the arithmetic, and least so in large pages."""
    names = [predictor.name for predictor in nomogram.predictors]
    numbers = iter(np.empty((5 + len(names), n)))
    marks = iter(np.empty((len(names), n), dtype=np.bool_))
    return Assessment(
        risk=next(numbers),
        risk_low=next(numbers),
        risk_high=next(numbers),
        linear_predictor=next(numbers),
        points={name: next(numbers) for name in names},
        total_points=next(numbers),
        extrapolated={name: next(marks) for name in names},
    )
