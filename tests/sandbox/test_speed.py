"""Seeding and paging stay linear, by the ratio of times on one machine."""

import statistics
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


def test_a_full_store_takes_no_longer_to_write_and_page_than_an_empty_one(sandbox: SandboxServer) -> None:
    """10,000 resources: with a scan for each write, the last Bundles take some twenty times as long as the first."""
    session = requests.Session()
    writing: list[float] = []
    for first in range(0, 500, 20):
        began = time.monotonic()
        answer = session.post(
            sandbox.base_url, data=bundle(first, 20, 20), headers={"Content-Type": "application/fhir+json"}, timeout=120
        )
        writing.append(time.monotonic() - began)
        assert answer.status_code == 200
    url, found, began = f"{sandbox.base_url}/Observation?code=2601-3&date=le2024-01-08&_count=1000", 0, time.monotonic()
    while url:
        page = session.get(url, timeout=120).json()
        found += len(page["entry"])
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), "")
    paging = time.monotonic() - began
    session.close()
    assert found == 4000
    assert statistics.median(writing[-8:]) < 5 * statistics.median(writing[1:9])
    assert paging < 2 * sum(writing)


def test_a_small_answer_does_not_wait_for_an_acknowledgement(sandbox: SandboxServer) -> None:
    """A delayed ACK takes 40 ms (Linux); an answer that waits for none takes 2."""
    took = []
    with requests.Session() as session:
        session.put(f"{sandbox.base_url}/Patient/a", json={"resourceType": "Patient", "id": "a"}, timeout=60)
        for _ in range(100):
            began = time.monotonic()
            session.get(f"{sandbox.base_url}/Patient/a", timeout=60)
            took.append(time.monotonic() - began)
    assert statistics.quantiles(took, n=10)[0] < 0.03
