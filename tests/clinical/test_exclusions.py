"""Exclusions and menopause through the mapper. Days by hand: ordinal 739007 is 2024-05-01, 738521 is 2023-01-01."""

import json
from datetime import date
from typing import Any

import msgspec
import pytest

from screener.base.errors import ConfigurationError
from screener.clinical.codes import systems
from screener.clinical.exclusions import CodeList, ExclusionRow, exclusion_table, window
from screener.clinical.mapping import Mapper, MappingTables
from screener.clinical.merge import merge
from screener.clinical.records import END_UNKNOWN, TREATED_BEFORE, Exclusion, Menopause, Span, Unreadable, Version
from screener.clinical.statements import medicine
from tests.builders import record

SNOMED = "http://snomed.info/sct"
ICD = "http://hl7.org/fhir/sid/icd-10-cm"
ATC = "http://www.whocc.no/atc"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
MAPPER = Mapper(MappingTables.default())


def day(text: str) -> int:
    return date.fromisoformat(text).toordinal()


def coded(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def mapped(kind: str, **elements: object) -> tuple[object, ...]:
    resource = {"resourceType": kind, "id": "x1", "subject": {"reference": "Patient/p1"}, **elements}
    return MAPPER.map(json.dumps(resource).encode())


def exclusion(kind: str, **elements: object) -> Exclusion:
    """The statement itself, without the caveat that begins where it ends."""
    rows = [row for row in mapped(kind, **elements) if isinstance(row, Exclusion)]
    (row,) = (row for row in rows if row.rule.partition(":")[0] not in (TREATED_BEFORE, END_UNKNOWN))
    return row


def span(kind: str, **elements: object) -> tuple[int, int, bool]:
    row = exclusion(kind, **elements)
    return row.start_day, row.end_day, row.counts


@pytest.mark.parametrize(
    ("system", "code", "rule"),
    [
        (SNOMED, "431857002", "renal"),
        (SNOMED, "433146000", "renal"),
        (SNOMED, "46177005", "renal"),
        (SNOMED, "265764009", "renal"),
        (ICD, "N18.4", "renal"),
        (ICD, "N185", "renal"),
        (ICD, "n18.6", "renal"),
        (ICD, "Z99.2", "renal"),
        (SNOMED, "19943007", "hepatic"),
        (SNOMED, "59927004", "hepatic"),
        (ICD, "K70.30", "hepatic"),
        (ICD, "K70.41", "hepatic"),
        (ICD, "K71.11", "hepatic"),
        (ICD, "K71.7", "hepatic"),
        (ICD, "K72.90", "hepatic"),
        (ICD, "K74.69", "hepatic"),
        (ICD, "K76.7", "hepatic"),
        (SNOMED, "363346000", "malignancy"),
        (SNOMED, "94222008", "malignancy"),
        (ICD, "C00.0", "malignancy"),
        (ICD, "C50.911", "malignancy"),
        (ICD, "C79.51", "malignancy"),
        (ICD, "C9000", "malignancy"),
        (ICD, "C96.9", "malignancy"),
        (SNOMED, "66999008", "hyperparathyroidism"),
        (ICD, "E21.0", "hyperparathyroidism"),
        (ICD, "E21.3", "hyperparathyroidism"),
        (ICD, "N25.81", "hyperparathyroidism"),
        (SNOMED, "4598005", "osteomalacia"),
        (ICD, "M83.9", "osteomalacia"),
        (SNOMED, "2089002", "paget"),
        (ICD, "M88.0", "paget"),
        (ICD, "Z79.52", "glucocorticoid"),
        (ICD, "Z79.83", "antiresorptive"),
        ("http://hl7.org/fhir/sid/icd-10", "C50.9", "malignancy"),
        ("http://hl7.org/fhir/sid/icd-10-gm", "N18.4", "renal"),
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "M88.99", "paget"),
    ],
)
def test_diagnoses_that_exclude(system: str, code: str, rule: str) -> None:
    found = exclusion("Condition", code=coded(system, code))
    assert msgspec.structs.replace(found, by="") == Exclusion("p1", "Condition", "x1", Version(), rule)
    row, sent = (text.replace(".", "").upper() for text in (found.by.rpartition("|")[2], code))
    assert sent == row or (row.endswith("*") and sent.startswith(row[:-1]))


@pytest.mark.parametrize(
    ("system", "code"),
    [
        (SNOMED, "433144002"),  # CKD 3
        (ICD, "K74.3"),  # primary biliary cholangitis need not be cirrhosis
        (ICD, "C44.311"),  # non-melanoma skin cancer
        (ICD, "N95.1"),  # covers perimenopause
        (ICD, "M85.80"),  # osteopenia
        ("http://hl7.org/fhir/sid/icd-10", "N25.9"),
        (ICD, "N18.3"),
        (ICD, "N18"),
        (ICD, "E89.2"),  # hypoparathyroidism
        (ICD, "E21.4"),
        (ICD, "Z79.51"),  # inhaled steroids
        (ICD, "D05.1"),
        (ICD, "K74.0"),
    ],
)
def test_diagnoses_that_do_not_exclude(system: str, code: str) -> None:
    assert mapped("Condition", code=coded(system, code)) == ()


MEDICATIONS = ["MedicationRequest", "MedicationStatement", "MedicationAdministration"]


@pytest.mark.parametrize("kind", MEDICATIONS)
@pytest.mark.parametrize(
    ("system", "code", "rule"),
    [
        (ATC, "H02AB07", "glucocorticoid"),
        (RXNORM, "8640", "glucocorticoid"),
        (ATC, "M05BA04", "antiresorptive"),
        (ATC, "M05BB03", "antiresorptive"),
        (ATC, "m05bx04", "antiresorptive"),
        (ATC, "G03XC01", "antiresorptive"),
        (RXNORM, "77655", "antiresorptive"),
        (RXNORM, "46041", "antiresorptive"),
        (RXNORM, "993449", "antiresorptive"),
        (ATC, "H05AA02", "anabolic"),
        (ATC, "H05AA04", "anabolic"),
        (ATC, "M05BX06", "anabolic"),
        ("http://fhir.de/CodeSystem/bfarm/atc", "M05BA04", "antiresorptive"),
    ],
)
def test_medicines_that_exclude(kind: str, system: str, code: str, rule: str) -> None:
    row = exclusion(kind, status="active", medicationCodeableConcept=coded(system, code))
    assert (row.resource, row.rule, row.counts) == (kind, rule, True)


@pytest.mark.parametrize(
    ("system", "code"),
    [(ATC, "M05BX07"), (ATC, "H02AA02"), (ATC, "R03BA02"), (RXNORM, "25789"), (ATC, "M05B")],
)
def test_medicines_that_do_not_exclude(system: str, code: str) -> None:
    # M05BX07 vosoritide, R03BA inhaled steroids, 25789 glimepiride
    assert mapped("MedicationRequest", status="active", medicationCodeableConcept=coded(system, code)) == ()


def clinical(code: str) -> dict[str, Any]:
    return coded("http://terminology.hl7.org/CodeSystem/condition-clinical", code)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, (0, 0, True)),
        ({"onsetDateTime": "2023"}, (day("2023-01-01"), 0, True)),
        ({"onsetPeriod": {"start": "2023-02-03"}}, (day("2023-02-03"), 0, True)),
        ({"recordedDate": "2023-03-04"}, (day("2023-03-04"), 0, True)),
        ({"onsetDateTime": "2020", "recordedDate": "2023-03-04"}, (day("2020-01-01"), 0, True)),
        ({"onsetDateTime": "last winter"}, (0, 0, True)),
        ({"abatementDateTime": "2024-02"}, (0, day("2024-02-29"), True)),
        ({"abatementPeriod": {"end": "2024-02-03"}}, (0, day("2024-02-03"), True)),
        (
            {"clinicalStatus": clinical("resolved"), "meta": {"lastUpdated": "2024-05-01T10:00:00Z"}},
            (0, day("2024-05-01"), True),
        ),
        ({"clinicalStatus": clinical("inactive"), "recordedDate": "2023-03-04"}, (day("2023-03-04"),) * 2 + (True,)),
        ({"abatementString": "spring", "meta": {"lastUpdated": "2024-05-01T10:00:00Z"}}, (0, day("2024-05-01"), True)),
        ({"clinicalStatus": clinical("active")}, (0, 0, True)),
        ({"verificationStatus": coded("x", "provisional")}, (0, 0, True)),
        ({"verificationStatus": coded("x", "refuted")}, (0, 0, False)),
        ({"verificationStatus": coded("x", "entered-in-error")}, (0, 0, False)),
    ],
)
def test_a_diagnosis_that_counts_while_active(elements: dict[str, object], expected: tuple[int, int, bool]) -> None:
    assert span("Condition", code=coded(ICD, "N18.4"), **elements) == expected


def test_a_malignancy_counts_for_ever_from_its_onset() -> None:
    ended = {"onsetDateTime": "2010-05-06", "abatementDateTime": "2012", "clinicalStatus": clinical("remission")}
    assert span("Condition", code=coded(ICD, "C50.9"), **ended) == (day("2010-05-06"), 0, True)


def test_long_term_use_as_a_diagnosis_has_a_washout() -> None:
    ended = {"abatementDateTime": "2024-01-01"}
    assert span("Condition", code=coded(ICD, "Z79.83"), **ended) == (0, day("2024-01-01") + 730, True)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("MedicationRequest", "entered-in-error"),
        ("MedicationRequest", "cancelled"),
        ("MedicationRequest", "draft"),
        ("MedicationStatement", "not-taken"),
        ("MedicationStatement", "intended"),
        ("MedicationStatement", "entered-in-error"),
        ("MedicationAdministration", "not-done"),
    ],
)
def test_medicines_never_taken_do_not_count(kind: str, status: str) -> None:
    assert not exclusion(kind, status=status, medicationCodeableConcept=coded(ATC, "M05BA04")).counts


@pytest.mark.parametrize(
    "elements", [{"intent": "proposal"}, {"intent": "plan"}, {"intent": "order", "doNotPerform": True}]
)
def test_requests_that_order_nothing_do_not_count(elements: dict[str, object]) -> None:
    row = exclusion("MedicationRequest", status="active", medicationCodeableConcept=coded(ATC, "M05BA04"), **elements)
    assert not row.counts


def bounds(**elements: object) -> dict[str, Any]:
    return {"dosageInstruction": [{"timing": {"repeat": elements}}]}


SUPPLY = {"value": 30, "unit": "days", "system": "http://unitsofmeasure.org", "code": "d"}


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"status": "active", "authoredOn": "2023-01-01"}, (day("2023-01-01"), 0, True)),
        (
            {"status": "active", **bounds(boundsPeriod={"start": "2023-01-01", "end": "2023-06-30"})},
            (day("2023-01-01"), day("2023-06-30") + 730, True),
        ),
        (
            {"status": "completed", "authoredOn": "2023-01-01", "dispenseRequest": {"expectedSupplyDuration": SUPPLY}},
            # 30 days from 1 January end on 30 January
            (day("2023-01-01"), day("2023-01-30") + 730, True),
        ),
        (
            {
                "status": "completed",
                "authoredOn": "2023-01-01",
                "dispenseRequest": {"expectedSupplyDuration": SUPPLY, "numberOfRepeatsAllowed": 2},
            },
            # 90 days: 31 + 28 + 31
            (day("2023-01-01"), day("2023-03-31") + 730, True),
        ),
        (
            {
                "status": "completed",
                "authoredOn": "2023-01-01",
                "dispenseRequest": {"validityPeriod": {"end": "2023-02-01"}},
            },
            (day("2023-01-01"), day("2023-02-01") + 730, True),
        ),
        (
            {"status": "stopped", "authoredOn": "2023-01-01", "meta": {"lastUpdated": "2023-05-01T10:00:00Z"}},
            # When the resource was last changed is no sign that she took it.
            (day("2023-01-01"), day("2023-01-01") + 730, True),
        ),
        ({"status": "completed", "authoredOn": "2023-01-01"}, (day("2023-01-01"), day("2023-01-01") + 730, True)),
    ],
)
def test_a_bisphosphonate_request_with_its_washout(
    elements: dict[str, object], expected: tuple[int, int, bool]
) -> None:
    assert span("MedicationRequest", medicationCodeableConcept=coded(ATC, "M05BA04"), **elements) == expected


@pytest.mark.parametrize(
    ("elements", "counts"),
    [
        ({"status": "active", "authoredOn": "2023-01-01"}, True),
        ({"status": "completed", "authoredOn": "2023-01-01"}, False),
        ({"status": "completed", **bounds(boundsPeriod={"start": "2023-01-01", "end": "2023-03-31"})}, True),  # 90 days
        (
            {"status": "completed", **bounds(boundsPeriod={"start": "2023-01-01", "end": "2023-03-30"})},
            False,
        ),  # 89 days
        ({"status": "active", "authoredOn": "2023-01-01", **bounds(boundsDuration={"value": 5, "code": "d"})}, False),
        ({"status": "active", "authoredOn": "2023-01-01", **bounds(boundsDuration={"value": 13, "code": "wk"})}, True),
        (
            {"status": "active", "authoredOn": "2023-01-01", **bounds(boundsDuration={"value": 1e300, "code": "a"})},
            True,
        ),
    ],
)
def test_glucocorticoids_count_when_long_term(elements: dict[str, object], *, counts: bool) -> None:
    row = exclusion("MedicationRequest", medicationCodeableConcept=coded(ATC, "H02AB06"), **elements)
    assert bool(merge(record(exclusions=(row,))).exclusions) is counts


def test_statements_and_administrations() -> None:
    alendronate = coded(ATC, "M05BA04")
    ended = {"status": "completed", "effectivePeriod": {"start": "2022", "end": "2023-01"}}
    assert span("MedicationStatement", medicationCodeableConcept=alendronate, **ended) == (
        day("2022-01-01"),
        day("2023-01-31") + 730,
        True,
    )
    taking = {"status": "active", "effectiveDateTime": "2023-05-01"}
    assert span("MedicationStatement", medicationCodeableConcept=alendronate, **taking) == (day("2023-05-01"), 0, True)
    injection = {"status": "completed", "effectiveDateTime": "2023-05-01T10:00:00Z"}
    assert span("MedicationAdministration", medicationCodeableConcept=coded(ATC, "M05BX04"), **injection) == (
        day("2023-05-01"),
        day("2023-05-01") + 365,
        True,
    )
    dose = exclusion("MedicationAdministration", medicationCodeableConcept=coded(ATC, "H02AB06"), **injection)
    assert (dose.minimum_days, dose.start_day, dose.end_day) == (90, day("2023-05-01"), day("2023-05-01"))


def test_the_medicine_in_a_contained_resource() -> None:
    medication = {"resourceType": "Medication", "id": "m", "code": coded(ATC, "M05BA04")}
    row = exclusion(
        "MedicationRequest", status="active", contained=[medication], medicationReference={"reference": "#m"}
    )
    assert row.rule == "antiresorptive"


def settled(medicines: list[dict[str, Any]], status: str = "active", reference: str = "Medication/7") -> list[Any]:
    """A prescription that names a Medication, once `medicines` are known."""
    rows = mapped("MedicationRequest", status=status, medicationReference={"reference": reference})
    known = [medicine(json.dumps({"resourceType": "Medication", **held}).encode()) for held in medicines]
    return list(MAPPER.resolve_medications(rows, {row.id: row for row in known if row}))  # type: ignore[arg-type]


ALENDRONATE = {"id": "7", "code": coded(ATC, "M05BA04")}


@pytest.mark.parametrize(
    "reference",
    ["Medication/7", "Medication/7/_history/2", "https://fhir.hospital.example/r4/Medication/7", "urn:uuid:7"],
)
def test_the_medicine_in_a_resource_of_its_own(reference: str) -> None:
    (row,) = settled([ALENDRONATE], reference=reference)
    assert (row.resource, row.id, row.rule, row.counts) == ("MedicationRequest", "x1", "antiresorptive", True)


def test_a_medicine_that_is_none_of_ours_excludes_nobody() -> None:
    assert settled([{"id": "7", "code": coded(ATC, "C09AA05")}]) == []
    assert settled([{"id": "7", "code": {"text": "as discussed"}}]) == []


def test_an_ingredient_excludes_as_the_medicine_does() -> None:
    parts = [{"itemCodeableConcept": coded(RXNORM, "46041")}, {"itemReference": {"reference": "Substance/1"}}]
    (row,) = settled([{"id": "7", "code": {"text": "weekly tablets"}, "ingredient": parts}])
    assert row.rule == "antiresorptive"
    contained = [{"resourceType": "Medication", "id": "m", "ingredient": parts}]
    held = exclusion("MedicationRequest", status="active", contained=contained, medicationReference={"reference": "#m"})
    assert held.rule == "antiresorptive"


@pytest.mark.parametrize("reference", ["Medication/8", "#missing", "Substance/7"])
def test_a_medicine_that_we_cannot_see_is_said_to_be_unreadable(reference: str) -> None:
    assert settled([ALENDRONATE], reference=reference) == [Unreadable("p1", "MedicationRequest", "x1", Version())]
    assert settled([ALENDRONATE], status="cancelled", reference=reference) == []


def test_a_medicine_named_only_by_an_identifier_is_unreadable() -> None:
    rows = mapped("MedicationRequest", status="active", medicationReference={"identifier": {"value": "55"}})
    assert list(MAPPER.resolve_medications(rows, {})) == [Unreadable("p1", "MedicationRequest", "x1", Version())]  # type: ignore[arg-type]


def test_what_was_not_meant_does_not_count_whatever_the_medicine() -> None:
    (row,) = settled([ALENDRONATE], status="cancelled")
    assert not row.counts


def test_a_medication_that_cannot_be_read_is_none() -> None:
    assert medicine(b'{"resourceType": "Medication", "id": "7", "code": "alendronate"}') is None
    assert medicine(b'{"resourceType": "Medication", "code": {"text": "no id"}}') is None


def test_dialysis_as_a_procedure() -> None:
    done = {"status": "completed", "performedDateTime": "2023-05-01"}
    assert span("Procedure", code=coded(SNOMED, "265764009"), **done) == (
        day("2023-05-01"),
        day("2023-05-01") + 365,
        True,
    )
    going_on = {"status": "in-progress", "performedPeriod": {"start": "2023-05-01"}}
    assert span("Procedure", code=coded(SNOMED, "265764009"), **going_on) == (day("2023-05-01"), 0, True)
    assert not exclusion("Procedure", code=coded(SNOMED, "265764009"), status="not-done").counts


def test_two_codings_of_one_rule_are_one_row_and_of_two_rules_two() -> None:
    both = {"coding": [{"system": SNOMED, "code": "431857002"}, {"system": ICD, "code": "N18.4"}]}
    assert exclusion("Condition", code=both).rule == "renal"
    two = {"coding": [{"system": ICD, "code": "N18.5"}, {"system": ICD, "code": "N25.81"}]}
    rows = mapped("Condition", code=two)
    assert sorted(row.rule for row in rows if isinstance(row, Exclusion)) == ["hyperparathyroidism", "renal"]


@pytest.mark.parametrize(
    ("system", "code", "status"),
    [
        (SNOMED, "76498008", "post"),
        (SNOMED, "307429007", "post"),
        (SNOMED, "289903006", "post"),
        (SNOMED, "22636003", "pre"),
        (SNOMED, "309606002", "pre"),
        (SNOMED, "161541000119104", "peri"),
        (ICD, "Z78.0", "post"),
        (ICD, "E28.319", "post"),
        (ICD, "E89.40", "post"),
        (ICD, "E89.41", "post"),
        (ICD, "Z90.722", "post"),
    ],
)
def test_menopause_as_a_diagnosis(system: str, code: str, status: str) -> None:
    surgical = code in ("E89.40", "E89.41", "Z90.722")
    assert mapped("Condition", code=coded(system, code), onsetDateTime="2010-05-06") == (
        Menopause("p1", "Condition", "x1", Version(), status, day("2010-05-06"), surgical=surgical),
    )


def menopause(**elements: object) -> Menopause:
    kind = str(elements.pop("kind", "Observation"))
    (row,) = mapped(kind, **elements)
    assert isinstance(row, Menopause)
    return row


def test_menopause_taken_back_or_past() -> None:
    assert not menopause(kind="Condition", code=coded(ICD, "Z78.0"), verificationStatus=coded("x", "refuted")).counts
    assert not menopause(kind="Condition", code=coded(SNOMED, "22636003"), clinicalStatus=clinical("resolved")).counts
    assert menopause(kind="Condition", code=coded(SNOMED, "76498008"), clinicalStatus=clinical("resolved")).counts


def test_menopause_as_an_observation() -> None:
    stated = {"code": {"text": "status"}, "valueCodeableConcept": coded(SNOMED, "22636003")}
    row = menopause(status="final", effectiveDateTime="2024-05-01", **stated)
    assert row == Menopause("p1", "Observation", "x1", Version(), "pre", day("2024-05-01"))
    assert not menopause(status="entered-in-error", **stated).counts
    age = {"code": coded("http://loinc.org", "42802-9"), "valueQuantity": {"value": 52, "code": "a"}}
    assert menopause(status="final", **age).status == "post"


def test_the_last_period_says_something_a_year_later() -> None:
    code = coded("http://loinc.org", "8665-2")
    year = {"effectiveDateTime": "2024-05-01", "valueDateTime": "2023-05-01"}  # 366 days, a leap day between
    assert menopause(status="final", code=code, **year).status == "post"
    recent = menopause(status="final", code=code, effectiveDateTime="2024-05-01", valueDateTime="2023-06")
    assert (recent.status, recent.counts, recent.last_period_day) == ("period", True, day("2023-06-30"))


def test_both_ovaries_taken() -> None:
    elements = {"code": coded(SNOMED, "29827000"), "status": "completed", "performedDateTime": "2005"}
    assert menopause(kind="Procedure", **elements) == Menopause(
        "p1", "Procedure", "x1", Version(), "post", day("2005-01-01"), surgical=True
    )


def test_a_pregnancy_ends_whatever_the_record_says() -> None:
    row = exclusion(
        "Condition", code=coded(SNOMED, "77386006"), onsetDateTime="1990-03-01", clinicalStatus=coded("x", "active")
    )
    assert (row.rule, row.counts, row.caveat) == ("pregnancy", True, False)
    assert row.end_day - row.start_day + 1 == 300


def test_an_amputation_excludes_nobody_and_is_kept_for_the_caveat() -> None:
    row = exclusion("Condition", code=coded(ICD, "Z89.511"), onsetDateTime="2015-01-01")
    assert (row.rule, row.counts, row.caveat, row.end_day) == ("amputation", True, True, 0)


def test_a_site_switches_a_row_off_or_changes_its_window() -> None:
    row = {
        "rule": "malignancy",
        "resources": "Condition",
        "system": ICD,
        "code": "C4",
        "match": "prefix",
        "window": "never",
    }
    table = {(r.rule, r.code): r for r in exclusion_table([row])}
    assert ("malignancy", "C43") not in {(r.rule, r.code) for r in exclusion_table([row]) if r.system == ICD}
    assert ("malignancy", "C50") in table
    assert window(table["malignancy", "C4"], Span()) == (0, 0, False)
    with pytest.raises(ConfigurationError, match="extra_exclusions: row 1"):
        exclusion_table([{**row, "window": "sometimes"}])


def test_a_planned_end_that_lies_ahead_is_the_end() -> None:
    row = ExclusionRow(rule="r", resources="MedicationRequest", system="s", code="c", window="washout", washout_days=10)
    assert window(row, Span(5, 20, over=False, documented_end=True)) == (5, 30, True)
    assert window(row, Span(5, 0, over=False)) == (5, 0, True)


def test_every_shipped_row_has_a_source() -> None:
    assert [row.code for row in exclusion_table(()) if row.source in ("", "site")] == []
    assert isinstance(CodeList(exclusion_table(()), systems()), CodeList)


WHO, GM = "http://hl7.org/fhir/sid/icd-10", "http://fhir.de/CodeSystem/bfarm/icd-10-gm"


@pytest.mark.parametrize(
    ("system", "code", "rule"),
    [
        (SNOMED, "254837009", "malignancy"),  # malignant neoplasm of breast: no descendant is inferred, each is listed
        (SNOMED, "36348003", "hyperparathyroidism"),
        (SNOMED, "714152005", "renal"),
        (SNOMED, "82236004", "metabolic_bone"),
        (WHO, "Z33", "pregnancy"),
        (GM, "Z33", "pregnancy"),
        (ICD, "Z33.1", "pregnancy"),
        (WHO, "N25.8", "hyperparathyroidism"),
        (GM, "N25.8", "hyperparathyroidism"),
        (ICD, "N25.81", "hyperparathyroidism"),
        (WHO, "Z49.1", "renal"),
        (GM, "Z49.1", "renal"),
        (WHO, "I12.0", "renal"),
        (GM, "I12.0", "renal"),
        (WHO, "Z94.0", "renal"),  # a transplant, working or not
        (ICD, "N25.0", "metabolic_bone"),
        (ICD, "E83.31", "metabolic_bone"),  # familial hypophosphataemia
        (GM, "E83.31", "osteomalacia"),  # vitamin D-dependent rickets
        (WHO, "E83.3", "metabolic_bone"),
        (ICD, "D46.9", "malignancy"),  # myelodysplastic syndrome
        (WHO, "D47.1", "malignancy"),
        (ICD, "Z79.811", "antihormonal"),
    ],
)
def test_codes_of_an_edition_or_a_value_set_exclude(system: str, code: str, rule: str) -> None:
    found = exclusion("Condition", code=coded(system, code))
    assert (found.rule, found.caveat) == (rule, False)


@pytest.mark.parametrize(("system", "code"), [(ICD, "Z33"), (WHO, "Z79.52"), (GM, "E83.32"), (WHO, "C44.3")])
def test_editions_are_kept_apart(system: str, code: str) -> None:
    assert mapped("Condition", code=coded(system, code)) == ()


@pytest.mark.parametrize(
    ("system", "code", "rule"),
    [
        (ICD, "M81.0", "osteoporosis"),
        (GM, "M81.98", "osteoporosis"),
        (ICD, "Z85.3", "malignancy_history"),
        (ICD, "D47.2", "malignancy_possible"),  # MGUS
        (WHO, "K76.6", "hepatic_possible"),
        (ICD, "N18.9", "renal_possible"),
        (ICD, "S72.001A", "fracture_cause_not_stated"),
        (ICD, "E24.2", "glucocorticoid_sign"),
    ],
)
def test_what_is_only_a_caveat(system: str, code: str, rule: str) -> None:
    found = exclusion("Condition", code=coded(system, code))
    assert (found.rule, found.caveat) == (rule, True)


def test_a_fracture_due_to_osteoporosis_is_both() -> None:
    rows = mapped("Condition", code=coded(ICD, "M80.08XA"))
    assert {row.rule for row in rows if isinstance(row, Exclusion)} == {"osteoporosis", "fragility_fracture"}


@pytest.mark.parametrize(
    ("system", "code", "rule"),
    [
        (RXNORM, "72143", "antiresorptive"),  # raloxifene
        (ATC, "M05BX03", "antiresorptive"),  # strontium
        (ATC, "H05BA01", "antiresorptive"),  # calcitonin
        (ATC, "M05BX05", "metabolic_bone"),  # burosumab
        (ATC, "L02BG04", "antihormonal"),  # letrozole
        (ATC, "L02AE02", "antihormonal"),  # leuprorelin
        (ATC, "L02BA01", "antihormonal"),  # tamoxifen
        ("https://dmd.nhs.uk", "325951003", "antiresorptive"),  # dm+d: etidronate
    ],
)
@pytest.mark.parametrize("kind", [*MEDICATIONS, "MedicationDispense"])
def test_medicines_that_affect_bone(kind: str, system: str, code: str, rule: str) -> None:
    day_ = {"whenHandedOver": "2025-01-01"} if kind == "MedicationDispense" else {}
    found = exclusion(kind, status="active", intent="order", medicationCodeableConcept=coded(system, code), **day_)
    assert (found.rule, found.counts, found.caveat) == (rule, True, False)


def test_a_dispense_counts_from_the_day_it_was_handed_over() -> None:
    denosumab = {"status": "completed", "medicationCodeableConcept": coded(ATC, "M05BX04")}
    assert span("MedicationDispense", whenHandedOver="2026-08-01", **denosumab) == (
        day("2026-08-01"),
        day("2026-08-01") + 365,
        True,
    )
    supply = {"daysSupply": {"value": 28, "code": "d"}}
    tablets = {"status": "completed", "medicationCodeableConcept": coded(ATC, "M05BA04")}
    assert span("MedicationDispense", whenPrepared="2026-08-01", **tablets, **supply)[1] == day("2026-08-28") + 730
    declined = {"status": "declined", "medicationCodeableConcept": coded(ATC, "M05BX04")}
    rows = mapped("MedicationDispense", **declined)
    assert [row.counts for row in rows if isinstance(row, Exclusion)] == [False]


def route(text: str) -> dict[str, Any]:
    return {"dosageInstruction": [{"route": {"text": text}}]}


@pytest.mark.parametrize(
    ("code", "dosage", "expected"),
    [
        ((ATC, "H02AB04"), route("intra-articular"), ("glucocorticoid_local", True)),
        ((ATC, "H02AB04"), route("intravenous"), ("glucocorticoid", False)),
        ((ATC, "H02AB04"), {}, ("glucocorticoid", False)),
        ((SNOMED, "329994003"), {}, ("glucocorticoid_local", True)),  # an injection whose route nobody states
        ((SNOMED, "329994003"), route("i.m."), ("glucocorticoid", False)),
        ((RXNORM, "3264"), route("oral"), ("glucocorticoid", False)),  # dexamethasone as an ingredient
    ],
)
def test_the_route_decides_whether_a_glucocorticoid_is_systemic(
    code: tuple[str, str], dosage: dict[str, Any], expected: tuple[str, bool]
) -> None:
    asked = {"status": "active", "intent": "order", "authoredOn": "2026-01-01", **dosage}
    row = exclusion("MedicationRequest", medicationCodeableConcept=coded(*code), **asked)
    assert (row.rule, row.caveat) == expected


def test_an_ingredient_without_a_route_says_nothing() -> None:
    asked = {"status": "active", "intent": "order", "medicationCodeableConcept": coded(RXNORM, "5492")}
    assert mapped("MedicationRequest", **asked) == ()
    assert mapped("MedicationRequest", **asked, **route("topical")) == ()


def test_a_terminology_servers_codes_join_their_value_set() -> None:
    table = exclusion_table((), [{"value_set": "malignancy", "system": SNOMED, "code": "999000", "source": "tx"}])
    added = [row for row in table if row.code == "999000"]
    assert [(row.rule, row.window, row.source) for row in added] == [("malignancy", "ever", "tx")]
    with pytest.raises(ConfigurationError, match="row 1"):
        exclusion_table((), [{"value_set": "no-such", "system": SNOMED, "code": "1"}])
