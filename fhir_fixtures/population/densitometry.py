"""DXA T-scores and the diagnoses that follow from them, for some women; lower where the magnesium study found more osteoporosis.

Drawn from a generator of their own: the same population with and without DXA has the same patients and the same results.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from math import log
from typing import Any

from fhir_fixtures.population.laboratory import CTX, LOINC, MG, P1NP, UCUM, Body, Test

Json = dict[str, Any]

_SITES = (("lumbar", "38267-1", 0.0), ("hip", "38264-8", 0.4), ("femur", "38263-0", 0.1))
_LOWEST, _HIGHEST = -5.5, 4.0
_OUTSIDE_A_YEAR = 0.08
_AS_PANEL = 0.15
_DIAGNOSED = 0.6


def densitometry(
    draw: random.Random, patient: str, age_years: float, body: Body, stays: Sequence[Sequence[Json]], today: date
) -> Iterator[Json]:
    """The DXA of one woman near one of her stays (each the Observations of one), and now and then a diagnosis."""
    stay = draw.choice(stays)
    day = date.fromisoformat(stay[0]["effectiveDateTime"][:10])
    around_days = draw.randrange(400, 900) if draw.random() < _OUTSIDE_A_YEAR else draw.randrange(0, 300)
    exam_day = min(day + timedelta(days=around_days * draw.choice((-1, 1))), today)
    level = _level(draw, age_years, body, stay)
    scores = [(site, code, _printed(level + above + draw.gauss(0, 0.4))) for site, code, above in _SITES]
    if draw.random() < _AS_PANEL:
        yield _panel(patient, exam_day, scores)
    else:
        yield from (_exam(patient, exam_day, site, code, score) for site, code, score in scores)
    if min(score for _, _, score in scores) <= Decimal("-2.5") and draw.random() < _DIAGNOSED:
        yield _diagnosis(patient, exam_day)


def _level(draw: random.Random, age_years: float, body: Body, stay: Sequence[Json]) -> float:
    """A woman's bone, in SD of young women. Directions and rough sizes of the paper's odds ratios; the rest is chance."""
    bmi_kg_m2 = body.weight_kg / (body.height_cm / 100) ** 2
    low_mg = _measured(stay, MG, 0.86) <= 0.845
    turnover = log(max(_measured(stay, CTX, 0.49), 0.05) / 0.49) + 0.5 * log(max(_measured(stay, P1NP, 55.0), 5) / 55)
    expected = -1.7 - 0.045 * (age_years - 67) + 0.07 * (bmi_kg_m2 - 25.4) - 0.6 * low_mg - 0.5 * turnover
    return expected + draw.gauss(0, 0.8)


def _measured(stay: Sequence[Json], test: Test, otherwise: float) -> float:
    """The stay's result in the model's unit."""
    factors = {unit.code: unit.factor for unit in test.units}
    for resource in stay:
        quantity = resource.get("valueQuantity", {})
        if resource["code"]["coding"][0]["code"] == test.code and quantity.get("code") in factors:
            return float(quantity["value"]) / factors[quantity["code"]]
    return otherwise


def _exam(patient: str, day: date, site: str, code: str, score: Decimal) -> Json:
    coded = {"code": {"coding": [{"system": LOINC, "code": code}]}}
    return {**_bare(patient, day, site), **coded, "valueQuantity": _quantity(score)}


def _panel(patient: str, day: date, scores: Sequence[tuple[str, str, Decimal]]) -> Json:
    """The whole exam in one Observation: it has no value itself."""
    parts = [
        {"code": {"coding": [{"system": LOINC, "code": code}]}, "valueQuantity": _quantity(score)}
        for _, code, score in scores
    ]
    return {**_bare(patient, day, "panel"), "code": {"text": "DXA of spine and hip"}, "component": parts}


def _bare(patient: str, day: date, short: str) -> Json:
    return {
        "resourceType": "Observation",
        "id": f"dxa-{patient[4:]}-{short}",
        "status": "final",
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": day.isoformat(),
    }


def _diagnosis(patient: str, day: date) -> Json:
    return {
        "resourceType": "Condition",
        "id": f"cond-{patient[4:]}-osteoporosis",
        "clinicalStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]
        },
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "M81.0"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "onsetDateTime": day.isoformat(),
    }


def _quantity(score: Decimal) -> Json:
    return {"value": score, "unit": "{T-score}", "system": UCUM, "code": "{T-score}"}


def _printed(score: float) -> Decimal:
    return Decimal(f"{min(max(score, _LOWEST), _HIGHEST):.1f}")
