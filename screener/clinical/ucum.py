"""Units in UCUM that the table does not list, read by UCUM's own grammar: `10*-3.mol/L`, `mg/(10.dL)`, `mmol/L{serum}`.

The table comes first, and holds what laboratories print. The grammar (ucumvert, Pint) is loaded when a code asks for it. What it
yields is a factor like any other of the table: a value by it has to lie in the plausible range all the same, so that valid UCUM of
an absurd size (`Mg/dL`, megagrams) is refused for what it says.
"""

import math
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple

from screener.clinical.records import LABORATORY, Analyte

_LONGEST = 40  # characters; no unit of a result needs more
_DIGITS = 12  # of a factor: prefixes and the legal definitions of pound and inch have fewer, floating point has more
_ROUNDING = 1e-13  # relative: what floating point makes of a product of prefixes

_MOLAR, _MASS = "[substance]/[length]**3", "[mass]/[length]**3"
_QUANTITIES: dict[str, Literal["", "molar", "mass"]] = {_MOLAR: "molar", _MASS: "mass"}
_ONE = Decimal(1)
# By dimension, what one base unit (mol/m3, kg/m3, kg, m) is in the model's unit: numerator, denominator.
_INTO: dict[Analyte, dict[str, tuple[Decimal, Decimal]]] = {
    Analyte.MG: {_MOLAR: (_ONE, _ONE), _MASS: (Decimal(1000), Decimal("24.305"))},
    Analyte.P: {_MOLAR: (_ONE, _ONE), _MASS: (Decimal(1000), Decimal("30.973762"))},
    Analyte.CTX: {_MASS: (Decimal(1_000_000), _ONE)},
    Analyte.P1NP: {_MASS: (Decimal(1_000_000), _ONE)},
    Analyte.WEIGHT: {"[mass]": (_ONE, _ONE)},
    Analyte.HEIGHT: {"[length]": (Decimal(100), _ONE)},
    Analyte.EGFR: {},  # volume by time and area, and a number without a unit: what the table has
    Analyte.CREATININE: {_MOLAR: (Decimal(1000), _ONE), _MASS: (Decimal(1_000_000), Decimal("113.118"))},
    Analyte.CALCIUM: {_MOLAR: (_ONE, _ONE), _MASS: (Decimal(1000), Decimal("40.078"))},
    Analyte.ALBUMIN: {_MASS: (_ONE, _ONE)},
    Analyte.T_SCORE: {},
    Analyte.OCN: {_MASS: (Decimal(1_000_000), _ONE)},
}
_LABORATORY = frozenset({*LABORATORY, Analyte.CALCIUM, Analyte.ALBUMIN, Analyte.CREATININE})
# UCUM's `eq` is one mole of charges, and a converter blind to that takes it for one of magnesium.
_DIVALENT = frozenset({Analyte.MG, Analyte.CALCIUM})
_CHARGES = Decimal(2)


class Factor(NamedTuple):
    """Value x numerator / denominator is in the model's unit; `quantity` says what the unit measures."""

    numerator: Decimal
    denominator: Decimal
    quantity: Literal["", "molar", "mass"]


@lru_cache(maxsize=4096)
def factor(analyte: Analyte, code: str) -> Factor | str:
    """How a UCUM code converts for an analyte, or the reason why it does not.

    `unit_unknown`: no UCUM, or of another dimension; `unit_no_factor`: moles of a bone marker, charges of phosphate.
    """
    parsed = _parsed(code)
    if parsed is None:
        return "unit_unknown"
    size, dimension, atoms = parsed
    charges = any("equivalent" in atom for atom in atoms)
    if any("osmol" in atom for atom in atoms):
        return "unit_unknown"  # particles, not moles of the analyte
    if (
        dimension == _MOLAR
        and analyte in _LABORATORY
        and (_MOLAR not in _INTO[analyte] or (charges and analyte not in _DIVALENT))
    ):
        return "unit_no_factor"
    into, exact = _INTO[analyte].get(dimension), _exact(size)
    if into is None or exact is None:
        return "unit_unknown"
    quantity = "" if charges else _QUANTITIES.get(dimension, "")
    return Factor(exact * into[0], into[1] * (_CHARGES if charges else _ONE), quantity)


def _parsed(code: str) -> tuple[float, str, tuple[str, ...]] | None:
    """Size in base units, dimension and atoms of a code; None where the grammar does not take it."""
    if not code or len(code) > _LONGEST or not code.isascii():
        return None
    try:
        found = _registry().from_ucum(code)
        base = found.to_base_units()
        return float(base.magnitude), _dimension(base.dimensionality), tuple(name for name, _ in found.unit_items())
    except Exception:  # noqa: BLE001 - parser, registry and units with an offset fail in many ways: the code is of no use here
        return None


def _dimension(powers: dict[str, float]) -> str:
    """As a key of `_INTO`; "" for any other dimension."""
    above = [name for name, power in powers.items() if power == 1]
    by_volume = powers.get("[length]") == -3
    if len(above) != 1 or len(powers) != 1 + by_volume:
        return ""
    return f"{above[0]}/[length]**3" if by_volume else above[0]


def _exact(size: float) -> Decimal | None:
    """The decimal with few digits that a float of rounded products is nearest to; None where there is none."""
    if not 1e-30 < size < 1e30:
        return None
    found = Decimal(f"{size:.{_DIGITS}g}")
    return found if math.isclose(float(found), size, rel_tol=_ROUNDING) else None


@cache
def _registry() -> Any:
    from ucumvert import PintUcumRegistry  # noqa: PLC0415 - half a second, and most runs need none of it

    return PintUcumRegistry()
