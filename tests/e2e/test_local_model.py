"""A site's own model, from its records to its server: cohort, recalibration, and the assessments that the new model writes."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fhir_fixtures.population import generate, write_ndjson
from model import Artefact, load_artefact
from model.artefact import load_document, write_artefact
from model.frames import assess_woman
from model.predictors import FURTHER, OCN
from tests.command import screener
from tests.e2e.site import Site, writes
from tests.fhir_samples import observation

Json = dict[str, Any]
DAY = "2025-11-01"
NOW = "2026-01-31T02:00:00Z"
# 60 kg and 158 cm of `Site.stay`; born in 1958 as the woman of the samples is.
VALUES = {
    "bmi_kg_m2": Decimal("60.0") / Decimal("1.58") ** 2,
    "mg_mmol_l": Decimal("0.84"),
    "p_mmol_l": Decimal("1.10"),
    "ctx_ng_ml": Decimal("0.47"),
    "p1np_ng_ml": Decimal("54.0"),
}


def command(folder: Path, *arguments: str) -> str:
    return screener("model", *arguments, cwd=folder, SCREENER_FOLDER_COMPLETE="true").stdout


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artefact of a site: its synthetic records pulled and the published model's slope refitted to them."""
    folder = tmp_path_factory.mktemp("site")
    write_ndjson(folder / "export", generate(1500, 5, date(2026, 1, 31), dxa_share=0.9))
    command(folder, "cohort", "--from", "export", "--now", NOW, "--out", "women.parquet")
    own = ("--method", "slope", "--id", "h-2026", "--out", "h.json")
    command(folder, "recalibrate", "--cohort", "women.parquet", *own)
    return folder / "h.json"


def expected(artefact: Artefact, **changed: Decimal) -> tuple[Decimal, Decimal, Decimal]:
    """Risk and its interval in per cent, to the tenth that is written: by Python's door to the model, not by the job's."""
    woman = assess_woman(artefact, {"age_years": Decimal(67), **VALUES, **changed})
    low, risk, high = (
        Decimal(100 * woman[name]).quantize(Decimal("0.1")) for name in ("risk_low", "risk", "risk_high")
    )
    return low, risk, high


def said(assessment: Json) -> tuple[Decimal, Decimal, Decimal]:
    prediction = assessment["prediction"][0]
    parts = next(e["extension"] for e in prediction["extension"] if e["url"].endswith("model-uncertainty-interval"))
    interval = next(part["valueRange"] for part in parts if part["url"] == "range")
    numbers = (interval["low"]["value"], prediction["probabilityDecimal"], interval["high"]["value"])
    low, risk, high = (Decimal(str(number)) for number in numbers)
    return low, risk, high


def model_of(assessment: Json) -> Json:
    coding: Json = assessment["method"]["coding"][1]
    return coding


def caveats(assessment: Json) -> set[str]:
    marks = (e for e in assessment["extension"] if e["url"].endswith("/caveat"))
    return {mark["valueCodeableConcept"]["coding"][0]["code"] for mark in marks}


def test_a_sites_model_rewrites_every_assessment_and_says_so(site: Site, local: Path) -> None:
    site.woman("w1", birthDate="1958-03-01")
    site.stay("w1", DAY)
    site.woman("w2", birthDate="1958-03-01")
    site.stay("w2", DAY, mg="0.90")
    assert site.run("--backfill").summary["writes"] == writes(created=4)
    shipped = {short: site.assessments(short, "nomogram")[0] for short in ("w1", "w2")}
    assert said(shipped["w1"]) == expected(load_artefact())
    assert "uncalibrated" in caveats(shipped["w1"])

    # No yes to an uncalibrated model is needed for the site's own; the flags, which no model makes, stand as they are.
    site.environment = {"SCREENER_MODEL": str(local), "SCREENER_ACKNOWLEDGE_UNCALIBRATED": "false"}
    withheld = site.run("--backfill", expect=7)
    assert "the model changed since the last run" in withheld.stdout
    assert (withheld.summary["withheld"], withheld.summary["writes"]) == (True, writes(amended=2, unchanged=2))
    assert site.assessments("w1", "nomogram") == [shipped["w1"]]
    accepted = site.run("--backfill", "--accept-large-change")
    assert accepted.summary["writes"] == writes(amended=2, unchanged=2)
    artefact = load_artefact(local)
    own = {short: site.assessments(short, "nomogram")[0] for short in ("w1", "w2")}
    assert said(own["w1"]) == expected(artefact)
    assert said(own["w2"]) == expected(artefact, mg_mmol_l=Decimal("0.90"))
    assert said(own["w1"]) != said(shipped["w1"])
    for short, assessment in own.items():
        assert assessment["id"] == shipped[short]["id"]
        assert assessment["identifier"] == shipped[short]["identifier"]
        assert model_of(assessment) == {
            "system": f"{site.canonical}/CodeSystem/model",
            "version": "1.0.0",
            "code": "h-2026",
        }
        assert "uncalibrated" not in caveats(assessment)
        assert "not been recalibrated" not in json.dumps(assessment)
        assert "this site's own women" in assessment["prediction"][0]["rationale"]
    device = site.read(own["w1"]["performer"]["reference"])
    assert device["modelNumber"] == "h-2026"

    assert site.run("--backfill").summary["writes"] == writes(unchanged=4)
    assert site.run().summary["writes"] in (writes(), writes(unchanged=4))  # what the watermark overlaps

    # A plan takes the risks of that run as the model means them, whichever model it would take by itself.
    site.environment = {}
    run_id = accepted.summary["run_id"]
    planned = json.loads(site.call("plan", "--run", run_id, "--prevalence", "30", "--json").stdout)
    assert [row["moved"] for row in planned["rows"]] == pytest.approx([row["threshold"] for row in planned["rows"]])

    # Back to the published model: asked for once more, and every word as it was.
    assert site.run("--backfill", "--accept-large-change").summary["writes"] == writes(amended=2, unchanged=2)
    back = site.assessments("w1", "nomogram")[0]
    assert said(back) == said(shipped["w1"])
    assert model_of(back) == model_of(shipped["w1"])
    assert "uncalibrated" in caveats(back)


def with_osteocalcin(file: Path) -> Path:
    """The published model as a site's own, with osteocalcin: 0.05 to the log odds for each ng/mL beyond 19."""
    document = load_document()
    said = {"kind": "fitted", "recipe": "for this test"}
    osteocalcin = {
        "name": OCN,
        "unit": FURTHER[OCN].unit,
        "form": "continuous",
        "centre": 19.0,
        "coefficient": 0.05,
        "provenance": said,
        "axis": list(FURTHER[OCN].axis),
        "possible": list(FURTHER[OCN].possible),
        "development_range": {"low": 7.0, "high": 46.0, "provenance": said},
    }
    covariance = [[*row, 0.0] for row in document["covariance"]] + [[*[0.0] * 7, 0.0001]]
    document |= {"id": "h-ocn", "calibration": "local", "covariance": covariance}
    document["predictors"] = [*document["predictors"], osteocalcin]
    write_artefact(document, file)
    return file


def test_a_further_predictor_of_a_sites_model_is_read_and_followed_at_night(site: Site) -> None:
    site.woman()
    site.stay("w1", DAY)
    site.environment = {"SCREENER_MODEL": str(with_osteocalcin(site.folder / "own.json"))}
    first = site.run("--backfill").summary
    assert (first["outcomes"]["flag_only"], first["writes"]["created"]) == ({"missing_ocn": 1}, 1)
    name = site.id("w1-ocn")
    site.put(observation(name, site.id("w1"), "ocn", "29", f"{DAY}T08:00:00Z"))
    assert site.run().summary["writes"]["created"] == 1
    (nomogram,) = site.assessments("w1", "nomogram")
    assert {"reference": f"Observation/{name}"} in nomogram["basis"]
    low, risk, high = expected(load_artefact(site.folder / "own.json"), ocn_ng_ml=Decimal(29))
    assert said(nomogram) == (low, risk, high)
    site.put(observation(name, site.id("w1"), "ocn", "19", f"{DAY}T08:00:00Z"))
    assert site.run().summary["writes"]["amended"] == 1
    assert said(site.assessments("w1", "nomogram")[0])[1] == expected(load_artefact())[1]


def test_the_published_model_is_not_written_without_a_yes(site: Site) -> None:
    site.woman()
    site.stay("w1", DAY)
    ended = site.run("--backfill", expect=2, SCREENER_ACKNOWLEDGE_UNCALIBRATED="false")
    assert "acknowledge_uncalibrated" in ended.stderr
    assert site.assessments("w1") == []


def test_a_nightly_run_by_another_model_than_the_last_asks_for_a_backfill(site: Site, local: Path) -> None:
    """It would leave everybody else with risks of the model before."""
    site.woman()
    site.stay("w1", DAY)
    site.run("--backfill")
    site.environment = {"SCREENER_MODEL": str(local)}
    ended = site.run(expect=2)
    assert "or the model changed since the last full run" in ended.stderr
    assert "screener run --backfill --dry-run" in ended.stderr
    assert "--accept-large-change" in ended.stderr
    site.run("--backfill", "--accept-large-change")
    assert site.run().summary["writes"]["failed"] == 0
