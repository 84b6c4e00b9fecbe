"""One figure, published against recomputed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Figures = Mapping[str, Any]

NOT_PRINTED = "not printed"
P_VALUE_ROUNDING = 0.0005  # p-values have three decimals


class Interval(NamedTuple):
    """Closed; of what a figure can be while the figures behind it stay inside their rounding, or a confidence interval."""

    low: float
    high: float

    def overlaps(self, other: "Interval") -> bool:
        """Whether some number lies in both."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Check:
    """A figure of the paper and what its other figures make of it.

    `agrees` is None where the paper prints nothing to compare with, or where the comparison proves nothing; where it is false `why`
    names the error. `recomputed` has the unit of `published`: `unit`, in UCUM, or empty where the texts name their own.
    """

    table: str
    row: str
    quantity: str
    unit: str
    published: str
    recomputed: str | float | Interval
    agrees: bool | None
    why: str = ""


def printed_p_interval(printed: str) -> Interval:
    """What was rounded to a printed p-value such as 0.043, or is less than the one in `<0.001`."""
    if printed.startswith("<"):
        return Interval(0.0, float(printed[1:]))
    return Interval(float(printed) - P_VALUE_ROUNDING, float(printed) + P_VALUE_ROUNDING)


def around(value: float, rounding: float) -> Interval:
    """What was rounded to `value`."""
    return Interval(value - rounding, value + rounding)


def with_limits(value: float, limits: tuple[float, float] | list[float]) -> str:
    """An estimate and its interval, as the paper writes them: 1.868 (1.289-2.706)."""
    return f"{value:.3f} ({limits[0]:.3f}-{limits[1]:.3f})"
