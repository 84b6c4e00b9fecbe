"""Diagnoses and medicines: what documents menopause, what excludes, and what does neither."""

import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

Json = dict[str, Any]

SNOMED = "http://snomed.info/sct"
ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
ATC = "http://www.whocc.no/atc"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
_CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
_VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"

# (share of patients, system, code): excluding ones first, then common ones that exclude nobody.
_CONDITIONS = (
    (0.015, SNOMED, "431857002"),
    (0.010, ICD_10_CM, "N18.5"),
    (0.020, ICD_10_CM, "C50.911"),
    (0.006, SNOMED, "66999008"),
    (0.004, ICD_10_CM, "M88.9"),
    (0.005, ICD_10_CM, "K74.60"),
    (0.002, SNOMED, "4598005"),
    (0.350, ICD_10_CM, "I10"),
    (0.120, SNOMED, "44054006"),
    (0.080, ICD_10_CM, "M17.11"),
)
_MEDICINES = (
    (0.030, "MedicationRequest", ATC, "M05BA04"),
    (0.015, "MedicationStatement", ATC, "H02AB06"),
    (0.010, "MedicationRequest", RXNORM, "8640"),
    (0.008, "MedicationAdministration", RXNORM, "77655"),
    (0.004, "MedicationRequest", ATC, "H05AA02"),
    (0.200, "MedicationRequest", ATC, "C09AA05"),
    (0.150, "MedicationStatement", ATC, "A02BC02"),
)
_MENOPAUSE = {"pre": "22636003", "peri": "161541000119104", "post": "76498008"}


_COLONOSCOPIES = 20  # one patient in so many had one: it excludes nobody, and shows that procedures are recorded


def histories(
    draw: random.Random, patient: str, number: int, today: date, *, female: bool, age_years: float
) -> Iterator[Json]:
    """Conditions, medicines and procedures of one patient, whose results lie in the three years before `today`."""
    subject = {"reference": f"Patient/{patient}"}
    if female:
        yield from _menopause(draw, subject, number, today, age_years)
    for row, (share, system, code) in enumerate(_CONDITIONS):
        if draw.random() < share:
            yield _condition(draw, f"cond-{number:06d}-{row}", subject, system, code, today)
    for row, (share, kind, system, code) in enumerate(_MEDICINES):
        if draw.random() < share:
            yield _medicine(draw, kind, f"med-{number:06d}-{row}", subject, {"system": system, "code": code}, today)
    if number % _COLONOSCOPIES == 0:
        yield {
            "resourceType": "Procedure",
            "id": f"proc-{number:06d}",
            "status": "completed",
            "code": {"coding": [{"system": SNOMED, "code": "73761001", "display": "Colonoscopy"}]},
            "subject": subject,
            "performedDateTime": (today - timedelta(days=400)).isoformat(),
        }


def _menopause(draw: random.Random, subject: Json, number: int, today: date, age_years: float) -> Iterator[Json]:
    documented = draw.random()
    status = ""
    if age_years < 55:
        status = "pre" if documented < 0.15 else "peri" if documented < 0.2 else ""
    elif documented < 0.25:
        status = "post"
    if status:
        name = f"cond-{number:06d}-{status}"
        yield _condition(draw, name, subject, SNOMED, _MENOPAUSE[status], today, refutable=False)


def _condition(
    draw: random.Random, name: str, subject: Json, system: str, code: str, today: date, *, refutable: bool = True
) -> Json:
    verified = "refuted" if refutable and draw.random() < 0.05 else "confirmed"
    return {
        "resourceType": "Condition",
        "id": name,
        "clinicalStatus": {"coding": [{"system": _CLINICAL, "code": "active"}]},
        "verificationStatus": {"coding": [{"system": _VERIFICATION, "code": verified}]},
        "code": {"coding": [{"system": system, "code": code}]},
        "subject": subject,
        "onsetDateTime": (today - timedelta(days=draw.randrange(30, 4000))).isoformat(),
    }


def _medicine(draw: random.Random, kind: str, name: str, subject: Json, coding: Json, today: date) -> Json:
    day = (today - timedelta(days=draw.randrange(10, 600))).isoformat()
    medicine: Json = {
        "resourceType": kind,
        "id": name,
        "subject": subject,
        "medicationCodeableConcept": {"coding": [coding]},
    }
    if kind == "MedicationRequest":
        return {**medicine, "status": "active", "intent": "order", "authoredOn": day}
    if kind == "MedicationStatement":
        return {**medicine, "status": "active", "effectivePeriod": {"start": day}}
    return {**medicine, "status": "completed", "effectiveDateTime": day}
