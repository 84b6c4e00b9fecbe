"""From log odds to risks, and risks at another prevalence of osteoporosis."""

import numpy as np
from numpy.typing import NDArray

# Shi et al. 2026, Table 1: 288 of the 496 women from whom the model was made had osteoporosis.
PAPER_PREVALENCE = 288 / 496


def inverse_logit(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)) of an array of any shape; 0 where the exponential is beyond what a float holds."""
    with np.errstate(over="ignore"):
        risk: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-linear))
    return risk


def at_prevalence(risk: float, own: float, other: float) -> float:
    """A risk moved from a population of prevalence `own` to one of prevalence `other`, all as fractions from 0 to 1.

    Bayes' rule on the odds: the predictors are taken to separate women with and without osteoporosis alike in both. 0 and 1 stay.
    """
    with_it, without = risk * other / own, (1 - risk) * (1 - other) / (1 - own)
    return with_it / (with_it + without)
