"""Sample sizes against published worked examples and the packages of the criteria's authors."""

import math

import numpy as np
import pytest

from model.errors import ModelError
from model.stats.sample_size import (
    Development,
    LinearPredictor,
    Widths,
    development,
    external_validation,
    max_r2_cox_snell,
    observed_linear_predictor,
)


def normal_linear_predictor(mean: float, sd: float) -> LinearPredictor:
    """Normally distributed log odds, as the 100 nodes and weights of Gauss and Hermite: six digits up to a standard deviation of 3."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    return LinearPredictor(mean + sd * nodes, weights / weights.sum())


@pytest.mark.parametrize(
    ("terms", "prevalence", "r2", "expected"),
    [
        # the help page of R's pmsampsize: 24 parameters, as its own tests have it
        (24, 0.174, 0.288, Development(623, 662, 221)),
        # the same package: 10 parameters at a prevalence of 15 % and a C of 0.75, which it turns into this R2
        (10, 0.15, 0.1028, Development(825, 327, 196)),
    ],
)
def test_development_against_published_examples(
    terms: int, prevalence: float, r2: float, expected: Development
) -> None:
    found = development(terms=terms, prevalence=prevalence, r2_cox_snell=r2)
    assert found == expected
    assert found.n == max(expected)


def test_the_example_of_the_criterias_tutorial() -> None:
    # Riley et al., BMJ 2020;368:m441: 30 parameters for pre-eclampsia, 5 % of women, an R2 of 0.05: 5249 women.
    assert development(terms=30, prevalence=0.05, r2_cox_snell=0.05).n == 5249


@pytest.mark.parametrize(("r2", "six", "seven"), [(0.1161, 435, 507), (0.1160, 435, 508)])
def test_the_papers_cohort(r2: float, six: int, seven: int) -> None:
    # By hand: ln(1 - 0.1161 / 0.9) = -0.138113; 6 / 0.0138113 = 434.43, 7 / 0.0138113 = 506.83.
    needed = [development(terms=terms, prevalence=288 / 496, r2_cox_snell=r2) for terms in (6, 7)]
    assert [found.n for found in needed] == [six, seven]
    # 1536.58 * 0.243496 = 374.15
    assert needed[0].overall_risk == 375


def test_max_r2() -> None:
    # At one half: 1 - exp(2 ln 0.5) = 0.75; Riley et al. 2020 give 0.33 for a prevalence of 0.05.
    assert max_r2_cox_snell(0.5) == pytest.approx(0.75, abs=1e-15)
    assert max_r2_cox_snell(0.05) == pytest.approx(0.33, abs=0.005)


def test_validation_against_the_authors_package() -> None:
    # R's pmvalsampsize, its help page and own tests: 905, 4544 (a simulation of a million log odds) and 4252.
    found = external_validation(0.018, 0.8, normal_linear_predictor(-5, 2.5), Widths(observed_expected=1))
    assert found.observed_expected == pytest.approx(905, abs=1)
    assert found.calibration_slope == pytest.approx(4544, rel=0.005)
    assert found.c_statistic == 4252
    assert found.n == found.calibration_slope


def test_the_slope_against_a_sum_over_the_distribution() -> None:
    # Another way to the same integral: equal steps over fifteen standard deviations either way.
    mean, sd, width = -1.75, 1.47, 0.2
    x = np.linspace(mean - 15 * sd, mean + 15 * sd, 200_001)
    density = np.exp(-(((x - mean) / sd) ** 2) / 2)
    w = density / density.sum() / (2 + np.exp(x) + np.exp(-x))
    i00, i01, i11 = w.sum(), (w * x).sum(), (w * x * x).sum()
    people = i00 / ((i00 * i11 - i01**2) * (width / 3.919928) ** 2)
    assert external_validation(0.2, 0.8, normal_linear_predictor(mean, sd)).calibration_slope == math.ceil(people)


def test_observed_against_expected_by_hand() -> None:
    # A width of 0.2 around 1: SE = asinh(0.1) / 1.95996 = 0.0509402; at one half (0.5 / 0.5) / SE^2 = 385.37.
    assert external_validation(0.5, 0.8, normal_linear_predictor(0, 1)).observed_expected == 386


def test_c_statistic_reaches_its_width_and_one_less_does_not() -> None:
    n = external_validation(0.5, 0.8, normal_linear_predictor(0, 1)).c_statistic

    def width(people: int) -> float:
        # Newcombe's variance as it is written: N* = n / 2 - 1
        c, half = 0.8, people / 2 - 1
        variance = c * (1 - c) * (1 + half * (1 - c) / (2 - c) + half * c / (1 + c)) / (people**2 * 0.25)
        return 2 * 1.959964 * math.sqrt(variance)

    assert width(n) <= 0.1 < width(n - 1)


def test_observed_log_odds() -> None:
    draws = np.random.default_rng(1).normal(-1.75, 1.47, 200_000)
    found = external_validation(0.2, 0.8, observed_linear_predictor(draws))
    exact = external_validation(0.2, 0.8, normal_linear_predictor(-1.75, 1.47))
    assert found.calibration_slope == pytest.approx(exact.calibration_slope, rel=0.01)
    assert found.c_statistic == exact.c_statistic


def test_wider_intervals_need_fewer() -> None:
    predictor = normal_linear_predictor(0.4, 0.8)
    narrow = external_validation(0.58, 0.69, predictor)
    wide = external_validation(0.58, 0.69, predictor, Widths(0.4, 0.4, 0.2))
    assert all(few < many for few, many in zip(wide, narrow, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"terms": 0}, "terms is 0"),
        ({"prevalence": 0.0}, "prevalence is 0.0"),
        ({"prevalence": math.nan}, "prevalence is nan"),
        ({"r2_cox_snell": 0.8}, "r2_cox_snell is 0.8; it must lie above 0 and below 0.75"),
        ({"shrinkage": 1.0}, "shrinkage is 1.0"),
        ({"optimism": 0.0}, "optimism is 0.0"),
        ({"risk_margin": -0.1}, "risk_margin is -0.1"),
    ],
)
def test_developments_that_cannot_be(change: dict[str, float], message: str) -> None:
    asked = {"terms": 6, "prevalence": 0.5, "r2_cox_snell": 0.1} | change
    with pytest.raises(ModelError, match=message):
        development(**asked)  # type: ignore[arg-type]


def test_validations_that_cannot_be() -> None:
    predictor = normal_linear_predictor(0, 1)
    with pytest.raises(ModelError, match=r"c_statistic is 0\.5"):
        external_validation(0.5, 0.5, predictor)
    with pytest.raises(ModelError, match="width of c_statistic is 0"):
        external_validation(0.5, 0.7, predictor, Widths(c_statistic=0))
    with pytest.raises(ModelError, match="no slope to measure"):
        external_validation(0.5, 0.7, observed_linear_predictor(np.zeros(10)))
    with pytest.raises(ModelError, match="finite"):
        observed_linear_predictor(np.array([0.0, math.nan]))
