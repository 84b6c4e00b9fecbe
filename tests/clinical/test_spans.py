"""When something held, by what its resource says: each way to a start, each way to an end, and what was never meant."""

import json
from datetime import date
from typing import Any

import msgspec
import pytest

from screener.clinical import wire
from screener.clinical.certainty import certainty
from screener.clinical.records import Span, Version
from screener.clinical.spans import condition_span, meant, medication_span, procedure_span

Json = dict[str, Any]
CHANGED = Version(1_748_764_800_000_000, 1)  # 2025-06-01T08:00Z
TYPES: dict[str, Any] = {
    kind: getattr(wire, kind)
    for kind in (
        "Condition",
        "Procedure",
        "MedicationRequest",
        "MedicationStatement",
        "MedicationAdministration",
        "MedicationDispense",
    )
}


def read(kind: str, **elements: Any) -> Any:
    return msgspec.json.decode(json.dumps({"resourceType": kind, "id": "x", **elements}).encode(), type=TYPES[kind])


def day(text: str) -> int:
    return date.fromisoformat(text).toordinal() if text else 0


def span(start: str = "", end: str = "", *, over: bool = False, documented: bool | None = None) -> Span:
    """`documented` by default: where there is an end."""
    return Span(day(start), day(end), over, bool(end) if documented is None else documented)


def unended(start: str, sign: str) -> Span:
    """Of a medicine that is over: from when to its last sign of life, and when the resource was last changed."""
    return Span(day(start), day(sign), over=True, changed_day=day("2025-06-01"))


def concept(code: str) -> Json:
    return {"coding": [{"code": code}]}


RESOLVED = {"clinicalStatus": concept("resolved")}


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, span()),
        ({"onsetDateTime": "2024-03"}, span("2024-03-01")),
        ({"onsetPeriod": {"start": "2024-03-05", "end": "2024-04-01"}}, span("2024-03-05")),
        ({"recordedDate": "2024-03-05"}, span("2024-03-05")),
        ({"onsetDateTime": "2023", "recordedDate": "2024-03-05"}, span("2023-01-01")),
        ({"abatementDateTime": "2024-05"}, span("", "2024-05-31", over=True)),
        ({"abatementPeriod": {"start": "2024-01-01", "end": "2024-05-02"}}, span("", "2024-05-02", over=True)),
        (RESOLVED, span("", "2025-06-01", over=True, documented=False)),  # at the latest when it was last changed
        ({"clinicalStatus": concept("inactive")}, span("", "2025-06-01", over=True, documented=False)),
        ({"clinicalStatus": concept("remission")}, span("", "2025-06-01", over=True, documented=False)),
        ({"clinicalStatus": concept("active")}, span()),
        ({"clinicalStatus": concept("recurrence")}, span()),
        ({"abatementString": "last year"}, span("", "2025-06-01", over=True, documented=False)),
        ({"abatementAge": {"value": 60}}, span("", "2025-06-01", over=True, documented=False)),
        ({"abatementRange": {"low": {"value": 60}}}, span("", "2025-06-01", over=True, documented=False)),
    ],
)
def test_when_a_diagnosis_held(elements: Json, expected: Span) -> None:
    assert condition_span(read("Condition", **elements), CHANGED) == expected


def test_an_ended_diagnosis_without_a_time_of_change_ended_when_it_was_recorded() -> None:
    recorded = read("Condition", **RESOLVED, recordedDate="2024-03")
    assert condition_span(recorded, Version()) == span("2024-03-01", "2024-03-31", over=True, documented=False)
    assert condition_span(read("Condition", **RESOLVED), Version()) == span(over=True)


GM = "http://fhir.de/CodeSystem/bfarm/icd-10-gm"


def german(code: str, mark: str = "") -> Json:
    url = "http://fhir.de/StructureDefinition/icd-10-gm-diagnosesicherheit"
    extension = {"extension": [{"url": url, "valueCoding": {"code": mark}}]} if mark else {}
    return {"code": {"coding": [{"system": GM, "code": code, **extension}]}}


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"verificationStatus": concept("refuted")}, "ruled_out"),
        ({"verificationStatus": concept("entered-in-error")}, "withdrawn"),
        ({"verificationStatus": concept("confirmed")}, ""),
        ({"verificationStatus": concept("provisional")}, "suspected"),
        ({"verificationStatus": concept("differential")}, "suspected"),
        ({"verificationStatus": concept("unconfirmed")}, "suspected"),
        ({}, ""),
        (german("C50.9", "A"), "ruled_out"),
        (german("C50.9", "V"), "suspected"),
        (german("C50.9", "Z"), "past"),
        (german("C50.9", "G"), ""),
        (german("C50.9A"), "ruled_out"),
        (german("C50.9 V L"), "suspected"),
        (german("C50.9"), ""),
        (german("C50.9", "V") | {"verificationStatus": concept("refuted")}, "ruled_out"),
        ({"code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "C50.9A"}]}}, ""),
    ],
)
def test_how_sure_a_diagnosis_is(elements: Json, expected: str) -> None:
    assert certainty(read("Condition", **elements)) == expected


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, span()),
        ({"performedDateTime": "2024-03"}, span("2024-03-01", "2024-03-31")),
        ({"performedPeriod": {"start": "2024-03-05", "end": "2024-04-01"}}, span("2024-03-05", "2024-04-01")),
        ({"performedPeriod": {"start": "2024-03-05"}}, span("2024-03-05")),
        (
            {"status": "completed", "performedPeriod": {"start": "2024-03-05"}},
            span("2024-03-05", "2024-03-05", over=True, documented=False),
        ),
        ({"status": "stopped", "performedDateTime": "2024-03-05"}, span("2024-03-05", "2024-03-05", over=True)),
        ({"status": "in-progress", "performedDateTime": "2024-03-05"}, span("2024-03-05", "2024-03-05")),
    ],
)
def test_when_a_procedure_was_done(elements: Json, expected: Span) -> None:
    assert procedure_span(read("Procedure", **elements)) == expected


def dosage(**repeat: Any) -> Json:
    return {"timing": {"repeat": repeat}}


def days(value: float, unit: str = "d", **more: Any) -> Json:
    return {"value": value, "code": unit, **more}


ORDERED = {"authoredOn": "2024-03-05"}
CLOSED = dosage(boundsPeriod={"start": "2024-03-10", "end": "2024-04-01"})


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, span()),
        (ORDERED, span("2024-03-05")),
        ({**ORDERED, "status": "active"}, span("2024-03-05")),
        ({**ORDERED, "status": "completed"}, unended("2024-03-05", "2024-03-05")),
        ({**ORDERED, "status": "stopped"}, unended("2024-03-05", "2024-03-05")),
        ({**ORDERED, "dosageInstruction": [CLOSED]}, span("2024-03-10", "2024-04-01")),
        # The last of several; an open one beside it has no end.
        (
            {"dosageInstruction": [CLOSED, dosage(boundsPeriod={"start": "2024-03-01", "end": "2024-05-01"})]},
            span("2024-03-01", "2024-05-01"),
        ),
        ({"dosageInstruction": [CLOSED, dosage(boundsPeriod={"start": "2024-03-01"})]}, span("2024-03-01")),
        ({"dosageInstruction": [CLOSED, dosage(frequency=1)]}, span("2024-03-10")),
        ({"dosageInstruction": [CLOSED, {"text": "with food"}]}, span("2024-03-10", "2024-04-01")),
        ({**ORDERED, "dosageInstruction": [dosage(boundsDuration=days(10))]}, span("2024-03-05", "2024-03-14")),
        ({**ORDERED, "dosageInstruction": [dosage(boundsDuration=days(2, "wk"))]}, span("2024-03-05", "2024-03-18")),
        (
            {**ORDERED, "dosageInstruction": [dosage(boundsDuration={"value": 3, "unit": "d"})]},
            span("2024-03-05", "2024-03-07"),
        ),
        ({"dosageInstruction": [dosage(boundsDuration=days(10))]}, span()),  # from when is not known
        ({**ORDERED, "dispenseRequest": {"expectedSupplyDuration": days(30)}}, span("2024-03-05", "2024-04-03")),
        (
            {**ORDERED, "dispenseRequest": {"expectedSupplyDuration": days(30), "numberOfRepeatsAllowed": 2}},
            span("2024-03-05", "2024-06-02"),
        ),
        (
            {**ORDERED, "dispenseRequest": {"expectedSupplyDuration": days(30), "numberOfRepeatsAllowed": -2}},
            span("2024-03-05", "2024-04-03"),
        ),
        ({**ORDERED, "dispenseRequest": {"validityPeriod": {"end": "2024-09-01"}}}, span("2024-03-05", "2024-09-01")),
        (
            {
                **ORDERED,
                "dispenseRequest": {"expectedSupplyDuration": days(30), "validityPeriod": {"end": "2024-09-01"}},
            },
            span("2024-03-05", "2024-04-03"),
        ),
        (
            {**ORDERED, "dosageInstruction": [CLOSED], "dispenseRequest": {"validityPeriod": {"end": "2024-09-01"}}},
            span("2024-03-10", "2024-04-01"),
        ),
    ],
)
def test_when_a_prescription_held(elements: Json, expected: Span) -> None:
    assert medication_span(read("MedicationRequest", **elements), CHANGED) == expected


@pytest.mark.parametrize(
    ("duration", "end"),
    [
        (days(1), "2024-03-05"), (days(1.5), "2024-03-06"), (days(24, "h"), "2024-03-05"), (days(25, "h"), "2024-03-06"),
        (days(1440, "min"), "2024-03-05"), (days(86_400, "s"), "2024-03-05"), (days(1, "mo"), "2024-04-04"), (days(1, "a"), "2025-03-05"),
        (days(0), ""), (days(-5), ""), (days(5, "fortnight"), ""), ({"code": "d"}, ""),
        (days(36_525), "2124-03-05"), (days(36_526), ""),  # a hundred years; longer has no end
        (days(1e12), ""),
    ],
)  # fmt: skip
def test_how_long_a_duration_lasts(duration: Json, end: str) -> None:
    elements = {**ORDERED, "dosageInstruction": [dosage(boundsDuration=duration)]}
    assert medication_span(read("MedicationRequest", **elements), CHANGED).end_day == day(end)


def test_a_closed_prescription_without_a_time_of_change_ended_when_it_was_written() -> None:
    closed = read("MedicationRequest", status="completed", authoredOn="2024-03")
    assert medication_span(closed, Version()) == span("2024-03-01", "2024-03-31", over=True, documented=False)


@pytest.mark.parametrize(
    ("kind", "elements", "expected"),
    [
        ("MedicationStatement", {}, span()),
        ("MedicationStatement", {"effectiveDateTime": "2024-03"}, span("2024-03-01")),
        ("MedicationStatement", {"effectivePeriod": {"start": "2024-03-05"}}, span("2024-03-05")),
        (
            "MedicationStatement",
            {"effectivePeriod": {"start": "2024-03-05", "end": "2024-04-01"}},
            span("2024-03-05", "2024-04-01"),
        ),
        ("MedicationStatement", {"status": "completed"}, unended("", "")),
        (
            "MedicationStatement",
            {"status": "completed", "dateAsserted": "2024-04"},
            unended("", "2024-04-30"),
        ),
        (
            "MedicationStatement",
            {"status": "stopped", "effectiveDateTime": "2024-03"},
            unended("2024-03-01", "2024-03-31"),
        ),
        ("MedicationStatement", {"status": "active", "dateAsserted": "2024-04"}, span()),
        ("MedicationAdministration", {"effectiveDateTime": "2024-03-05"}, span("2024-03-05", "2024-03-05")),
        (
            "MedicationAdministration",
            {"effectivePeriod": {"start": "2024-03-05", "end": "2024-03-06"}},
            span("2024-03-05", "2024-03-06"),
        ),
        (
            "MedicationAdministration",
            {"status": "completed", "effectivePeriod": {"start": "2024-03-05"}},
            unended("2024-03-05", "2024-03-05"),
        ),
        ("MedicationDispense", {}, span(over=True)),
        (
            "MedicationDispense",
            {"whenHandedOver": "2024-03-05"},
            span("2024-03-05", "2024-03-05", over=True, documented=False),
        ),
        (
            "MedicationDispense",
            {"whenPrepared": "2024-03-05", "daysSupply": days(28)},
            span("2024-03-05", "2024-04-01", over=True),
        ),
        (
            "MedicationDispense",
            {"whenHandedOver": "2024-03-06", "whenPrepared": "2024-03-05"},
            span("2024-03-06", "2024-03-06", over=True, documented=False),
        ),
    ],
)
def test_when_a_medicine_was_taken(kind: str, elements: Json, expected: Span) -> None:
    assert medication_span(read(kind, **elements), CHANGED) == expected


@pytest.mark.parametrize(
    "status", ["entered-in-error", "cancelled", "draft", "not-taken", "intended", "not-done", "preparation", "declined"]
)
def test_what_was_never_meant(status: str) -> None:
    assert not meant(read("MedicationStatement", status=status))
    assert not meant(read("Procedure", status=status))


def test_what_was_meant() -> None:
    assert meant(read("MedicationStatement", status="active"))
    assert meant(read("MedicationRequest", status="active", intent="order"))
    assert meant(read("MedicationRequest", status="active", intent="filler-order"))
    assert not meant(read("MedicationRequest", status="active", intent="proposal"))
    assert not meant(read("MedicationRequest", status="active", intent="plan"))
    assert not meant(read("MedicationRequest", status="active", intent="order", doNotPerform=True))
