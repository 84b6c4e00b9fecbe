"""Batches and transactions: FHIR R4, http.html#transaction and #trules; bundle.html#references."""

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


def test_a_transaction_writes_all_or_nothing(server: Server) -> None:
    """http.html#trules: if any entry fails, the whole fails, and the answer is one OperationOutcome."""
    answer = server.bundle(
        "transaction", put_entry(server.patient("p")), put_entry(server.observation("o", of="nobody"))
    )
    assert answer.status_code == 400
    assert is_outcome(answer)
    assert server.send("GET", f"Patient/{server.id('p')}").status_code == 404
    assert server.ids("Patient") == set()


def test_a_failed_transaction_leaves_the_old_version(server: Server) -> None:
    """http.html#trules: updates and deletions are taken back as well."""
    server.stored(server.patient("kept"), server.patient("changed"))
    answer = server.bundle(
        "transaction",
        {"request": {"method": "DELETE", "url": f"Patient/{server.id('kept')}"}},
        put_entry({**server.patient("changed"), "active": False}),
        put_entry(server.observation("o", of="nobody")),
    )
    assert answer.status_code == 400
    assert server.send("GET", f"Patient/{server.id('kept')}").status_code == 200
    assert server.send("GET", f"Patient/{server.id('changed')}").json()["meta"]["versionId"] == "1"
    assert server.ids("Patient") == {"kept", "changed"}


def test_a_transaction_resolves_references_between_its_entries(server: Server) -> None:
    """bundle.html#references: urn:uuid of a fullUrl becomes the new id, whatever the order of the entries."""
    name = f"urn:uuid:{uuid.uuid4()}"
    observation = server.observation("o", subject={"reference": name})
    answer = server.bundle(
        "transaction", post_entry(observation), {"fullUrl": name, **post_entry(server.patient("ignored"))}
    )
    assert statuses(answer) == [201, 201]
    bundle = answer.json()
    assert bundle["type"] == "transaction-response"
    written = [entry["response"]["location"].partition("/_history")[0] for entry in bundle["entry"]]
    stored = server.send("GET", written[0].removeprefix(f"{server.base_url}/")).json()
    assert written[1].endswith(stored["subject"]["reference"])


def test_a_transaction_resolves_references_to_what_was_there(server: Server) -> None:
    """bundle.html#references with http.html#ccreate: the existing resource's id."""
    identified = {**server.patient(), "identifier": [{"system": "https://example.org/mrn", "value": server.own}]}
    server.stored(identified)
    name = f"urn:uuid:{uuid.uuid4()}"
    patient = {
        "fullUrl": name,
        **post_entry(identified, ifNoneExist=f"identifier=https://example.org/mrn|{server.own}"),
    }
    answer = server.bundle("transaction", patient, post_entry(server.observation("o", subject={"reference": name})))
    assert statuses(answer) == [200, 201]
    assert server.ids("Observation", subject=f"Patient/{server.id('p')}") != set()


def test_a_transaction_takes_references_in_any_order(server: Server) -> None:
    """http.html#trules: the order of entries does not matter."""
    answer = server.bundle("transaction", put_entry(server.observation("o")), put_entry(server.patient()))
    assert statuses(answer) == [201, 201]


def test_a_batch_does_not_resolve_references_between_its_entries(server: Server) -> None:
    """http.html#brules: no interdependencies between the entries of a batch."""
    name = f"urn:uuid:{uuid.uuid4()}"
    observation = server.observation("o", of="nobody")
    answer = server.bundle("batch", {"fullUrl": name, **post_entry(server.patient())}, put_entry(observation))
    assert statuses(answer) == [201, 400]


def test_two_entries_about_one_resource_fail_a_transaction(server: Server) -> None:
    """http.html#trules: if any resource identities overlap, the transaction fails."""
    answer = server.bundle("transaction", put_entry(server.patient()), put_entry({**server.patient(), "active": False}))
    assert answer.status_code == 400
    assert server.send("GET", f"Patient/{server.id('p')}").status_code == 404


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
