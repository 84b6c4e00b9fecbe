"""What every statistic refuses: shapes that differ, values that are no numbers, one class only."""

import numpy as np

from model.errors import ModelError
from model.stats.logistic import Array


def outcome(y: Array, *others: Array) -> Array:
    """The outcome (n,) of 0 and 1 as floats, once it and the `others` (n,) can be used; ModelError says what is wrong."""
    given = np.asarray(y, dtype=np.float64)
    if given.ndim != 1 or any(np.shape(other) != given.shape for other in others):
        raise ModelError("outcome and predictions differ in shape. Give one row a woman")
    if not np.isin(given, (0.0, 1.0)).all():
        raise ModelError("the outcome holds other values than 0 and 1. Code osteoporosis as 1")
    if given.min(initial=1.0) == given.max(initial=0.0):
        raise ModelError("the outcome has one class only. Women with and without osteoporosis are needed")
    finite(*others)
    return given


def finite(*columns: Array) -> None:
    """ModelError where a number is missing or infinite."""
    for column in columns:
        wrong = np.flatnonzero(~np.isfinite(column))
        if wrong.size:
            raise ModelError(
                f"row {wrong[0]} is not a finite number ({wrong.size} such rows). Leave them out, and say so"
            )


def risks(p: Array) -> Array:
    """Predicted risks (n,) strictly between 0 and 1."""
    given = np.asarray(p, dtype=np.float64)
    finite(given)
    wrong = np.flatnonzero((given <= 0) | (given >= 1))
    if wrong.size:
        raise ModelError(
            f"row {wrong[0]} is no risk between 0 and 1 ({wrong.size} such rows). Give fractions, not per cent"
        )
    return given


def logit(p: Array) -> Array:
    """log(p / (1 - p)), (n,)."""
    found: Array = np.log(p / (1 - p))
    return found
