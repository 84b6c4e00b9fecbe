"""Assessments on another server than the patients: two servers, joined by nothing but a record number."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from screener.sandbox.app import SandboxServer
from tests.e2e.site import Json, Site, writes

MRN = "https://hospital.example/mrn"
DAY, LATER = "2025-11-01", "2025-12-01"


@pytest.fixture(params=["sandbox", pytest.param("hapi", marks=pytest.mark.hapi)])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    """The hospital's records, and the place of the assessments."""
    if request.param == "hapi":
        yield joined(request.getfixturevalue("hapi"), request.getfixturevalue("hapi_second"), tmp_path)
        return
    with SandboxServer() as there:
        yield joined(request.getfixturevalue("sandbox_url"), there.base_url, tmp_path)


def joined(here_url: str, there_url: str, folder: Path) -> tuple[Site, Site]:
    here = Site(here_url, folder)
    there = Site(there_url, folder, name=here.name)
    here.environment |= {
        "SCREENER_DESTINATION_BASE_URL": there_url,
        "SCREENER_DESTINATION_PATIENT_IDENTIFIER": MRN,
    }
    return here, there


def record_number(site: Site, short: str) -> list[Json]:
    return [{"system": MRN, "value": f"{short}, {site.name}"}]  # a comma: token searches escape it


def known_on_both(here: Site, there: Site, short: str) -> str:
    """A woman with another id on each server; returns the one there."""
    here.woman(short, identifier=record_number(here, short))
    here.stay(short, DAY)
    name = f"elsewhere-{uuid.uuid4().hex[:8]}"
    there.put({"resourceType": "Patient", "id": name, "identifier": record_number(here, short)})
    return name


def found(there: Site, name: str) -> list[Json]:
    return there.search("RiskAssessment", subject=f"Patient/{name}")


def test_assessments_of_a_woman_whom_both_servers_know(two: tuple[Site, Site]) -> None:
    here, there = two
    name = known_on_both(here, there, "w1")
    first = here.run("--backfill")
    assert first.summary["writes"] == writes(created=2)
    assert here.assessments("w1") == []
    for resource in found(there, name):
        assert resource["subject"]["reference"] == f"Patient/{name}"
        assert resource["subject"]["identifier"]["value"] == f"Patient/{here.id('w1')}"
        assert all("reference" not in basis and basis["type"] == "Observation" for basis in resource["basis"])
        assert {basis["identifier"]["system"] for basis in resource["basis"]} == {here.base_url}
    # Again: nothing. Then a newer result, and one that is taken back.
    assert here.run("--backfill").summary["writes"] == writes(unchanged=2)
    here.stay("w1", LATER, mg="0.95")
    assert here.run().summary["writes"] == writes(amended=2)
    flag = next(r for r in found(there, name) if len(r["basis"]) == 1)
    assert flag["basis"][0]["identifier"]["value"] == f"Observation/{here.id(f'w1-mg-{LATER}')}"
    for day in (DAY, LATER):
        result = here.read(f"Observation/{here.id(f'w1-mg-{day}')}")
        here.put({**result, "status": "entered-in-error"})
    assert here.run("--backfill").summary["writes"] == writes(retracted=2)
    assert {resource["status"] for resource in found(there, name)} == {"entered-in-error"}
    assert len(found(there, name)) == 2


def test_a_woman_whom_the_destination_does_not_know_is_counted_and_later_assessed(two: tuple[Site, Site]) -> None:
    here, there = two
    here.woman("w1", identifier=record_number(here, "w1"))
    here.stay("w1", DAY)
    here.woman("w2")  # has no record number at all
    here.stay("w2", DAY)
    first = here.run("--backfill")
    assert first.summary["outcomes"]["not_scorable"] == {"no_destination_patient": 2}
    assert first.summary["writes"] == writes()
    there.put({"resourceType": "Patient", "id": f"late-{here.name}", "identifier": record_number(here, "w1")})
    assert here.run("--backfill").summary["writes"] == writes(created=2)


def test_two_patients_under_one_number_are_nobody(two: tuple[Site, Site]) -> None:
    here, there = two
    known_on_both(here, there, "w1")
    there.put({"resourceType": "Patient", "id": f"twin-{here.name}", "identifier": record_number(here, "w1")})
    ended = here.run("--backfill")
    assert ended.summary["outcomes"]["not_scorable"] == {"no_destination_patient": 1}


def test_what_another_destination_needs_is_said(tmp_path: Path) -> None:
    site = Site("http://127.0.0.1:9", tmp_path, environment={"SCREENER_DESTINATION_BASE_URL": "http://127.0.0.1:8"})
    ended = site.run("--backfill", expect=2)
    assert "another destination needs patient_identifier" in ended.stderr
