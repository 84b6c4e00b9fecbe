"""The job through its front door, against the embedded server and against a real HAPI FHIR: both must end alike."""

from datetime import UTC, datetime, timedelta

import pytest
import requests

from tests.e2e.site import Json, Site, writes
from tests.fhir_samples import observation

DAY = (datetime.now(UTC) - timedelta(days=200)).date().isoformat()
LATER = (datetime.now(UTC) - timedelta(days=20)).date().isoformat()


def test_backfill_creates_and_the_second_writes_nothing(site: Site) -> None:
    site.woman("w1")
    site.stay("w1", DAY)
    site.woman("w2")
    site.stay("w2", DAY, markers=False)
    first = site.run("--backfill").summary
    assert first["patients_seen"] == 2
    assert first["outcomes"]["scored"] == {"complete": 1}
    assert first["outcomes"]["flag_only"] == {"missing_p+ctx+p1np+weight+height": 1}
    assert first["writes"] == writes(created=3)
    assert first["flagged"] == 2
    second = site.run("--backfill").summary
    assert second["writes"] == writes(unchanged=3)


def test_what_is_written_is_found_by_risk_method_and_identifier(site: Site) -> None:
    site.woman()
    site.stay("w1", DAY)
    site.run("--backfill")
    flag, nomogram = site.assessments("w1")
    side = f"{site.canonical}/CodeSystem/mg-cut-off-side|at-or-below"
    assert [r["id"] for r in site.search("RiskAssessment", risk=side)] == [flag["id"]]
    method = f"{site.canonical}/CodeSystem/method|nomogram"
    assert [r["id"] for r in site.search("RiskAssessment", method=method)] == [nomogram["id"]]
    identifier = nomogram["identifier"][0]
    found = site.search("RiskAssessment", identifier=f"{identifier['system']}|{identifier['value']}")
    assert [r["id"] for r in found] == [nomogram["id"]]
    assert nomogram["status"] == "final"
    assert nomogram["occurrenceDateTime"] == f"{DAY}T08:00:00Z"
    assert 0 < nomogram["prediction"][0]["probabilityDecimal"] < 100
    assert len(nomogram["basis"]) == 6


def test_a_corrected_magnesium_amends(site: Site) -> None:
    site.woman()
    name = site.stay("w1", DAY)
    site.run("--backfill")
    before = site.assessments("w1", "nomogram")[0]
    corrected = site.read(f"Observation/{name}")
    site.put({**corrected, "status": "corrected", "valueQuantity": {**corrected["valueQuantity"], "value": 0.95}})
    assert site.run().summary["writes"] == writes(amended=2)
    after = site.assessments("w1", "nomogram")[0]
    assert (after["id"], after["status"]) == (before["id"], "corrected")
    assert after["prediction"][0]["probabilityDecimal"] < before["prediction"][0]["probabilityDecimal"]
    assert site.run().summary["writes"] == writes(unchanged=2)


def test_a_withdrawn_only_magnesium_retracts(site: Site) -> None:
    site.woman()
    name = site.stay("w1", DAY)
    site.run("--backfill")
    site.put({**site.read(f"Observation/{name}"), "status": "entered-in-error"})
    assert site.run().summary["writes"] == writes(retracted=2)
    assert {r["status"] for r in site.assessments("w1")} == {"entered-in-error"}
    assert site.run("--backfill").summary["writes"] == writes()


def test_a_new_magnesium_moves_to_the_new_occasion_and_history_keeps_the_old(site: Site) -> None:
    site.woman()
    site.stay("w1", DAY)
    site.run("--backfill")
    old = site.assessments("w1", "nomogram")[0]
    site.stay("w1", LATER, mg="0.90")
    assert site.run().summary["writes"] == writes(amended=2)
    new = site.assessments("w1", "nomogram")[0]
    assert (new["id"], new["occurrenceDateTime"], new["status"]) == (old["id"], f"{LATER}T08:00:00Z", "final")
    history = site.read(f"RiskAssessment/{old['id']}/_history")
    days = {entry["resource"]["occurrenceDateTime"][:10] for entry in history["entry"]}
    assert days == {DAY, LATER}


def test_a_result_that_says_only_when_it_was_issued_is_found_by_the_backfill(site: Site) -> None:
    site.woman()
    found = site.read(f"Observation/{site.stay('w1', DAY, markers=False)}")
    del found["effectiveDateTime"]
    site.put({**found, "issued": f"{DAY}T09:00:00Z"})
    assert site.run("--backfill").summary["writes"] == writes(created=1)


def test_results_under_any_name_of_their_code_system_are_found(site: Site) -> None:
    """A search by one name finds no other; a folder's results are found by all of them."""
    systems = {
        "w1": "http://loinc.org/",
        "w2": "https://loinc.org",
        "w3": "urn:oid:2.16.840.1.113883.6.1",
        "w4": "http://elsewhere.example/codes",
    }
    for short, system in systems.items():
        site.woman(short)
        result = observation(site.id(f"{short}-mg"), site.id(short), "mg", "0.84", f"{DAY}T08:00:00Z")
        result["code"]["coding"][0]["system"] = system
        site.put(result)
    assert site.run("--backfill").summary["writes"] == writes(created=3)
    assert site.assessments("w4") == []


def test_a_past_run_leaves_later_occasions_alone(site: Site) -> None:
    site.woman()
    site.stay("w1", DAY)
    site.stay("w1", LATER)
    site.run("--backfill")
    past = f"{DAY[:10]}T23:00:00Z"
    assert site.run("--backfill", "--now", past).summary["writes"] == writes(stands=2)
    assert {r["occurrenceDateTime"][:10] for r in site.assessments("w1")} == {LATER}


def test_the_only_magnesium_deleted_is_found_by_the_full_reconcile(site: Site) -> None:
    site.woman()
    name = site.stay("w1", DAY)
    site.run("--backfill")
    _delete_everything_that_rests_on(site, name)
    assert site.run("--backfill").summary["writes"] == writes(retracted=2)


def _delete_everything_that_rests_on(site: Site, name: str) -> None:
    """HAPI refuses to delete what is referred to: the references are taken out first, as its administrator would."""
    answer = requests.delete(f"{site.base_url}/Observation/{name}", timeout=30)
    if answer.status_code == 409:
        pytest.fail("the server protects a basis Observation from deletion; see tests/hapi for how it is started")
    assert answer.status_code in (200, 204)


def test_a_dry_run_writes_nothing(site: Site) -> None:
    site.woman()
    site.stay("w1", DAY)
    ended = site.run("--backfill", "--dry-run", "--show-patients")
    assert ended.summary["writes"] == writes(created=2)
    assert ended.summary["dry_run"] is True
    assert site.id("w1") in ended.stdout
    assert site.assessments("w1") == []
    assert site.run("--backfill", SCREENER_WRITE="off").summary["dry_run"] is True
    assert site.assessments("w1") == []


def test_a_note_by_somebody_else_survives_an_amendment(site: Site) -> None:
    site.woman()
    name = site.stay("w1", DAY)
    site.run("--backfill")
    for assessment in site.assessments("w1"):
        note = {"authorString": "Dr Example", "text": "Discussed in clinic."}
        _replace(site, {**assessment, "note": [*assessment.get("note", []), note], "mitigation": "Vitamin D"})
    observation = site.read(f"Observation/{name}")
    site.put({**observation, "valueQuantity": {**observation["valueQuantity"], "value": 0.95}})
    assert site.run().summary["writes"] == writes(amended=2)
    for assessment in site.assessments("w1"):
        assert assessment["mitigation"] == "Vitamin D"
        assert "Discussed in clinic." in [note["text"] for note in assessment["note"]]


def _replace(site: Site, resource: Json) -> None:
    answer = requests.put(f"{site.base_url}/{resource['resourceType']}/{resource['id']}", json=resource, timeout=30)
    assert answer.status_code == 200, answer.text


def test_one_that_somebody_else_took_back_is_not_revived(site: Site) -> None:
    site.woman()
    site.stay("w1", DAY)
    site.run("--backfill")
    for assessment in site.assessments("w1"):
        _replace(site, {**assessment, "status": "entered-in-error"})
    site.stay("w1", LATER)
    summary = site.run("--backfill").summary
    assert summary["writes"] == writes(stands=2)
    assert summary["write_reasons"]["stands"] == {"mg-flag": {"overruled": 1}, "nomogram": {"overruled": 1}}


def test_two_of_ours_for_one_identity_end_as_one(site: Site) -> None:
    site.woman()
    site.stay("w1", DAY)
    site.run("--backfill")
    copy = {k: v for k, v in site.assessments("w1", "nomogram")[0].items() if k != "id"}
    answer = requests.post(f"{site.base_url}/RiskAssessment", json=copy, timeout=30)
    assert answer.status_code == 201, answer.text
    assert site.run("--backfill").summary["writes"] == writes(unchanged=2, retracted=1)
    active = [r for r in site.assessments("w1", "nomogram") if r["status"] != "entered-in-error"]
    assert len(active) == 1
    assert site.run("--backfill").summary["writes"] == writes(unchanged=2)


def test_small_pages_lose_nothing(site: Site) -> None:
    for number in range(7):
        site.woman(f"w{number}")
        site.stay(f"w{number}", DAY)
    summary = site.run("--backfill", SCREENER_SERVER_PAGE_SIZE="3", SCREENER_SERVER_BATCH_PATIENTS="4").summary
    assert summary["patients_seen"] == 7
    assert summary["writes"] == writes(created=14)


def test_killed_in_the_middle_and_run_again_ends_as_an_undisturbed_run(site: Site) -> None:
    for number in range(12):
        site.woman(f"w{number}")
        site.stay(f"w{number}", DAY)
    slow = {"SCREENER_SERVER_BATCH_PATIENTS": "1"}
    site.environment.update(slow)
    for after_seconds in (0.8, 1.4, 2.0):
        site.run_and_kill("--backfill", after_seconds=after_seconds)
    site.run("--backfill")
    for number in range(12):
        found = site.assessments(f"w{number}")
        assert [r["status"] for r in found] == ["final", "final"]
    assert site.run("--backfill").summary["writes"] == writes(unchanged=24)


def test_nightly_run_needs_a_backfill_and_named_run_moves_no_watermark(site: Site) -> None:
    site.woman()
    site.stay("w1", DAY)
    ended = site.run(expect=2)
    assert "screener run --backfill" in ended.stderr
    site.run("--patient", site.id("w1"))
    assert "screener run --backfill" in site.run(expect=2).stderr
    assert site.run("--backfill").summary["watermark"]["to"]
    assert site.run().summary["watermark"]["from"]


def test_an_excluded_woman_is_not_assessed(site: Site) -> None:
    site.woman()
    site.stay("w1", DAY)
    site.put(
        {
            "resourceType": "Condition",
            "id": site.id("c1"),
            "subject": {"reference": f"Patient/{site.id('w1')}"},
            "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "C50.911"}]},
        }
    )
    summary = site.run("--backfill").summary
    assert summary["outcomes"]["not_eligible"] == {"excluded_malignancy": 1}
    assert site.assessments("w1") == []


@pytest.mark.parametrize("kind", ["Condition", "MedicationStatement"])
def test_an_exclusion_without_a_date_ends_an_assessment_that_stands(site: Site, kind: str) -> None:
    """It holds from the night that sees it, and the assessment says so once."""
    site.woman("w1")
    site.stay("w1", LATER)
    site.run("--backfill")
    about = {"resourceType": kind, "id": site.id("x"), "subject": {"reference": f"Patient/{site.id('w1')}"}}
    coding = {"coding": [{"system": "http://www.whocc.no/atc", "code": "M05BA04"}]}
    stated: Json = {"status": "active", "medicationCodeableConcept": coding}
    if kind == "Condition":
        stated = {"code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "C50.9"}]}}
    site.put({**about, **stated})
    assert site.run().summary["writes"] == writes(amended=2)
    assert {assessment["status"] for assessment in site.assessments("w1")} == {"amended"}
    assert all("no longer applies" in assessment["note"][0]["text"] for assessment in site.assessments("w1"))
    assert site.run("--backfill").summary["writes"] == writes(stands=2)


def test_notes_are_in_the_language_of_the_configuration_and_follow_it(site: Site) -> None:
    site.woman()
    site.stay("w1", DAY)
    site.environment["SCREENER_OUTPUT_LANGUAGE"] = "de"
    site.run("--backfill")
    (german,) = site.assessments("w1", "nomogram")
    assert any("nicht an die Patientinnen dieses Hauses angepasst" in note["text"] for note in german["note"])
    assert "ersetzt keine DXA" in german["prediction"][0]["rationale"]
    site.environment["SCREENER_OUTPUT_LANGUAGE"] = "en"
    assert site.run("--backfill").summary["writes"] == writes(amended=2)
    (english,) = site.assessments("w1", "nomogram")
    assert [len(english["note"]), english["id"]] == [len(german["note"]), german["id"]]
    assert not any("dieses Hauses" in note["text"] for note in english["note"])
    site.environment["SCREENER_OUTPUT_LANGUAGE"] = "xx"
    assert "choose one of: de, en" in site.run("--backfill", expect=2).stderr


def test_results_that_come_late_complete_the_occasion(site: Site) -> None:
    """Bone markers take days: the flag stands at once, the nomogram follows with the results, on the same occasion."""
    site.woman()
    site.stay("w1", DAY, markers=False)
    assert site.run("--backfill").summary["outcomes"]["flag_only"] == {"missing_p+ctx+p1np+weight+height": 1}
    (flag,) = site.assessments("w1")
    for analyte, value in {"p": "1.10", "ctx": "0.47", "p1np": "54.0", "weight": "60.0", "height": "158.0"}.items():
        site.put(observation(site.id(f"w1-{analyte}"), site.id("w1"), analyte, value, f"{DAY}T08:00:00Z"))
    ended = site.run().summary
    assert ended["outcomes"]["scored"] == {"complete": 1}
    assert ended["writes"] == writes(created=1, unchanged=1)
    flag_after, nomogram = site.assessments("w1")
    assert flag_after["meta"]["versionId"] == flag["meta"]["versionId"]
    assert nomogram["occurrenceDateTime"] == flag["occurrenceDateTime"]


def test_only_the_patients_of_a_list_or_of_a_group(site: Site) -> None:
    for short in ("w1", "w2", "w3", "w4"):
        site.woman(short)
        site.stay(short, DAY, markers=False)
    (site.folder / "ward.txt").write_text(f"# the ward of Monday\n{site.id('w1')}\n\n{site.id('w1')}\n")
    listed = site.run("--patients-from", "ward.txt")
    assert (listed.summary["patients_seen"], listed.summary["watermark"]["to"]) == (1, None)
    members = [
        {"entity": {"reference": f"Patient/{site.id('w2')}"}},
        {"entity": {"reference": f"Patient/{site.id('w3')}"}, "inactive": True},
    ]
    site.put({"resourceType": "Group", "id": site.id("g"), "type": "person", "actual": True, "member": members})
    assert site.run("--patients-from", f"Group/{site.id('g')}").summary["patients_seen"] == 1
    assert [len(site.assessments(short)) for short in ("w1", "w2", "w3", "w4")] == [1, 1, 0, 0]


def test_a_list_that_cannot_be_used_is_named_by_line_and_not_by_content(site: Site) -> None:
    (site.folder / "ward.txt").write_text("p1\nPatient/CANARY\n")
    ended = site.run("--patients-from", "ward.txt", expect=2)
    assert "ward.txt, line 2: no logical id" in ended.stderr
    assert "CANARY" not in ended.stderr
    (site.folder / "empty.txt").write_text("# nobody\n")
    assert "holds no id" in site.run("--patients-from", "empty.txt", expect=2).stderr
    assert (
        f"Cannot read {site.folder}/none.txt: No such file" in site.run("--patients-from", "none.txt", expect=2).stderr
    )
    without = site.run("--patients-from", f"Group/{site.id('none')}", expect=2).stderr
    assert f"has no Group/{site.id('none')}" in without
    assert "base_url" not in without
    assert "--backfill means everyone" in site.run("--backfill", "--patients-from", "ward.txt", expect=2).stderr
