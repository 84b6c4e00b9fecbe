"""Reading one resource: FHIR R4, http.html#read, #vread, #history, #delete, #versions; json.html."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from tests.contract import deviations
from tests.contract.server import FHIR_JSON, Server, is_outcome


def test_what_was_put_is_read_with_version_and_time(server: Server) -> None:
    """http.html#read: ETag with the versionId, Last-Modified; #general for the media type."""
    server.stored(server.patient())
    answer = server.send("GET", f"Patient/{server.id('p')}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith(FHIR_JSON)
    assert answer.headers["ETag"] == 'W/"1"'
    resource = answer.json()
    assert (resource["resourceType"], resource["id"]) == ("Patient", server.id("p"))
    assert resource["meta"]["versionId"] == "1"
    updated = datetime.fromisoformat(resource["meta"]["lastUpdated"])
    assert parsedate_to_datetime(answer.headers["Last-Modified"]).astimezone(UTC) == updated.replace(microsecond=0)
    assert abs(datetime.now(UTC) - updated) < timedelta(minutes=1)


def test_what_never_was_is_404(server: Server) -> None:
    """http.html#read and http.html#Status-Codes."""
    answer = server.send("GET", f"Patient/{server.id('nobody')}")
    assert answer.status_code == 404
    assert is_outcome(answer)


def test_an_unknown_type_is_404(server: Server) -> None:
    """http.html#create, #read: 404, resource type not supported."""
    assert server.send("GET", f"Nonsense/{server.id('x')}").status_code == 404


def test_what_was_deleted_is_410_and_its_past_stays(server: Server) -> None:
    """http.html#delete, #read: 410; #vread of an earlier version still answers it."""
    server.stored(server.patient())
    assert server.send("DELETE", f"Patient/{server.id('p')}").status_code in (200, 204)
    answer = server.send("GET", f"Patient/{server.id('p')}")
    assert answer.status_code == 410
    assert is_outcome(answer)
    assert server.send("GET", f"Patient/{server.id('p')}/_history/1").status_code == 200
    assert server.ids("Patient") == set()


def test_deleting_again_is_no_error(server: Server) -> None:
    """http.html#delete: a resource that is deleted already may be deleted again."""
    server.stored(server.patient())
    for _ in range(2):
        assert server.send("DELETE", f"Patient/{server.id('p')}").status_code in (200, 204)


def test_each_version_is_read_by_its_number(server: Server) -> None:
    """http.html#vread."""
    server.stored(server.patient(), {**server.patient(), "active": False})
    first = server.send("GET", f"Patient/{server.id('p')}/_history/1")
    second = server.send("GET", f"Patient/{server.id('p')}/_history/2")
    assert (first.json()["active"], second.json()["active"]) == (True, False)
    assert (first.headers["ETag"], second.headers["ETag"]) == ('W/"1"', 'W/"2"')
    assert server.send("GET", f"Patient/{server.id('p')}/_history/3").status_code == 404


def test_history_holds_all_versions_the_newest_first(server: Server) -> None:
    """http.html#history: a Bundle of type history, sorted with the oldest versions last; a deletion has no resource."""
    server.stored(server.patient(), {**server.patient(), "active": False})
    server.send("DELETE", f"Patient/{server.id('p')}")
    answer = server.send("GET", f"Patient/{server.id('p')}/_history")
    assert answer.status_code == 200
    bundle = answer.json()
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "history")
    assert bundle["entry"][0]["request"]["method"] == "DELETE"
    assert "resource" not in bundle["entry"][0]
    assert [entry["resource"]["meta"]["versionId"] for entry in bundle["entry"][1:]] == ["2", "1"]


def test_history_of_what_never_was_is_404(server: Server) -> None:
    """http.html#history: 404 where no resource ever had the id."""
    assert server.send("GET", f"Patient/{server.id('nobody')}/_history").status_code == 404


def test_a_server_says_what_it_can_do(server: Server) -> None:
    """http.html#capabilities: what the job relies on is declared by both servers."""
    answer = server.send("GET", "metadata")
    assert answer.status_code == 200
    statement = answer.json()
    assert (statement["resourceType"], statement["fhirVersion"]) == ("CapabilityStatement", "4.0.1")
    rest = statement["rest"][0]
    whole = {entry["code"] for entry in rest["interaction"]}
    assert whole & {"batch", "transaction"}
    assert ("batch" in whole) is server.says(deviations.BATCH_DECLARED)
    assessment = next(entry for entry in rest["resource"] if entry["type"] == "RiskAssessment")
    interactions = {entry["code"] for entry in assessment["interaction"]}
    assert {"read", "vread", "search-type", "create", "update", "delete"} <= interactions
    parameters = {entry["name"] for entry in assessment["searchParam"]}
    assert {"identifier", "method", "risk", "subject", "patient", "date", "_id", "_lastUpdated"} <= parameters
    assert assessment["conditionalCreate"] is True
