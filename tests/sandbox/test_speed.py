"""Seeding and paging stay linear: generous bounds, so that a busy machine passes and a scan per write does not."""

import time

import requests

from screener.sandbox.app import SandboxServer
from screener.sandbox.store import ENCODER

CODE = {"coding": [{"system": "http://loinc.org", "code": "2601-3"}]}


def bundle(first: int, patients: int, results: int) -> bytes:
    resources: list[dict[str, object]] = []
    for number in range(first, first + patients):
        resources.append({"resourceType": "Patient", "id": f"p{number}"})
        resources += [
            {
                "resourceType": "Observation",
                "id": f"o{number}-{result}",
                "status": "final",
                "code": CODE,
                "subject": {"reference": f"Patient/p{number}"},
                "effectiveDateTime": f"2024-01-{result + 1:02}T08:00:00Z",
            }
            for result in range(results)
        ]
    entries = [
        {"resource": resource, "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}}
        for resource in resources
    ]
    return ENCODER.encode({"resourceType": "Bundle", "type": "batch", "entry": entries})


def test_ten_thousand_resources_are_written_and_four_thousand_paged_in_seconds(sandbox: SandboxServer) -> None:
    session = requests.Session()
    began = time.monotonic()
    for first in range(0, 500, 20):
        answer = session.post(
            sandbox.base_url, data=bundle(first, 20, 20), headers={"Content-Type": "application/fhir+json"}, timeout=30
        )
        assert answer.status_code == 200
    written = time.monotonic()
    url, found = f"{sandbox.base_url}/Observation?code=2601-3&date=le2024-01-08&_count=1000", 0
    while url:
        page = session.get(url, timeout=30).json()
        found += len(page["entry"])
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), "")
    session.close()
    assert found == 4000
    assert written - began < 30
    assert time.monotonic() - written < 10


def test_a_small_answer_does_not_wait_for_an_acknowledgement(sandbox: SandboxServer) -> None:
    """A delayed ACK takes 40 ms (Linux), so a hundred answers that wait for one take 4 s."""
    with requests.Session() as session:
        session.put(f"{sandbox.base_url}/Patient/a", json={"resourceType": "Patient", "id": "a"}, timeout=10)
        began = time.monotonic()
        for _ in range(100):
            session.get(f"{sandbox.base_url}/Patient/a", timeout=10)
    assert time.monotonic() - began < 2
