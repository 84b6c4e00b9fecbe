"""Conditional interactions: FHIR R4, http.html#ccreate and #cond-update, alone and in Bundles."""

from tests.contract import deviations
from tests.contract.server import Server, is_outcome, post_entry, put_entry, statuses


def test_conditional_create_with_no_match_creates(server: Server) -> None:
    """http.html#ccreate: no matches, as create."""
    server.stored(server.patient())
    answer = server.send("POST", "RiskAssessment", server.assessment("a"), If_None_Exist=server.if_none_exist("a"))
    assert answer.status_code == 201
    assert answer.headers["ETag"] == 'W/"1"'


def test_conditional_create_with_one_match_answers_that_one(server: Server) -> None:
    """http.html#ccreate: one match, the server ignores the post and returns 200."""
    server.stored(server.patient())
    first = server.send("POST", "RiskAssessment", server.assessment("a"), If_None_Exist=server.if_none_exist("a"))
    changed = server.assessment("a", status="amended")
    again = server.send("POST", "RiskAssessment", changed, If_None_Exist=server.if_none_exist("a"))
    assert again.status_code == 200
    assert f"RiskAssessment/{first.json()['id']}" in again.headers["Location"]
    assert again.headers["ETag"] == 'W/"1"'
    stored = server.send("GET", f"RiskAssessment/{first.json()['id']}").json()
    assert (stored["status"], stored["meta"]["versionId"]) == ("final", "1")


def test_conditional_create_with_several_matches_is_412(server: Server) -> None:
    """http.html#ccreate: multiple matches, 412."""
    server.stored(server.patient())
    for _ in range(2):
        assert server.send("POST", "RiskAssessment", server.assessment("a")).status_code == 201
    answer = server.send("POST", "RiskAssessment", server.assessment("a"), If_None_Exist=server.if_none_exist("a"))
    assert answer.status_code == 412
    assert is_outcome(answer)


def test_conditional_create_sees_no_deleted_one(server: Server) -> None:
    """http.html#delete: a deleted resource is no longer found by searches."""
    server.stored(server.patient())
    first = server.send("POST", "RiskAssessment", server.assessment("a"), If_None_Exist=server.if_none_exist("a"))
    server.send("DELETE", f"RiskAssessment/{first.json()['id']}")
    again = server.send("POST", "RiskAssessment", server.assessment("a"), If_None_Exist=server.if_none_exist("a"))
    assert again.status_code == 201
    assert again.json()["id"] != first.json()["id"]


def test_conditional_creates_in_a_batch_each_stand_alone(server: Server) -> None:
    """http.html#transaction: in a batch, each entry has its own status: 201 new, 200 there already, 412 several."""
    server.stored(server.patient())
    server.send("POST", "RiskAssessment", server.assessment("one"))
    for _ in range(2):
        server.send("POST", "RiskAssessment", server.assessment("two"))
    entries = [
        post_entry(server.assessment(name), ifNoneExist=server.if_none_exist(name)) for name in ("none", "one", "two")
    ]
    answer = server.bundle("batch", *entries)
    assert statuses(answer) == [201, 200, 412]
    assert answer.json()["entry"][2]["response"]["outcome"]["resourceType"] == "OperationOutcome"
    again = server.bundle("batch", entries[0])
    assert statuses(again) == [200]


def test_a_stale_version_in_a_batch_fails_alone(server: Server) -> None:
    """http.html#trules: ifMatch as If-Match; the other entries of the batch stand."""
    server.stored(server.patient("a"), {**server.patient("a"), "active": False}, server.patient("b"))
    stale = put_entry({**server.patient("a"), "gender": "female"}, ifMatch='W/"1"')
    current = put_entry({**server.patient("b"), "gender": "female"}, ifMatch='W/"1"')
    answer = server.bundle("batch", stale, current)
    assert statuses(answer) == [server.says(deviations.STALE_IF_MATCH_IN_BATCH), 200]
    assert server.send("GET", f"Patient/{server.id('a')}").headers["ETag"] == 'W/"2"'
    assert server.send("GET", f"Patient/{server.id('b')}").json()["gender"] == "female"
