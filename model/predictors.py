"""The predictors, in the one order that every array, file and sum of this package keeps: the paper's six, then further ones."""

from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

AGE, BMI, MG, P, CTX, P1NP = PREDICTORS = (
    "age_years",
    "bmi_kg_m2",
    "mg_mmol_l",
    "p_mmol_l",
    "ctx_ng_ml",
    "p1np_ng_ml",
)
OCN = "ocn_ng_ml"  # osteocalcin: measured in the paper, no predictor of its nomogram


class Further(NamedTuple):
    """A predictor that a site's own model may have besides the six. `axis`: of the nomogram; `possible`: outside it a value is refused."""

    unit: str
    axis: tuple[float, float]
    possible: tuple[float, float]


# To add one: a row here. For `screener run` to read it: an analyte of the same name without its unit (screener/clinical/records.py).
FURTHER = {OCN: Further("ng/mL", (0.0, 60.0), (0.1, 1000.0))}
ALL_PREDICTORS = (*PREDICTORS, *FURTHER)

UNITS = {
    AGE: "a",
    BMI: "kg/m2",
    MG: "mmol/L",
    P: "mmol/L",
    CTX: "ng/mL",
    P1NP: "ng/mL",
    **{name: row.unit for name, row in FURTHER.items()},
}

# The paper's cut-off (Table 2), exactly: the midpoint of two reported values, 0.84 and 0.85.
MG_CUT_OFF_MMOL_L = Decimal("0.845")


def flag(mg_mmol_l: Decimal) -> bool:
    """Whether serum magnesium lies at or below 0.845 mmol/L, compared as decimals."""
    return mg_mmol_l <= MG_CUT_OFF_MMOL_L


def flags(mg_mmol_l: NDArray[np.floating]) -> NDArray[np.bool_]:
    """The same for an array of floats of any width, (n,); NaN is not at or below.

    A float stands for the decimal that it was read from. Up to 15 significant digits, distinct decimals are distinct floats
    in the same order, so that comparing the floats decides as comparing the decimals would.
    """
    found: NDArray[np.bool_] = as_read(mg_mmol_l) <= float(MG_CUT_OFF_MMOL_L)
    return found


def as_read(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Floats of any width, (n,), as the float64 of the shortest decimal that each stands for in its own width.

    Widened bit by bit, 0.845 kept as float32 becomes 0.84500002..., which lies above the cut-off.
    """
    if values.dtype == np.float64 or values.dtype.kind != "f":
        return values.astype(np.float64, copy=False)
    return values.astype(np.str_).astype(np.float64)
