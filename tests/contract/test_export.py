"""Bulk Data Access (hl7.org/fhir/uv/bulkdata): the same conversation with both servers."""

import json
import time
from typing import Any

import pytest
import requests

from tests.contract import deviations
from tests.contract.server import Server

Json = dict[str, Any]
ASYNC = {"Prefer": "respond-async", "Cache-Control": "no-cache"}


def kick_off(server: Server, path: str = "$export", **params: str) -> requests.Response:
    return server.session.get(f"{server.base_url}/{path}", params=params, headers=ASYNC, timeout=30)


def manifest(server: Server, status: str) -> Json:
    for _ in range(300):
        answer = server.session.get(status, timeout=30)
        if answer.status_code == 200:
            found: Json = answer.json()
            return found
        assert answer.status_code == 202, answer.text
        assert answer.headers["Retry-After"].isdigit()
        time.sleep(0.1)
    pytest.fail("the export does not end")


def lines(server: Server, found: Json) -> list[Json]:
    resources = []
    for file in found["output"]:
        answer = server.session.get(file["url"], headers={"Accept": "application/fhir+ndjson"}, timeout=30)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("application/fhir+ndjson")
        part = [json.loads(line) for line in answer.text.splitlines()]
        assert {resource["resourceType"] for resource in part} == {file["type"]}
        resources += part
    return resources


def test_an_export_from_kick_off_to_deletion(server: Server) -> None:
    server.stored(server.patient(), server.observation("a"), server.observation("b"))
    answer = kick_off(server, _type="Patient,Observation")
    assert answer.status_code == 202
    status = answer.headers["Content-Location"]
    found = manifest(server, status)
    assert found["transactionTime"].endswith(("Z", "+00:00"))
    assert {"output", "requiresAccessToken", "request"} <= found.keys()
    mine = {f"{r['resourceType']}/{r['id']}" for r in lines(server, found) if r["id"].endswith(server.own)}
    assert mine == {f"Patient/{server.id('p')}", f"Observation/{server.id('a')}", f"Observation/{server.id('b')}"}
    assert server.session.delete(status, timeout=30).status_code == server.says(deviations.EXPORT_DELETION)


def test_only_what_a_filter_finds(server: Server) -> None:
    server.stored(server.patient(), server.observation("a"), server.observation("b"))
    answer = kick_off(server, _type="Observation", _typeFilter=f"Observation?_id={server.id('b')}")
    found = lines(server, manifest(server, answer.headers["Content-Location"]))
    assert [resource["id"] for resource in found] == [server.id("b")]


def test_nothing_changed_since(server: Server) -> None:
    server.stored(server.patient())
    answer = kick_off(server, _type="Patient", _since="2100-01-01T00:00:00Z")
    assert manifest(server, answer.headers["Content-Location"])["output"] == []


def test_it_has_to_be_asked_for_asynchronously(server: Server) -> None:
    assert server.session.get(f"{server.base_url}/$export", timeout=30).status_code == 400
