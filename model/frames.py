"""The nomogram over tables (pandas, Polars, Arrow) and for one woman: the same digits as over arrays.

What comes back is a table of the same kind, one row a woman in the order given.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from model.artefact import Artefact, Nomogram
from model.errors import PredictorError
from model.nomogram import Array, Assessment, Flags, assess
from model.predictors import MG, MG_CUT_OFF_MMOL_L, as_read, flag, flags

FLAG = "mg_at_or_below_cut_off"
NEAR = "near_cut_off"
IMPRECISION_MMOL_L = Decimal("0.02")  # by so much may a repeated magnesium differ: what `screener run` takes by default
_ROUNDING = 1e-9  # mmol/L, far below what any laboratory prints: a float 0.865 lies within 0.02 of 0.845

Results = dict[str, NDArray[Any]]


def assess_table(
    nomogram: Nomogram, table: Any, *, imprecision_mmol_l: Decimal = IMPRECISION_MMOL_L, reduced: bool = False
) -> Any:
    """Assess the rows of a pandas or Polars DataFrame or a pyarrow Table; a table of the same kind, pandas' index kept.

    `table` holds the predictors by name, in their units, in any order, other columns beside them; magnesium as decimals (exact) or
    as floats (see `model.flags`).

    Columns of the result: `nomogram` (`all`, or the name of a reduced one), `risk`, `risk_low`, `risk_high` (fractions),
    `linear_predictor`, `total_points`, `mg_at_or_below_cut_off`, `near_cut_off` (magnesium within `imprecision_mmol_l` of the cut-off),
    `other_side_risk` (there, where magnesium counts as its category: the risk had it fallen on the other side; else null), and for
    each predictor `points_...` and `extrapolated_...`.

    With `reduced` a row that lacks predictors is assessed by the reduced nomogram for those that it has. Without, or where there is
    none for them, PredictorError, as for a column that is missing or holds what cannot be a measurement.
    """
    frame = nw.from_native(table, eager_only=True)
    columns = {p.name: _numbers(frame[p.name]) for p in nomogram.predictors if p.name in frame.columns}
    side = _side(frame)
    near = _near(columns.get(MG, np.full(len(frame), np.nan)), imprecision_mmol_l)
    if reduced and isinstance(nomogram, Artefact):
        results = _by_what_is_there(nomogram, columns, side, near)
    else:
        results = _results(nomogram, columns, side, near)
    made = nw.from_dict(results, backend=frame.implementation)
    native = made.with_columns(nw.selectors.by_dtype(nw.Float64).fill_nan(None)).to_native()
    if nw.dependencies.is_pandas_dataframe(table):
        native.index = table.index
    return native


def assess_woman(
    nomogram: Nomogram, values: Mapping[str, Decimal | float], *, imprecision_mmol_l: Decimal = IMPRECISION_MMOL_L
) -> dict[str, Any]:
    """Assess one woman. `values`: the nomogram's predictors by name, in their units; decimals are exact at the cut-off.

    The result has the names and meanings of `assess_table`'s columns. PredictorError as there.
    """
    columns = {name: np.array([float(value)]) for name, value in values.items()}
    mg = Decimal(str(values.get(MG, "NaN")))
    side = np.array([mg.is_finite() and flag(mg)])
    near = np.array([mg.is_finite() and abs(mg - MG_CUT_OFF_MMOL_L) <= imprecision_mmol_l])
    row = {name: column[0].item() for name, column in _results(nomogram, columns, side, near).items()}
    if not (row[NEAR] and nomogram.has_category):
        row["other_side_risk"] = None
    return row


def _results(nomogram: Nomogram, columns: Mapping[str, Array], side: Flags, near: Flags) -> Results:
    other = np.full(len(side), np.nan)
    found = assess(nomogram, columns, side)
    if nomogram.has_category:
        other[near] = assess(nomogram, {name: column[near] for name, column in columns.items()}, ~side[near]).risk
    name = np.full(len(side), nomogram.name)
    return {"nomogram": name, **dict(_named(found)), FLAG: side, NEAR: near, "other_side_risk": other}


def _named(found: Assessment) -> Iterator[tuple[str, NDArray[Any]]]:
    for name in ("risk", "risk_low", "risk_high", "linear_predictor", "total_points"):
        yield name, getattr(found, name)
    for name, points in found.points.items():
        yield f"points_{name}", points
    for name, marks in found.extrapolated.items():
        yield f"extrapolated_{name}", marks


def _by_what_is_there(artefact: Artefact, columns: Mapping[str, Array], side: Flags, near: Flags) -> Results:
    """Each row by the nomogram for what it has; of a predictor that none used: no points, not extrapolated."""
    n = len(side)
    there = np.array(
        [~np.isnan(columns[p.name]) if p.name in columns else np.zeros(n, bool) for p in artefact.predictors]
    )
    results = {name: _blank(column, n) for name, column in _results(artefact, *_nobody(artefact)).items()}
    patterns, which = np.unique(there.T, axis=0, return_inverse=True)
    for i, pattern in enumerate(patterns):
        rows = np.flatnonzero(which == i)
        nomogram = _for(artefact, pattern, int(rows[0]))
        part = {p.name: columns[p.name][rows] for p in nomogram.predictors}
        for name, column in _results(nomogram, part, side[rows], near[rows]).items():
            results[name][rows] = column
    return results


def _for(artefact: Artefact, there: Flags, row: int) -> Nomogram:
    if there.all():
        return artefact
    names = {p.name for p, known in zip(artefact.predictors, there, strict=True) if known}
    nomogram = artefact.reduced_for(names)
    if nomogram is None:
        lacking = ", ".join(p.name for p in artefact.predictors if p.name not in names)
        raise PredictorError(f"row {row}: no reduced nomogram does without {lacking}; leave such rows out")
    return nomogram


def _nobody(artefact: Artefact) -> tuple[dict[str, Array], Flags, Flags]:
    none = np.zeros(0, dtype=np.bool_)
    return {p.name: np.zeros(0) for p in artefact.predictors}, none, none


def _blank(column: NDArray[Any], n: int) -> NDArray[Any]:
    if column.dtype == np.bool_:
        return np.zeros(n, dtype=np.bool_)
    return np.full(n, np.nan) if column.dtype == np.float64 else np.full(n, "", dtype=object)


def _numbers(series: "nw.Series[Any]") -> Array:
    """As floats, null as NaN."""
    if _is_float(series):
        narrow = series.dtype.is_float() and series.dtype != nw.Float64
        return as_read(series.to_numpy()) if narrow else series.cast(nw.Float64).to_numpy()
    values = series.to_list()
    if not all(value is None or isinstance(value, Decimal | float) for value in values):
        raise PredictorError(f"the column {series.name} holds {series.dtype}, not numbers; read it as such")
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _is_float(series: "nw.Series[Any]") -> bool:
    return series.dtype.is_float() or series.dtype.is_integer()


def _side(frame: "nw.DataFrame[Any]") -> Flags:
    """The flag of magnesium: false where there is none, which no nomogram that uses it then takes."""
    if MG not in frame.columns:
        return np.zeros(len(frame), dtype=np.bool_)
    series = frame[MG]
    if _is_float(series):
        return flags(_numbers(series))
    return np.array([isinstance(value, Decimal) and flag(value) for value in series.to_list()], dtype=np.bool_)


def _near(mg: Array, imprecision: Decimal) -> Flags:
    near: Flags = np.abs(mg - float(MG_CUT_OFF_MMOL_L)) <= float(imprecision) + _ROUNDING
    return near
