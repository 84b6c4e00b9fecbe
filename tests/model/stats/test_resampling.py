"""The bootstrap against rms 6.5: golden/lasso_bootstrap.R draws the women and writes the numbers."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import ModelError
from model.predictors import PREDICTORS
from model.stats import resampling
from model.stats.resampling import calibrate, validate

GOLDEN = Path(__file__).parent / "golden"
FILE: dict[str, Any] = json.loads((GOLDEN / "lasso_bootstrap.json").read_text())
R = FILE["bootstrap"]


def women() -> tuple[Any, Any]:
    """The rows that R read: six predictors, and the outcome."""
    rows = np.array(FILE["rows"], dtype=float)
    place = FILE["columns"].index
    return rows[:, [place(name) for name in PREDICTORS]], rows[:, place("osteoporosis")]


X, Y = women()


def drawn_by_r() -> list[Any]:
    """The resamples that R drew, in two batches."""
    counts = np.array([np.bincount(np.array(rows) - 1, minlength=len(Y)) for rows in R["drawn"]], dtype=float)
    return [counts[:10], counts[10:]]


def table(part: str) -> dict[str, list[float]]:
    return dict(zip(R[part]["index"], R[part]["values"], strict=True))


def test_every_measure_on_the_resamples_that_r_drew() -> None:
    found = resampling._validate(resampling._design(X, Y), Y, drawn_by_r())
    assert list(found) == R["validate_drawn"]["index"]
    for name, row in table("validate_drawn").items():
        # lrm stops its Newton steps once the deviance moves by less than 0.025.
        assert found[name][:6] == pytest.approx(row, abs=1e-5), name
        assert found[name].left_out == 0


def test_calibration_on_the_resamples_that_r_drew() -> None:
    found = resampling._calibrate(resampling._design(X, Y), Y, drawn_by_r(), None)
    expected = R["calibrate_drawn"]
    assert found.grid == pytest.approx(np.array(expected["grid"]), abs=1e-7)
    assert found.apparent == pytest.approx(np.array(expected["apparent"]), abs=1e-5)
    assert found.corrected == pytest.approx(np.array(expected["corrected"]), abs=1e-5)
    assert found.n.tolist() == expected["n"]
    assert found.mean_absolute_error == pytest.approx(expected["mean_absolute_error"], abs=1e-5)


def test_own_resamples_correct_as_2000_of_rs_do() -> None:
    """Other draws: the standard error of R's and ours together is near 0.002 for Dxy and 0.006 for the slope."""
    found = validate(X, Y, 2000, seed=20260101)
    expected = {name: row[4] for name, row in table("validate").items()}
    assert found["Dxy"].corrected == pytest.approx(expected["Dxy"], abs=0.01)
    assert found["Slope"].corrected == pytest.approx(expected["Slope"], abs=0.02)
    assert found["B"].corrected == pytest.approx(expected["B"], abs=0.002)
    assert found["R2"].corrected == pytest.approx(expected["R2"], abs=0.01)
    assert found["Emax"].corrected == pytest.approx(expected["Emax"], abs=0.01)


def test_own_calibration_lies_near_2000_resamples_of_rs() -> None:
    """Other draws, and fewer: at the ends of the curve the optimism of one resample scatters by some 0.05."""
    found = calibrate(X, Y, 300, seed=20260101)
    expected = R["calibrate"]
    assert found.apparent == pytest.approx(np.array(expected["apparent"]), abs=1e-5)
    assert found.corrected == pytest.approx(np.array(expected["corrected"]), abs=0.015)
    assert found.mean_absolute_error == pytest.approx(expected["mean_absolute_error"], abs=0.01)


def test_grid_of_the_caller() -> None:
    found = calibrate(X, Y, 20, seed=1, grid=np.array([0.4, 0.5, 0.6]))
    whole = calibrate(X, Y, 20, seed=1)
    assert found.corrected == pytest.approx(np.interp(found.grid, whole.grid, whole.corrected), abs=2e-3)


def test_corrected_is_apparent_less_optimism() -> None:
    found = validate(X, Y, 50, seed=3)
    for name, row in found.items():
        if name != "Emax":  # rms gives it in its own way
            assert row.optimism == pytest.approx(row.training - row.test)
            assert row.corrected == pytest.approx(row.apparent - row.optimism)


def test_draws_depend_on_the_seed_and_not_on_the_batch() -> None:
    one = np.concatenate(list(resampling._draws(300, 50, 3, 7)))
    other = np.concatenate(list(resampling._draws(300, 50, 3, 50)))
    assert one.shape == (50, 300)
    assert (one == other).all()
    assert (one.sum(axis=1) == 300).all()
    assert validate(X, Y, 20, seed=1) == validate(X, Y, 20, seed=1)
    assert validate(X, Y, 20, seed=1) != validate(X, Y, 20, seed=2)


def rare(cases: int, others: int) -> Any:
    """A column that is 1 in a few women of each group, and 0 in the rest."""
    column = np.zeros(len(Y))
    column[np.flatnonzero(Y == 1)[:cases]] = 1
    column[np.flatnonzero(Y == 0)[:others]] = 1
    return np.column_stack([X[:, :2], column])


def test_separated_resamples_are_left_out_and_counted() -> None:
    """With four rare women in each group, a resample holds none of one group in about 2 (1 - 4/n)^n = 3.6 % of draws."""
    x = rare(4, 4)
    counts = np.concatenate(list(resampling._draws(len(Y), 400, 5, 400)))
    marked = counts * x[:, 2]
    separated = int(np.sum((marked @ Y == 0) | (marked @ (1 - Y) == 0)))
    assert 0 < separated < 40
    found = validate(x, Y, 400, seed=5)
    assert {(row.n, row.left_out) for row in found.values()} == {(400 - separated, separated)}
    assert all(np.isfinite(row).all() for row in found.values())
    curve = calibrate(x, Y, 400, seed=5)
    assert curve.left_out == separated
    assert np.isfinite(curve.corrected).all()


def test_resample_of_one_class_is_left_out_and_counted() -> None:
    cases_only = Y
    counts = np.vstack([*drawn_by_r(), cases_only])
    found = resampling._validate(resampling._design(X, Y), Y, [counts])
    assert (found["Dxy"].n, found["Dxy"].left_out) == (25, 1)
    assert found["Dxy"].training == pytest.approx(table("validate_drawn")["Dxy"][1], abs=1e-5)


def test_too_many_resamples_left_out_are_an_error() -> None:
    """One rare woman in each group: most resamples miss one of the two."""
    with pytest.raises(ModelError, match="resamples cannot be fitted"):
        validate(rare(1, 1), Y, 100, seed=5)
    with pytest.raises(ModelError, match="resamples cannot be fitted"):
        calibrate(rare(1, 1), Y, 100, seed=5)


def with_value(array: Any, at: Any, value: float) -> Any:
    changed = array.copy()
    changed[at] = value
    return changed


@pytest.mark.parametrize("measure", [validate, calibrate])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (with_value(X, (3, 2), np.nan), Y, "missing or infinite"),
        (X, with_value(Y, 0, np.inf), "missing or infinite"),
        (X, with_value(Y, 0, 2), "0 and 1"),
        (X, np.zeros(len(Y)), "both 0 and 1"),
        (X, Y[:-1], "do not fit"),
        (with_value(X, (slice(None), 2), 0.85), Y, r"Columns \[2\] of x are constant"),
        (np.column_stack([X, X[:, 0] + X[:, 1]]), Y, "collinear"),
        (np.column_stack([X, Y]), Y, "separate the outcome"),
    ],
)
def test_unusable_rows_are_refused(measure: Any, x: Any, y: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        measure(x, y, 10, 1)


def test_too_few_resamples_or_rows_are_refused() -> None:
    with pytest.raises(ModelError, match="1 resamples are too few"):
        validate(X, Y, 1, seed=1)
    with pytest.raises(ModelError, match="10 rows are too few"):
        calibrate(np.arange(10.0)[:, None], np.array([0, 1.0] * 5), 10, seed=1)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([0.001, 0.5], "inside the predictions"),
        ([0.6, 0.5], "rising"),
        ([], "rising"),
        ([0.5, np.nan], "rising"),
    ],
)
def test_unusable_grid_is_refused(grid: list[float], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        calibrate(X, Y, 10, seed=1, grid=np.array(grid))


def test_predictions_of_one_value_have_no_curve() -> None:
    """A yes-or-no predictor: two predictions, one of them in most of the women."""
    flag = (np.arange(len(Y)) % 5 == 0).astype(float)[:, None]
    with pytest.raises(ModelError, match="too few different values"):
        calibrate(flag, Y, 10, seed=1)


def test_curves_without_statsmodels_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "statsmodels.nonparametric.smoothers_lowess", None)
    with pytest.raises(ModelError, match="extra 'report'"):
        calibrate(X, Y, 10, seed=1)
