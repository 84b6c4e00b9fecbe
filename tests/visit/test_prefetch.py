"""A prefetch is hers or it is refused, and what it names beside her is used."""

import json
from typing import Any

import pytest

from screener.clinical.mapping import Mapper, MappingTables
from screener.visit.hooks import Refused
from screener.visit.prefetch import missing, record

Json = dict[str, Any]
MAPPER = Mapper(MappingTables.default())
NEEDS = {"MedicationRequest": "required"}
PATIENT = {"resourceType": "Patient", "id": "w1", "gender": "female", "birthDate": "1958-03-02"}
PRESCRIPTION = {
    "resourceType": "MedicationRequest",
    "id": "m1",
    "status": "active",
    "intent": "order",
    "subject": {"reference": "Patient/w1"},
    "authoredOn": "2026-01-01",
    "medicationReference": {"reference": "Medication/alendronate"},
}
ALENDRONATE = {
    "resourceType": "Medication",
    "id": "alendronate",
    "code": {"coding": [{"system": "http://www.whocc.no/atc", "code": "M05BA04"}]},
}


def sent(**parts: Any) -> dict[str, bytes]:
    return {key: json.dumps(part).encode() for key, part in parts.items()}


def bundle(*resources: Json) -> Json:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in resources]}


def test_a_medication_beside_the_prescription_says_what_she_takes() -> None:
    with_it = sent(patient=PATIENT, medicationRequest=bundle(PRESCRIPTION, ALENDRONATE))
    found = record("w1", with_it, MAPPER, NEEDS)
    assert [row.rule for row in found.exclusions] == ["antiresorptive"]
    alone = record("w1", sent(patient=PATIENT, medicationRequest=bundle(PRESCRIPTION)), MAPPER, NEEDS)
    assert (alone.exclusions, alone.unreadable) == ((), ("MedicationRequest",))


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (bundle({**PRESCRIPTION, "subject": {"reference": "https://other.example/fhir/Patient/w1"}}), "another server"),
        ({**PATIENT, "id": "w2"}, "another patient than context.patientId"),
        (bundle({**PRESCRIPTION, "subject": {"reference": "Patient/w2"}}), "resources of another patient"),
        (
            bundle({**PRESCRIPTION, "subject": None, "medicationCodeableConcept": ALENDRONATE["code"]}),
            "for which patient",
        ),
    ],
)
def test_what_is_not_hers_or_no_resource_is_refused(part: Any, words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        record("w1", sent(patient=PATIENT, medicationRequest=part), MAPPER, NEEDS)
    assert caught.value.status == 400


OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]}
WARNING = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "suppressed"}]}


@pytest.mark.parametrize(
    "part",
    [
        OUTCOME,
        WARNING,
        bundle(OUTCOME),
        bundle(WARNING),
        bundle(PRESCRIPTION, OUTCOME),
        {**bundle(PRESCRIPTION), "total": 2},
        {**bundle(PRESCRIPTION), "total": "2"},
        {**bundle(PRESCRIPTION), "link": [{"relation": "next", "url": "https://ehr.example/2"}]},
        [1, 2],
        "no resource",
    ],
)
def test_an_answer_that_is_not_whole_counts_as_not_sent(part: Any) -> None:
    keys = sent(patient=PATIENT, results=bundle(), medicationRequest=part)
    assert missing(keys, NEEDS) == ["medicationRequest"]
    found = record("w1", keys, MAPPER, {"MedicationRequest": "optional"})
    assert (found.exclusions, found.unchecked) == ((), ("MedicationRequest",))


@pytest.mark.parametrize(
    "part",
    [None, bundle(), {**bundle(PRESCRIPTION), "total": 1}, bundle(PRESCRIPTION, WARNING), {**bundle(), "link": None}],
)
def test_a_null_and_a_whole_bundle_are_answers(part: Any) -> None:
    keys = sent(patient=PATIENT, results=bundle(), medicationRequest=part)
    assert missing(keys, NEEDS) == []
    assert record("w1", keys, MAPPER, NEEDS).unchecked == ()


def test_a_patient_of_the_same_server_may_be_named_in_another_spelling() -> None:
    hers = {**PRESCRIPTION, "subject": {"reference": "HTTPS://EHR.example:443/fhir/Patient/w1"}}
    keys = sent(patient=PATIENT, medicationRequest=bundle(hers, ALENDRONATE))
    found = record("w1", keys, MAPPER, NEEDS, ["https://ehr.example/fhir"])
    assert [row.rule for row in found.exclusions] == ["antiresorptive"]
