"""Batches: FHIR R4, http.html#transaction; bundle.html#references."""

import uuid

from tests.contract import deviations
from tests.contract.server import Server, is_outcome, post_entry, put_entry, statuses


def test_a_batch_answers_each_entry_in_its_order(server: Server) -> None:
    """http.html#transaction-response: one entry for each, in the same order, with status, location and etag."""
    server.stored(server.patient("there"))
    changed = {**server.patient("there"), "active": False}
    answer = server.bundle("batch", put_entry(changed), put_entry(server.patient("new")))
    assert statuses(answer) == [200, 201]
    bundle = answer.json()
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "batch-response")
    responses = [entry["response"] for entry in bundle["entry"]]
    assert [response["location"].rpartition("Patient/")[2] for response in responses] == [
        f"{server.id('there')}/_history/2",
        f"{server.id('new')}/_history/1",
    ]
    assert responses[1]["etag"] == server.says(deviations.ENTRY_ETAG)
    assert "lastModified" in responses[1]


def test_an_entry_that_fails_leaves_the_others_of_a_batch(server: Server) -> None:
    """http.html#brules: the success or failure of one entry does not change the others."""
    server.stored(server.patient())
    entries = [put_entry(server.observation(f"o{number}", of=of)) for number, of in enumerate(("p", "nobody", "p"))]
    answer = server.bundle("batch", *entries)
    assert statuses(answer) == [201, 400, 201]
    assert answer.json()["entry"][1]["response"]["outcome"]["resourceType"] == "OperationOutcome"
    assert server.ids("Observation") == {"o0", "o2"}


def test_a_batch_deletes(server: Server) -> None:
    """http.html#transaction: DELETE entries; of what is gone, too."""
    server.stored(server.patient("a"), server.patient("b"))
    entries = [{"request": {"method": "DELETE", "url": f"Patient/{server.id(name)}"}} for name in ("a", "b")]
    assert set(statuses(server.bundle("batch", *entries))) <= {200, 204}
    assert server.ids("Patient") == set()
    assert set(statuses(server.bundle("batch", *entries))) <= {200, 204}


def test_a_batch_does_not_resolve_references_between_its_entries(server: Server) -> None:
    """http.html#brules: no interdependencies between the entries of a batch."""
    name = f"urn:uuid:{uuid.uuid4()}"
    observation = server.observation("o", of="nobody")
    answer = server.bundle("batch", {"fullUrl": name, **post_entry(server.patient())}, put_entry(observation))
    assert statuses(answer) == [201, 400]


def test_a_batch_reads_and_searches(server: Server) -> None:
    """http.html#transaction: GET entries."""
    server.stored(server.patient())
    urls = [f"Patient/{server.id('p')}", f"Patient?_id={server.id('p')}", f"Patient/{server.id('nobody')}"]
    answer = server.bundle("batch", *({"request": {"method": "GET", "url": url}} for url in urls))
    assert statuses(answer) == [200, 200, 404]
    read, found, _ = answer.json()["entry"]
    assert read["resource"]["id"] == server.id("p")
    assert found["resource"]["entry"][0]["resource"]["id"] == server.id("p")


def test_what_is_no_bundle_is_refused(server: Server) -> None:
    """http.html#transaction: the base takes Bundles of type batch and transaction."""
    for body in (server.patient(), {"resourceType": "Bundle", "type": "collection"}, b"nonsense"):
        answer = server.send("POST", "", body)
        assert answer.status_code == 400
        assert is_outcome(answer)
