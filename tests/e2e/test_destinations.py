"""The same content on every destination: a folder, the sandbox, HAPI FHIR, and a server that behaves like Medplum."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from xml.etree.ElementTree import canonicalize

import pytest

from screener.assessment.identity import Canonical
from screener.assessment.owned_fields import difference
from tests.e2e.site import Json, Site, writes
from tests.medplum_like import medplum_like

NOW = "2026-02-01T02:00:00Z"
KINDS = ("Patient", "Observation", "Condition")
# One identity and one set of canonical URLs everywhere, so that contents compare.
NAME = "destinations"
SAME = {"SCREENER_SOURCE_SYSTEM": "https://hospital.example/fhir", "SCREENER_OUTPUT_PREVALENCE": "25"}


@pytest.fixture(params=["medplum-like", "sandbox", pytest.param("hapi", marks=pytest.mark.hapi)])
def hospital(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "medplum-like":
        with medplum_like() as server:
            yield Site(server.base_url, tmp_path, name=NAME, environment=SAME)
        return
    fixture = {"sandbox": "sandbox_url", "hapi": "hapi"}[request.param]
    yield Site(request.getfixturevalue(fixture), tmp_path, name=NAME, environment=SAME)


def test_content_is_that_of_a_folder_and_later_runs_find_their_own(hospital: Site) -> None:
    hospital.woman("whole")
    hospital.stay("whole", "2025-11-01", mg="0.80")
    hospital.woman("known")
    hospital.stay("known", "2025-11-01", mg="0.846")
    hospital.put(
        {
            "resourceType": "Condition",
            "id": hospital.id("c1"),
            "subject": {"reference": f"Patient/{hospital.id('known')}"},
            "code": {"coding": [{"system": "http://snomed.info/sct", "code": "64859006"}]},
        }
    )
    hospital.woman("flag")
    hospital.stay("flag", "2024-12-01", markers=False)
    first = hospital.run("--backfill", "--now", NOW)
    assert first.summary["writes"] == writes(created=5)
    on_server = {key(a): a for short in ("whole", "known", "flag") for a in hospital.assessments(short)}
    in_folder = {key(a): a for a in as_folder(hospital)}
    assert on_server.keys() == in_folder.keys()
    for name, there in on_server.items():
        here = in_folder[name]
        assert here.keys() == there.keys()
        by_the_server = {"performer": there["performer"]}  # the Device has an id that the server gave it
        assert difference({**here, **by_the_server}, there, Canonical(hospital.canonical)) == frozenset()
        assert canonicalize(here["text"]["div"]) == canonicalize(there["text"]["div"])  # HAPI sorts attributes
    # A server that alters nothing we own is not written to again, and an update names the version that it gave.
    assert hospital.run("--backfill", "--now", NOW).summary["writes"] == writes(unchanged=5)
    hospital.stay("whole", "2025-11-01", mg="0.82")
    assert hospital.run("--backfill", "--now", NOW).summary["writes"] == writes(amended=2, unchanged=3)
    assert hospital.run("--backfill", "--now", NOW).summary["writes"] == writes(unchanged=5)


def key(assessment: Json) -> str:
    return str(assessment["identifier"][0]["value"])


def as_folder(hospital: Site) -> list[Json]:
    """The assessments that a folder gets for the same records."""
    export = hospital.folder / "export"
    export.mkdir()
    for kind in KINDS:
        found = hospital.search(kind, _tag="|".join(hospital.tag))
        (export / f"{kind}.ndjson").write_text("".join(json.dumps(resource) + "\n" for resource in found))
    arguments = ("--backfill", "--from", str(export), "--to", str(hospital.folder / "out"), "--now", NOW)
    folder = {
        "SCREENER_FOLDER_COMPLETE": "true",
        "SCREENER_STATE_URL": f"sqlite:///{hospital.folder / 'folder.sqlite'}",
    }
    hospital.run(*arguments, **folder)
    lines = (hospital.folder / "out" / "RiskAssessment.ndjson").read_text().splitlines()
    return [json.loads(line, parse_float=Decimal) for line in lines]
