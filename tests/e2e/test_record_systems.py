"""Servers as hospitals have them: no search across patients, no POST, no _lastUpdated. The whole job, with another server as destination."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from fhir_fixtures.population import generate
from screener.config.servers import ServerSettings
from screener.fhir.client import Client
from screener.sandbox.app import SandboxServer
from screener.sandbox.profiles import PROFILES
from screener.sandbox.seeding import seed
from screener.stores.patient_search import CATEGORIES
from tests.e2e.site import Json, Site, writes
from tests.faults import DAY, LATER
from tests.proxy import Ask, faulty, parameters_of
from tests.scripted import Reply, Request

TODAY = datetime.now(UTC).date()
MRN = "https://hospital.example/mrn"
PATIENTS = 60


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a hospital's records, each patient with a record number."""
    file = tmp_path_factory.mktemp("records") / "records.db"
    with SandboxServer(db=file) as server, Client(ServerSettings(base_url=server.base_url)) as client:
        made = (in_a_record(resource) for resource in generate(PATIENTS, 11, TODAY))
        seed(client, made, lambda _: None)
    return file


def in_a_record(resource: Json) -> Json:
    """As a record system has it: a record number, and a category where searches demand one."""
    if resource["resourceType"] == "Patient":
        return {**resource, "identifier": [{"system": MRN, "value": f"M-{resource['id']}"}]}
    default = {"Condition": "medical-history", "Observation": "laboratory"}.get(resource["resourceType"])
    if default is None or resource.get("category"):
        return resource
    return {**resource, "category": [{"coding": [{"code": default}]}]}


@contextmanager
def hospital(records: Path, folder: Path, like: str) -> Iterator[tuple[Site, Site]]:
    """The record system, and the server that takes its assessments."""
    folder.mkdir()
    copied = folder / "records.db"
    copied.write_bytes(records.read_bytes())
    with SandboxServer(db=copied, like=PROFILES.get(like)) as here, SandboxServer() as there:
        site = Site(here.base_url, folder)
        site.environment = {
            "SCREENER_SERVER_ONLY_TAG": "",
            "SCREENER_SOURCE_SYSTEM": "https://records.example/fhir",
            "SCREENER_OUTPUT_CANONICAL": "https://hospital.example/osteoporosis",
            "SCREENER_OUTPUT_TAG": "",
            "SCREENER_DESTINATION_BASE_URL": there.base_url,
            "SCREENER_DESTINATION_PATIENT_IDENTIFIER": MRN,
            "SCREENER_SERVER_CONDITION_CATEGORIES": CATEGORIES["Condition"][0],
            "SCREENER_LIMITS_CREATED": "0",
        }
        numbers = []
        for number, resource in enumerate(plain_search(copied, "Patient")):
            (name,) = resource["identifier"]
            numbers.append(name["value"])
            requests.put(
                f"{there.base_url}/Patient/d{number}",
                json={"resourceType": "Patient", "id": f"d{number}", "identifier": [name]},
                timeout=10,
            ).raise_for_status()
        (folder / "numbers.txt").write_text("# this month's list\n" + "\n".join(numbers) + "\n")
        yield site, Site(there.base_url, folder)


def plain_search(records: Path, kind: str) -> list[Json]:
    """Resources of the database, by a server without restrictions."""
    copied = records.with_suffix(".copy")
    copied.write_bytes(records.read_bytes())
    with SandboxServer(db=copied) as server:
        found = requests.get(f"{server.base_url}/{kind}", params={"_count": "500"}, timeout=10).json()
    return sorted((entry["resource"] for entry in found["entry"]), key=lambda resource: str(resource["id"]))


def listed(site: Site, there: Site) -> list[Json]:
    """The assessments after a run over the list of record numbers, without what the destination chose."""
    ended = site.run("--patients-from", "numbers.txt", "--identifier-system", MRN)
    assert ended.summary["patients_seen"] == PATIENTS
    found = there.search("RiskAssessment", _count="1000")
    assert len(found) == ended.summary["writes"]["created"] > 10
    again = site.run("--patients-from", "numbers.txt", "--identifier-system", MRN)
    assert again.summary["writes"]["created"] == again.summary["writes"]["amended"] == 0
    return sorted(
        (json.loads(json.dumps({**r, "id": "", "meta": {}, "performer": {}})) for r in found),
        key=lambda resource: str(resource["identifier"]),
    )


@pytest.mark.parametrize("like", ["epic-like", "oracle-like"])
def test_the_whole_job_on_a_record_system(like: str, records: Path, tmp_path: Path) -> None:
    with hospital(records, tmp_path / "plain", "") as (site, there):
        expected = [_compared(one) for one in listed(site, there)]
    with hospital(records, tmp_path / "like", like) as (site, there):
        assert [_compared(one) for one in listed(site, there)] == expected
        refused = site.run("--backfill", expect=4)
        assert "does not search across patients" in refused.stderr
        assert "--patients-from FILE" in refused.stderr


def _compared(assessment: Json) -> Json:
    """Without what these systems cannot have: they show no MedicationStatement, and the population states medicines that lower magnesium
    there only; they show some types by category."""
    left = _without_caveat(assessment, "read_by_category", "by these categories")
    return _without_caveat(left, "lowers_magnesium", "lowers magnesium")


def _without_caveat(assessment: Json, code: str, words: str) -> Json:
    """The assessment without one caveat, its note and its narrative, and without the run that wrote it."""
    extensions = [
        one for one in assessment["extension"] if code not in json.dumps(one) and not one["url"].endswith("/run")
    ]
    notes = [one for one in assessment.get("note", ()) if words not in one["text"]]
    return {**assessment, "extension": extensions, "note": notes, "text": {}}


def test_what_a_server_shows_by_category_only_stops_a_run_or_is_said(records: Path, tmp_path: Path) -> None:
    with hospital(records, tmp_path / "like", "epic-like") as (site, there):
        site.environment["SCREENER_SERVER_CONDITION_CATEGORIES"] = ""
        stopped = site.run("--patients-from", "numbers.txt", "--identifier-system", MRN, expect=4)
        assert "server.condition_categories" in stopped.stderr
        assert there.search("RiskAssessment") == []
        site.environment["SCREENER_EXCLUSIONS_CONDITION"] = "optional"
        ended = site.run("--patients-from", "numbers.txt", "--identifier-system", MRN)
        found = there.search("RiskAssessment", _count="1000")
    assert "by category only" in ended.summary["exclusions_not_checked"]["Condition"]
    assert ended.summary["reading"]["Condition"]["ending"] == "in_part"
    assert ended.summary["not_offered"] == ["MedicationStatement"]
    assert found
    assert all("read_in_part" in json.dumps(one["extension"]) for one in found)


@pytest.mark.parametrize(
    ("like", "path", "status"),
    [
        ("epic-like", "Observation?patient=p1", 400),
        ("epic-like", "Observation?patient=p1&category=laboratory", 200),
        ("epic-like", "Observation?patient=p1,p2&category=laboratory", 400),
        ("epic-like", "Observation?subject=Patient/p1&category=laboratory", 400),
        ("epic-like", "Observation?patient=p1&category=laboratory&_lastUpdated=ge2026-01-01", 400),
        ("epic-like", "RiskAssessment?patient=p1", 404),
        ("oracle-like", "Observation?code=2601-3", 400),
        ("oracle-like", "Observation?patient=p1", 200),
        ("oracle-like", "Observation?_id=o1", 200),
        ("oracle-like", "Observation?patient=p1&_lastUpdated=ge2026-01-01", 200),
    ],
)
def test_what_a_record_system_refuses(like: str, path: str, status: int) -> None:
    with SandboxServer(like=PROFILES[like]) as server:
        assert requests.get(f"{server.base_url}/{path}", timeout=10).status_code == status
        assert requests.post(f"{server.base_url}/Observation/_search", timeout=10).status_code == 405
        assert requests.post(server.base_url, json={}, timeout=10).status_code == 405
        assert requests.put(f"{server.base_url}/Patient/p1", json={}, timeout=10).status_code == 405


def test_record_numbers_of_nobody_and_of_several_are_counted(sandbox: Site) -> None:
    for short, number in (("w1", "7"), ("w2", "8"), ("w3", "8")):
        sandbox.woman(short, identifier=[{"system": MRN, "value": f"{number}, {sandbox.name}"}])
        sandbox.stay(short, DAY)
    listed = sandbox.folder / "numbers.txt"
    listed.write_text("".join(f"{number}, {sandbox.name}\n" for number in (7, 8, 9)))
    call = ("--patients-from", "numbers.txt", "--identifier-system", MRN)
    ended = sandbox.run(*call, expect=3)
    assert ended.summary["writes"] == writes(created=2)
    assert "with_several=1" in ended.stderr
    assert "without_a_patient=1" in ended.stderr
    assert sandbox.name not in ended.stderr
    listed.write_text("nobody\n")
    assert "has no Patient with a number of numbers.txt" in sandbox.run(*call, expect=2).stderr
    assert "Name the file" in sandbox.run("--identifier-system", MRN, expect=2).stderr


# Nights without _lastUpdated


def without_last_updated(request: Request, ask: Ask) -> Reply:
    return Reply(400) if "_lastUpdated" in parameters_of(request) else ask()


@pytest.mark.parametrize("said", [True, False], ids=["by configuration", "noticed"])
def test_a_night_by_the_dates_of_results(said: bool, sandbox: Site) -> None:  # noqa: FBT001
    with faulty(lambda: sandbox.base_url, without_last_updated) as front:
        site = Site(front.base_url, sandbox.folder)
        site.environment = {"SCREENER_SERVER_RESULT_DATE_DAYS": "30"}
        if said:
            site.environment["SCREENER_SERVER_NIGHTS"] = "result-date"
        for short in ("w1", "w2"):
            site.woman(short)
            site.stay(short, DAY)
        site.run("--backfill")
        site.stay("w1", LATER)  # 20 days ago
        old = site.read(f"Observation/{site.id(f'w2-mg-{DAY}')}")
        site.put({**old, "valueQuantity": {**old["valueQuantity"], "value": 0.95}})  # 200 days ago
        night = site.run()
        assert (night.summary["patients_seen"], night.summary["writes"]["amended"]) == (1, 2)
        assert night.summary["by_result_date"]
        assert "found by the dates of their results" in " ".join(night.stdout.split())
        assert ("nights_by_result_date" in night.stderr) is not said
        assert site.run("--backfill").summary["writes"] == writes(amended=2, unchanged=2)
