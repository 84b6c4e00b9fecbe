"""Observations through the mapper: one situation each."""

import json
from decimal import Decimal
from typing import Any

import pytest

from screener.clinical.mapping import Mapped, Mapper, MappingTables
from screener.clinical.records import Analyte, Fact, MalformedResource, Moment, Refusal, Version

LOINC = "http://loinc.org"
DAY = 739_007  # 2024-05-01, as date.toordinal() counts
MAPPER = Mapper(MappingTables.default())


def magnesium(**changes: object) -> dict[str, Any]:
    """A serum Mg of 0.84 mmol/L; an element set to None is left out."""
    elements: dict[str, Any] = {
        "resourceType": "Observation",
        "id": "mg1",
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "2601-3"}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2024-05-01",
        "valueQuantity": {"value": 0.84, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"},
    }
    elements.update(changes)
    return {name: value for name, value in elements.items() if value is not None}


def mapped(mapper: Mapper = MAPPER, **changes: object) -> tuple[Mapped, ...]:
    return mapper.map(json.dumps(magnesium(**changes)).encode())


def reason(mapper: Mapper = MAPPER, **changes: object) -> str:
    (row,) = mapped(mapper, **changes)
    assert isinstance(row, Refusal | Fact)
    return row.reason if isinstance(row, Refusal) else "used"


def test_a_fact_holds_everything() -> None:
    meta = {
        "versionId": "3",
        "lastUpdated": "2024-05-02T00:00:00Z",
        "security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}],
    }
    (row,) = mapped(meta=meta, effectiveDateTime="2024-05-01T08:00:00+02:00", issued="2024-05-01T12:00:00Z")
    # 2024-05-01T00:00Z is 1,714,521,600 s; 06:00Z is 21,600 s later, 12:00Z 43,200 s, the next midnight 86,400 s.
    assert row == Fact(
        patient="p1",
        id="mg1",
        version=Version(1_714_608_000_000_000, 3),
        analyte=Analyte.MG,
        value=Decimal("0.84"),
        moment=Moment("2024-05-01T08:00:00+02:00", DAY, 1_714_543_200_000_000),
        issued_us=1_714_564_800_000_000,
        security=("R",),
        unit="mmol/L",
        code="2601-3",
    )


def test_a_refusal_keeps_id_version_and_day() -> None:
    assert mapped(valueQuantity=None, meta={"versionId": "4"}) == (
        Refusal("p1", "mg1", Version(0, 4), Analyte.MG, "value_missing", DAY),
    )


@pytest.mark.parametrize("status", ["final", "amended", "corrected"])
def test_usable_statuses(status: str) -> None:
    assert reason(status=status) == "used"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("preliminary", "status_preliminary"),
        ("registered", "status_registered"),
        ("unknown", "status_unknown"),
        ("Final", "status_not_r4"),
        (None, "status_missing"),
    ],
)
def test_other_statuses(status: str | None, expected: str) -> None:
    assert reason(status=status) == expected


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled"])
def test_withdrawn_whatever_else_is_wrong(status: str) -> None:
    urine = {"coding": [{"system": LOINC, "code": "2598-1"}]}
    for changes in ({}, {"valueQuantity": None}, {"code": urine}, {"effectiveDateTime": None}):
        (row,) = mapped(status=status, **changes)
        assert isinstance(row, Refusal)
        assert (row.reason, row.withdrawn) == ("withdrawn", True)


def test_preliminary_by_opt_in() -> None:
    assert reason(Mapper(MappingTables.default(), use_preliminary=True), status="preliminary") == "used"


@pytest.mark.parametrize(
    ("changes", "day"),
    [
        ({"effectiveDateTime": None, "effectivePeriod": {"start": "2024-05-01", "end": "2024-05-03"}}, DAY),
        ({"effectiveDateTime": None, "effectivePeriod": {"end": "2024-05-03"}}, DAY + 2),
        ({"effectiveDateTime": None, "effectiveInstant": "2024-05-02T01:00:00Z"}, DAY + 1),
        ({"effectiveDateTime": None, "effectiveTiming": {"event": ["2024-05-02", "2024-05-03"]}}, DAY + 1),
        ({"effectiveDateTime": None, "issued": "2024-05-02T01:00:00Z"}, DAY + 1),
        ({"issued": "2024-05-09T01:00:00Z"}, DAY),
    ],
)
def test_when(changes: dict[str, object], day: int) -> None:
    (row,) = mapped(**changes)  # type: ignore[arg-type]
    assert isinstance(row, Fact)
    assert row.moment.day == day


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"effectiveDateTime": "2024-05"}, "date_imprecise"),
        ({"effectiveDateTime": "2024"}, "date_imprecise"),
        ({"effectiveDateTime": "2024-02-30"}, "date_malformed"),
        ({"effectiveDateTime": "1.5.2024"}, "date_malformed"),
        ({"effectiveDateTime": None}, "date_missing"),
        ({"effectiveDateTime": None, "effectivePeriod": {}}, "date_missing"),
        ({"effectiveDateTime": None, "effectiveTiming": {"event": []}}, "date_missing"),
    ],
)
def test_unusable_dates(changes: dict[str, object], expected: str) -> None:
    assert reason(**changes) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"valueString": "0.84 mmol/L"}, "value_not_quantity"),
        ({"valueString": "hemolysed"}, "haemolysed"),
        ({"valueString": "Probe h\u00e4molytisch"}, "haemolysed"),
        ({"valueInteger": 1}, "value_not_quantity"),
        ({"valueBoolean": False}, "value_not_quantity"),
        ({"valueRange": {"low": {"value": 0.7}}}, "value_not_quantity"),
        ({"valueCodeableConcept": {"text": "low"}}, "value_not_quantity"),
        ({"valueCodeableConcept": {"text": "haemolysed"}}, "haemolysed"),
        ({"valueDateTime": "2024-05-01"}, "value_not_quantity"),
        ({"dataAbsentReason": {"coding": [{"code": "unknown"}]}}, "value_absent"),
        ({"dataAbsentReason": {"text": "Hemolyzed specimen"}}, "haemolysed"),
        ({"_valueQuantity": {"extension": [{"url": "x"}]}}, "value_missing"),
        ({"component": [{"valueQuantity": {"value": 0.84}}]}, "value_missing"),
        ({}, "value_missing"),
    ],
)
def test_no_quantity(changes: dict[str, object], expected: str) -> None:
    assert reason(valueQuantity=None, **changes) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"interpretation": [{"text": "Specimen haemolysed"}]},
        {"interpretation": [{"coding": [{"system": "urn:lab", "code": "X", "display": "Hemolysis"}]}]},
        {"interpretation": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0493", "code": "HEM"}]}]},
        {"note": [{"text": "repeat, sample was grossly HEMOLYZED"}]},
        {"note": [{"text": "not haemolysed on arrival"}, {"text": "haemolysed after transport"}]},
        {"dataAbsentReason": {"text": "hemolysed"}},
    ],
)
def test_haemolysed(changes: dict[str, object]) -> None:
    assert reason(**changes) == "haemolysed"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"note": [{"text": "Specimen not haemolysed"}]},
        {"note": [{"text": "No evidence of hemolysis."}]},
        {"note": [{"text": "fasting"}]},
        {"note": []},
        {"interpretation": [{"coding": [{"code": "N", "display": "Normal"}], "text": "Normal"}]},
    ],
)
def test_remarks_that_forbid_nothing(changes: dict[str, object]) -> None:
    assert reason(**changes) == "used"  # type: ignore[arg-type]


def test_a_denial_must_stand_right_before_the_word() -> None:
    assert reason(note=[{"text": "Do not use: haemolysed"}]) == "haemolysed"


def test_hold_for_review() -> None:
    coding = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "code": "HM"}
    assert reason(interpretation=[{"coding": [coding]}]) == "held_for_review"


def test_a_modifier_that_nobody_understands() -> None:
    assert reason(modifierExtension=[{"url": "urn:x", "valueBoolean": True}]) == "modifier_unknown"


def test_focus_names_someone_else() -> None:
    assert reason(focus=[{"reference": "Patient/donor"}]) == "not_the_patient"
    assert reason(focus=[{"reference": "Patient/p1"}]) == "used"


def test_no_id() -> None:
    assert reason(id=None) == "id_missing"


def test_stated_weight_ranks_behind_measured() -> None:
    code = {"coding": [{"system": LOINC, "code": "3142-7"}]}
    (row,) = mapped(code=code, valueQuantity={"value": 61.5, "code": "kg"})
    assert isinstance(row, Fact)
    assert (row.analyte, row.rank) == (Analyte.WEIGHT, 1)


def test_a_certain_comparator_is_kept() -> None:
    (row,) = mapped(valueQuantity={"value": 0.5, "comparator": "<", "code": "mmol/L"})
    assert isinstance(row, Fact)
    assert (row.value, row.comparator) == (Decimal("0.5"), "<")


@pytest.mark.parametrize(
    "subject",
    [
        None,
        {"reference": "Group/g1"},
        {"reference": "https://elsewhere.example/Device/1"},
        {"type": "Location", "display": "air"},
    ],
)
def test_about_no_patient(subject: object) -> None:
    assert mapped(subject=subject) == ()


@pytest.mark.parametrize(
    "subject",
    [
        {"identifier": {"value": "1"}},
        {"type": "Patient", "identifier": {"system": "urn:mrn", "value": "1"}},
        {"display": "somebody"},
        {"reference": "#p1"},
        {"reference": "Patient?identifier=1"},
        {"reference": "Patient/"},
    ],
)
def test_about_a_patient_who_cannot_be_told(subject: object) -> None:
    with pytest.raises(MalformedResource, match="does not say which patient"):
        mapped(subject=subject)
    assert mapped(subject=subject, code={"coding": [{"system": "http://loinc.org", "code": "2951-2"}]}) == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"effectiveDateTime": 20240501},
        {"issued": []},
        {"status": 3},
        {"valueQuantity": 0.84},
        {"valueQuantity": {"value": "0.84", "code": "mmol/L"}},
        {"valueQuantity": {"value": 0.84, "code": 7}},
        {"meta": "new"},
        {"note": "haemolysed"},
        {"interpretation": {"text": "N"}},
        {"id": 17},
    ],
)
def test_wrong_types_in_an_accepted_code_are_refused(changes: dict[str, object]) -> None:
    assert reason(**changes) == "malformed"  # type: ignore[arg-type]


def test_a_withdrawal_is_seen_even_where_something_else_is_malformed() -> None:
    (row,) = mapped(status="entered-in-error", issued=3, meta={"versionId": "2"})
    assert row == Refusal("p1", "mg1", Version(0, 2), Analyte.MG, "withdrawn", 0, withdrawn=True)


@pytest.mark.parametrize(
    "code", [None, "2601-3", {"coding": {"code": "2601-3"}}, {"coding": [{"system": LOINC, "code": 2601}]}]
)
def test_a_code_that_cannot_be_read_is_none_of_ours(code: object) -> None:
    assert mapped(code=code) == ()


@pytest.mark.parametrize(
    "note",
    [
        "Hemolysis: none",
        "Haemolyse: nein",
        "Hämolyse: keine",
        "Hämolyse-Index: im Normbereich",
        "Hämolyseindex unauffällig",
        "Hemolysis index: normal",
        "Hemolysis index: 0",
        "Hemolysis index < 10 (normal)",
        "Hemolysis within normal limits",
        "Hemolysis grade 0",
        "hemolysis not detected",
        "hémolyse absente",
        "absence d'hémolyse",
        "pas d\u2019hémolyse",
        "Hemólisis: no",
        "sin hemólisis",
        "non-hemolyzed",
    ],
)
def test_a_denial_of_haemolysis_before_or_behind_the_word(note: str) -> None:
    assert reason(note=[{"text": note}]) == "used"


@pytest.mark.parametrize(
    "note",
    [
        "fortement hémolysé",
        "échantillon hémolysé",
        "muestra hemolizada",
        "hemólisis moderada",
        "leicht hämolytisch",
        "Hemolysis: slight",
        "Hemolysis: 2+",
        "Hemolysis index: 250",
        "Hemolysis index: high",
        "hemolysis index abnormal",
        "Hemolysis: normal range exceeded",
        "Hemolysis 0.5 g/L",
        "No. 4 hemolyzed specimen",
        "not only lipaemic: haemolysed",
        "Hemolysis: none in the first tube, hemolysed in the second",
    ],
)
def test_what_sounds_like_a_denial_and_is_none(note: str) -> None:
    assert reason(note=[{"text": note}]) == "haemolysed"
