"""Validation and recalibration on synthetic sites whose departure from the model is known."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest

from model import Artefact, ModelError, load_artefact
from model.artefact import write_artefact
from model.local.cohort import LocalCohort, read_cohort
from model.local.recalibrate import Identity, Method, recalibrate
from model.local.validate import Judged, interval_of_c_too_narrow, validate
from model.predictors import OCN, PREDICTORS
from model.stats.calibration import Estimate

MakeSite = Callable[..., Path]
SCHEMA = json.loads((files("model") / "artefacts" / "artefact.schema.json").read_text(encoding="utf-8"))
SITE = Identity("site-x", "1.0.0", "Site X")
PUBLISHED = load_artefact()


def made(
    cohort: LocalCohort, method: Method, folder: Path, base: Artefact = PUBLISHED, further: tuple[str, ...] = ()
) -> Artefact:
    """The recalibrated artefact, by way of its file."""
    write_artefact(recalibrate(cohort, base, method, SITE, further=further), folder / "site.json")
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads((folder / "site.json").read_text()))
    return load_artefact(folder / "site.json")


def test_a_site_like_the_model_is_found_calibrated(make_site: MakeSite) -> None:
    found = validate(read_cohort(make_site(4000)), PUBLISHED)
    overall = found["overall"]
    assert overall["calibration_in_the_large"]["low"] < 0 < overall["calibration_in_the_large"]["high"]
    assert overall["calibration_slope"]["low"] < 1 < overall["calibration_slope"]["high"]
    assert overall["observed_expected"]["low"] < 1 < overall["observed_expected"]["high"]
    assert found["verdict"] == ["Calibrated here as far as these women can tell"]
    assert {row["name"] for row in found["subgroups"]} >= {"age 50 to 64", "age 75 and above", "period 2025Q1"}
    assert [row["name"] for row in found["reduced"]] == [nomogram.name for nomogram in PUBLISHED.reduced]


def test_a_site_with_a_lower_prevalence_is_told_to_recalibrate_the_intercept(make_site: MakeSite) -> None:
    found = validate(read_cohort(make_site(4000, intercept=-1.5)), PUBLISHED)
    assert found["overall"]["calibration_in_the_large"]["value"] == pytest.approx(-1.5, abs=0.15)
    assert found["overall"]["observed_expected"]["high"] < 1
    assert "Risks are too high here on average: recalibrate the intercept" in found["verdict"]


def test_too_extreme_risks_are_told(make_site: MakeSite) -> None:
    found = validate(read_cohort(make_site(8000, slope=0.5)), PUBLISHED)
    assert found["overall"]["calibration_slope"]["value"] == pytest.approx(0.5, abs=0.1)
    assert "Risks are too extreme here: recalibrate intercept and slope" in found["verdict"]


def test_too_few_women_say_nothing_and_the_verdict_says_so(make_site: MakeSite) -> None:
    found = validate(read_cohort(make_site(120)), PUBLISHED)
    assert sum(sentence.startswith("Too few women to say") for sentence in found["verdict"]) == 3
    assert not any("recalibrate intercept and slope" in sentence for sentence in found["verdict"])


def test_the_intercept_is_found_and_the_slopes_are_kept(make_site: MakeSite, tmp_path: Path) -> None:
    cohort = read_cohort(make_site(4000, intercept=-1.5))
    site = made(cohort, "intercept", tmp_path)
    assert (site.id, site.calibration) == ("site-x", "local")
    assert [p.coefficient for p in site.predictors] == [p.coefficient for p in PUBLISHED.predictors]
    after = validate(cohort, site)
    assert after["overall"]["calibration_in_the_large"]["value"] == pytest.approx(0, abs=1e-8)
    for row in after["reduced"]:
        assert row["calibration_in_the_large"]["value"] == pytest.approx(0, abs=1e-8)


def test_intercept_and_slope_are_found_together(make_site: MakeSite, tmp_path: Path) -> None:
    cohort = read_cohort(make_site(8000, intercept=-1.0, slope=0.6))
    site = made(cohort, "slope", tmp_path)
    ratios = [
        ours.coefficient / theirs.coefficient
        for ours, theirs in zip(site.predictors, PUBLISHED.predictors, strict=True)
    ]
    assert np.ptp(ratios) < 1e-6
    assert ratios[0] == pytest.approx(0.6, abs=0.08)
    after = validate(cohort, site)["overall"]
    assert after["calibration_slope"]["value"] == pytest.approx(1, abs=1e-8)
    # On women whom it has not seen it holds as well, to sampling error.
    fresh = validate(read_cohort(make_site(8000, intercept=-1.0, slope=0.6, seed=2, name="fresh.csv")), site)["overall"]
    assert fresh["calibration_slope"]["low"] < 1 < fresh["calibration_slope"]["high"]


def test_a_refit_finds_the_coefficients_again(make_site: MakeSite, tmp_path: Path) -> None:
    site = made(read_cohort(make_site(8000)), "refit", tmp_path)
    errors = np.sqrt(np.diag(site.covariance))[1:]
    for i, (ours, theirs) in enumerate(zip(site.predictors, PUBLISHED.predictors, strict=True)):
        assert abs(ours.coefficient - theirs.coefficient) < 3.5 * errors[i]
        assert ours.provenance["kind"] == "fitted"


def test_a_further_predictor_is_found_and_the_nomogram_without_it_is_kept(make_site: MakeSite, tmp_path: Path) -> None:
    """Osteocalcin adds 0.08 to the log odds for each ng/mL: a strong effect, so that the ridge leaves it nearly whole."""
    cohort = read_cohort(make_site(8000, ocn=0.08), further=[OCN])
    site = made(cohort, "refit", tmp_path, further=(OCN,))
    assert (site.further, len(site.covariance)) == ((OCN,), 8)
    osteocalcin = site.predictors[-1]
    error = float(np.sqrt(site.covariance[7, 7]))
    assert osteocalcin.coefficient == pytest.approx(0.08, abs=3 * error)
    # exp(2.9 +- 2.326 * 0.4), the 1st and 99th percentile of the log-normal distribution it was drawn from.
    assert osteocalcin.development_range == pytest.approx((7.2, 46.1), rel=0.06)
    without = site.reduced[0]
    assert (without.name, [p.name for p in without.predictors]) == ("without-ocn", list(PREDICTORS))
    with_it, left = (validate(cohort, one)["overall"]["c"]["value"] for one in (site, PUBLISHED))
    assert with_it > left + 0.03
    again = recalibrate(cohort, site, "intercept", SITE)
    assert [row["name"] for row in again["predictors"]] == [*PREDICTORS, OCN]


@pytest.mark.parametrize(
    ("method", "further", "words"),
    [("slope", OCN, "Take --method refit"), ("refit", "vitd_nmol_l", "cannot be added. Those that can: ocn_ng_ml")],
)
def test_what_cannot_be_added(make_site: MakeSite, method: Method, further: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        recalibrate(read_cohort(make_site()), PUBLISHED, method, SITE, further=[further])


def test_women_without_the_further_predictor_are_left_out_and_counted(make_site: MakeSite) -> None:
    file = make_site()
    table = pd.read_csv(file)
    table.loc[:99, OCN] = np.nan
    table.to_csv(file, index=False)
    found = read_cohort(file, further=[OCN])
    assert (found.size, found.left_out) == (1900, {OCN: 100})
    assert read_cohort(file).size == 2000


def test_a_refit_does_not_depend_on_the_order_of_the_women_but_for_the_folds(make_site: MakeSite) -> None:
    first = recalibrate(read_cohort(make_site(1000)), PUBLISHED, "slope", SITE)
    path = make_site(1000)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    second = recalibrate(read_cohort(path), PUBLISHED, "slope", SITE)
    assert second["development"]["data"]["digest"] == first["development"]["data"]["digest"]
    assert second["intercept"]["value"] == pytest.approx(first["intercept"]["value"], abs=1e-12)


@pytest.mark.parametrize(("method", "least"), [("intercept", 20), ("slope", 50), ("refit", 100)])
def test_too_few_women_for_a_method(make_site: MakeSite, method: Method, least: int) -> None:
    cohort = read_cohort(make_site(30))
    with pytest.raises(ModelError, match=f"are too few for the method {method}: {least} are needed"):
        recalibrate(cohort, PUBLISHED, method, SITE)


@pytest.mark.parametrize("rare", [True, False])
def test_the_smaller_class_decides_whether_there_are_enough(make_site: MakeSite, rare: bool) -> None:  # noqa: FBT001
    """Of 1,000 women, 19 and 20 with osteoporosis, or without."""
    cohort = read_cohort(make_site(1000))
    for few in (19, 20):
        outcome = np.full(cohort.size, not rare)
        outcome[:few] = rare
        sparse = replace(cohort, osteoporosis=outcome.astype(cohort.osteoporosis.dtype))
        if few < 20:
            with pytest.raises(ModelError, match="19 women in the smaller class are too few"):
                recalibrate(sparse, PUBLISHED, "intercept", SITE)
        else:
            assert recalibrate(sparse, PUBLISHED, "intercept", SITE)["calibration"] == "local"


def test_a_model_that_ranks_the_wrong_way_round_is_refused(make_site: MakeSite) -> None:
    with pytest.raises(ModelError, match="wrong way round"):
        recalibrate(read_cohort(make_site(2000, slope=-1)), PUBLISHED, "slope", SITE)


def test_the_continuous_model_can_be_recalibrated_too(make_site: MakeSite, tmp_path: Path) -> None:
    continuous = load_artefact("shi2026-mg-continuous")
    site = made(read_cohort(make_site(2000)), "intercept", tmp_path, continuous)
    assert [p.form for p in site.predictors] == ["continuous"] * 6
    assert site.predictors[2].centre == pytest.approx(0.853, abs=0.01)


def test_small_cohort_gets_its_interval_of_c_from_the_bootstrap(make_site: MakeSite) -> None:
    small = read_cohort(make_site(110, intercept=-2.6))
    assert small.events < 15
    found = validate(small, PUBLISHED, resamples=400)
    assert any("The interval of C is too narrow" in sentence for sentence in found["verdict"])
    bootstrap, delong = found["c_bootstrap"], found["overall"]["c"]
    assert bootstrap["value"] == pytest.approx(delong["value"])
    assert 0 < bootstrap["low"] < bootstrap["value"] < bootstrap["high"] <= 1
    assert bootstrap == validate(small, PUBLISHED, resamples=400)["c_bootstrap"]


@pytest.mark.parametrize(
    ("women", "events", "too_narrow"),
    [(400, 14, True), (400, 15, False), (149, 15, False), (149, 134, False), (400, 390, True)],
)
def test_when_the_interval_of_c_is_called_too_narrow(women: int, events: int, *, too_narrow: bool) -> None:
    estimate = Estimate(0.7, 0.05, 0.6, 0.8)
    judged = Judged("all", women, events, *[estimate] * 5, 0.2, 0.3)  # type: ignore[arg-type,call-arg]
    assert interval_of_c_too_narrow(judged) is too_narrow


def test_with_few_women_a_rare_outcome_is_too_few() -> None:
    estimate = Estimate(0.7, 0.05, 0.6, 0.8)
    # 15 of 149 are 10.07 %, 15 of 151 are 9.9 %: only below 150 women and 10 % together is it called so.
    assert not interval_of_c_too_narrow(Judged("all", 151, 15, *[estimate] * 5, 0.2, 0.3))  # type: ignore[arg-type,call-arg]


def test_a_moved_artefact_says_that_its_intervals_are_wide(make_site: MakeSite, tmp_path: Path) -> None:
    cohort = read_cohort(make_site(800))
    for method in ("intercept", "slope"):
        assert "99.9 %" in recalibrate(cohort, PUBLISHED, method, SITE)["interval_meaning"]
    assert "99.9 %" not in recalibrate(cohort, PUBLISHED, "refit", SITE)["interval_meaning"]
