"""The inputs of the job as ViewDefinitions (SQL on FHIR, version 2): one table for each resource type that it reads."""

from screener.assessment.identity import Canonical
from screener.assessment.resource import Json

_MEDICINE = (
    "medication.ofType(CodeableConcept).coding.code.first()",
    "medication.ofType(CodeableConcept).coding.system.first()",
)
_ABOUT = ("id", "id"), ("patient", "subject.reference")

# By resource type: columns with their paths. Codings are rows of their own where a resource has several.
VIEWS: dict[str, tuple[tuple[str, str], ...]] = {
    "Patient": (
        ("id", "id"),
        ("gender", "gender"),
        ("birth_date", "birthDate"),
        ("active", "active"),
        ("deceased", "deceased.exists() and (deceased = false).not()"),
        ("replaced", "link.where(type = 'replaced-by').exists()"),
    ),
    "Observation": (
        *_ABOUT,
        ("status", "status"),
        ("code", "code.coding.code.first()"),
        ("system", "code.coding.system.first()"),
        ("text", "code.text"),
        ("value", "value.ofType(Quantity).value"),
        ("comparator", "value.ofType(Quantity).comparator"),
        ("unit", "value.ofType(Quantity).unit"),
        ("unit_code", "value.ofType(Quantity).code"),
        ("effective", "effective.ofType(dateTime)"),
        ("issued", "issued"),
    ),
    "Condition": (
        *_ABOUT,
        ("code", "code.coding.code.first()"),
        ("system", "code.coding.system.first()"),
        ("text", "code.text"),
        ("clinical_status", "clinicalStatus.coding.code.first()"),
        ("verification_status", "verificationStatus.coding.code.first()"),
        ("onset", "onset.ofType(dateTime)"),
        ("abatement", "abatement.ofType(dateTime)"),
        ("recorded", "recordedDate"),
    ),
    "Procedure": (
        *_ABOUT,
        ("status", "status"),
        ("code", "code.coding.code.first()"),
        ("system", "code.coding.system.first()"),
        ("performed", "performed.ofType(dateTime)"),
    ),
    "MedicationRequest": (
        *_ABOUT,
        ("status", "status"),
        ("intent", "intent"),
        ("code", _MEDICINE[0]),
        ("system", _MEDICINE[1]),
        ("medication", "medication.ofType(Reference).reference"),
        ("authored", "authoredOn"),
    ),
    "MedicationStatement": (
        *_ABOUT,
        ("status", "status"),
        ("code", _MEDICINE[0]),
        ("system", _MEDICINE[1]),
        ("medication", "medication.ofType(Reference).reference"),
        ("begins", "effective.ofType(Period).start"),
        ("ends", "effective.ofType(Period).end"),
    ),
}


def views(canonical: Canonical, version: str) -> list[Json]:
    """The ViewDefinitions, in the order of the types."""
    return [
        {
            "resourceType": "ViewDefinition",
            "url": f"{canonical.base}/ViewDefinition/{kind.lower()}",
            "version": version,
            "name": f"screener_{kind.lower()}",
            "title": f"What the job reads of {kind}",
            "status": "active",
            "resource": kind,
            "select": [{"column": [{"name": name, "path": path} for name, path in columns]}],
        }
        for kind, columns in VIEWS.items()
    ]
