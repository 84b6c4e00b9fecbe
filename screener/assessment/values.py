"""How values are written on assessments: units, rounding, dates."""

from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache

from screener.clinical.records import Analyte, Fact

UCUM = "http://unitsofmeasure.org"
UNITS = {
    Analyte.MG: "mmol/L",
    Analyte.P: "mmol/L",
    Analyte.CTX: "ng/mL",
    Analyte.P1NP: "ng/mL",
    Analyte.WEIGHT: "kg",
    Analyte.HEIGHT: "cm",
    Analyte.EGFR: "mL/min/{1.73_m2}",
    Analyte.CREATININE: "umol/L",
    Analyte.CALCIUM: "mmol/L",
    Analyte.ALBUMIN: "g/L",
    Analyte.T_SCORE: "1",
    Analyte.OCN: "ng/mL",
}


def plain(value: Decimal, digits: int = 12) -> Decimal:
    """A Decimal that any server can hold: at most `digits` decimal places, no exponent, no trailing zeros."""
    rounded = value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN).normalize()
    return rounded.quantize(Decimal(1)) if rounded == rounded.to_integral_value() else rounded


def occurrence(mg: Fact) -> str:
    """The occasion as the source wrote it; a time without a zone, which R4 does not allow, is given the UTC it was read as."""
    text = mg.moment.text
    clock = text.partition("T")[2]
    if clock and not clock.endswith("Z") and "+" not in clock and "-" not in clock:
        return f"{text}Z"
    return text


def shown_bmi(bmi_kg_m2: Decimal) -> Decimal:
    """The body mass index to two decimals."""
    return bmi_kg_m2.quantize(Decimal("0.01"), ROUND_HALF_EVEN)


def per_cent(risk: float) -> Decimal:
    """A risk in per cent to one decimal, half to even by its exact value: "%.3f" rounds a float so, and its digits are then moved."""
    return _per_mille(f"{risk:.3f}")


@lru_cache(maxsize=4096)
def _per_mille(fraction: str) -> Decimal:
    return Decimal(fraction).scaleb(2)


def shown_points(points: float) -> Decimal:
    """Points to one decimal, half to even by their exact value."""
    return Decimal(f"{points:.1f}")
