"""Creating and updating: FHIR R4, http.html#create, #update, #upsert, #concurrency, #ops; json.html#primitive."""

import pytest
import requests

from tests.contract import deviations
from tests.contract.server import FHIR_JSON, Server, is_outcome


def test_create_gives_an_id_and_says_where(server: Server) -> None:
    """http.html#create: 201, Location [base]/[type]/[id]/_history/[vid], ETag, versionId and lastUpdated set."""
    server.stored(server.patient())
    answer = server.send("POST", "RiskAssessment", server.assessment("a"))
    assert answer.status_code == 201
    created = answer.json()
    assert answer.headers["Location"] == f"{server.base_url}/RiskAssessment/{created['id']}/_history/1"
    assert answer.headers["ETag"] == 'W/"1"'
    assert "Last-Modified" in answer.headers
    assert created["meta"]["versionId"] == "1"
    assert server.send("GET", f"RiskAssessment/{created['id']}").json()["identifier"] == created["identifier"]


def test_create_takes_no_id_from_the_client(server: Server) -> None:
    """http.html#create: an id in the body is ignored."""
    answer = server.send("POST", "Patient", server.patient("mine"))
    assert answer.status_code == 201
    assert answer.json()["id"] != server.id("mine")


def test_prefer_minimal_answers_no_body(server: Server) -> None:
    """http.html#ops: return=minimal."""
    answer = server.send("PUT", f"Patient/{server.id('p')}", server.patient(), Prefer="return=minimal")
    assert (answer.status_code, answer.content) == (201, b"")
    assert answer.headers["ETag"] == 'W/"1"'


def test_put_under_an_id_of_the_client_creates(server: Server) -> None:
    """http.html#upsert: 201 and the id of the client."""
    answer = server.put(server.patient())
    assert answer.status_code == 201
    assert answer.headers["ETag"] == 'W/"1"'
    assert answer.json()["id"] == server.id("p")


def test_put_that_changes_makes_a_new_version(server: Server) -> None:
    """http.html#update: 200 and the next version."""
    server.stored(server.patient())
    answer = server.put({**server.patient(), "active": False})
    assert answer.status_code == 200
    assert (answer.headers["ETag"], answer.json()["meta"]["versionId"]) == ('W/"2"', "2")


def test_put_that_changes_nothing_makes_no_version(server: Server) -> None:
    """http.html#update leaves it to the server; both keep the version, which the job relies on nowhere but its tests do."""
    server.stored(server.patient())
    answer = server.put(server.patient())
    assert (answer.status_code, answer.headers["ETag"]) == (200, 'W/"1"')
    as_read = server.send("GET", f"Patient/{server.id('p')}").json()
    assert server.put(as_read).headers["ETag"] == 'W/"1"'


def test_put_replaces_the_tags(server: Server) -> None:
    """http.html#update: an update is of the whole content, and servers should leave other metadata as it was sent."""
    server.stored(server.patient(), {**server.patient(), "meta": {}, "active": False})
    meta = server.send("GET", f"Patient/{server.id('p')}").json()["meta"]
    assert len(meta.get("tag", [])) == server.says(deviations.TAGS_LEFT_OUT)


def test_put_with_the_current_version_passes(server: Server) -> None:
    """http.html#concurrency."""
    server.stored(server.patient())
    answer = server.put({**server.patient(), "active": False}, If_Match='W/"1"')
    assert (answer.status_code, answer.headers["ETag"]) == (200, 'W/"2"')


def test_put_with_a_stale_version_is_refused(server: Server) -> None:
    """http.html#concurrency: 412, and nothing is written."""
    server.stored(server.patient(), {**server.patient(), "active": False})
    answer = server.put({**server.patient(), "gender": "female"}, If_Match='W/"1"')
    assert answer.status_code == server.says(deviations.STALE_IF_MATCH)
    assert is_outcome(answer)
    assert server.send("GET", f"Patient/{server.id('p')}").headers["ETag"] == 'W/"2"'


def test_a_changed_digit_is_a_change(server: Server) -> None:
    """datatypes.html#decimal: 0.840 is not 0.84, its precision is part of the value."""
    server.stored(server.patient(), server.observation("o", valueQuantity={"value": 0.84}))
    body = _with_value(server, "0.840")
    answer = server.send("PUT", f"Observation/{server.id('o')}", body)
    assert (answer.status_code, answer.headers["ETag"]) == (200, 'W/"2"')


@pytest.mark.parametrize("written", ["0.840", "1.0", "58.10", "0.84500000000000000001", "100"])
def test_decimals_stay_as_written(server: Server, written: str) -> None:
    """json.html#primitive and datatypes.html#decimal: precision is kept."""
    server.stored(server.patient())
    created = server.send("PUT", f"Observation/{server.id('o')}", _with_value(server, written))
    assert created.status_code == 201
    for answer in (
        created,
        server.send("GET", f"Observation/{server.id('o')}"),
        server.search("Observation", _id=server.id("o")),
    ):
        assert f'"value":{written}' in answer.text.replace(" ", "").replace("\n", "")


def _with_value(server: Server, decimal: str) -> bytes:
    observation = server.observation("o", valueQuantity={"value": "DECIMAL"})
    request = server.session.prepare_request(_json_request(observation))
    assert isinstance(request.body, bytes)
    return request.body.replace(b'"DECIMAL"', decimal.encode())


def _json_request(resource: object) -> requests.Request:
    return requests.Request("POST", "http://127.0.0.1/", json=resource)


@pytest.mark.parametrize("body", [b"{", b"", b"nonsense", b'{"resourceType": "Patient"'])
def test_a_body_that_is_no_json_is_400(server: Server, body: bytes) -> None:
    """http.html#create: 400, resource could not be parsed."""
    answer = server.send("POST", "Patient", body)
    assert answer.status_code == 400
    assert is_outcome(answer)


def test_a_resource_of_another_type_is_400(server: Server) -> None:
    """http.html#update: the resource must be of the type in the URL."""
    answer = server.send("PUT", f"Observation/{server.id('p')}", server.patient())
    assert answer.status_code == 400
    assert is_outcome(answer)


def test_a_resource_with_another_id_or_none_is_400(server: Server) -> None:
    """http.html#update: the body must have an id, identical to that of the URL."""
    without = {name: value for name, value in server.patient().items() if name != "id"}
    for body in (server.patient("another"), without):
        answer = server.send("PUT", f"Patient/{server.id('p')}", body)
        assert answer.status_code == 400
        assert is_outcome(answer)


def test_a_reference_to_nobody_is_refused(server: Server) -> None:
    """http.html#create: servers may reject what breaks their rules; both check local references, by 400."""
    answer = server.put(server.observation("o", of="nobody"))
    assert answer.status_code == 400
    assert is_outcome(answer)
    assert server.send("GET", f"Observation/{server.id('o')}").status_code == 404


def test_a_reference_to_another_server(server: Server) -> None:
    """references.html#literal: absolute URLs are allowed."""
    elsewhere = {"reference": "https://example.org/fhir/Patient/1"}
    answer = server.put(server.observation("o", subject=elsewhere))
    assert answer.status_code == server.says(deviations.ABSOLUTE_REFERENCE)


def test_what_others_refer_to_may_be_deleted(server: Server) -> None:
    """http.html#delete leaves it to the server: both let it go, and let what referred to it be updated."""
    server.stored(server.patient(), server.observation("o"))
    assert server.send("DELETE", f"Patient/{server.id('p')}").status_code in (200, 204)
    answer = server.put(server.observation("o", status="entered-in-error"))
    assert (answer.status_code, answer.headers["ETag"]) == (200, 'W/"2"')


def test_put_brings_back_what_was_deleted(server: Server) -> None:
    """http.html#delete: a deleted resource may be brought back by an update; the deletion stays in its history."""
    server.stored(server.patient())
    server.send("DELETE", f"Patient/{server.id('p')}")
    answer = server.put(server.patient())
    assert (answer.status_code, answer.headers["ETag"]) == (201, 'W/"3"')
    assert server.send("GET", f"Patient/{server.id('p')}").status_code == 200
    assert server.send("GET", f"Patient/{server.id('p')}/_history/2").status_code == 410


def test_if_match_where_nothing_stands(server: Server) -> None:
    """http.html#concurrency: the version does not match."""
    answer = server.put(server.patient(), If_Match='W/"1"')
    assert answer.status_code == server.says(deviations.IF_MATCH_OF_NOTHING)


def test_the_basis_of_an_assessment_may_be_deleted(server: Server) -> None:
    """RiskAssessment.basis has no search parameter in R4 (riskassessment.html#search): neither server watches it."""
    server.stored(server.patient(), server.observation("o"))
    basis = [{"reference": f"Observation/{server.id('o')}"}]
    created = server.send("POST", "RiskAssessment", server.assessment("a", basis=basis))
    assert created.status_code == 201
    assert server.send("DELETE", f"Observation/{server.id('o')}").status_code in (200, 204)
    amended = server.put({**created.json(), "status": "entered-in-error"})
    assert (amended.status_code, amended.json()["basis"]) == (200, basis)


def test_media_type_of_errors(server: Server) -> None:
    """http.html#mime-type: application/fhir+json for errors too."""
    answer = server.send("GET", f"Patient/{server.id('nobody')}")
    assert answer.headers["Content-Type"].startswith(FHIR_JSON)
