"""`screener explain`: every case told as the job decides it, from a folder and from both servers, and nothing written."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fhir_fixtures import cases
from fhir_fixtures.cases import Case
from screener.assessment.identity import Canonical
from screener.base.errors import ScreenerError
from screener.commands.cli import cli
from screener.run.job import execute
from screener.run.options import Options
from tests.e2e.expectations import ENCODER, check, settings
from tests.e2e.site import Site, writes
from tests.fhir_samples import observation, patient

Json = dict[str, Any]
DAY = "2025-11-01"


def export(case: Case, folder: Path) -> Path:
    source = folder / "export"
    source.mkdir()
    (source / "all.ndjson").write_bytes(b"".join(ENCODER.encode(r) + b"\n" for r in case.resources))
    return source


def told(*arguments: str, **environment: str) -> str:
    result = CliRunner().invoke(cli, ["explain", *arguments], env={"SCREENER_FOLDER_COMPLETE": "true", **environment})
    if isinstance(result.exception, ScreenerError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def some_of_each() -> list[Case]:
    """Two cases of each outcome and reason; all of them are judged in `tests/clinical/test_cases.py`."""
    found: dict[tuple[str, str], list[Case]] = {}
    for case in cases.load():
        found.setdefault((case.expected["outcome"], case.expected["reason"]), []).append(case)
    return [case for alike in found.values() for case in (alike[0], *alike[1:][-1:])]


@pytest.mark.parametrize("case", some_of_each(), ids=lambda case: case.name)
def test_case_is_explained_as_the_job_decides_it(case: Case, tmp_path: Path) -> None:
    source, out = export(case, tmp_path), tmp_path / "out"
    cases.write_site(case, tmp_path)
    asked = ("p1", "--from", str(source), "--now", case.now, "--config", str(tmp_path / "screener.toml"))
    found = json.loads(told(*asked, "--json"))
    assert (found["outcome"], found["reason"]) == (case.expected["outcome"], case.expected["reason"])
    options = Options(patients=("p1",), from_folder=source, to_folder=out, now=datetime.fromisoformat(case.now))
    # By name, for a patient whose only results are of unknown codes is in no backfill. p1 is whom a case is about.
    summary = execute(settings(case, tmp_path), options).summary.plain()
    lines = (out / "RiskAssessment.ndjson").read_text().splitlines() if out.exists() else []
    check(case, summary, [json.loads(line) for line in lines], Canonical().base)
    written = {a["method"]["coding"][0]["code"]: a for a in map(json.loads, lines)}
    assert {row["method"] for row in found["assessments"] if row["action"] == "create"} == written.keys()
    for row in found["assessments"]:
        used = {
            m["observation"].partition("#")[0] for m in found["measurements"] if m["fates"].get(row["method"]) == "used"
        }
        basis = written.get(row["method"], {}).get("basis", [])
        assert used == {entry["reference"].partition("/")[2] for entry in basis}
        assert bool(row["reason"]) is (row["method"] not in written)
    if case.expected["outcome"] == "not_eligible":
        assert case.expected["reason"] in {rule["reason"] for rule in found["rules"]}
    refusals: dict[str, int] = {}
    for measurement in found["measurements"]:
        if measurement["analyte"] == "mg" and measurement["refused"]:
            refusals[measurement["refused"]] = refusals.get(measurement["refused"], 0) + 1
    assert case.expected.get("refusals", refusals) == refusals
    # Afterwards nothing is left to do, and it says so.
    again = json.loads(told(*asked, "--to", str(out), "--json"))
    assert {row["action"] for row in again["assessments"]} <= {"unchanged", "nothing"}
    assert len(told(*asked).splitlines()) > 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    case = next(case for case in cases.load() if case.name == "magnesium-2.0-mg-dl")
    return export(case, tmp_path)


def test_on_a_terminal_it_reads_from_top_to_bottom(folder: Path) -> None:
    said = told("p1", "--from", str(folder), "--now", "2026-01-31T02:00:00Z")
    order = ["Patient/p1 at 2026-01-31", "Rules", "Results", "Nomogram", "Assessments"]
    places = [said.index(word) for word in order if word in said]
    assert places == sorted(places)
    assert "2.0 mg/dL" in said
    assert "0.8229 mmol/L" in said  # 2.0 x 10 / 24.305, by hand
    assert "a run would write it" in said


def test_what_a_sender_wrote_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    odd = observation("o1", "p1", "mg", "0.84", f"{DAY}T08:00:00Z")
    odd["valueQuantity"] |= {"unit": "\x1b]0;owned\x07[bold red]mmol/L", "code": "\x1b[31m[red]"}
    source = tmp_path / "export"
    source.mkdir()
    (source / "all.ndjson").write_text("\n".join(json.dumps(r) for r in (patient("p1"), odd)))
    said = told("p1", "--from", str(source))
    assert "\x1b" not in said
    assert "[red]" in said


def test_each_diagnosis_is_told_with_its_row_and_source_or_as_on_no_list(tmp_path: Path) -> None:
    about = {"resourceType": "Condition", "subject": {"reference": "Patient/p1"}}
    cm = "http://hl7.org/fhir/sid/icd-10-cm"
    rows = [
        patient("p1"),
        observation("o1", "p1", "mg", "0.84", f"{DAY}T08:00:00Z"),
        {**about, "id": "c1", "code": {"coding": [{"system": cm, "code": "C50.911"}]}},
        {**about, "id": "c2", "code": {"coding": [{"system": cm, "code": "E11.9", "display": "Type 2 diabetes"}]}},
        {**about, "id": "c3", "code": {"text": "Leberzirrhose"}},
    ]
    source = tmp_path / "export"
    source.mkdir()
    (source / "all.ndjson").write_text("\n".join(map(json.dumps, rows)))
    found = json.loads(told("p1", "--from", str(source), "--json"))
    evidence = {rule["rule"]: rule["evidence"] for rule in found["rules"]}
    listed = next(line for line in evidence["exclusions today"] if line.startswith("Condition/c1"))
    assert listed.startswith(f"Condition/c1: malignancy by {cm}|C50* (")
    assert "icd10cm" in listed or "ecqm" in listed
    assert any(
        'suspected:hepatic on no list, by its words "Leberzirrhose"' in line for line in evidence["exclusions today"]
    )
    assert evidence["on no list"] == [
        f'Condition/c2: {cm}|E11.9 "Type 2 diabetes": on no list',
        'Condition/c3: no code "Leberzirrhose": on no list',
    ]


@pytest.mark.parametrize("name", ["Patient/p1", "https://fhir.example/Patient/p1", "p 1"])
def test_another_name_than_the_logical_id_is_refused(name: str, folder: Path) -> None:
    with pytest.raises(ScreenerError, match="logical id"):
        told(name, "--from", str(folder))


def test_a_patient_that_is_not_shown_is_said_to_be(folder: Path) -> None:
    with pytest.raises(ScreenerError, match="shows no Patient/p2 and no result of hers"):
        told("p2", "--from", str(folder))


def test_from_a_server_it_says_what_a_run_then_does_and_writes_nothing(site: Site) -> None:
    site.woman()
    site.stay("w1", DAY)
    panel = observation(site.id("panel"), site.id("w1"), "mg", "0.80", f"{DAY}T07:00:00Z")
    part = {"code": panel["code"], "valueQuantity": panel.pop("valueQuantity")}
    site.put({**panel, "code": {"text": "Electrolytes"}, "component": [part]})

    def explained() -> Json:
        found: Json = json.loads(site.call("explain", site.id("w1"), "--json").stdout)
        return found

    first = explained()
    assert {row["method"]: row["action"] for row in first["assessments"]} == {"nomogram": "create", "mg-flag": "create"}
    inside = next(m for m in first["measurements"] if m["observation"].endswith("#0"))
    assert (inside["sent"], inside["fates"]["mg-flag"]) == ("0.8 mmol/L", "older")
    assert site.assessments("w1") == []
    assert site.run("--backfill").summary["writes"] == writes(created=2)
    after = explained()
    assert {row["action"] for row in after["assessments"]} == {"unchanged"}
    result = site.read(f"Observation/{site.id('w1-mg-' + DAY)}")
    site.put({**result, "status": "corrected", "valueQuantity": {**result["valueQuantity"], "value": 0.95}})
    told_now = {row["method"]: (row["action"], row["because"]) for row in explained()["assessments"]}
    assert told_now["mg-flag"][0] == "amend"
    assert "prediction" in told_now["mg-flag"][1]
