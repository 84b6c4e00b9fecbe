"""The lasso against glmnet 4.1: golden/lasso_bootstrap.R draws the women and writes the numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import ModelError
from model.stats.lasso import cross_validate, make_folds, path

GOLDEN = Path(__file__).parent / "golden"
FILE: dict[str, Any] = json.loads((GOLDEN / "lasso_bootstrap.json").read_text())
R = FILE["lasso"]
SEVEN = ("age_years", "bmi_kg_m2", "mg_mmol_l", "p_mmol_l", "ctx_ng_ml", "p1np_ng_ml", "ocn_ng_ml")


def women() -> tuple[Any, Any]:
    """The rows that R read: seven predictors, and the outcome."""
    rows = np.array(FILE["rows"], dtype=float)
    place = FILE["columns"].index
    return rows[:, [place(name) for name in SEVEN]], rows[:, place("osteoporosis")]


X, Y = women()
FOLDS = np.array(R["folds"])


def of_r(part: str, name: str) -> Any:
    return np.array(R[part][name])


def test_coefficients_at_fixed_penalties_are_glmnets_at_its_finest() -> None:
    found = path(X, Y, of_r("fixed", "lambdas"))
    assert found.coefficients == pytest.approx(of_r("fixed", "coefficients"), abs=1e-6)
    assert found.intercepts == pytest.approx(of_r("fixed", "intercepts"), abs=1e-5)
    assert found.deviance_ratio == pytest.approx(of_r("fixed", "deviance_ratio"), abs=1e-8)
    assert found.df.tolist() == R["fixed"]["df"]


def test_path_has_glmnets_penalties_and_ends_where_it_ends() -> None:
    found = path(X, Y)
    assert found.lambdas == pytest.approx(of_r("path", "lambdas"), rel=1e-6)
    assert found.deviance_ratio == pytest.approx(of_r("path", "deviance_ratio"), abs=1e-5)
    # glmnet as shipped stops before convergence (thresh = 1e-7).
    assert found.coefficients == pytest.approx(of_r("path", "coefficients"), abs=1e-3)
    assert found.intercepts == pytest.approx(of_r("path", "intercepts"), abs=1e-3)


def test_path_starts_with_the_intercept_alone() -> None:
    found = path(X, Y)
    assert not found.coefficients[0].any()
    assert found.intercepts[0] == pytest.approx(np.log(Y.mean() / (1 - Y.mean())))


def test_each_model_meets_the_conditions_of_an_optimum() -> None:
    """The gradient of a standardised term is lambda towards its sign, and no larger where the term is 0."""
    found = path(X, Y)
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    linear = found.intercepts[:, None] + found.coefficients @ X.T
    residuals = Y - 1 / (1 + np.exp(-linear))
    gradient = residuals @ scaled / len(Y)
    lambdas = np.broadcast_to(found.lambdas[:, None], gradient.shape)
    active = found.coefficients != 0
    assert np.abs(residuals.mean(axis=1)).max() < 1e-8
    assert gradient[active] == pytest.approx((np.sign(found.coefficients) * lambdas)[active], abs=1e-8)
    assert (np.abs(gradient) <= lambdas + 1e-8).all()


def test_fewer_rows_than_columns_end_at_a_hundredth_of_the_first_penalty() -> None:
    """Products of all columns in 30 women: the path goes on to separation."""
    rows = np.array(R["wide_rows"]) - 1
    wide = np.column_stack([X, *[X[:, [i]] * X[:, i:] for i in range(7)]])[rows]
    found = path(wide, Y[rows])
    assert found.lambdas == pytest.approx(of_r("wide", "lambdas"), rel=1e-6)
    # Nearly collinear columns, where glmnet's default convergence leaves it further from the optimum.
    assert found.deviance_ratio == pytest.approx(of_r("wide", "deviance_ratio"), abs=1e-2)


@pytest.mark.parametrize(("part", "lambdas"), [("cv", None), ("cv_given", of_r("cv_given", "lambdas"))])
def test_cross_validation_on_the_same_folds(part: str, lambdas: Any) -> None:
    found = cross_validate(X, Y, FOLDS, lambdas)
    assert found.mean_deviance == pytest.approx(of_r(part, "mean_deviance"), abs=1e-4)
    assert found.standard_error == pytest.approx(of_r(part, "standard_error"), abs=1e-4)
    assert (found.index_min + 1, found.index_1se + 1) == (R[part]["index_min"], R[part]["index_1se"])
    assert found.lambda_min == pytest.approx(R[part]["lambda_min"], rel=1e-6)
    assert found.lambda_1se == pytest.approx(R[part]["lambda_1se"], rel=1e-6)


def test_given_penalties_are_used_as_they_are_from_the_largest() -> None:
    found = path(X, Y, np.array([0.01, 0.2, 0.0]))
    assert found.lambdas.tolist() == [0.2, 0.01, 0.0]


def test_no_penalty_gives_the_maximum_likelihood() -> None:
    found = path(X, Y, np.array([0.0]))
    linear = found.intercepts[0] + X @ found.coefficients[0]
    score = (Y - 1 / (1 + np.exp(-linear))) @ ((X - X.mean(axis=0)) / X.std(axis=0))
    assert np.abs(score).max() < 1e-5


def test_separated_outcome_ends_where_the_deviance_is_explained() -> None:
    """glmnet's devmax: the first model past 0.999 is the last."""
    x = np.arange(20.0)[:, None]
    ratios = path(x, (x[:, 0] > 9).astype(float), n_lambda=200, min_ratio=1e-8).deviance_ratio
    assert ratios[-1] > 0.999
    assert (ratios[:-1] <= 0.999).all()


def test_separated_outcome_without_a_penalty_is_refused() -> None:
    x = np.arange(20.0)[:, None]
    with pytest.raises(ModelError, match="separated"):
        path(x, (x[:, 0] > 9).astype(float), np.array([0.1, 0.0]))


def test_column_constant_without_one_fold_has_no_effect_there() -> None:
    """As glmnet: the only rows that differ are all in fold 1, whose model leaves the column out."""
    rare = np.isin(np.arange(len(Y)), np.flatnonzero(FOLDS == 1)[:5]).astype(float)
    found = cross_validate(np.column_stack([X, rare]), Y, FOLDS)
    assert found.mean_deviance == pytest.approx(of_r("cv_rare", "mean_deviance"), abs=1e-4)
    assert found.standard_error == pytest.approx(of_r("cv_rare", "standard_error"), abs=1e-4)


def test_folds_are_even_and_repeatable() -> None:
    folds = make_folds(25, 10, seed=1)
    assert np.bincount(folds)[1:].tolist() == [3] * 5 + [2] * 5
    assert folds.tolist() == make_folds(25, 10, seed=1).tolist()
    assert folds.tolist() != make_folds(25, 10, seed=2).tolist()


def with_value(array: Any, at: Any, value: float) -> Any:
    changed = array.copy()
    changed[at] = value
    return changed


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (with_value(X, (3, 2), np.nan), Y, "missing or infinite"),
        (with_value(X, (3, 2), np.inf), Y, "missing or infinite"),
        (X, with_value(Y, 0, np.nan), "missing or infinite"),
        (X, with_value(Y, 0, 2), "0 and 1"),
        (X, np.ones(len(Y)), "both classes"),
        (X, with_value(np.ones(len(Y)), 0, 0), "both classes"),
        (X, Y[:-1], "do not fit"),
        (X[:, 0], Y, "do not fit"),
        (with_value(X, (slice(None), 2), 0.85), Y, r"Columns \[2\] of x are constant"),
    ],
)
def test_unusable_rows_are_refused(x: Any, y: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        path(x, y)
    with pytest.raises(ModelError, match=message):
        cross_validate(x, y, FOLDS[: len(y)])


@pytest.mark.parametrize("lambdas", [[-0.1, 0.1], [np.nan], [], [[0.1, 0.2]]])
def test_unusable_penalties_are_refused(lambdas: Any) -> None:
    with pytest.raises(ModelError, match="lambdas"):
        path(X, Y, np.array(lambdas, dtype=float))


def test_unusable_ratio_is_refused() -> None:
    with pytest.raises(ModelError, match="min_ratio"):
        path(X, Y, min_ratio=1.0)


def test_path_without_penalties_is_refused() -> None:
    with pytest.raises(ModelError, match="at least one penalty"):
        path(X, Y, n_lambda=0)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (FOLDS[:-1], "one per row"),
        (FOLDS.astype(float), "whole numbers"),
        (FOLDS - 1, "numbered 1, 2"),
        (np.where(FOLDS == 3, 4, FOLDS), "numbered 1, 2"),
        (FOLDS % 2 + 1, "too few"),
        (np.arange(len(Y)) + 1, "use fewer folds"),
    ],
)
def test_unusable_folds_are_refused(folds: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        cross_validate(X, Y, folds)


def test_fold_that_holds_a_whole_class_is_refused() -> None:
    others = np.arange(len(Y)) % 2 + 2
    with pytest.raises(ModelError, match="without one of the folds"):
        cross_validate(X, Y, np.where(Y == 1, 1, others))


def test_fewer_rows_than_folds_are_refused() -> None:
    with pytest.raises(ModelError, match="9 rows cannot fill 10 folds"):
        make_folds(9, 10, seed=1)
    with pytest.raises(ModelError, match="too few"):
        make_folds(100, 2, seed=1)
