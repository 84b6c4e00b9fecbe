"""Lowess, as R draws a calibration curve with it."""

from collections.abc import Callable

import numpy as np

from model.errors import ModelError
from model.stats.logistic import Array

_SPAN = 2 / 3
_DELTA = 0.01  # R's lowess interpolates within this share of the range

Smoother = Callable[[Array, Array, Array], Array]


def smoother() -> Smoother:
    """Lowess as R draws it with iter = 0: (risk (n,), y (n,), grid (m,)) to the curve (m,), NaN outside the risks, and where most risks are equal."""
    try:
        # Inside, as it is an extra that only curves need; it publishes no types.
        from statsmodels.nonparametric.smoothers_lowess import lowess  # noqa: PLC0415
    except ImportError as error:
        raise ModelError("Calibration curves need statsmodels: install the extra 'report'") from error

    def smooth(risk: Array, y: Array, grid: Array) -> Array:
        if np.unique(np.round(risk, 12), return_counts=True)[1].max() >= int(_SPAN * len(risk)):
            return np.full(len(grid), np.nan)  # a neighbourhood without width, where statsmodels goes wrong
        curve = lowess(y, risk, frac=_SPAN, it=0, delta=_DELTA * np.ptp(risk))
        at, first = np.unique(curve[:, 0], return_index=True)
        return np.asarray(np.interp(grid, at, curve[first, 1], left=np.nan, right=np.nan))

    return smooth
