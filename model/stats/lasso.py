"""Logistic regression with the lasso penalty, and its cross-validation, in the conventions of R's glmnet 4.1.

Columns are standardised with 1/n, the intercept is not penalised, and what is minimised is
-log-likelihood / n + lambda * sum |standardised coefficient| (alpha = 1, Friedman, Hastie, Tibshirani, J Stat Softw 2010).
Each fit is brought to convergence, where glmnet stops at its `thresh`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelError
from model.stats.logistic import Array

Ints = NDArray[np.int64]

# glmnet.control(): the path ends where the deviance ratio gains less than this, or passes that, after so many values.
_LEAST_GAIN = 1e-5
_HIGHEST_RATIO = 0.999
_LEAST_VALUES = 5
_CLIP = 1e-5  # cv.glmnet keeps the probabilities this far from 0 and 1
_LEAST_PER_CLASS = 2  # as glmnet, which refuses a class with one row
_LEAST_FOLDS = 3
_LEAST_PER_FOLD = 3  # below it cv.glmnet no longer averages by fold
_NEWTON_STEPS = 100
_ROUNDS = 1000  # of sweeps over the coordinates
_SWEEPS = 10
_TOLERANCE = 1e-9  # of a standardised coefficient
_HALVINGS = 30
_CONSTANT = 1e-12  # spread against size, below which a column varies by rounding only


class LassoPath(NamedTuple):
    """One model per penalty, from the largest penalty to the smallest; coefficients on the scale of the data.

    `lambdas`, `intercepts`, `deviance_ratio` and `df` (terms that are not 0) have shape (m,), `coefficients` (m, k).
    """

    lambdas: Array
    intercepts: Array
    coefficients: Array
    deviance_ratio: Array
    df: Ints


class CrossValidation(NamedTuple):
    """The path on all rows, and over its penalties (m,) the mean deviance per row and its standard error over folds.

    `lambda_min` is the largest penalty with the least mean deviance, `lambda_1se` the largest within one standard error of
    it; the indices point into the path.
    """

    path: LassoPath
    mean_deviance: Array
    standard_error: Array
    lambda_min: float
    lambda_1se: float
    index_min: int
    index_1se: int


class _Scaled(NamedTuple):
    """Standardised columns (n, k), constant ones set to 0, with what turns them back."""

    x: Array
    centre: Array
    scale: Array


def path(
    x: Array, y: Array, lambdas: Array | None = None, n_lambda: int = 100, min_ratio: float | None = None
) -> LassoPath:
    """The models along a sequence of penalties.

    `x` (n, k) without a column of ones, `y` (n,) of 0 and 1. Without `lambdas` the sequence is glmnet's: `n_lambda` values,
    evenly spaced in the logarithm, from the least penalty that leaves the intercept alone down to `min_ratio` times it
    (1e-4, or 0.01 with fewer rows than columns), cut where the fit gains no more. Given `lambdas` are used as they are, in
    falling order.
    Raises ModelError for what is not finite, shapes that differ, a constant column, a class with fewer than two rows,
    penalties that are negative, and where no optimum is found (separation with a penalty of 0).
    """
    _refuse(x, y)
    _refuse_constant(x)
    if n_lambda < 1:
        raise ModelError(f"n_lambda is {n_lambda}: ask for at least one penalty")
    return _path(x, y, _falling(lambdas), n_lambda, _ratio(x, min_ratio))


def cross_validate(x: Array, y: Array, folds: Ints, lambdas: Array | None = None) -> CrossValidation:
    """Choose the penalty by the deviance of rows left out, as cv.glmnet(type.measure = "deviance") does.

    `x` (n, k), `y` (n,) of 0 and 1, `folds` (n,) of 1..K. Without `lambdas` each fold has its own path, whose coefficients
    are interpolated linearly to the penalties of the path on all rows. Folds count by their rows; the standard error is
    sqrt(weighted variance / (K - 1)). A column that is constant without one fold gets the coefficient 0 there.
    Raises ModelError as `path`, and for fewer than three folds, or fewer than three rows per fold.
    """
    _refuse(x, y)
    numbers = _refuse_folds(folds, len(y))
    whole = path(x, y, lambdas)
    parts = [_left_out_deviance(x, y, folds == number, whole.lambdas, given=lambdas is not None) for number in numbers]
    rows = np.array([np.sum(folds == number) for number in numbers], dtype=np.float64)
    return _choose(whole, np.array(parts), rows)


def make_folds(n: int, k: int, seed: int) -> Ints:
    """`n` rows dealt at random to folds 1..`k` of equal size, or one apart, shape (n,); ModelError if rows are too few."""
    if k < _LEAST_FOLDS:
        raise ModelError(f"{k} folds are too few: use at least {_LEAST_FOLDS}, better 10")
    if n < k:
        raise ModelError(f"{n} rows cannot fill {k} folds: use fewer folds")
    return np.random.default_rng(seed).permutation(np.arange(n) % k + 1)


def _path(x: Array, y: Array, lambdas: Array | None, n_lambda: int, min_ratio: float) -> LassoPath:
    scaled = _standardise(x)
    mean = float(y.mean())
    null = _deviance(np.full(len(y), np.log(mean / (1 - mean))), y)
    values = _sequence(scaled.x, y, n_lambda, min_ratio) if lambdas is None else lambdas
    b = np.zeros(x.shape[1] + 1)
    b[0] = np.log(mean / (1 - mean))
    found: list[Array] = []
    ratios: list[float] = []
    for penalty in values:
        b = _fit(scaled.x, y, float(penalty), b)
        found.append(b)
        ratios.append(1 - _deviance(b[0] + scaled.x @ b[1:], y) / null)
        if lambdas is None and _enough(ratios, n_lambda):
            break
    return _on_scale_of_data(values[: len(found)], np.array(found), np.array(ratios), scaled)


def _enough(ratios: list[float], n_lambda: int) -> bool:
    """glmnet's end of a path."""
    if len(ratios) < min(_LEAST_VALUES, n_lambda):
        return False
    return ratios[-1] > _HIGHEST_RATIO or ratios[-1] - ratios[-2] < _LEAST_GAIN


def _on_scale_of_data(lambdas: Array, b: Array, ratios: Array, scaled: _Scaled) -> LassoPath:
    coefficients = b[:, 1:] / scaled.scale
    df = np.count_nonzero(coefficients, axis=1)
    return LassoPath(lambdas, b[:, 0] - coefficients @ scaled.centre, coefficients, ratios, df)


def _standardise(x: Array) -> _Scaled:
    centre = x.mean(axis=0)
    scale = x.std(axis=0)
    constant = scale <= _CONSTANT * np.abs(x).max(axis=0)
    scale = np.where(constant, 1.0, scale)
    return _Scaled(np.where(constant, 0.0, (x - centre) / scale), centre, scale)


def _sequence(x: Array, y: Array, n_lambda: int, min_ratio: float) -> Array:
    """From the largest gradient of the model with an intercept only, downwards."""
    largest = np.max(np.abs(x.T @ (y - y.mean()))) / len(y)
    steps = np.arange(n_lambda) / max(n_lambda - 1, 1)
    values: Array = largest * min_ratio**steps
    return values


def _deviance(linear: Array, y: Array) -> float:
    return float(2 * np.sum(np.logaddexp(0, linear) - y * linear))


def _chance(linear: Array) -> Array:
    """1 / (1 + e(-x)) without overflow, for steps that go far before they are halved."""
    return np.asarray((1 + np.tanh(linear / 2)) / 2)


def _fit(x: Array, y: Array, penalty: float, start: Array) -> Array:
    """The optimum (1 + k,) at one penalty: Newton's quadratic, minimised by coordinates, with the step halved if too long."""
    b = start
    best = _objective(x, y, penalty, b)
    for _ in range(_NEWTON_STEPS):
        step = _quadratic_minimum(x, y, penalty, b) - b
        b, best, length = _descend(x, y, penalty, b, step, best)
        if length < _TOLERANCE * (1 + np.max(np.abs(b))):
            return b
    raise ModelError(
        f"The lasso finds no optimum at lambda = {penalty:.3g}: the outcome may be separated; use larger penalties"
    )


def _objective(x: Array, y: Array, penalty: float, b: Array) -> float:
    return _deviance(b[0] + x @ b[1:], y) / (2 * len(y)) + penalty * float(np.sum(np.abs(b[1:])))


def _descend(x: Array, y: Array, penalty: float, b: Array, step: Array, best: float) -> tuple[Array, float, float]:
    """New coefficients, the objective there, and the length of the step taken."""
    rounding = 1e-14 * (1 + abs(best))
    for _ in range(_HALVINGS):
        value = _objective(x, y, penalty, b + step)
        if value <= best + rounding:
            break
        step = step / 2
    return b + step, value, float(np.max(np.abs(step)))


def _quadratic_minimum(x: Array, y: Array, penalty: float, b: Array) -> Array:
    """The minimum of the quadratic at `b` plus the penalty; the intercept is solved out by centring with the weights."""
    linear = b[0] + x @ b[1:]
    p = _chance(linear)
    # As far from 0 and 1 as glmnet's pmin: beyond it a row has no weight, and no curvature is left.
    weights = np.maximum(p * (1 - p), 1e-9)
    total = weights.sum()
    centre = weights @ x / total
    centred = x - centre
    response = linear + (y - p) / weights
    level = float(weights @ response / total)
    gram = (centred * weights[:, None]).T @ centred / len(y)
    product = centred.T @ (weights * (response - level)) / len(y)
    slopes = _coordinate_descent(gram, product, penalty, b[1:])
    return np.concatenate([[level - centre @ slopes], slopes])


def _coordinate_descent(gram: Array, product: Array, penalty: float, start: Array) -> Array:
    """The minimum of b'Gb/2 - b'c + penalty * |b|, by sweeps until the signs are right, then in closed form."""
    slopes = start
    for _ in range(_ROUNDS):
        slopes, change = _sweeps(gram, product, penalty, slopes)
        if change < _TOLERANCE / 10:
            return slopes
        exact = _with_signs_of(gram, product, penalty, slopes)
        if exact is not None:
            return exact
    return slopes  # collinear columns: the steps that follow, and their objective, judge it


def _sweeps(gram: Array, product: Array, penalty: float, start: Array) -> tuple[Array, float]:
    """Some sweeps, and the largest change in the last. Plain numbers: for ten columns an array's overhead outweighs its work."""
    columns: list[list[float]] = gram.tolist()
    slopes: list[float] = start.tolist()
    gradient: list[float] = (product - gram @ start).tolist()
    varying = [j for j, column in enumerate(columns) if column[j] > 0]
    largest = 0.0
    for _ in range(_SWEEPS):
        largest = 0.0
        for j in varying:
            column = columns[j]
            change = _soft(gradient[j] + column[j] * slopes[j], penalty) / column[j] - slopes[j]
            if change:
                slopes[j] += change
                gradient = [g - c * change for g, c in zip(gradient, column, strict=True)]
                largest = max(largest, abs(change))
        if largest < _TOLERANCE / 10:
            break
    return np.array(slopes), largest


def _with_signs_of(gram: Array, product: Array, penalty: float, slopes: Array) -> Array | None:
    """The minimum, if its coefficients have these signs and zeros; sweeps come near it slowly where columns correlate."""
    signs = np.sign(slopes)
    active = signs != 0
    try:
        solved = np.linalg.solve(gram[np.ix_(active, active)], (product - penalty * signs)[active])
    except np.linalg.LinAlgError:
        return None
    exact = np.zeros(len(slopes))
    exact[active] = solved
    gradient = np.abs(product - gram @ exact)
    optimal = np.all(np.sign(solved) == signs[active]) and np.all(gradient <= penalty * (1 + 1e-9) + 1e-15)
    return exact if optimal else None


def _soft(value: float, penalty: float) -> float:
    if value > penalty:
        return value - penalty
    return value + penalty if value < -penalty else 0.0


def _left_out_deviance(x: Array, y: Array, out: NDArray[np.bool_], lambdas: Array, *, given: bool) -> Array:
    """Mean deviance (m,) of the rows that `out` marks, under the models of the other rows."""
    kept_x, kept_y = x[~out], y[~out]
    _refuse_class(kept_y, "without one of the folds")
    fold = _path(kept_x, kept_y, lambdas if given else None, 100, _ratio(kept_x, None))
    slopes = np.column_stack([_at(fold.lambdas, column, lambdas) for column in fold.coefficients.T])
    linear = _at(fold.lambdas, fold.intercepts, lambdas) + x[out] @ slopes.T
    p = np.clip(_chance(linear), _CLIP, 1 - _CLIP)
    cases = y[out][:, None] == 1
    return np.asarray(-2 * np.mean(np.log(np.where(cases, p, 1 - p)), axis=0))


def _at(lambdas: Array, values: Array, wanted: Array) -> Array:
    """Linear between penalties, level beyond them: predict.glmnet(s = )."""
    return np.interp(wanted, lambdas[::-1], values[::-1])


def _choose(whole: LassoPath, deviances: Array, rows: Array) -> CrossValidation:
    """`deviances` (K, m) of the folds, `rows` (K,) their sizes."""
    mean = np.average(deviances, axis=0, weights=rows)
    variance = np.average((deviances - mean) ** 2, axis=0, weights=rows)
    error = np.sqrt(variance / (len(rows) - 1))
    least = int(np.argmin(mean))  # the first of equals has the largest penalty
    within = int(np.argmax(mean <= mean[least] + error[least]))
    return CrossValidation(whole, mean, error, float(whole.lambdas[least]), float(whole.lambdas[within]), least, within)


def _ratio(x: Array, min_ratio: float | None) -> float:
    if min_ratio is None:
        return 1e-4 if x.shape[0] >= x.shape[1] else 0.01
    if not 0 < min_ratio < 1:
        raise ModelError(f"min_ratio is {min_ratio}: it must lie between 0 and 1")
    return min_ratio


def _falling(lambdas: Array | None) -> Array | None:
    if lambdas is None:
        return None
    values = np.sort(np.asarray(lambdas, dtype=np.float64))[::-1]
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or values[-1] < 0:
        raise ModelError("lambdas must be a list of numbers that are not negative")
    return values


def _refuse(x: Array, y: Array) -> None:
    if x.ndim != 2 or y.shape != (len(x),) or not x.shape[1]:
        raise ModelError(f"x {x.shape} and y {y.shape} do not fit: give x as (rows, columns) and y as (rows,)")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ModelError("x or y holds a value that is missing or infinite: leave such rows out first")
    if not np.isin(y, (0, 1)).all():
        raise ModelError("y must hold 0 and 1 only")
    _refuse_class(y, "in y")


def _refuse_class(y: Array, where: str) -> None:
    if min(np.sum(y == 0), np.sum(y == 1)) < _LEAST_PER_CLASS:
        raise ModelError(f"A class has fewer than {_LEAST_PER_CLASS} rows {where}: the lasso needs both classes")


def _refuse_constant(x: Array) -> None:
    constant = np.flatnonzero(x.std(axis=0) <= _CONSTANT * np.abs(x).max(axis=0))
    if len(constant):
        raise ModelError(f"Columns {constant.tolist()} of x are constant: leave them out")


def _refuse_folds(folds: Ints, n: int) -> Ints:
    """The folds' numbers 1..K."""
    if folds.shape != (n,) or not np.issubdtype(folds.dtype, np.integer):
        raise ModelError(f"folds must be {n} whole numbers, one per row")
    numbers = np.unique(folds)
    if not np.array_equal(numbers, np.arange(1, len(numbers) + 1)):
        raise ModelError("folds must be numbered 1, 2, ... K, each with rows")
    if len(numbers) < _LEAST_FOLDS:
        raise ModelError(f"{len(numbers)} folds are too few: use at least {_LEAST_FOLDS}, better 10")
    if n < _LEAST_PER_FOLD * len(numbers):
        raise ModelError(f"{n} rows are too few for {len(numbers)} folds: use fewer folds, of three rows and more")
    return numbers
