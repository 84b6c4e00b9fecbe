"""The integers behind Model 1: which 2x2 tables give its printed odds ratio and interval."""

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import special

from model.evidence.checks.result import Figures

_Z = float(special.ndtri(0.975))


class Exposed(NamedTuple):
    """Women with magnesium at or below the cut-off."""

    without: int
    osteoporosis: int


def behind_model_1(figures: Figures) -> tuple[Exposed, ...]:
    """Every table that gives Model 1 of Table 3; there should be one."""
    row, sizes = figures["table_3_model_1"]["mg_mmol_l"], figures["groups"]
    return tables(
        (sizes["without"], sizes["osteoporosis"]),
        (row["odds_ratio"], *row["confidence_95"]),
        row["rounding"],
    )


def exposed_women(figures: Figures) -> Exposed:
    """The counts that the data hold; `model_1` checks that they are the only ones."""
    return Exposed(**figures["table_2"]["at_or_below_cut_off"])


@cache
def tables(sizes: tuple[int, int], printed: tuple[float, float, float], rounding: float) -> tuple[Exposed, ...]:
    """Every pair of counts whose odds ratio and Woolf interval round to the printed ones.

    `sizes`: women without and with osteoporosis; `printed`: odds ratio, lower and higher limit.
    """
    n0, n1 = sizes
    # A cell of 0 has no Woolf interval.
    without, osteoporosis = np.meshgrid(np.arange(1.0, n0), np.arange(1.0, n1), indexing="ij")
    log_odds = np.log(osteoporosis / (n1 - osteoporosis)) - np.log(without / (n0 - without))
    error = np.sqrt(1 / osteoporosis + 1 / (n1 - osteoporosis) + 1 / without + 1 / (n0 - without))
    fits = np.ones(log_odds.shape, dtype=bool)
    for value, z in zip(printed, (0.0, -_Z, _Z), strict=True):
        fits &= np.abs(np.exp(log_odds + z * error) - value) <= rounding
    return tuple(Exposed(int(without[at]), int(osteoporosis[at])) for at in zip(*np.nonzero(fits), strict=True))
