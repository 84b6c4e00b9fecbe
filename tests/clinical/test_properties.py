"""What must hold of any record, however odd: one outcome each, valid output, whatever the order and whatever else is there.

`HYPOTHESIS_PROFILE=long` draws many more examples (see `tests/conftest.py`).
"""

import contextlib
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.assessment.reconcile import Action, reconcile
from screener.assessment.validate import Validator
from screener.clinical import ucum
from screener.clinical.codes import Match
from screener.clinical.judge import Verdict
from screener.clinical.records import NO_PATIENT, Analyte, Demographics, MalformedResource, Method, Outcome
from screener.clinical.units import Conversion, UnitTable, range_table, unit_table
from screener.clinical.wire import decode_quantity
from tests.builders import desired
from tests.clinical.judged import MAPPER, NEEDS, RULES, Json, mapped, verdict
from tests.clinical.oddities import records


def told(found: Verdict) -> object:
    """All that anybody sees of a verdict."""
    return found.outcome, found.reason, found.reasons, found.occasions, found.scores, desired(found, RULES.writer)


@given(records())
def test_every_record_ends_in_one_outcome_and_valid_output(resources: list[Json]) -> None:
    found = verdict(resources)
    assert found.patient == "p1"
    assert (Method.NOMOGRAM in found.occasions) is (found.outcome is Outcome.SCORED)
    assert bool(found.occasions) is (found.outcome in (Outcome.SCORED, Outcome.FLAG_ONLY))
    assert all(bool(found.reasons[method]) is (method not in found.occasions) for method in Method)
    changes = reconcile(found, [], {}, RULES)
    assert {change.method for change in changes} == found.occasions.keys()
    validator = Validator(every=True)
    for change in changes:
        assert change.action is Action.CREATE
        assert change.resource is not None
        assert validator.problem(change.resource) == ""


def test_the_strategy_reaches_every_outcome() -> None:
    """Else the properties would hold of nothing."""
    found: set[Outcome] = set()

    @given(records())
    def look(resources: list[Json]) -> None:
        found.add(verdict(resources).outcome)

    look()
    assert found >= set(Outcome) - {Outcome.FAILED}  # that one has a property of its own, below


@given(records())
def test_what_stands_already_is_left_as_it_is(resources: list[Json]) -> None:
    found = verdict(resources)
    standing = [
        {**change.resource, "id": f"a{i}", "meta": {**change.resource["meta"], "versionId": "1"}}
        for i, change in enumerate(reconcile(found, [], {}, RULES))
        if change.resource is not None
    ]
    assert {change.action for change in reconcile(found, standing, {}, RULES)} <= {Action.UNCHANGED}


@given(st.data())
def test_the_order_of_resources_and_copies_of_them_change_nothing(data: st.DataObject) -> None:
    resources = data.draw(records())
    again = data.draw(st.lists(st.sampled_from(resources), max_size=4))
    shuffled = data.draw(st.permutations([*resources, *again]))
    assert told(verdict(shuffled)) == told(verdict(resources))


SODIUM = {"system": "http://loinc.org", "code": "2951-2"}
IRRELEVANT: list[Json] = [
    {
        "resourceType": "Observation",
        "id": "na",
        "status": "final",
        "code": {"coding": [SODIUM]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2026-01-30",
        "valueQuantity": {"value": 140, "unit": "mmol/L"},
    },
    {"resourceType": "Encounter", "id": "e", "status": "finished", "subject": {"reference": "Patient/p1"}},
    {
        "resourceType": "Condition",
        "id": "cold",
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "J00"}]},
        "subject": {"reference": "Patient/p1"},
    },
    {
        "resourceType": "Condition",
        "id": "hers",
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "C50.9"}]},
        "subject": {"reference": "Patient/p2"},
    },
    {"resourceType": "Patient", "id": "p2", "gender": "male", "deceasedBoolean": True},
    {"resourceType": "Observation", "id": "odd", "code": 7, "subject": {"reference": "Patient/p1"}},
]


@given(records(), st.sampled_from(IRRELEVANT))
def test_what_does_not_concern_her_changes_nothing(resources: list[Json], more: Json) -> None:
    assert told(verdict([*resources, more])) == told(verdict(resources))


@given(records(oddly=False))
def test_a_woman_without_a_readable_patient_is_never_assessed(resources: list[Json]) -> None:
    found = verdict(resources[1:])
    assert not any(isinstance(row, Demographics) and row.patient == "p1" for row in mapped(resources[1:])[0])
    assert found.occasions == {}


@given(records(), st.sampled_from(sorted(NEEDS)))
def test_an_excluding_resource_that_cannot_be_read_never_lets_her_through(resources: list[Json], kind: str) -> None:
    """With it she is failed, or was kept out before; she is not scored."""
    unreadable = {"resourceType": kind, "id": "bad", "subject": {"reference": "Patient/p1"}, "status": ["active"]}
    unreadable |= {"code": 7, "medicationCodeableConcept": 7}  # type: ignore[dict-item]
    found = verdict([*resources, unreadable])
    assert found.occasions == {}


# Units


UNITS = unit_table(())
CONVERTED = [row for row in UNITS if not row.reason]


@given(st.sampled_from(CONVERTED), st.decimals("0.5", "1.0", places=3))
def test_a_value_survives_the_way_there_and_back(row: Any, share: Decimal) -> None:
    """A possible value, written in any unit of the table, is read as itself to the last digit that matters."""
    usual = {"mg": "1", "p": "1", "ctx": "0.8", "p1np": "60", "weight": "80", "height": "210"}
    usual |= {"egfr": "90", "calcium": "2.4", "albumin": "40", "t_score": "2", "ocn": "30", "creatinine": "80"}
    value = Decimal(usual[row.analyte.value]) * share
    sent = value * row.denominator / row.numerator
    quantity = {"value": 0, "system": "http://unitsofmeasure.org", "code": row.unit} if row.kind == "ucum" else {}
    text = json.dumps(quantity or {"value": 0, "unit": row.unit}).replace('"value": 0', f'"value": {sent:f}')
    found = UnitTable(UNITS, range_table()).read(Match(row.analyte), decode_quantity(text))
    assert isinstance(found, Conversion), found
    assert abs(found.value - value) <= value * Decimal("1e-25")


@given(st.sampled_from(list(Analyte)), st.text(max_size=30))
def test_the_grammar_refuses_and_never_breaks(analyte: Analyte, code: str) -> None:
    found = ucum.factor(analyte, code)
    assert isinstance(found, str) or found[0] > 0 < found[1]


# Readers: bytes as they may come from a wire or a disk


@given(st.binary(max_size=400))
def test_any_bytes_are_rows_or_malformed(raw: bytes) -> None:
    try:
        assert isinstance(MAPPER.map(raw), tuple)
    except MalformedResource as error:
        assert str(error) in ("not a JSON object with a resourceType", NO_PATIENT)


@given(st.data())
def test_damaged_resources_are_rows_or_malformed(data: st.DataObject) -> None:
    whole = bytearray(json.dumps(data.draw(st.sampled_from(data.draw(records())))).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place : place + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
        if not whole:
            break
    try:
        assert isinstance(MAPPER.map(bytes(whole)), tuple)
    except MalformedResource as error:
        assert str(error) in ("not a JSON object with a resourceType", NO_PATIENT)


@pytest.mark.parametrize("depth", [100, 10_000, 200_000])
def test_nesting_that_no_reader_can_follow_is_malformed_or_nothing(depth: int) -> None:
    for raw in (b"[" * depth, b'{"resourceType":"Observation","component":' + b"[" * depth + b"]" * depth + b"}"):
        with contextlib.suppress(MalformedResource):
            assert MAPPER.map(raw) == ()
