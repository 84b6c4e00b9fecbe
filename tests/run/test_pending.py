"""Changes that wait to be written come back as they were, whether they fit into memory or not."""

from decimal import Decimal

import msgspec
import pytest

from screener.assessment.reconcile import Action, Change
from screener.clinical.records import Method
from screener.run import pending
from screener.run.counts import PatientCounts


@pytest.mark.parametrize("in_memory_bytes", [1, 1 << 20])
def test_changes_come_back_as_they_were(in_memory_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "_IN_MEMORY_BYTES", in_memory_bytes)
    counts = {"p1": PatientCounts(("scored", "complete"), True, frozenset({"old"}), (("mg", "implausible"),))}
    resource = {"resourceType": "RiskAssessment", "prediction": [{"probabilityDecimal": Decimal("12.50")}]}
    changes = [
        Change(Action.CREATE, "p1", Method.FLAG, "identity-1", altered=resource),
        Change(Action.RETRACT, "p1", Method.NOMOGRAM, "identity-2", "withdrawn", None, resource, "r2", "7"),
    ]
    with pending.Pending() as held:
        held.add("p1", counts, changes)
        held.add("p5", {}, [])  # nobody with anything to write
        held.add("p9", counts, changes[:1])
        assert held.changes == 3
        back = [(last, kept, [_as_before(one) for one in part]) for last, kept, part in held]
        assert back == [("p1", counts, changes), ("p9", counts, changes[:1])]


def _as_before(change: Change) -> Change:
    """The change with its resource as it was added, digit for digit."""
    return msgspec.structs.replace(change, altered=change.resource, encoded=b"")


def test_small_batches_are_written_together_up_to_a_size_and_each_once() -> None:
    def change(patient: str) -> Change:
        return Change(Action.CREATE, patient, Method.FLAG, patient, altered={"resourceType": "RiskAssessment"})

    sizes = {"a": 2, "b": 1, "c": 1, "d": 9, "e": 2}
    with pending.Pending() as held:
        for name, size in sizes.items():
            rows = [change(f"{name}{number}") for number in range(size)]
            held.add(f"{name}-last", {row.patient: PatientCounts(("scored", "complete")) for row in rows}, rows)
        parts = list(held.together(4))
    assert [(last, len(changes)) for last, _, changes in parts] == [("c-last", 4), ("d-last", 9), ("e-last", 2)]
    assert [row.patient for _, _, changes in parts for row in changes] == [
        f"{name}{number}" for name, size in sizes.items() for number in range(size)
    ]
    assert all({row.patient for row in changes} == counts.keys() for _, counts, changes in parts)
