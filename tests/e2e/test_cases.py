"""The cases that differ on the wire, through both servers. All of them as folders: `tests/clinical/test_cases.py`."""

import json

import pytest

from fhir_fixtures import cases
from fhir_fixtures.cases import Case
from tests.e2e.expectations import check
from tests.e2e.site import Site

WIRE = [case for case in cases.load() if case.wire]


@pytest.mark.parametrize("case", WIRE, ids=lambda case: case.name)
def test_on_both_servers(case: Case, site: Site) -> None:
    text = json.dumps(case.resources, default=float)
    for kind, name in {(resource["resourceType"], resource["id"]) for resource in case.resources}:
        text = text.replace(f'"{kind}/{name}"', f'"{kind}/{site.id(name)}"')
    first = ("Patient", "Medication", "Specimen")  # servers may refuse a reference to what is not there yet
    for resource in sorted(json.loads(text), key=lambda r: r["resourceType"] not in first):
        site.put({**resource, "id": site.id(resource["id"])})
    cases.write_site(case, site.folder)
    summary = site.run("--backfill", "--now", case.now).summary
    check(case, summary, site.assessments("p1"), site.canonical)
