"""The bootstrap of a logistic model: optimism and bias-corrected calibration, as R's rms 6.5 computes them.

Each resample (drawn with replacement, as many rows as there are) is fitted anew; its performance in itself less its
performance in the original rows is the optimism of one fit (Efron 1983; Harrell, Lee, Mark, Stat Med 1996). A resample that
holds one class only, or whose fit is singular or separated, is left out and counted. rms leaves out singular fits too, but
stops at one class, and keeps a separated fit with the coefficients where its steps happened to end.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelError
from model.odds import inverse_logit
from model.stats.logistic import Array
from model.stats.roc import auc
from model.stats.smoothing import smoother

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

_STEPS = 30
_HALVINGS = 20
_TOLERANCE = 1e-9
_LEAST_EIGENVALUE = 1e-12
_AT_ONCE = 1_000_000  # numbers of one array: resamples go through in batches of this size
_LEAST_SHARE = 0.9  # of the resamples: those left out are the extreme ones, and many would flatter the result
_LEAST_ROWS = 11  # rms's default grid runs from the fifth lowest to the fifth highest risk
_GRID_POINTS = 50
_MEASURES = ("Dxy", "R2", "Intercept", "Slope", "D", "U", "Q", "B", "g", "gp")
_EMAX_GRID = np.linspace(0, 1, 2001)[1:-1]


class Optimism(NamedTuple):
    """One row of rms's `validate`: `corrected` is `apparent` less `optimism`.

    `training` and `test` are means over the `n` resamples that count, in themselves and in the original rows; `left_out`
    resamples could not be fitted.
    """

    apparent: float
    training: float
    test: float
    optimism: float
    corrected: float
    n: int
    left_out: int


class BootstrapCalibration(NamedTuple):
    """Observed against predicted risk: smoothed, and corrected for optimism, at the risks `grid`; all of shape (m,).

    `mean_absolute_error` is that of the predictions inside the grid against the corrected curve. `n` (m,) counts the
    resamples whose predictions reach the grid's point, `left_out` those that could not be fitted.
    """

    grid: Array
    apparent: Array
    corrected: Array
    mean_absolute_error: float
    n: Ints
    left_out: int


class _Fits(NamedTuple):
    """Models of several resamples: coefficients (m, k), deviance (m,), and whether they converged (m,)."""

    coefficients: Array
    deviance: Array
    converged: Bools


def validate(x: Array, y: Array, resamples: int, seed: int) -> dict[str, Optimism]:
    """How much of a model's performance is owed to the rows that it was fitted to.

    `x` (n, k) without a column of ones, `y` (n,) of 0 and 1. Rows as rms's validate.lrm names them: Dxy (exact), R2
    (Nagelkerke), Intercept and Slope (of the outcome on the linear predictor), Emax (the largest distance, over all risks,
    of the calibration line that the corrected intercept and slope draw; rms gives it as test, optimism and corrected), D,
    U, Q (discrimination, unreliability, quality: log-likelihood per row), B (Brier), g and gp (Gini's mean difference of
    linear predictor and risk).
    Raises ModelError for what is not finite, shapes that differ, one class only, separated or collinear columns, fewer
    than two resamples, and where over a tenth of the resamples cannot be fitted.
    """
    design = _design(x, y)
    return _validate(design, y, _draws(len(y), resamples, seed, _batch(design)))


def calibrate(x: Array, y: Array, resamples: int, seed: int, grid: Array | None = None) -> BootstrapCalibration:
    """The calibration curve, corrected for optimism, as rms's calibrate does for lrm: lowess(iter = 0) of the outcome.

    `x` (n, k) without a column of ones, `y` (n,) of 0 and 1, `grid` (m,) of rising risks inside the range of the
    predictions; by default 50 from the fifth lowest prediction to the fifth highest. Where a resample's predictions do not
    reach a point, it does not count there.
    Raises ModelError as `validate`, and for fewer than eleven rows, a grid outside the predictions, or a point that no
    resample reaches. Needs statsmodels.
    """
    design = _design(x, y)
    if len(y) < _LEAST_ROWS:
        raise ModelError(f"{len(y)} rows are too few for a calibration curve: give at least {_LEAST_ROWS}")
    return _calibrate(design, y, _draws(len(y), resamples, seed, _batch(design)), grid)


def _validate(design: Array, y: Array, draws: Iterable[Array]) -> dict[str, Optimism]:
    """`draws`: batches of how often each resample holds each row, (m, n)."""
    original = _original(design, y)
    ones = np.ones((1, len(y)))
    apparent = _in_itself(original, original.coefficients @ design.T, y, ones)[0]
    training: list[Array] = []
    test: list[Array] = []
    drawn = 0
    for counts in draws:
        fits = _fit_each(design[None], y, counts)
        linear = fits.coefficients @ design.T
        refits = _refit(linear, y, fits.converged)
        usable = fits.converged & refits.converged
        training.append(_in_itself(fits, linear, y, counts)[usable])
        test.append(_in_original(refits, linear, y)[usable])
        drawn += len(counts)
    return _summary(apparent, np.concatenate(training), np.concatenate(test), drawn)


def _summary(apparent: Array, training: Array, test: Array, drawn: int) -> dict[str, Optimism]:
    n = len(training)
    _refuse_few(n, drawn)
    means = zip(_MEASURES, apparent.tolist(), training.mean(axis=0).tolist(), test.mean(axis=0).tolist(), strict=True)
    rows = {
        name: Optimism(index, inside, outside, inside - outside, index - (inside - outside), n, drawn - n)
        for name, index, inside, outside in means
    }
    emax = _emax(rows["Intercept"].corrected, rows["Slope"].corrected)
    rows["Emax"] = Optimism(0.0, 0.0, emax, emax, emax, n, drawn - n)
    order = (*_MEASURES[:4], "Emax", *_MEASURES[4:])
    return {name: rows[name] for name in order}


def _emax(intercept: float, slope: float) -> float:
    line = inverse_logit(intercept + slope * np.log(_EMAX_GRID / (1 - _EMAX_GRID)))
    return float(np.max(np.abs(_EMAX_GRID - line)))


def _in_itself(fits: _Fits, linear: Array, y: Array, counts: Array) -> Array:
    """The measures (m, 10) of each model in the rows that it was fitted to, each counted as often as drawn."""
    n = len(y)
    ratio, r2 = _likelihood_ratio(fits.deviance, counts @ y / n, n)
    m = len(counts)
    discrimination = (ratio - 1) / n
    unreliability = np.full(m, -2 / n)
    columns = [_dxy(linear, y, counts), r2, np.zeros(m), np.ones(m), discrimination, unreliability]
    columns += [discrimination - unreliability, _brier(linear, y, counts)]
    return np.column_stack(
        [*columns, _mean_difference(linear, counts), _mean_difference(inverse_logit(linear), counts)]
    )


def _in_original(refits: _Fits, linear: Array, y: Array) -> Array:
    """The measures (m, 10) of each model in the original rows; `refits` are of the outcome on its linear predictor."""
    n = len(y)
    ones = np.ones(linear.shape)
    ratio, r2 = _likelihood_ratio(refits.deviance, np.full(len(linear), y.mean()), n)
    intercept, slope = refits.coefficients.T
    discrimination = (ratio - 1) / n
    unreliability = (_deviance(linear, y, ones) - refits.deviance - 2) / n
    columns = [_dxy(linear, y, ones), r2, intercept, slope, discrimination, unreliability]
    columns += [discrimination - unreliability, _brier(linear, y, ones)]
    calibrated = intercept[:, None] + slope[:, None] * linear
    shrunk = _mean_difference(slope[:, None] * linear, ones)
    return np.column_stack([*columns, shrunk, _mean_difference(inverse_logit(calibrated), ones)])


def _likelihood_ratio(deviance: Array, prevalence: Array, n: int) -> tuple[Array, Array]:
    """Chi-square against the intercept alone, and Nagelkerke's R2; 0 where there is one class, which does not count."""
    both = (prevalence > 0) & (prevalence < 1)
    share = np.where(both, prevalence, 0.5)
    null = -2 * n * (share * np.log(share) + (1 - share) * np.log(1 - share))
    ratio = np.where(both, null - deviance, 0.0)
    return ratio, np.asarray(np.expm1(-ratio / n) / np.expm1(-null / n))


def _dxy(linear: Array, y: Array, counts: Array) -> Array:
    """Somers' Dxy (m,), exact; 0 where there is one class."""
    cases = counts @ y
    both = (cases > 0) & (cases < counts.sum(axis=1))
    pairs = zip(linear, counts, both, strict=True)
    return np.array([2 * auc(score, y, weights) - 1 if each else 0.0 for score, weights, each in pairs])


def _brier(linear: Array, y: Array, counts: Array) -> Array:
    return np.asarray(np.average((inverse_logit(linear) - y) ** 2, axis=1, weights=counts))


def _mean_difference(values: Array, counts: Array) -> Array:
    """Gini's: the mean distance (m,) of two different rows."""
    order = np.argsort(values, axis=1)
    weights = np.take_along_axis(counts, order, axis=1)
    upto = np.cumsum(weights, axis=1)
    n = upto[:, -1]
    ranks = weights * (2 * upto - weights - n[:, None])
    return np.asarray(2 * np.sum(ranks * np.take_along_axis(values, order, axis=1), axis=1) / (n * (n - 1)))


def _calibrate(design: Array, y: Array, draws: Iterable[Array], grid: Array | None) -> BootstrapCalibration:
    smooth = smoother()
    risk = inverse_logit(_original(design, y).coefficients @ design.T)[0]
    points = _grid(risk, grid)
    apparent = smooth(risk, y, points)
    if not np.isfinite(apparent).all():
        raise ModelError("The predictions have too few different values for a smooth curve: compare groups instead")
    curves: list[Array] = []
    drawn = 0
    for counts in draws:
        fits = _fit_each(design[None], y, counts)
        risks = inverse_logit(fits.coefficients @ design.T)
        for each, times in zip(risks[fits.converged], counts[fits.converged].astype(np.int64), strict=True):
            inside = smooth(np.repeat(each, times), np.repeat(y, times), points)
            curves.append(inside - smooth(each, y, points))
        drawn += len(counts)
    _refuse_few(len(curves), drawn)
    optimism, n = _mean_where_reached(np.array(curves), points)
    corrected = apparent - optimism
    return BootstrapCalibration(points, apparent, corrected, _error(risk, points, corrected), n, drawn - len(curves))


def _mean_where_reached(curves: Array, grid: Array) -> tuple[Array, Ints]:
    reached = np.isfinite(curves)
    n = reached.sum(axis=0)
    if not n.all():
        raise ModelError(f"No resample predicts as far as {grid[n == 0].tolist()}: use a narrower grid")
    return np.where(reached, curves, 0.0).sum(axis=0) / n, n


def _error(risk: Array, grid: Array, corrected: Array) -> float:
    within = risk[(risk >= grid[0]) & (risk <= grid[-1])]
    if not len(within):
        raise ModelError("No prediction lies inside the grid: use a wider one")
    return float(np.mean(np.abs(within - np.interp(within, grid, corrected))))


def _grid(risk: Array, grid: Array | None) -> Array:
    if grid is None:
        ordered = np.sort(risk)
        return np.linspace(ordered[4], ordered[-5], _GRID_POINTS)
    points = np.asarray(grid, dtype=np.float64)
    if points.ndim != 1 or not len(points) or not np.isfinite(points).all() or np.any(np.diff(points) <= 0):
        raise ModelError("The grid must be a list of rising risks")
    if points[0] < risk.min() or points[-1] > risk.max():
        raise ModelError(f"The grid must stay inside the predictions, {risk.min():.3g} to {risk.max():.3g}")
    return points


def _draws(n: int, resamples: int, seed: int, batch: int) -> Iterator[Array]:
    """How often each resample holds each row, (batch, n) at a time; the draws do not depend on the batch."""
    if resamples < 2:
        raise ModelError(f"{resamples} resamples are too few: use hundreds")
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, batch):
        rows = rng.integers(n, size=(min(batch, resamples - start), n))
        yield np.array([np.bincount(each, minlength=n) for each in rows], dtype=np.float64)


def _batch(design: Array) -> int:
    return max(1, _AT_ONCE // design.size)


def _design(x: Array, y: Array) -> Array:
    """Ones, and the columns standardised, which changes no prediction: (n, 1 + k)."""
    if x.ndim != 2 or y.shape != (len(x),) or not x.shape[1]:
        raise ModelError(f"x {x.shape} and y {y.shape} do not fit: give x as (rows, columns) and y as (rows,)")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ModelError("x or y holds a value that is missing or infinite: leave such rows out first")
    if not np.isin(y, (0, 1)).all() or len(np.unique(y)) < 2:
        raise ModelError("y must hold both 0 and 1, and nothing else")
    spread = x.std(axis=0)
    constant = np.flatnonzero(spread <= _LEAST_EIGENVALUE * np.abs(x).max(axis=0))
    if len(constant):
        raise ModelError(f"Columns {constant.tolist()} of x are constant: leave them out")
    return np.column_stack([np.ones(len(y)), (x - x.mean(axis=0)) / spread])


def _refuse_few(usable: int, drawn: int) -> None:
    if usable < _LEAST_SHARE * drawn:
        raise ModelError(
            f"{drawn - usable} of {drawn} resamples cannot be fitted (one class, separated or collinear): "
            "there are too few rows or events for a bootstrap; use fewer columns"
        )


def _original(design: Array, y: Array) -> _Fits:
    fits = _fit_each(design[None], y, np.ones((1, len(y))))
    if not fits.converged[0]:
        raise ModelError("The model does not converge: its columns are collinear or separate the outcome; use fewer")
    return fits


def _refit(linear: Array, y: Array, usable: Bools) -> _Fits:
    """Each outcome on intercept and linear predictor (m, n), from the line of identity; linear predictors of 0 where not usable."""
    shown = np.where(usable[:, None], linear, 0.0)
    design = np.stack([np.ones(linear.shape), shown], axis=2)
    return _fit_each(design, y, np.ones(linear.shape))


def _fit_each(design: Array, y: Array, counts: Array) -> _Fits:
    """Newton's method for several models at once: `design` (1 or m, n, k), `counts` (m, n) weigh the rows."""
    b = np.zeros((len(counts), design.shape[2]))
    deviance = _deviance(_linear(design, b), y, counts)
    lost = np.zeros(len(counts), dtype=bool)
    for _ in range(_STEPS):
        step, singular = _step(design, y, counts, b)
        lost |= singular
        step[lost] = 0
        step, deviance = _shortened(design, y, counts, b, step, deviance)
        b += step
        still = np.max(np.abs(step), axis=1) > _TOLERANCE * (1 + np.max(np.abs(b), axis=1))
        if not still.any():
            break
    return _Fits(b, deviance, ~(lost | still))


def _step(design: Array, y: Array, counts: Array, b: Array) -> tuple[Array, Bools]:
    """Newton's step (m, k), and which informations (m,) are singular: a class is missing, columns are collinear, or p is 0 or 1."""
    p = inverse_logit(_linear(design, b))
    transposed = design.swapaxes(1, 2)
    score = (transposed @ (counts * (y - p))[:, :, None])[:, :, 0]
    information = transposed @ ((counts * p * (1 - p))[:, :, None] * design)
    singular = _singular(information)
    information[singular] = np.eye(design.shape[2])
    solved = np.linalg.solve(information, score[:, :, None])[:, :, 0]
    return np.asarray(solved, dtype=np.float64), singular


def _singular(information: Array) -> Bools:
    """By the least eigenvalue, each column scaled to length one: an exact solve may not notice."""
    lengths = np.sqrt(np.diagonal(information, axis1=1, axis2=2))
    empty: Bools = np.min(lengths, axis=1) == 0
    lengths = np.where(empty[:, None], 1.0, lengths)
    scaled = information / (lengths[:, :, None] * lengths[:, None, :])
    return np.asarray(empty | (np.linalg.eigvalsh(scaled)[:, 0] < _LEAST_EIGENVALUE))


def _shortened(design: Array, y: Array, counts: Array, b: Array, step: Array, deviance: Array) -> tuple[Array, Array]:
    """The steps, halved until the deviance does not rise, and the deviance there."""
    for _ in range(_HALVINGS):
        found = _deviance(_linear(design, b + step), y, counts)
        worse = found > deviance + 1e-12 * (1 + deviance)
        if not worse.any():
            break
        step = np.where(worse[:, None], step / 2, step)
    return step, found


def _linear(design: Array, b: Array) -> Array:
    return (design @ b[:, :, None])[:, :, 0]


def _deviance(linear: Array, y: Array, counts: Array) -> Array:
    """-2 log-likelihood (m,) of linear predictors (m, n)."""
    return np.asarray(2 * np.sum(counts * (np.logaddexp(0, linear) - y * linear), axis=1))
