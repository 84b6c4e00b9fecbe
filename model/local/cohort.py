"""A cohort as a file: one row a woman, the six predictors in the model's units, and whether DXA showed osteoporosis."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from model.artefact import Nomogram, load_artefact
from model.errors import ModelError
from model.nomogram import Assessment, assess
from model.predictors import FURTHER, MG, PREDICTORS, UNITS, as_read, flags
from model.stats.logistic import Array

OUTCOME = "osteoporosis"
FLAG = "mg_at_or_below_cut_off"
GROUPS = ("assay", "period")  # columns that divide the women, where a file has them


@dataclass(frozen=True, eq=False)
class LocalCohort:
    """`columns`: the predictors (n,) in the model's units, and others of the file; `mg_at_or_below` (n,); `osteoporosis` (n,) 0 or 1.

    `left_out` counts rows that could not be used, by the column that was empty; `not_used` has optional columns and why.
    """

    columns: Mapping[str, Array]
    mg_at_or_below: NDArray[np.bool_]
    osteoporosis: Array
    groups: Mapping[str, NDArray[np.str_]]
    left_out: Mapping[str, int]
    not_used: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many women."""
        return len(self.osteoporosis)

    @property
    def events(self) -> int:
        """How many of them have osteoporosis."""
        return int(self.osteoporosis.sum())

    def assess(self, nomogram: Nomogram) -> Assessment:
        """What a nomogram says of each woman."""
        return assess(nomogram, self.columns, self.mg_at_or_below)


def read_cohort(
    path: Path, *, further: Sequence[str] = (), optional: tuple[str, ...] = (), accept_units: bool = False
) -> LocalCohort:
    """Read a CSV or Parquet file. Columns `age_years, bmi_kg_m2, mg_mmol_l, p_mmol_l, ctx_ng_ml, p1np_ng_ml, osteoporosis` and the
    `further` predictors; `mg_at_or_below_cut_off`, `assay` and `period` are used where they are there. Of the columns in `optional`
    those that have a value in every row that is used; the others are left out, and `not_used` says why.

    Rows with an empty cell are left out and counted. ModelError for a missing column, a value that no woman has (a wrong
    unit, most often), an outcome other than 0 or 1, or one class only; it names column and line, not the value. So it does for a
    predictor whose median lies outside the range of the women from whom the model was made, unless `accept_units` says that it is meant.
    """
    table = _table(path)
    needed = (*PREDICTORS, *further, OUTCOME)
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise ModelError(
            f"{path.name} lacks the columns {', '.join(missing)}. Units belong to the names: mg_mmol_l is mmol/L"
        )
    numbers = {name: _numbers(table[name], path.name) for name in needed}
    empty = {name: int(np.isnan(column).sum()) for name, column in numbers.items()}
    whole = ~np.any([np.isnan(column) for column in numbers.values()], axis=0)
    not_used: dict[str, str] = {}
    for name in optional:
        column = _numbers(table[name], path.name) if name in table.columns else np.full(len(table), np.nan)
        lacking = int(np.isnan(column[whole]).sum())
        if lacking:
            not_used[name] = f"empty in {lacking} of {int(whole.sum())} whole rows"
        else:
            numbers[name] = column
    _refuse_impossible(numbers, whole, path.name)
    if not accept_units:
        _refuse_another_unit(numbers, whole, path.name)
    found = LocalCohort(
        columns={name: column[whole] for name, column in numbers.items() if name != OUTCOME},
        mg_at_or_below=_flags(table, numbers[MG])[whole],
        osteoporosis=numbers[OUTCOME][whole],
        groups={name: table[name].astype("string").fillna("").to_numpy(str)[whole] for name in GROUPS if name in table},
        left_out={name: count for name, count in empty.items() if count},
        not_used=not_used,
    )
    if not 0 < found.events < found.size:
        raise ModelError(
            f"{path.name}: of {found.size} whole rows {found.events} have osteoporosis. Women with and without are needed"
        )
    return found


def _table(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path)
    except ImportError as error:
        raise ModelError("reading Parquet needs pyarrow. Install the extra 'report', or give a CSV file") from error
    except OSError as error:
        raise ModelError(
            f"cannot read {path.name}: {error.strerror or type(error).__name__}. Check path and format"
        ) from error
    except ValueError as error:  # pandas' parser errors, and bytes that are no text
        raise ModelError(
            f"{path.name} is no CSV file in UTF-8 ({type(error).__name__}). Save it again as CSV"
        ) from error


def _numbers(column: "pd.Series[float]", file: str) -> Array:
    """As floats, empty cells as NaN."""
    numbers = pd.to_numeric(column, errors="coerce")
    narrow = numbers.dtype in (np.float32, np.float16)
    found = as_read(numbers.to_numpy()) if narrow else numbers.to_numpy(np.float64)
    wrong = np.flatnonzero((np.isnan(found) & column.notna().to_numpy()) | np.isinf(found))
    if wrong.size:
        raise ModelError(
            f"{file}, line {wrong[0] + 2}: {column.name} is no number ({wrong.size} such rows). Mend or empty it"
        )
    return found


def _refuse_impossible(numbers: Mapping[str, Array], whole: NDArray[np.bool_], file: str) -> None:
    limits = {p.name: p.possible for p in load_artefact().predictors}
    limits |= {name: row.possible for name, row in FURTHER.items() if name in numbers}
    for name, (low, high) in limits.items():
        wrong = np.flatnonzero(whole & ~((numbers[name] >= low) & (numbers[name] <= high)))
        if wrong.size:
            raise ModelError(
                f"{file}, line {wrong[0] + 2}: {name} lies outside {low:g} to {high:g} {UNITS[name]} "
                f"({wrong.size} such rows). Check the unit"
            )
    outcome = numbers[OUTCOME]
    wrong = np.flatnonzero(whole & ~np.isin(outcome, (0.0, 1.0)))
    if wrong.size:
        raise ModelError(
            f"{file}, line {wrong[0] + 2}: {OUTCOME} is neither 0 nor 1 ({wrong.size} such rows). Code it so"
        )


# By which factor a predictor is larger in the other units in which it is often sent.
_OTHER_UNITS = {
    "age_years": {"months": 12.0},
    "bmi_kg_m2": {"lb/in2": 0.00142233, "kg in that column, a weight": 2.5},
    "mg_mmol_l": {"mg/dL": 2.4305, "mEq/L": 2.0, "umol/L": 1000.0},
    "p_mmol_l": {"mg/dL": 3.0973762, "umol/L": 1000.0},
    "ctx_ng_ml": {"pg/mL": 1000.0, "ug/mL": 0.001},
    "p1np_ng_ml": {"pg/mL": 1000.0, "ug/mL": 0.001},
    "ocn_ng_ml": {"pg/mL": 1000.0},
}


def _refuse_another_unit(numbers: Mapping[str, Array], whole: NDArray[np.bool_], file: str) -> None:
    """ModelError where a column as a whole is in another unit than its name says, as far as its median tells."""
    for predictor in load_artefact().predictors:
        low, high = predictor.development_range
        middle = float(np.median(numbers[predictor.name][whole])) if whole.any() else low
        if low <= middle <= high:
            continue
        fitting = [unit for unit, by in _OTHER_UNITS[predictor.name].items() if low <= middle / by <= high]
        likely = (
            f"In {fitting[0]} it would fit: convert the column to {predictor.unit}" if fitting else "Check the unit"
        )
        raise ModelError(
            f"{file}: the median of {predictor.name} is {middle:.4g} {predictor.unit}, and the women from whom the model was made had "
            f"{low:g} to {high:g}. {likely}. If these women are so, say --accept units"
        )


def _flags(table: pd.DataFrame, mg: Array) -> NDArray[np.bool_]:
    """As the job decided them on decimals, where the file says so; else from the numbers, which print as they were written."""
    if FLAG in table.columns:
        given = table[FLAG].map({True: True, False: False, "True": True, "False": False})
        if given.notna().all():
            return given.to_numpy(np.bool_)
    return flags(mg)


def digest(cohort: LocalCohort) -> str:
    """SHA-256 over the values used, in an order of their own: it names the data without holding any."""
    names = sorted(cohort.columns)
    rows = sorted(zip(*(cohort.columns[name].tolist() for name in names), cohort.osteoporosis.tolist(), strict=True))
    return hashlib.sha256(json.dumps([names, rows], separators=(",", ":")).encode()).hexdigest()
