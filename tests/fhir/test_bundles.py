"""Batches of writes: each entry has its own result, and none is lost where the server takes no large one."""

import json

import pytest

from screener.base.errors import RequestRefused
from screener.config.servers import ServerSettings
from screener.fhir import bundles
from screener.fhir.client import Client
from tests.scripted import Reply, Request, Script, scripted

ENTRIES = [
    bundles.update(f"RiskAssessment/r{number}", {"resourceType": "RiskAssessment", "id": f"r{number}"}, "1")
    for number in range(7)
]


def sent(script: Script) -> tuple[list[tuple[int, str]], int]:
    """Status and id of each entry, and how many requests it took."""
    with scripted(script) as server, Client(ServerSettings(base_url=server.base_url, attempts=1)) as client:
        results = bundles.send_batch(client, ENTRIES, "a batch of writes")
        return [(result.status, result.id) for result in results], len(server.asked)


def answered(request: Request) -> Reply:
    entries = json.loads(request.body)["entry"]
    responses = [
        {"status": "200", "location": f"RiskAssessment/{entry['resource']['id']}/_history/2"} for entry in entries
    ]
    return Reply(body={"resourceType": "Bundle", "entry": [{"response": response} for response in responses]})


def test_a_batch_that_is_too_large_is_sent_in_halves() -> None:
    def script(request: Request) -> Reply:
        return Reply(413) if len(json.loads(request.body)["entry"]) > 2 else answered(request)

    results, requests = sent(script)
    assert results == [(200, f"r{number}") for number in range(7)]
    assert requests == 7  # 7; 3, 1, 2; 4, 2, 2


def test_an_entry_that_is_too_large_alone_is_that_entrys_result() -> None:
    def script(request: Request) -> Reply:
        return Reply(413) if "r3" in request.body else answered(request)

    results, _ = sent(script)
    assert results == [(413, "") if number == 3 else (200, f"r{number}") for number in range(7)]


def test_another_refusal_is_of_the_whole() -> None:
    with pytest.raises(RequestRefused, match="422"):
        sent(lambda _: Reply(422))
