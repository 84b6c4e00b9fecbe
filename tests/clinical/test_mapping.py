"""The mapper as a whole: what it drops, what it salvages, what it never does."""

import json
import random
from typing import Any

import msgspec
import pytest

from screener.clinical import wire
from screener.clinical.mapping import Mapper, MappingTables
from screener.clinical.records import Analyte, Demographics, Exclusion, Fact, MalformedResource, Unreadable, Version

MAPPER = Mapper(MappingTables.default())
ATC = "http://www.whocc.no/atc"


def mapped(resource: Any) -> tuple[object, ...]:
    return MAPPER.map(json.dumps(resource).encode())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"3",
        b"{}",
        b'{"id":"secret"}',
        b'{"resourceType":7,"id":"secret"}',
        b'{"resourceType":null}',
        b'{"resourceType":"Patient","id":"secret"',
        b'{"resourceType":"Patient","id":"secret",}',
        b'{"resourceType":"Patient"} trailing secret',
        b'\xef\xbb\xbf{"resourceType":"Patient"}',
        b'{"resourceType":"Patient","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_resource(raw: bytes) -> None:
    with pytest.raises(MalformedResource) as caught:
        MAPPER.map(raw)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["Encounter", "Medication", "RiskAssessment", "Observation2", ""])
def test_types_that_we_do_not_use(kind: str) -> None:
    assert mapped({"resourceType": kind, "id": 7, "subject": []}) == ()


def test_a_patient_with_text_that_is_not_utf8_is_unreadable() -> None:
    raw = b'{"resourceType":"Patient","id":"p1","gender":"\xff"}'
    assert MAPPER.map(raw) == (Unreadable("p1", "Patient", "p1", Version()),)


def test_a_patient() -> None:
    assert mapped({"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1950"}) == (
        Demographics("p1", Version(), "female", "1950", gender="female"),
    )
    assert mapped({"resourceType": "Patient", "gender": "female"}) == ()


@pytest.mark.parametrize("bad", [{"birthDate": 1950}, {"deceasedBoolean": "yes"}, {"link": {}}, {"active": 1}])
def test_a_patient_of_the_wrong_shape_is_unreadable(bad: dict[str, object]) -> None:
    patient = {"resourceType": "Patient", "id": "p1", "meta": {"versionId": "2"}, **bad}
    assert mapped(patient) == (Unreadable("p1", "Patient", "p1", Version(0, 2)),)


def request(**elements: object) -> dict[str, object]:
    return {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "status": "active",
        "subject": {"reference": "Patient/p1"},
        **elements,
    }


def test_excluding_resource_of_a_wrong_shape_is_unreadable() -> None:
    unreadable = (Unreadable("p1", "MedicationRequest", "m1", Version()),)
    alendronate, other = ({"coding": [{"system": ATC, "code": code}]} for code in ("M05BA04", "C07AB02"))
    assert mapped(request(medicationCodeableConcept=alendronate, authoredOn=2023)) == unreadable
    assert mapped(request(medicationCodeableConcept="alendronate")) == unreadable
    assert mapped(request(medicationCodeableConcept=other, authoredOn=2023)) == ()
    assert mapped(request(subject={"reference": "Group/1"}, medicationCodeableConcept=7)) == ()
    broken = {"resourceType": "Condition", "id": "c1", "subject": {"reference": "Patient/p1"}, "code": {"coding": {}}}
    assert mapped(broken) == (Unreadable("p1", "Condition", "c1", Version()),)


def test_two_resources_without_an_id_are_not_copies_of_each_other() -> None:
    alendronate = {"coding": [{"system": ATC, "code": "M05BA04"}]}
    rows = [
        row
        for start in ("2020", "2021")
        for row in mapped(request(id=None, medicationCodeableConcept=alendronate, authoredOn=start))
    ]
    assert all(isinstance(row, Exclusion) for row in rows)
    assert len({row.id for row in rows if isinstance(row, Exclusion)}) == 2


def test_raw_and_bytes_are_mapped_alike_and_rows_survive_packing() -> None:
    observation = {
        "resourceType": "Observation",
        "id": "w1",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
        "subject": {"reference": "https://fhir.example.org/r4/Patient/p1"},
        "effectiveDateTime": "2024-05-01T10:00:00Z",
        "valueQuantity": {"value": 61.50, "code": "kg"},
    }
    raw = json.dumps(observation).encode()
    (row,) = MAPPER.map(raw)
    assert MAPPER.map(msgspec.Raw(raw)) == (row,)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=Fact) == row


def test_absolute_references_count_as_local() -> None:
    raw = json.dumps(
        {
            "resourceType": "Condition",
            "id": "c1",
            "subject": {"reference": "https://fhir.example.org/r4/Patient/p1"},
            "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "C50.9"}]},
        }
    ).encode()
    assert [row.patient for row in MAPPER.map(raw)] == ["p1"]
    assert MAPPER.patient_id("https://fhir.example.org/r4/Patient/p1") == "p1"
    assert MAPPER.patient_id(None) == ""


def test_search_tokens() -> None:
    # Without the system, which senders write in several ways.
    assert MAPPER.codes_for([Analyte.CTX, Analyte.MG]) == ("19123-9", "2601-3", "41171-0")
    further = MAPPER.further_tokens()
    assert {"42802-9", "8665-2", "24701-5"} <= set(further)
    assert list(further) == sorted(further)


def test_the_digest_changes_with_the_tables_and_only_then() -> None:
    plain = MappingTables.default().digest()
    assert MappingTables.default().digest() == plain
    assert len(plain) == 64
    extra = [{"analyte": "mg", "unit": "mmol per L"}]
    assert MappingTables.default(extra_units=extra).digest() != plain


TYPES = (
    "Observation",
    "Patient",
    "Condition",
    "MedicationRequest",
    "MedicationStatement",
    "MedicationDispense",
    "Procedure",
)
ODD = (  # type: ignore[var-annotated]
    None,
    True,
    7,
    -1.5e300,
    "",
    "Patient/p1",
    "2024-05-01",
    "final",
    "active",
    [],
    {},
    [None],
    [{}],
    {"coding": [None]},
)


@pytest.mark.parametrize("seed", range(20))
def test_odd_input_never_crashes_the_mapper(seed: int) -> None:
    """Elements of ours, each with some value that may be wrong for it, in many mixtures."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    good = {
        "code": {"coding": [{"system": "http://loinc.org", "code": "2601-3"}]},
        "medicationCodeableConcept": {"coding": [{"system": ATC, "code": "H02AB06"}]},
        "subject": {"reference": "Patient/p1"},
        "valueQuantity": {"value": 0.8, "code": "mmol/L"},
        "onsetPeriod": {"start": "2020"},
        "dispenseRequest": {"expectedSupplyDuration": {"value": 9, "code": "d"}},
    }
    names = [*good, "id", "meta", "status", "effectiveDateTime", "issued", "note", "interpretation", "focus", "intent",
             "dosageInstruction", "contained", "medicationReference", "clinicalStatus", "birthDate", "link", "extension",
             "dataAbsentReason", "valueCodeableConcept", "modifierExtension", "effectiveTiming"]  # fmt: skip
    for _ in range(200):
        resource = {name: good.get(name) if chance.random() < 0.6 else chance.choice(ODD) for name in names}
        resource = {name: value for name, value in resource.items() if value is not None or chance.random() < 0.1}
        try:
            rows = mapped({"resourceType": chance.choice(TYPES), **resource})
        except MalformedResource as error:
            rows = ()
            assert str(error) == "it does not say which patient it is about"
        assert isinstance(rows, tuple)


@pytest.mark.parametrize("kind", ["Condition", "Procedure", "MedicationRequest"])
def test_what_may_exclude_and_does_not_say_whom_is_no_resource(kind: str) -> None:
    """aehrc/pathling#217: a logical reference. It would be lost in silence, and the woman scored."""
    cancer = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "C50.9"}]}
    alendronate = {"coding": [{"system": ATC, "code": "M05BA04"}]}
    dialysis = {"coding": [{"system": "http://snomed.info/sct", "code": "265764009"}]}
    coded = {
        "Condition": {"code": cancer},
        "Procedure": {"code": dialysis, "status": "completed"},
        "MedicationRequest": {"medicationCodeableConcept": alendronate, "status": "active"},
    }[kind]
    for subject in ({"identifier": {"system": "urn:mrn", "value": "1"}}, None):
        with pytest.raises(MalformedResource, match="does not say which patient"):
            mapped({"resourceType": kind, "id": "x", "subject": subject, **coded})  # type: ignore[dict-item]
    assert mapped({"resourceType": kind, "id": "x", "subject": {"reference": "Group/1"}, **coded}) == ()  # type: ignore[dict-item]
    harmless = {"code": {"coding": [{"system": "http://snomed.info/sct", "code": "38341003"}]}}
    if kind != "MedicationRequest":
        assert mapped({"resourceType": kind, "id": "x", "subject": {"display": "A"}, **harmless}) == ()


@pytest.mark.parametrize("name", ["e" * 66, "eK" + "9-x." * 27, "a_b~c:d", "A" * 300])
def test_an_id_that_a_server_gives_may_be_longer_than_r4_has_it(name: str) -> None:
    """Epic's Medications have ids of 66 and 109 characters."""
    mapper = Mapper(MappingTables.default())
    for reference in (f"Medication/{name}", f"https://ehr.example/fhir/Medication/{name}/_history/3"):
        assert mapper.medicine_id(wire.Reference(reference)) == name
    assert mapper.patient_id(f"Patient/{name}") == name
    for other in ("Patient/..", "Patient/.", "Patient/a b", "Patient/a,b", "Patient/a|b", "Patient/a?b=c", "Patient/"):
        assert mapper.patient_id(other) == ""
