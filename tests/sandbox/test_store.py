"""The store by itself: threads, atomicity, versions."""

import threading
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from screener.sandbox.store import Store


def patient(**fields: object) -> dict[str, object]:
    return {"resourceType": "Patient", **fields}


def test_parallel_updates_lose_no_version() -> None:
    store = Store()

    def write(number: int) -> None:
        for turn in range(50):
            store.put("Patient", "a", patient(active=f"{number}-{turn}"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [version.number for version in store.history("Patient", "a")] == list(range(1, 201))


def test_what_fails_is_taken_back_with_its_index() -> None:
    store = Store()
    key = ("identifier", "s", "1")
    store.put("Patient", "a", patient(identifier=[{"system": "s", "value": "1"}]))
    with pytest.raises(RuntimeError), store.atomic():
        store.put("Patient", "a", patient(identifier=[{"system": "s", "value": "2"}]))
        store.delete("Patient", "a")
        store.put("Patient", "b", patient(identifier=[{"system": "s", "value": "1"}]))
        raise RuntimeError
    assert [version.id for version in store.select("Patient", [[key]])] == ["a"]
    assert store.select("Patient", [[("identifier", "s", "2")]]) == []
    assert (len(store.history("Patient", "a")), store.history("Patient", "b")) == (1, [])


def test_an_inner_failure_leaves_the_outer_work() -> None:
    store = Store()
    with store.atomic():
        store.put("Patient", "a", patient())
        with pytest.raises(RuntimeError), store.atomic():
            store.put("Patient", "b", patient())
            raise RuntimeError
    assert [version.id for version in store.select("Patient", [])] == ["a"]


def test_the_order_of_elements_is_no_change_but_a_digit_is() -> None:
    store = Store()
    store.put("Patient", "a", patient(x=Decimal("0.84"), y=1))
    _, made = store.put("Patient", "a", {"y": 1, "x": Decimal("0.84"), "resourceType": "Patient"})
    assert made is False
    _, made = store.put("Patient", "a", patient(x=Decimal("0.840"), y=1))
    assert made is True


def test_time_is_in_utc_with_milliseconds_and_does_not_run_back() -> None:
    store = Store()
    store._clock_ms = 2_000_000_000_000  # 2033-05-18T03:33:20Z, by hand: 2e9 seconds after 1970
    version, _ = store.put("Patient", "a", patient())
    assert version.updated == datetime(2033, 5, 18, 3, 33, 20, tzinfo=UTC)
    assert version.resource()["meta"] == {"versionId": "1", "lastUpdated": "2033-05-18T03:33:20.000Z"}
