"""What the sandbox refuses, and that its refusals repeat no value of a resource or of a search."""

import pytest
import requests

from screener.sandbox.app import SandboxServer

CANARY = "CANARY-4711"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
XML = {"Content-Type": "application/fhir+xml"}


def send(sandbox: SandboxServer, method: str, path: str, **arguments: object) -> requests.Response:
    return requests.request(method, f"{sandbox.base_url}{path}", timeout=10, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status"),
    [
        ("PATCH", "/Patient/a", {"json": []}, 405),
        ("DELETE", "/Patient?active=true", {}, 400),
        ("GET", "", {}, 400),
        ("GET", "/Patient/a/b/c", {}, 404),
        ("GET", "/Encounter/a", {}, 404),
        ("GET", "/Encounter", {}, 404),
        ("POST", "/Patient", {"data": "<Patient/>", "headers": XML}, 415),
        ("POST", "/Patient/_search", {"data": "{}", "headers": {"Content-Type": "application/json"}}, 415),
        ("PUT", "/Patient/white%20space", {"json": {"resourceType": "Patient", "id": "white space"}}, 400),
        ("PUT", "/Patient/a", {"json": {"resourceType": "Patient", "id": "a"}, "headers": {"If-Match": "*?"}}, 400),
        ("PUT", "/Patient/a", {"json": {"resourceType": "Patient", "id": "a", "meta": "x"}}, 400),
        ("PUT", "/Patient/a", {"json": [1]}, 400),
        ("PUT", "/Patient?active=true", {"json": {"resourceType": "Patient"}}, 405),
        ("POST", "/Patient", {"json": {"resourceType": "Patient"}, "headers": {"If-None-Exist": "_count=1"}}, 412),
        ("GET", "/Patient/a/_history?_since=2024", {}, 404),
        ("GET", "/Observation?code:not=x", {}, 400),
        ("GET", "/Observation?_summary=text", {}, 400),
        ("GET", "/Observation?_total=perhaps", {}, 400),
        ("GET", "/Observation?_count=-1", {}, 400),
        ("GET", "/Observation?code=%7C", {}, 400),
        ("GET", "/Observation?date=ap2024", {}, 400),
        ("GET", "?_getpages=x&_getpagesoffset=-1", {}, 410),
    ],
)
def test_refused(sandbox: SandboxServer, method: str, path: str, arguments: dict[str, object], status: int) -> None:
    answer = send(sandbox, method, path, **arguments)
    assert answer.status_code == status
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_history_knows_only_count(sandbox: SandboxServer) -> None:
    send(sandbox, "PUT", "/Patient/a", json={"resourceType": "Patient", "id": "a"})
    assert send(sandbox, "GET", "/Patient/a/_history?_since=2024").status_code == 400
    assert send(sandbox, "GET", "/Patient/a/_history?_count=1").json()["total"] == 1


def test_refusals_repeat_no_values(sandbox: SandboxServer) -> None:
    observation = {
        "resourceType": "Observation",
        "id": CANARY,
        "status": CANARY,
        "subject": {"reference": f"Patient/{CANARY}"},
    }
    answers = [
        send(sandbox, "PUT", f"/Observation/{CANARY}", json=observation),
        send(sandbox, "PUT", "/Observation/other", json=observation),
        send(sandbox, "PUT", f"/Patient/{CANARY}", json=observation),
        send(sandbox, "GET", f"/Patient/{CANARY}"),
        send(sandbox, "GET", f"/Observation?date={CANARY}"),
        send(sandbox, "GET", f"/Observation?_sort={CANARY}"),
        send(sandbox, "GET", f"/Observation?<{CANARY}>=x"),
        send(sandbox, "POST", "/Observation/_search", data=f"_count={CANARY}", headers=FORM),
        send(sandbox, "POST", "/Patient", data=f'{{"{CANARY}'),
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 400, 404, 400, 400, 400, 400, 400]
    assert [CANARY in answer.text for answer in answers] == [False] * len(answers)


@pytest.mark.parametrize("entry", [None, {}, {"request": {}}, {"request": {"url": "Patient/a"}}, "x"])
def test_an_entry_without_a_request_fails_alone(sandbox: SandboxServer, entry: object) -> None:
    good = {"resource": {"resourceType": "Patient", "id": "a"}, "request": {"method": "PUT", "url": "Patient/a"}}
    body = {"resourceType": "Bundle", "type": "batch", "entry": [entry, good]}
    answered = send(sandbox, "POST", "", json=body).json()["entry"]
    assert answered[0]["response"]["status"][0] == "4"
    assert answered[1]["response"]["status"] == "201 Created"


def test_what_it_says_of_itself_it_does(sandbox: SandboxServer) -> None:
    """Every type and search parameter of the CapabilityStatement answers 200."""
    statement = send(sandbox, "GET", "/metadata").json()
    assert statement["software"]["name"] == "screener sandbox"
    values = {"token": "x|y", "reference": "Patient/x", "date": "2024"}
    asked = [
        (kind["type"], parameter["name"], values[parameter["type"]])
        for kind in statement["rest"][0]["resource"]
        for parameter in kind["searchParam"]
    ]
    assert len(asked) > 60
    answers = {send(sandbox, "GET", f"/{kind}", params={name: value}).status_code for kind, name, value in asked}
    assert answers == {200}
