"""The paper's whole method on any cohort; and on 496 synthetic women, where the paper's figures come back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from model import ModelError, assess
from model.local import paper
from model.local.cohort import LocalCohort, read_cohort
from model.reconstruction.recipe import Reconstruction
from model.reconstruction.sample import Sample, representative_sample

MakeSite = Callable[..., Path]


@pytest.fixture(scope="module")
def sample(made: Reconstruction) -> Sample:
    return representative_sample(made.cohort)


@pytest.fixture(scope="module")
def cohort(sample: Sample) -> LocalCohort:
    return LocalCohort(sample.columns, sample.mg_at_or_below == 1, sample.osteoporosis, {}, {})


@pytest.fixture(scope="module")
def results(cohort: LocalCohort) -> dict[str, Any]:
    return paper.run(cohort, resamples=50)


def rows(results: dict[str, Any], model: str) -> dict[str, Any]:
    return {row["name"]: row for row in results["models"][model]["rows"]}


def test_the_sample_returns_the_tables(sample: Sample, results: dict[str, Any]) -> None:
    assert sample.distance < 0.1
    assert results["category"]["at_or_below"] == {"osteoporosis": 137, "without": 68}
    flag = rows(results, "model_1")[paper.CATEGORY]
    assert [round(flag[name], 3) for name in ("odds_ratio", "low", "high")] == [1.868, 1.289, 2.706]
    # Table 2: AUC 0.602 (0.551 to 0.652); Table 1: means and SDs of magnesium 0.87, 0.06 and 0.84, 0.06.
    area = results["roc"]["mg_mmol_l"]["auc"]
    assert area["value"] == pytest.approx(0.602, abs=0.004)
    assert (area["low"], area["high"]) == (pytest.approx(0.551, abs=0.004), pytest.approx(0.652, abs=0.004))
    assert results["groups"]["mg_mmol_l"]["without"]["mean"] == pytest.approx(0.867, abs=0.002)


def test_the_sample_returns_model_2(results: dict[str, Any]) -> None:
    # Table 3, Model 2.
    published = {paper.CATEGORY: 1.940, "ctx_ng_ml": 2.229, "age_years": 1.067, "bmi_kg_m2": 0.894}
    found = rows(results, "model_2_four_printed")
    for name, odds_ratio in published.items():
        assert np.log(found[name]["odds_ratio"] / odds_ratio) / found[name]["standard_error"] == pytest.approx(
            0, abs=0.1
        )


def test_lasso_selects_the_papers_six_at_lambda_min(results: dict[str, Any]) -> None:
    assert results["lasso"]["lambda_min"]["selected"] == list(paper.PREDICTORS)  # type: ignore[attr-defined]
    assert len(results["lasso"]["lambda_1se"]["selected"]) < 6


@pytest.mark.parametrize("name", paper.SIX)
def test_the_nomogram_gives_the_regressions_risks(cohort: LocalCohort, name: str) -> None:
    terms = paper.MODELS[name]
    found = paper.fit(cohort, terms)
    drawn = paper.nomogram(cohort, terms, found)
    risks = assess(drawn, cohort.columns, cohort.mg_at_or_below).risk
    assert risks == pytest.approx(paper.risks(cohort, terms, found), abs=1e-12)


def test_results_are_plain_json(results: dict[str, Any]) -> None:
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_six_term_models_are_complete(results: dict[str, Any]) -> None:
    for name in paper.SIX:
        model = results["models"][name]
        assert {"rows", "performance", "hosmer_lemeshow", "nomogram", "decision_curve"} <= model.keys()
        widest = [abs(ends["points"][1] - ends["points"][0]) for ends in model["nomogram"]["points"].values()]
        assert max(widest) == pytest.approx(100, abs=1e-9)
        assert results["bootstrap"][name]["measures"]["Slope"]["corrected"] < 1


@pytest.mark.parametrize("lacking", ["column", "all values", "one value"])
def test_without_osteocalcin_the_seven_term_model_is_left_out(make_site: MakeSite, lacking: str) -> None:
    file = make_site(300)
    table = pd.read_csv(file)
    if lacking == "column":
        table = table.drop(columns="ocn_ng_ml")
    else:  # as `screener model cohort` writes it where the site does not measure it, or not always
        table.loc[: 0 if lacking == "one value" else 299, "ocn_ng_ml"] = float("nan")
    table.to_csv(file, index=False)
    women = read_cohort(file, optional=("ocn_ng_ml",))
    assert women.size == 300
    found = paper.run(women, resamples=20)
    assert found["models_left_out"] == {"model_2_all_seven": ["ocn_ng_ml"]}
    assert found["columns_not_used"] == {
        "ocn_ng_ml": f"empty in {1 if lacking == 'one value' else 300} of 300 whole rows"
    }
    assert "model_2_all_seven" not in found["models"]
    assert "ocn_ng_ml" not in found["groups"]


def test_fewer_women_than_folds_is_an_error(make_site: MakeSite) -> None:
    with pytest.raises(ModelError):
        paper.run(read_cohort(make_site(12)), resamples=20)
