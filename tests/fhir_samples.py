"""Plain FHIR R4 resources as a laboratory system writes them."""

from decimal import Decimal
from typing import Any

Json = dict[str, Any]

_CODES = {
    "mg": ("2601-3", "mmol/L"),
    "p": ("14879-1", "mmol/L"),
    "ctx": ("41171-0", "ng/mL"),
    "p1np": ("77370-5", "ng/mL"),
    "weight": ("29463-7", "kg"),
    "height": ("8302-2", "cm"),
    "ocn": ("2697-1", "ug/L"),
}


def patient(name: str, **fields: Any) -> Json:
    """A woman born in 1958."""
    return {"resourceType": "Patient", "id": name, "gender": "female", "birthDate": "1958-03-02", **fields}


def observation(name: str, subject: str, analyte: str, value: str, effective: str, **fields: Any) -> Json:
    """A final result with its UCUM unit."""
    code, unit = _CODES[analyte]
    quantity = {"value": float(Decimal(value)), "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": f"Patient/{subject}"},
        "effectiveDateTime": effective,
        "valueQuantity": quantity,
        **fields,
    }
