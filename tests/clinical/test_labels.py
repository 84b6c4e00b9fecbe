"""Labels of osteoporosis. Expected values by hand: the WHO's cut-off is -2.5 itself, gaps count both their ends."""

import json
from datetime import date
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest

from screener.clinical.labels import (
    Diagnosis,
    Evidence,
    Label,
    LabelKind,
    LabelReader,
    LabelRule,
    LabelTables,
    TScore,
    Unusable,
    label,
    latest,
)
from screener.clinical.mapping import Mapper, MappingTables
from screener.clinical.records import MalformedResource, Version

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
ICD = "http://hl7.org/fhir/sid/icd-10-cm"
ICD_9 = "http://hl7.org/fhir/sid/icd-9-cm"
READER = LabelReader(Mapper(MappingTables.default()), LabelKind.EITHER, LabelTables.default())
FIRST = Version(1, 1)
MG_DAY = date(2025, 6, 1).toordinal()
EITHER, T_SCORE, DIAGNOSIS = (LabelRule(kind) for kind in (LabelKind.EITHER, LabelKind.T_SCORE, LabelKind.DIAGNOSIS))


def quantity(value: float, **unit: str) -> dict[str, Any]:
    return {"value": value, **unit}


def code(name: str, system: str = LOINC) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": name}]}


def exam(**elements: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": "x1",
        "status": "final",
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2025-06-01",
        "code": code("38267-1"),
        "valueQuantity": quantity(-2.6),
        **elements,
    }


def condition(concept: dict[str, Any], **elements: Any) -> dict[str, Any]:
    return {
        "resourceType": "Condition",
        "id": "c1",
        "subject": {"reference": "Patient/p1"},
        "code": concept,
        **elements,
    }


def read(resource: dict[str, Any], reader: LabelReader = READER) -> tuple[Evidence, ...]:
    return reader.map(json.dumps(resource).encode())


def score(value: str, days: int = 0, id_: str = "", version: Version = FIRST) -> TScore:
    return TScore("p1", "Observation", id_ or f"x{days}{value}", version, Decimal(value), MG_DAY + days)


def diagnosis(start: int | None = None, end: int | None = None, *, counts: bool = True) -> Diagnosis:
    first, last = (0 if days is None else MG_DAY + days for days in (start, end))
    return Diagnosis("p1", "Condition", "c1", Version(1, 1), first, last, counts)


@pytest.mark.parametrize("name", ["38267-1", "38264-8", "38263-0", "80948-3", "80947-5", "80946-7", "80945-9"])
def test_t_scores_of_spine_hip_and_femur_are_read(name: str) -> None:
    assert read(exam(code=code(name))) == (
        TScore("p1", "Observation", "x1", Version(), Decimal("-2.6"), date(2025, 6, 1).toordinal()),
    )


@pytest.mark.parametrize("name", ["24701-5", "38265-5", "38266-3", "2601-3"])
def test_bone_density_and_other_sites_are_no_t_scores(name: str) -> None:
    assert read(exam(code=code(name))) == ()


@pytest.mark.parametrize(
    "unit",
    [
        {},
        {"unit": "{T-score}", "code": "{T-score}", "system": "http://unitsofmeasure.org"},
        {"code": "1"},
        {"unit": "T-score"},
        {"unit": "SD", "code": "1"},
    ],
)
def test_units_of_a_t_score(unit: dict[str, str]) -> None:
    (row,) = read(exam(valueQuantity=quantity(-2.5, **unit)))
    assert isinstance(row, TScore)
    assert row.value == Decimal("-2.5")


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"valueQuantity": quantity(0.8, unit="g/cm2")}, "unit_unknown"),
        ({"valueQuantity": quantity(-1, code="{Z-score}")}, "unit_unknown"),
        ({"valueQuantity": quantity(-1, code="1", unit="g/cm2")}, "unit_unknown"),
        ({"valueQuantity": {**quantity(-2.5), "comparator": "<"}}, "comparator"),
        ({"valueQuantity": quantity(-8.1)}, "implausible"),
        ({"valueQuantity": quantity(6.01)}, "implausible"),
        ({"valueQuantity": quantity(-25)}, "implausible"),
        ({"valueQuantity": {"value": "-2.6"}}, "malformed"),
        ({"valueQuantity": [1]}, "malformed"),
        ({"valueQuantity": None}, "value_missing"),
        ({"valueQuantity": {"unit": "1"}}, "value_missing"),
        ({"status": "preliminary"}, "status"),
        ({"status": "entered-in-error"}, "withdrawn"),
        ({"id": None}, "id_missing"),
        ({"effectiveDateTime": "2025"}, "date_imprecise"),
        ({"effectiveDateTime": None}, "date_missing"),
        ({"modifierExtension": [{"url": "https://example.org/x"}]}, "modifier_unknown"),
        ({"focus": [{"reference": "Patient/p2"}]}, "not_the_patient"),
    ],
)
def test_what_is_refused_is_refused_for_its_reason(elements: dict[str, Any], reason: str) -> None:
    (row,) = read(exam(**elements))
    assert isinstance(row, Unusable)
    assert row.reason == reason


@pytest.mark.parametrize("value", ["-8", "-8.0", "6", "6.00"])
def test_the_range_of_t_scores_includes_its_ends(value: str) -> None:
    (row,) = READER.map(json.dumps(exam()).replace("-2.6", value).encode())
    assert isinstance(row, TScore)
    assert row.value == Decimal(value)


def test_a_panel_gives_the_t_scores_of_its_components() -> None:
    parts = [
        {"code": code("38267-1"), "valueQuantity": quantity(-1.9)},
        {"code": code("38264-8"), "valueQuantity": quantity(-2.7)},
        {"code": code("24701-5"), "valueQuantity": quantity(0.6, unit="g/cm2")},
        {"code": code("38263-0"), "valueQuantity": quantity(-21)},
    ]
    rows = read(exam(code={"text": "DXA"}, component=parts, valueQuantity=None))
    assert [row.value for row in rows if isinstance(row, TScore)] == [Decimal("-1.9"), Decimal("-2.7")]
    assert [row.reason for row in rows if isinstance(row, Unusable)] == ["implausible"]
    assert label(rows, MG_DAY, T_SCORE).t_score == Decimal("-2.7")


def test_a_coded_panel_without_a_value_of_its_own_is_not_refused() -> None:
    rows = read(exam(valueQuantity=None, component=[{"code": code("38267-1"), "valueQuantity": quantity(-1.9)}]))
    assert [type(row) for row in rows] == [TScore]


@pytest.mark.parametrize(
    ("system", "name", "ours"),
    [
        (SNOMED, "64859006", True),
        (SNOMED, "102447009", True),
        (SNOMED, "443165006", True),
        (ICD, "M81.0", True),
        (ICD, "M80.08XA", True),
        (ICD, "m810", True),
        ("http://hl7.org/fhir/sid/icd-10", "M81.9", True),
        (ICD_9, "733.01", True),
        (ICD_9, "73300", True),
        (ICD_9, "733.1", False),
        (ICD, "M85.80", False),  # osteopenia
        (SNOMED, "312894000", False),  # osteopenia
    ],
)
def test_diagnoses_of_osteoporosis(system: str, name: str, ours: bool) -> None:  # noqa: FBT001
    assert bool(read(condition(code(name, system)))) is ours


@pytest.mark.parametrize("verified", ["refuted", "entered-in-error", "provisional", "differential", "unconfirmed"])
def test_a_refuted_or_suspected_diagnosis_does_not_count(verified: str) -> None:
    status = code(verified, "http://terminology.hl7.org/CodeSystem/condition-ver-status")
    (row,) = read(condition(code("64859006", SNOMED), verificationStatus=status, onsetDateTime="2025-01-01"))
    assert row == Diagnosis("p1", "Condition", "c1", Version(), date(2025, 1, 1).toordinal(), 0, False)


def test_a_diagnosis_that_cannot_be_read_is_unusable_and_leaves_no_label() -> None:
    rows = read(condition(code("64859006", SNOMED), onsetDateTime=2025))
    assert [row.reason for row in rows if isinstance(row, Unusable)] == ["malformed"]
    assert label(rows, MG_DAY, DIAGNOSIS) == Label(reason="diagnosis_unusable")


def test_what_is_none_of_ours_gives_nothing_even_where_it_is_malformed() -> None:
    assert read(condition(code("I10", ICD), onsetDateTime=2025)) == ()
    assert read({"resourceType": "Device", "id": 7}) == ()
    with pytest.raises(MalformedResource):
        READER.map(b'{"resourceType": "Observation"')


@pytest.mark.parametrize(
    ("kind", "kinds"),
    [
        (LabelKind.T_SCORE, {"Observation"}),
        (LabelKind.DIAGNOSIS, {"Condition"}),
        (LabelKind.EITHER, {"Observation", "Condition"}),
    ],
)
def test_no_more_is_asked_for_than_the_label_needs(kind: LabelKind, kinds: set[str]) -> None:
    reader = LabelReader(Mapper(MappingTables.default()), kind, LabelTables.default())
    assert reader.kinds.keys() == kinds
    assert bool(read(exam(), reader)) is ("Observation" in kinds)
    assert bool(read(condition(code("64859006", SNOMED)), reader)) is ("Condition" in kinds)


@pytest.mark.parametrize(
    ("value", "case"), [("-2.5", True), ("-2.50", True), ("-2.49", False), ("-2.4", False), ("-2.6", True)]
)
def test_the_cut_off_belongs_to_osteoporosis(value: str, case: bool) -> None:  # noqa: FBT001
    assert label([score(value)], MG_DAY, T_SCORE) == Label(case, "t-score", "", Decimal(value), 0)


@pytest.mark.parametrize(("days", "labelled"), [(365, True), (-365, True), (366, False), (-366, False)])
def test_the_gap_counts_its_ends(days: int, labelled: bool) -> None:  # noqa: FBT001
    found = label([score("-3", days)], MG_DAY, T_SCORE)
    assert found == (Label(True, "t-score", "", Decimal(-3), days) if labelled else Label(reason="dxa_outside_gap"))


def test_of_the_nearest_exam_the_lowest_whatever_the_order() -> None:
    rows = [score("-1.0", 30), score("-2.2", 30), score("-3.5", 31), score("-0.5", -400)]
    for order in permutations(rows):
        assert label(order, MG_DAY, T_SCORE) == Label(False, "t-score", "", Decimal("-2.2"), 30)


def test_of_two_exams_equally_near_the_earlier() -> None:
    assert label([score("-3", 10), score("-1", -10)], MG_DAY, T_SCORE).gap_days == -10


def test_a_corrected_copy_replaces_all_rows_of_the_older_one() -> None:
    old = [score("-3.1", 0, "x", Version(1, 1)), score("-2.9", 0, "x", Version(1, 1))]
    new = score("-1.3", 0, "x", Version(2, 2))
    for order in permutations([*old, new]):
        assert label(order, MG_DAY, T_SCORE).t_score == Decimal("-1.3")
    withdrawn = Unusable("p1", "Observation", "x", Version(3, 3), "withdrawn")
    assert label([*old, new, withdrawn], MG_DAY, T_SCORE) == Label(reason="dxa_unusable")


def test_a_resource_that_comes_twice_counts_once() -> None:
    assert len(latest([score("-3.1"), score("-3.1")])) == 1


@pytest.mark.parametrize(
    ("rows", "t_score", "by_diagnosis", "either"),
    [
        ([], None, False, None),
        ([score("-1")], False, False, False),
        ([score("-3")], True, False, True),
        ([diagnosis(-100)], None, True, True),
        ([diagnosis(-100), score("-1")], False, True, True),
        ([diagnosis(-100, counts=False)], None, False, None),
        ([diagnosis()], None, True, True),
        ([diagnosis(365)], None, True, True),
        ([diagnosis(366)], None, False, None),
        ([diagnosis(-900, -365)], None, True, True),
        ([diagnosis(-900, -366)], None, False, None),
    ],
)
def test_the_three_labels(
    rows: list[Evidence],
    t_score: bool | None,  # noqa: FBT001
    by_diagnosis: bool | None,  # noqa: FBT001
    either: bool | None,  # noqa: FBT001
) -> None:
    found = [label(rows, MG_DAY, rule).osteoporosis for rule in (T_SCORE, DIAGNOSIS, EITHER)]
    assert found == [t_score, by_diagnosis, either]


def test_a_label_says_what_it_rests_on() -> None:
    both = [diagnosis(-100), score("-1", 3)]
    assert label(both, MG_DAY, EITHER) == Label(True, "diagnosis", "", Decimal(-1), 3)  # type: ignore[arg-type]
    assert label([], MG_DAY, DIAGNOSIS) == Label(False, "no-diagnosis")
    assert label([], MG_DAY, EITHER) == Label(reason="no_dxa")
