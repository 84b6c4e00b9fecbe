"""The closed-form statistics against R 4.2.2, rms 6.5 and pROC 1.18 (golden/closed_form.R), and what they refuse."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from model.errors import ModelError
from model.stats import calibration, decision, groups, performance, roc
from model.stats.logistic import logistic
from tests.model.stats.agreement import Pair, golden, pairs

PAIRS = list(pairs())


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.quantity.replace(" ", "-"))
def test_agrees_with_r(pair: Pair) -> None:
    assert pair.r.shape == pair.ours.shape
    assert np.array_equal(np.isfinite(pair.r), np.isfinite(pair.ours))
    assert pair.difference < 1e-6


def test_rms_binned_c_is_near_the_exact_one() -> None:
    r = golden()["lrm"]
    assert r["c_binned"] == pytest.approx(r["c"], abs=1e-3)


def test_tied_cut_offs_are_all_given() -> None:
    # By hand: at 2.5 all cases and two of three others are right, at 4.5 two of three cases and all others: 2/3 both.
    found = roc.youden(roc.curve(np.array([1.0, 2, 3, 4, 5, 6]), np.array([0.0, 0, 1, 0, 1, 1]), direction="<"))
    assert [cut.threshold for cut in found] == [2.5, 4.5]
    assert [round(cut.j, 12) for cut in found] == [round(2 / 3, 12)] * 2


def test_the_direction_is_the_callers() -> None:
    y, score = np.array([1.0, 1, 0, 0]), np.array([1.0, 2, 3, 4])
    assert roc.delong(score, y, direction=">").value == 1.0
    assert roc.delong(score, y, direction="<").value == 0.0


def test_the_flag_of_the_paper_by_hand() -> None:
    # 137 of 288 and 68 of 208: (137 * 140) / (151 * 68), Table 3's Model 1.
    found = groups.odds_ratio(np.array([[137.0, 68], [151, 140]]))
    assert [round(x, 3) for x in (found.value, found.low, found.high)] == [1.868, 1.289, 2.706]


def test_hanley_mcneil_gives_the_interval_of_table_2_to_its_rounding() -> None:
    error = roc.hanley_mcneil(0.602, 288, 208)
    assert 0.602 - 1.96 * error == pytest.approx(0.551, abs=0.002)
    assert 0.602 + 1.96 * error == pytest.approx(0.652, abs=0.002)


def test_observed_over_expected_by_hand() -> None:
    y, p = np.array([1.0, 1, 1, 0]), np.array([0.5, 0.5, 0.25, 0.25])
    found = calibration.observed_expected(y, p)
    assert found.value == 2.0
    assert found.standard_error == pytest.approx(np.sqrt(0.25 / 3))


def test_hosmer_lemeshow_in_a_validation_has_a_degree_of_freedom_for_each_group() -> None:
    """With true risks the statistic is the sum of ten squared deviations, each of mean 1; fitting would take two of them away."""
    random = np.random.default_rng(6)
    risk = random.uniform(0.1, 0.9, 1000)
    found = [
        calibration.hosmer_lemeshow((random.uniform(size=1000) < risk).astype(float), risk, fitted=False)
        for _ in range(500)
    ]
    assert {test.df for test in found} == {10}
    # The mean of 500 draws of chi-square with 10 degrees of freedom has a standard error of sqrt(20 / 500) = 0.2.
    assert np.mean([test.statistic for test in found]) == pytest.approx(10, abs=0.6)
    assert np.mean([test.p_value < 0.05 for test in found]) == pytest.approx(0.05, abs=0.03)
    y = (risk > 0.5).astype(float)
    assert calibration.hosmer_lemeshow(y, risk, fitted=True).df == 8


def test_a_woman_at_the_threshold_is_treated() -> None:
    found = decision.net_benefit(np.array([1.0, 0.0]), np.array([0.4, 0.2]), np.array([0.4]))
    assert found.model.tolist() == [0.5]
    # Everyone: one true and one false positive of two women, the false one at odds 0.4 / 0.6.
    assert found.everyone[0] == pytest.approx(0.5 - 0.5 * 2 / 3)


Y, P = np.array([0.0, 1, 0, 1, 1]), np.array([0.2, 0.4, 0.5, 0.6, 0.9])
TAKING_RISKS: list[Callable[[Any, Any], Any]] = [
    calibration.in_the_large,
    calibration.intercept_and_slope,
    calibration.observed_expected,
    partial(calibration.hosmer_lemeshow, fitted=False),
    calibration.smoothed,
    performance.performance,
    lambda y, p: decision.net_benefit(y, p, np.array([0.5])),
]


@pytest.mark.parametrize("statistic", TAKING_RISKS)
@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        (Y, np.array([0.2, np.nan, 0.5, 0.6, 0.9]), "row 1 is not a finite number"),
        (Y, np.array([0.2, 40, 0.5, 0.6, 0.9]), "row 1 is no risk between 0 and 1"),
        (Y, np.array([0.2, 1.0, 0.5, 0.6, 0.9]), "row 1 is no risk between 0 and 1"),
        (Y[:4], P, "differ in shape"),
        (np.ones(5), P, "one class only"),
        (np.array([1.0, 2, 1, 2, 1]), P, "other values than 0 and 1"),
    ],
)
def test_what_cannot_be_judged_is_named(statistic: Callable[[Any, Any], Any], y: Any, p: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        statistic(y, p)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: groups.t_test(np.array([1.0]), Y), "fewer than two values"),
        (lambda: groups.t_test(np.ones(3), np.ones(4)), "nothing to test"),
        (lambda: groups.odds_ratio(np.array([[1.0, 0], [2, 3]])), "all cells above 0"),
        (lambda: groups.chi_square(np.array([[0.0, 0], [2, 3]])), "row or column of the table is empty"),
        (lambda: roc.curve(np.array([1.0, np.inf, 2, 3, 4]), Y, direction="<"), "row 1 is not a finite number"),
        (lambda: roc.delong(np.arange(3.0), np.array([0.0, 0, 1]), direction="<"), "fewer than two women"),
        (lambda: roc.delong_test((P, "<"), (P, "<"), Y), "no difference to test"),
        (
            lambda: calibration.hosmer_lemeshow(Y, np.array([0.2, 0.2, 0.2, 0.4, 0.4]), fitted=True),
            "fewer than three groups",
        ),
        (lambda: decision.net_benefit(Y, P, np.array([1.0])), "threshold lies outside"),
        (
            lambda: logistic(np.column_stack([np.ones(4), [1.0, 2, 3, 4]]), np.array([0.0, 0, 1, 1]), np.ones(4)),
            "separated",
        ),
    ],
)
def test_what_has_no_answer_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        call()
