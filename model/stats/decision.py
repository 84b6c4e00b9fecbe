"""Decision curves (Vickers and Elkin, Med Decis Making 2006): what acting on a risk is worth at each threshold."""

from typing import NamedTuple

import numpy as np

from model.errors import ModelError
from model.stats.checked import outcome, risks
from model.stats.logistic import Array


class NetBenefit(NamedTuple):
    """Per woman, each (m,): true positives less false positives weighted by the odds of the threshold. `none` is 0."""

    thresholds: Array
    model: Array
    everyone: Array


def net_benefit(y: Array, p: Array, thresholds: Array) -> NetBenefit:
    """A woman is treated (sent to DXA) where her risk is at or above the threshold. Thresholds (m,) in [0, 1)."""
    p = risks(p)
    y = outcome(y, p)
    t = np.asarray(thresholds, dtype=np.float64)
    if not ((t >= 0) & (t < 1)).all():
        raise ModelError("a threshold lies outside 0 to 1. Give probabilities below 1")
    n, odds = len(y), t / (1 - t)
    cases, others = np.sort(p[y == 1]), np.sort(p[y == 0])
    true = len(cases) - np.searchsorted(cases, t, side="left")
    false = len(others) - np.searchsorted(others, t, side="left")
    return NetBenefit(t, true / n - odds * false / n, len(cases) / n - odds * len(others) / n)
