"""`screener coverage`: counts that agree with the job's, codes and units with suggestions, and nobody named."""

import csv
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_fixtures.population import generate, write_ndjson
from screener.base.small_counts import shown
from screener.config.servers import ServerSettings
from screener.fhir.client import Client
from screener.sandbox.app import SandboxServer
from screener.sandbox.seeding import seed
from tests.command import Ended, screener
from tests.e2e.site import Site
from tests.fhir_samples import observation, patient
from tests.folders import export
from tests.scripted import Reply, Request, bundle, scripted

Json = dict[str, Any]
NOW = "2026-01-31T02:00:00Z"
LOCAL = "urn:oid:1.2.3.4"
ICD = "http://hl7.org/fhir/sid/icd-10-cm"
STAY = {"mg": "0.84", "p": "1.10", "ctx": "0.47", "p1np": "54.0", "weight": "60.0", "height": "158.0"}


def command(folder: Path, *arguments: str, expect: Any = 0, **environment: str) -> Ended:
    return screener(*arguments, cwd=folder, expect=expect, **environment)


def covered(folder: Path, *arguments: str, **environment: str) -> Json:
    found: Json = json.loads(command(folder, "coverage", "--now", NOW, "--json", *arguments, **environment).stdout)
    return found


def local(result: Json, code: str, text: str) -> Json:
    """The same result under a code of the laboratory's own."""
    return {**result, "code": {"coding": [{"system": LOCAL, "code": code, "display": text}]}}


def hospital(women: int = 10) -> list[Json]:
    """Women whose magnesium nobody mapped and whose beta-CTx is labelled with the wrong unit; one with a rare test."""
    found: list[Json] = []
    for number in range(women):
        name = f"canary-{number}"
        found.append({**patient(name), "name": [{"family": "CanaryName"}]})
        for analyte, value in STAY.items():
            result = observation(f"{name}-{analyte}", name, analyte, value, "2025-11-01T08:00:00Z")
            if analyte == "mg":
                result = local(result, "MGS", "Magnesium i.S.")
            if analyte == "ctx":
                result["valueQuantity"] |= {"value": 470}
            if analyte == "p1np":
                result["valueQuantity"] = {"value": 54.0, "unit": "mcg / L"}
            found.append(result)
        urine = observation(f"{name}-u", name, "mg", "3.1", "2025-11-01T08:00:00Z")
        found.append(local(urine, "MGU", "Magnesium im Urin"))
        sodium = observation(f"{name}-na", name, "mg", "140", "2025-11-01T08:00:00Z")
        found.append(local(sodium, "NA", "Natrium"))
    rare = observation("rare", "canary-0", "mg", "1", "2025-11-01T08:00:00Z")
    return [*found, local(rare, "RARE", "Magnesium of CanaryName, seen once")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export(tmp_path / "export", hospital())
    return tmp_path


def test_codes_that_nobody_mapped_come_with_a_suggestion(folder: Path) -> None:
    found = covered(folder, "--from", "export")
    unmapped = {seen["code"]: seen["suggestion"] for seen in found["unmapped_codes"]}
    assert unmapped == {
        f"{LOCAL}|MGS": {"analyte": "mg", "reason": ""},
        f"{LOCAL}|MGU": {"analyte": "mg", "reason": "specimen_urine"},
        f"{LOCAL}|NA": None,
    }
    assert found["unmapped_codes_of_few_patients"] == 1
    assert (found["patients_with_magnesium"], found["women_of_the_age"]) == (0, 10)


def test_wrong_units_are_suspected_and_never_mended(folder: Path) -> None:
    found = {seen["analyte"]: seen["units"] for seen in covered(folder, "--from", "export")["mapped_codes"]}
    (ctx,), (p1np,) = found["ctx"], found["p1np"]
    assert (ctx["unit"], ctx["used"], ctx["refused"]) == ("ng/mL", 0, {"implausible_unit_suspected": 10})
    assert ctx["suspicion"] == "the values would fit another unit"
    assert (p1np["refused"], p1np["suspicion"]) == ({"unit_unknown": 10}, "unknown unit; perhaps ug/L")


def test_values_that_are_possible_and_not_likely_are_told_by_their_median(tmp_path: Path) -> None:
    """2.05 under mmol/L is possible in one woman; as the median of a hospital it is mg/dL."""
    results = [observation(f"o{n}", f"p{n}", "mg", f"{2.0 + n / 50:.2f}", "2025-11-01T08:00:00Z") for n in range(10)]
    export(tmp_path / "export", [*(patient(f"p{n}") for n in range(10)), *results])
    (seen,) = covered(tmp_path, "--from", "export")["mapped_codes"]
    (unit,) = seen["units"]
    assert unit["median"] == pytest.approx(2.09)
    assert unit["suspicion"] == "the median is 2.09, outside the usual range; the values would fit meq/L or mg/dL"


def test_the_tables_are_completed_named_and_then_the_women_are_found(folder: Path) -> None:
    ended = command(folder, "coverage", "--now", NOW, "--from", "export", "--tables", "site")
    assert "to be checked" in ended.stderr
    with (folder / "site" / "codes.csv").open(newline="", encoding="utf-8") as stream:
        rows = {row["code"]: row for row in csv.DictReader(line for line in stream if not line.startswith("#"))}
    assert {code: (row["analyte"], row["use"]) for code, row in rows.items()} == {
        "MGS": ("mg", "accept"),
        "MGU": ("mg", "refuse"),
    }
    assert all(row["source"].startswith("CHECK: ") for row in rows.values())
    (folder / "screener.toml").write_text('[codes]\ncodes = "site/codes.csv"\nunits = "site/units.csv"\n')
    found = covered(folder, "--from", "export")
    assert found["patients_with_magnesium"] == 10
    assert found["outcomes"] == {"flag_only": {"missing_ctx": 10}}
    assert found["flagged"] == 10
    assert found["refused"]["mg"] == {"specimen_urine": 10}
    have = {row["analyte"]: row["women"] for row in found["analytes"]}
    assert have == {"mg": 10, "p": 10, "ctx": 0, "p1np": 10, "weight": 10, "height": 10}


@pytest.mark.parametrize("least", ["5", "11"])
def test_nobody_is_named_and_few_are_not_counted(folder: Path, least: str) -> None:
    found = command(folder, "coverage", "--now", NOW, "--from", "export", "--least-count", least)
    whole = command(folder, "coverage", "--now", NOW, "--from", "export", "--least-count", least, "--json")
    for text in (found.stdout, found.stderr, whole.stdout, whole.stderr):
        assert "canary" not in text
        assert "Canary" not in text
        assert "2025-11-01" not in text
    told = json.loads(whole.stdout)
    assert told["women_of_the_age"] == (10 if least == "5" else None)
    assert ("<9" in found.stdout) is (least == "9")
    if least == "9":
        assert told["unmapped_codes"] == []


def test_what_can_exclude_is_told_by_code_system_and_what_cannot(tmp_path: Path) -> None:
    """A prescription in words, or in a code system that the list does not know, excludes nobody: the site has to know."""
    rows = []
    for number in range(5):
        name = f"p{number}"
        about = {
            "resourceType": "MedicationRequest",
            "status": "active",
            "intent": "order",
            "subject": {"reference": f"Patient/{name}"},
        }
        local_code = {"coding": [{"system": LOCAL, "code": "4711"}]}
        rows += [
            patient(name),
            {**about, "id": f"{name}a", "medicationCodeableConcept": {"text": "Alendronat 70 mg"}},
            {**about, "id": f"{name}b", "medicationCodeableConcept": local_code},
            {**about, "id": f"{name}c", "medicationReference": {"reference": "Medication/m"}},
            {
                **about,
                "id": f"{name}d",
                "medicationCodeableConcept": {
                    "coding": [{"system": "urn:oid:2.16.840.1.113883.6.73", "code": "C09AA05"}]
                },
            },
        ]
    export(tmp_path / "export", rows)
    found = covered(tmp_path, "--from", "export")
    seen = [
        (row["system"], row["resources"], row["met"], row["suspected"], row["listed"]) for row in found["excluding"]
    ]
    assert seen == [
        ("", 5, 0, 5, False),
        ("http://www.whocc.no/atc", 5, 0, 0, True),
        ("reference", 5, 0, 0, False),
        (LOCAL, 5, 0, 0, False),
    ]
    unmet = {row["system"]: row["unmet"] for row in found["excluding"]}
    assert unmet[""] == [{"code": "", "text": "Alendronat 70 mg", "resources": 5, "suspected": ["antiresorptive"]}]
    assert [row["code"] for row in unmet[LOCAL]] == [f"{LOCAL}|4711"]
    assert [row["code"] for row in unmet["http://www.whocc.no/atc"]] == ["http://www.whocc.no/atc|C09AA05"]
    said = command(tmp_path, "coverage", "--from", "export", "--now", NOW).stdout
    assert said.count("excludes nobody") == 2
    assert "reads like antiresorptive" in said


def test_codes_that_meet_the_list_are_counted_through_medications_too(tmp_path: Path) -> None:
    rows: list[Json] = [
        {
            "resourceType": "Medication",
            "id": "m1",
            "code": {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "72143"}]},
        },
        {"resourceType": "Medication", "id": "m2", "code": {"text": "Prolia 60 mg"}},
        {
            "resourceType": "Medication",
            "id": "m3",
            "code": {"coding": [{"system": LOCAL, "code": "9"}], "text": "Ramipril"},
        },
    ]
    for number in range(5):
        about = {"resourceType": "MedicationRequest", "status": "active", "intent": "order"}
        about["subject"] = {"reference": f"Patient/p{number}"}  # type: ignore[assignment]
        rows.append(patient(f"p{number}"))
        rows += [
            {**about, "id": f"{number}-{name}", "medicationReference": {"reference": f"Medication/{name}"}}
            for name in ("m1", "m2", "m3")
        ]
    export(tmp_path / "export", rows)
    found = covered(tmp_path, "--from", "export")
    seen = {row["system"]: (row["resources"], row["met"], row["suspected"]) for row in found["excluding"]}
    assert seen == {
        "http://www.nlm.nih.gov/research/umls/rxnorm": (5, 5, 0),
        "": (5, 0, 5),
        LOCAL: (5, 0, 0),
    }
    unmet = {row["system"]: row["unmet"] for row in found["excluding"]}
    assert [(row["code"], row["text"]) for row in unmet[LOCAL]] == [(f"{LOCAL}|9", "Ramipril")]


def test_whom_each_row_of_the_list_excludes_is_counted(tmp_path: Path) -> None:
    cancer = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "C50.911"}]}
    rows: list[Json] = []
    for number in range(5):
        about = {"resourceType": "Condition", "id": f"c{number}", "subject": {"reference": f"Patient/p{number}"}}
        result = observation(f"o{number}", f"p{number}", "mg", "0.84", "2025-11-01T08:00:00Z")
        rows += [patient(f"p{number}"), result, {**about, "code": cancer}]
    export(tmp_path / "export", rows)
    found = covered(tmp_path, "--from", "export")
    assert found["outcomes"] == {"not_eligible": {"excluded_malignancy": 5}}
    assert found["excluded_by"] == {"malignancy": {"http://hl7.org/fhir/sid/icd-10-cm|C50*": 5}}


def test_it_counts_as_the_job_does(tmp_path: Path) -> None:
    write_ndjson(tmp_path / "export", generate(400, 3, date(2026, 1, 31)))
    found = covered(tmp_path, "--from", "export", "--least-count", "1")
    command(
        tmp_path,
        *("run", "--backfill", "--from", "export", "--to", "out", "--now", NOW, "--summary", "summary.json"),
        SCREENER_FOLDER_COMPLETE="true",
    )
    summary = json.loads((tmp_path / "summary.json").read_text())
    ran = {outcome: reasons for outcome, reasons in summary["outcomes"].items() if reasons}
    assert found["outcomes"] == ran
    assert found["flagged"] == summary["flagged"]
    assert found["refused"] == {analyte: reasons for analyte, reasons in summary["refusals"].items() if reasons}
    assert found["exclusions_not_checked"] == {}
    # Every result of ours that the sample holds is used or refused; the sample is everyone.
    for seen in found["mapped_codes"]:
        for unit in seen["units"]:
            assert unit["results"] == unit["used"] + sum(unit["refused"].values())


def test_a_server_tells_the_same_and_is_not_written_to(site: Site) -> None:
    resources = hospital(5)
    for resource in resources:
        text = json.dumps(resource).replace("canary-", f"{site.name}-canary-").replace('"rare"', f'"{site.name}-rare"')
        site.put(json.loads(text))
    (site.folder / "codes.csv").write_text(f"system,code,analyte\n{LOCAL},MGS,mg\n")
    codes = {"SCREENER_CODES_CODES": str(site.folder / "codes.csv")}
    ended = site.call("coverage", "--now", NOW, "--json", "--sample", "100", **codes)
    found = json.loads(ended.stdout)
    assert (found["women_of_the_age"], found["patients_with_magnesium"], found["women_sampled"]) == (5, 5, 5)
    assert found["outcomes"] == {"flag_only": {"missing_ctx+p1np": 5}}
    assert {seen["code"] for seen in found["unmapped_codes"]} == {f"{LOCAL}|MGU", f"{LOCAL}|NA"}
    assert site.search("RiskAssessment", _tag="|".join(site.tag)) == []
    assert site.search("Device", _tag="|".join(site.tag)) == []


def test_what_a_server_does_not_allow_is_told_and_the_rest_is_counted(tmp_path: Path) -> None:
    """No search of women, no Condition: what can be seen is counted, what cannot is named."""
    rows = {f"p{n}": observation(f"o{n}", f"p{n}", "mg", "0.84", "2025-11-01T08:00:00Z") for n in range(5)}

    def script(request: Request) -> Reply:
        path, _, query = request.path.partition("?")
        asked = f"{query}&{request.body}"
        if path.endswith("/metadata"):
            kinds = ("Patient", "Observation", "Condition", "Procedure")
            resources = [{"type": kind, "interaction": [{"code": "search-type"}]} for kind in kinds]
            body = {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [{"resource": resources}]}
            return Reply(body=body)
        if "gender" in asked:
            return Reply(400, {"resourceType": "OperationOutcome"})
        if "/Condition" in path:
            return Reply(403)
        if "/Patient" in path:
            return Reply(body=bundle(*(patient(name) for name in rows)))
        if "/Observation" in path:
            undated = "date%3Amissing" in asked or "date:missing" in asked
            return Reply(body=bundle(*([] if undated else rows.values())))
        return Reply(body=bundle())

    with scripted(script) as server:
        asked = ("coverage", "--now", NOW, "--json", "--log-format", "json")
        ended = command(tmp_path, *asked, SCREENER_SERVER_BASE_URL=server.base_url, SCREENER_SERVER_ATTEMPTS="1")
    found = json.loads(ended.stdout)
    assert (found["women_of_the_age"], found["patients_with_magnesium"], found["women_sampled"]) == (None, 5, 5)
    assert "women_not_counted" in ended.stderr
    assert "does not allow this (403)" in found["exclusions_not_checked"]["Condition"]
    assert found["outcomes"] == {"flag_only": {"missing_p+ctx+p1np+weight+height": 5}}


def test_a_server_and_its_export_tell_the_same(tmp_path: Path) -> None:
    """Results older than the lookback are in an export; a server's search does not find them."""
    people = list(generate(300, 3, date(2026, 1, 31), dxa_share=0.4))
    write_ndjson(tmp_path / "export", people)
    short = {"SCREENER_POLICY_LOOKBACK_DAYS": "200", "SCREENER_FOLDER_COMPLETE": "true"}
    with SandboxServer() as server:
        with Client(ServerSettings(base_url=server.base_url)) as client:
            seed(client, people, lambda _: None)
        online = covered(tmp_path, "--least-count", "1", SCREENER_SERVER_BASE_URL=server.base_url, **short)
    offline = covered(tmp_path, "--from", "export", "--least-count", "1", **short)
    same = ("patients_with_magnesium", "patients_looked_at", "women_eligible_with_magnesium", "analytes", "outcomes")
    assert {key: online[key] for key in same} == {key: offline[key] for key in same}
    whole = covered(tmp_path, "--from", "export", "--least-count", "1", SCREENER_FOLDER_COMPLETE="true")
    assert offline["patients_with_magnesium"] < whole["patients_with_magnesium"]


@given(st.lists(st.integers(0, 60), min_size=2, max_size=6), st.integers(2, 10))
def test_no_small_count_follows_from_the_others(parts: list[int], least: int) -> None:
    """A part that is hidden could be any of 1 to least - 1, as far as the total and the other parts tell."""
    hidden = [part for part in parts if 0 < part < least]
    if len(hidden) != 1:
        return
    shown_total = shown(sum(parts), least)
    others = [shown(part, least) for part in parts if part not in hidden]
    possible = [
        true
        for true in range(1, least)
        if any(shown(true + rest, least) == shown_total for rest in range(*_range_of(others, least)))
    ]
    assert len(possible) >= 2 or least == 2


def _range_of(others: list[int | None], least: int) -> tuple[int, int]:
    """What the other parts may add up to, by their rounded counts."""
    counts = [count for count in others if count]
    slack = least // 2 * len(counts)
    return max(sum(counts) - slack, 0), sum(counts) + slack + 1


ABOUT = {"subject": {"reference": "Patient/w1"}}
UNREADABLE: list[Json] = [
    {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "status": "active",
        "intent": "order",
        "medicationReference": {"reference": "Medication/gone"},
        **ABOUT,
    },
    {
        "resourceType": "Condition",
        "id": "c1",
        "clinicalStatus": "active",
        "code": {"coding": [{"system": ICD, "code": "C50.9"}]},
        **ABOUT,
    },
    {"resourceType": "Procedure", "id": "p1", "status": "completed", "code": "mastectomy", **ABOUT},
]


@pytest.mark.parametrize("resource", UNREADABLE, ids=lambda one: f"{one['resourceType']}-{len(one)}")
@pytest.mark.parametrize("need", ["required", "optional"])
def test_coverage_counts_as_the_run_does_where_a_resource_cannot_be_understood(
    tmp_path: Path, resource: Json, need: str
) -> None:
    stay = [observation(f"w1-{name}", "w1", name, value, "2025-11-01T08:00:00Z") for name, value in STAY.items()]
    folder = export(tmp_path / "in", [patient("w1"), *stay, resource])
    kind = "".join(f"_{c}" if c.isupper() else c for c in resource["resourceType"]).strip("_").upper()
    environment = {"SCREENER_FOLDER_COMPLETE": "true", f"SCREENER_EXCLUSIONS_{kind}": need}
    own = ("run", "--backfill", "--dry-run", "--now", NOW, "--from", str(folder), "--to", "out", "--summary", "s.json")
    command(tmp_path, *own, expect=None, **environment)
    of_run = json.loads((tmp_path / "s.json").read_text())["outcomes"]
    found = covered(tmp_path, "--from", str(folder), "--least-count", "1", **environment)["outcomes"]
    assert found == {outcome: reasons for outcome, reasons in of_run.items() if reasons}
    assert found.keys() == {"failed" if need == "required" else "scored"}
