"""The recipe: the published figures come back from the reconstructed cohort, and the shipped file from the recipe."""

import json
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from model import SHIPPED
from model.errors import ModelError
from model.evidence import published
from model.predictors import PREDICTORS
from model.reconstruction.conditioning import (
    BORROWED,
    H4,
    H7,
    Conditioner,
    named,
    prior_draws,
    prior_means,
    published_model_2,
)
from model.reconstruction.copula import VARIABLES, Cohort, CohortMaker, correlation_matrix
from model.reconstruction.document import weighted_quantiles
from model.reconstruction.estimate import FORMS, SUBSETS, Form, anchored_fit, design, shrinkage
from model.reconstruction.margins import group_means, magnesium, magnesium_auc, pooled_mean_range
from model.reconstruction.priors import PAIRS, PRIORS
from model.reconstruction.recipe import ALL, Reconstruction
from model.stats.logistic import covariance_at, logistic
from model.stats.roc import auc
from tests.command import screener, screener_process
from tests.model.reference import shipped

FIGURES = published()
PUBLISHED = published_model_2(FIGURES)


@pytest.fixture(scope="module")
def maker() -> CohortMaker:
    return CohortMaker(FIGURES, points_log2=11)


@pytest.fixture(scope="module")
def h4(maker: CohortMaker) -> Conditioner:
    return Conditioner(maker, H4, PUBLISHED)


@pytest.fixture(scope="module")
def cohort(maker: CohortMaker, h4: Conditioner) -> Cohort:
    return maker.cohort(named(h4.condition(prior_means())))


def test_the_shipped_artefacts_are_what_the_build_writes(tmp_path: Path) -> None:
    # Another kernel of linear algebra than OpenBLAS would choose here: other last digits, the same bytes.
    built = ("model", "build", "--variant", "all", "--out", str(tmp_path))
    shown = screener_process(*built, cwd=tmp_path, OPENBLAS_CORETYPE="Prescott").stdout
    assert shown.startswith("Standard errors, reconstructed / published, before anything is adjusted:")
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(SHIPPED)
    for name in SHIPPED:
        shipped_bytes = (files("model") / "artefacts" / f"{name}.json").read_bytes()
        assert (tmp_path / f"{name}.json").read_bytes() == shipped_bytes


def test_a_folder_that_is_not_there_is_a_message(tmp_path: Path) -> None:
    out = tmp_path / "none" / "built.json"
    found = screener("model", "build", "--out", str(out), cwd=tmp_path, expect=2)
    assert "there is no folder none to write built.json into. Make it first" in found.stderr


def test_dichotomising_the_continuous_model_gives_back_the_published_odds_ratio(made: Reconstruction) -> None:
    """To within the published interval and near its middle: what is left is that risk is not quite linear in magnesium."""
    cohort = made.cohort
    x = made.design("continuous")
    risk = 1 / (1 + np.exp(-x @ made.models["continuous"][ALL].coefficients))
    again = logistic(design(cohort, H4, made.centres["category"], "category"), risk, cohort.weights).coefficients
    away = (again[1:] - PUBLISHED.log_odds) / PUBLISHED.standard_errors
    assert np.abs(away).max() < 0.25


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SUBSETS)
def test_a_reduced_model_is_calibrated_to_the_full_one(made: Reconstruction, form: Form, name: str) -> None:
    weights = made.cohort.weights / made.cohort.weights.sum()
    at, full = made.centres[form], made.models[form][ALL].coefficients
    risk = 1 / (1 + np.exp(-made.design(form) @ full))
    reduced = made.models[form][name]
    linear = design(made.cohort, reduced.terms, at, form) @ reduced.coefficients
    own = 1 / (1 + np.exp(-linear))
    assert float(weights @ own) == pytest.approx(float(weights @ risk), abs=1e-10)
    for low, high in zip(*[iter(np.quantile(own, np.linspace(0, 1, 9)))] * 2, strict=False):
        inside = (own >= low) & (own < high)
        assert float(weights[inside] @ (risk - own)[inside]) / weights[inside].sum() == pytest.approx(0, abs=0.01)
    assert reduced.expected_auc <= made.models[form][ALL].expected_auc + 0.001


def test_shrinkage_is_that_of_the_likelihood_ratio(made: Reconstruction) -> None:
    # Six terms: Cox and Snell's R2 of the free fit is 1 - exp(-LR / 496), so the factor is 1 + 6 / (496 ln(1 - R2)).
    factor = shrinkage(made.cohort, made.centres["category"], "category")
    assert factor == pytest.approx(0.903, abs=0.002)
    document = json.loads((files("model") / "artefacts" / "shi2026-mg-category-shrunken.json").read_text())
    for row, whole in zip(document["predictors"], shipped()["predictors"], strict=True):
        assert row["coefficient"] == pytest.approx(factor * float(whole["coefficient"]), rel=1e-8)
        assert row["provenance"]["of"]["kind"] == whole["provenance"]["kind"]


@pytest.mark.parametrize(
    ("name", "log_odds", "standard_error"),
    # by hand: ln 1.940 and ln(2.868 / 1.312) / 3.91993, and so on
    [
        ("mg_mmol_l", 0.66269, 0.1995),
        ("ctx_ng_ml", 0.80155, 0.3921),
        ("age_years", 0.06485, 0.01196),
        ("bmi_kg_m2", -0.11205, 0.02823),
    ],
)
def test_published_model_2(name: str, log_odds: float, standard_error: float) -> None:
    i = BORROWED.index(name)
    assert float(PUBLISHED.log_odds[i]) == pytest.approx(log_odds, abs=6e-6)
    assert float(PUBLISHED.standard_errors[i]) == pytest.approx(standard_error, rel=5e-4)


@pytest.mark.parametrize("name", [n for n in VARIABLES if n != "mg_mmol_l"])
def test_means_stay_inside_their_rounding_and_return_the_p_value(name: str) -> None:
    row, means = FIGURES["table_1"][name], group_means(FIGURES, name)
    for mean, group in zip(means, ("without", "osteoporosis"), strict=True):
        assert abs(mean - row[group][0]) <= row["rounding"] + 1e-12
    if "p_value" in row:
        found = stats.ttest_ind_from_stats(means[1], row["osteoporosis"][1], 288, means[0], row["without"][1], 208)
        assert round(float(found.pvalue), 3) == row["p_value"]


@pytest.mark.parametrize("name", [n for n in VARIABLES if n not in ("mg_mmol_l", "p_mmol_l")])
def test_pooled_means_agree_with_table_4(name: str) -> None:
    low, high = pooled_mean_range(FIGURES, name)
    without, osteoporosis = group_means(FIGURES, name)
    assert low <= (208 * without + 288 * osteoporosis) / 496 <= high


def test_phosphate_cannot_agree_with_tables_1_and_4_at_once() -> None:
    # Table 1 allows at most (208 * 1.145 + 288 * 1.11915) / 496 = 1.12999; Table 4 at least (465 * 1.14 + 31 * 1.08) / 496 - 0.005.
    without, osteoporosis = group_means(FIGURES, "p_mmol_l")
    assert (208 * without + 288 * osteoporosis) / 496 == pytest.approx(1.12999, abs=1e-5)
    assert pooled_mean_range(FIGURES, "p_mmol_l")[0] == pytest.approx(1.13125, abs=1e-9)


def test_magnesium_holds_mean_sd_count_and_auc_together() -> None:
    without, osteoporosis = magnesium(FIGURES)
    assert (round(without.mean, 2), round(without.sd, 2)) == (0.87, 0.06)
    assert (round(osteoporosis.mean, 2), round(osteoporosis.sd, 2)) == (0.84, 0.06)
    assert without.share_at_or_below == pytest.approx(68 / 208, abs=1e-12)
    assert osteoporosis.share_at_or_below == pytest.approx(137 / 288, abs=1e-12)
    assert magnesium_auc(without, osteoporosis) == pytest.approx(0.602, abs=1e-12)
    low, high = pooled_mean_range(FIGURES, "mg_mmol_l")
    assert low <= (208 * without.mean + 288 * osteoporosis.mean) / 496 <= high


def test_magnesium_lies_on_its_grid_and_leans_left() -> None:
    for mg in magnesium(FIGURES):
        assert float(mg.masses.sum()) == pytest.approx(1, abs=1e-12)
        values = mg.values(stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000))
        assert np.array_equal(values, np.round(values, 2))
        assert stats.skew(values) < 0


def test_the_cohort_has_the_published_means_sds_and_counts(cohort: Cohort) -> None:
    assert float(cohort.weights.sum()) == pytest.approx(496, abs=1e-9)
    for group, name in enumerate(("without", "osteoporosis")):
        rows = cohort.osteoporosis == group
        weights = cohort.weights[rows]
        for variable in (v for v in VARIABLES if v != "mg_mmol_l"):
            values, (_, sd) = cohort.columns[variable][rows], FIGURES["table_1"][variable][name]
            mean = float(np.average(values, weights=weights))
            assert mean == pytest.approx(group_means(FIGURES, variable)[group], rel=1e-3)
            assert float(np.sqrt(np.average((values - mean) ** 2, weights=weights))) == pytest.approx(sd, rel=0.02)
        low = float(weights @ cohort.mg_at_or_below[rows])
        assert low == pytest.approx(FIGURES["table_2"]["at_or_below_cut_off"][name], abs=0.005)
    assert cohort.columns["age_years"].min() >= 50
    assert np.array_equal(cohort.mg_at_or_below == 1, cohort.columns["mg_mmol_l"] < 0.845)


def test_model_1_comes_back_from_the_cohort(cohort: Cohort) -> None:
    # Table 3, Model 1: 1.868 (1.289-2.706), which is 137 * 140 / (151 * 68) with Woolf's interval.
    fit = logistic(cohort.design(("mg_mmol_l",), {}), cohort.osteoporosis, cohort.weights)
    middle, error = float(fit.coefficients[1]), float(np.sqrt(fit.covariance[1, 1]))
    limits = [round(float(np.exp(middle + z * error)), 3) for z in (0.0, -1.959964, 1.959964)]
    assert limits == [1.868, 1.289, 2.706]


def test_model_2_comes_back_under_both_readings(maker: CohortMaker, h4: Conditioner) -> None:
    for conditioner in (h4, Conditioner(maker, H7, PUBLISHED)):
        fit = conditioner.fit(conditioner.condition(prior_means()))
        assert [round(float(np.exp(b)), 3) for b in fit.coefficients[1:5]] == [1.940, 2.229, 1.067, 0.894]


def test_the_standard_errors_speak_for_four_terms(maker: CohortMaker, h4: Conditioner) -> None:
    h7 = Conditioner(maker, H7, PUBLISHED)
    ratios = {}
    for name, conditioner in (("H4", h4), ("H7", h7)):
        fit = conditioner.fit(conditioner.condition(prior_means()))
        ratios[name] = np.sqrt(np.diag(fit.covariance))[1:5] / PUBLISHED.standard_errors
    assert ratios["H4"] == pytest.approx(1.0, abs=0.025)
    assert 1.25 < ratios["H7"][BORROWED.index("ctx_ng_ml")] < 1.7


def test_the_linear_predictor_at_the_means_is_pinned(cohort: Cohort) -> None:
    # The first estimates put it at 0.369 to 0.374; with Table 4's means and the p-values met it is 0.375.
    centres = {name: cohort.mean(name) for name in PREDICTORS}
    assert float(anchored_fit(cohort, PUBLISHED, centres)[0]) == pytest.approx(0.3752, abs=0.0015)


def test_the_draws_move_phosphate_and_p1np_and_hardly_the_intercept(maker: CohortMaker, h4: Conditioner) -> None:
    centres = dict(zip(PREDICTORS, (64.54, 25.39, 0.4133, 1.13, 0.4884, 55.78), strict=True))
    fits = []
    for draw in prior_draws(3):
        try:
            found = h4.condition(draw)
        except ModelError:
            continue
        fits.append(anchored_fit(maker.cohort(named(found)), PUBLISHED, centres))
    spread = np.std(fits, axis=0)
    assert len(fits) >= 6
    assert np.all(np.ptp(fits, axis=0)[[1, 2, 3, 5]] == 0)
    assert spread[0] < 0.01
    assert 0.1 < spread[4] < 1.0


def test_the_artefact_agrees_with_the_first_estimates() -> None:
    development = shipped()["development"]
    assert 0.69 < float(shipped()["expected_auc"]) < 0.71
    assert float(development["risk_percentiles"]["50"]) == pytest.approx(0.59, abs=0.01)
    assert float(development["free_six_term_fit"]["mean_difference_in_risk"]) < 0.014
    coefficients = {row["name"]: row["coefficient"] for row in shipped()["predictors"]}
    assert -2.1 < coefficients["p_mmol_l"] < -0.4
    assert -0.003 < coefficients["p1np_ng_ml"] < 0.003


def test_there_is_a_prior_with_its_reason_for_every_pair() -> None:
    assert {frozenset(pair) for pair in PAIRS} == {frozenset(pair) for pair in combinations(VARIABLES, 2)}
    assert len(PAIRS) == 21
    assert all(prior.why and prior.sd > 0 for prior in PRIORS.values())


def test_correlations_that_cannot_exist_are_refused(h4: Conditioner) -> None:
    impossible = prior_means()
    impossible[PAIRS.index(("ctx_ng_ml", "p1np_ng_ml"))] = -0.9
    assert np.linalg.eigvalsh(correlation_matrix(named(impossible)))[0] < 0
    with pytest.raises(ModelError, match="cannot exist together"):
        h4.condition(impossible)


def test_logistic_regression_against_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 3))
    y = (rng.random(400) < 1 / (1 + np.exp(-(0.3 + x @ [1.0, -0.5, 0.2])))).astype(float)
    weights = rng.uniform(0.5, 2, 400)
    other = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=10_000).fit(
        x, y, sample_weight=weights
    )
    fit = logistic(np.column_stack([np.ones(400), x]), y, weights)
    assert fit.coefficients == pytest.approx([other.intercept_[0], *other.coef_[0]], abs=1e-10)


def test_an_offset_is_taken_off_the_coefficient() -> None:
    rng = np.random.default_rng(4)
    x = np.column_stack([np.ones(300), rng.normal(size=300)])
    y = (rng.random(300) < 0.4).astype(float)
    plain, shifted = logistic(x, y, np.ones(300)), logistic(x, y, np.ones(300), 0.7 * x[:, 1])
    assert shifted.coefficients == pytest.approx(plain.coefficients - [0, 0.7], abs=1e-10)
    assert shifted.covariance == pytest.approx(plain.covariance, rel=1e-8)
    assert covariance_at(x, np.ones(300), x @ plain.coefficients) == pytest.approx(plain.covariance, rel=1e-8)


@pytest.mark.parametrize(
    ("second", "message"), [(np.arange(6.0), "separated"), (np.ones(6), "collinear")], ids=["separated", "collinear"]
)
def test_regressions_without_an_answer_are_refused(second: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        logistic(np.column_stack([np.ones(6), second]), np.array([0, 0, 0, 1, 1, 1.0]), np.ones(6))


def test_auc_counts_ties_half() -> None:
    # Cases 2, 3, 3; others 1, 3. Pairs won: 2>1, 3>1, 3>1; tied: 3=3 twice; of 6: (3 + 2 * 0.5) / 6.
    score, y = np.array([2.0, 3, 3, 1, 3]), np.array([1.0, 1, 1, 0, 0])
    assert auc(score, y, np.ones(5)) == pytest.approx(4 / 6)


def test_auc_with_ties_and_weights_against_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    score, weights = rng.integers(0, 9, 300).astype(float), rng.uniform(0.5, 2, 300)
    y = (rng.random(300) < 0.2 + 0.06 * score).astype(float)
    assert auc(score, y, weights) == pytest.approx(roc_auc_score(y, score, sample_weight=weights), abs=1e-12)


@pytest.mark.parametrize("factors", [(3.0, 0.0), (0.1, 0.3)])
def test_columns_that_say_the_same_are_named_as_such(factors: tuple[float, float]) -> None:
    rng = np.random.default_rng(6)
    one, other = rng.normal(size=(2, 50))
    x = np.column_stack([np.ones(50), one, other, factors[0] * one + factors[1] * other])
    with pytest.raises(ModelError, match="collinear"):
        logistic(x, (rng.random(50) < 0.5).astype(float), np.ones(50))


def test_weighted_quantiles_are_values_that_were_seen() -> None:
    assert weighted_quantiles(np.array([3.0, 1, 2]), np.array([1.0, 1, 2]), (0.25, 0.5, 0.75, 1.0)) == [1, 2, 2, 3]
