"""What a case expects of a run."""

from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import msgspec

from fhir_fixtures import cases
from fhir_fixtures.cases import Case
from screener.assessment.identity import Canonical
from screener.config.loading import load

Json = dict[str, Any]

ENCODER = msgspec.json.Encoder(decimal_format="number")


def settings(case: Case, folder: Path) -> Any:
    cases.write_site(case, folder)
    state = {"SCREENER_STATE_URL": f"sqlite:///{folder / 'state.sqlite'}", "SCREENER_FOLDER_COMPLETE": "true"}
    return load(folder / "screener.toml", environment=state)


def check(case: Case, summary: Json, assessments: list[Json], canonical: str) -> None:
    """What the run says and wrote, against what was worked by hand."""
    expected = case.expected
    found = {outcome: reasons for outcome, reasons in summary["outcomes"].items() if reasons}
    assert found.get(expected["outcome"]) == {expected["reason"]: 1}
    assert not any(empty(assessment) for assessment in assessments)
    by_method = {a["method"]["coding"][0]["code"]: a for a in assessments}
    assert by_method.keys() == {
        name for name, wanted in (("mg-flag", expected["flag"]), ("nomogram", expected["nomogram"])) if wanted
    }
    if expected["flag"]:
        _check_flag(by_method["mg-flag"], expected["flag"], canonical)
    if expected["nomogram"]:
        _check_nomogram(by_method["nomogram"], expected["nomogram"], canonical)
    if "caveats" in expected:
        assert set(expected["caveats"]) <= caveats(by_method["mg-flag"], canonical)
    if "refusals" in expected:
        assert summary["refusals"]["mg"] == expected["refusals"]


def _check_flag(assessment: Json, wanted: Json, canonical: str) -> None:
    side = assessment["prediction"][0]["qualitativeRisk"]["coding"][0]["code"]
    assert side == ("at-or-below" if wanted["at_or_below"] else "above")
    assert assessment["occurrenceDateTime"] == wanted["occasion"]
    assert Decimal(str(evidence(assessment, canonical)["mg"])) == Decimal(wanted["mg_mmol_l"])


def _check_nomogram(assessment: Json, wanted: Json, canonical: str) -> None:
    assert assessment["occurrenceDateTime"] == wanted["occasion"]
    # Worked by hand to four places, written to two.
    bmi = Decimal(wanted["bmi_kg_m2"]).quantize(Decimal("0.01"), ROUND_HALF_EVEN)
    used = evidence(assessment, canonical)
    assert Decimal(str(used["bmi"])) == bmi
    for predictor, value in wanted.get("values", {}).items():
        worked = Decimal(value)
        assert Decimal(str(used[predictor])).quantize(worked) == worked


def empty(value: Any) -> bool:
    """Whether there is an empty array or object anywhere: FHIR's JSON knows none (json.html)."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return not value or any(empty(part) for part in parts)
    return False


def caveats(assessment: Json, canonical: str) -> set[str]:
    """The coded caveats of an assessment."""
    url = Canonical(canonical).extension("caveat")
    found = (e["valueCodeableConcept"]["coding"] for e in assessment["extension"] if e["url"] == url)
    return {coding["code"] for codings in found for coding in codings}


def evidence(assessment: Json, canonical: str) -> dict[str, Any]:
    """The values that an assessment says it used, by predictor."""
    values = {}
    for extension in assessment["extension"]:
        if extension["url"] == Canonical(canonical).extension("evidence"):
            parts = {part["url"]: part for part in extension["extension"]}
            values[parts["predictor"]["valueCode"]] = parts["value"]["valueQuantity"]["value"]
    return values
