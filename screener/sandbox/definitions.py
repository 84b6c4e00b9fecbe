"""The resource types that the sandbox holds, with the R4 definitions it needs of each.

Search parameters, their paths, mandatory elements and code systems of `status` are those of the R4 resource pages; references are
the ones that R4 gives a search parameter, for these are the ones that HAPI FHIR checks (`RiskAssessment.basis` has none).
"""

import msgspec

_ACTORS = ("subject", "performer")


class Definition(msgspec.Struct, frozen=True):
    """One resource type. Paths are dotted element names; lists are walked through."""

    tokens: dict[
        str, str
    ] = {}  # search parameter -> path of a code, Coding, CodeableConcept or Identifier; several by " | "
    texts: dict[str, str] = {}  # search parameter with its modifier :text -> path of a CodeableConcept
    subjects: dict[str, str] = {}  # search parameter -> path of a Reference
    date: tuple[str, ...] = ()  # paths of what the date parameter searches: date, dateTime, instant or Period
    date_name: str = "date"
    mandatory: tuple[str, ...] = ()  # elements that `_elements` never takes away, without [x]
    status_system: str = ""
    references: tuple[str, ...] = ()  # paths of References whose targets must exist


def _of_patient(path: str = "subject") -> dict[str, str]:
    return {"subject": path, "patient": path}


_CODE = {"code": "code"}
_DRUG = {"code": "medicationCodeableConcept"}
_IDENTIFIER = {"identifier": "identifier"}
_STATUS = {"status": "status"}
_CATEGORY = {"category": "category"}

DEFINITIONS: dict[str, Definition] = {
    "Patient": Definition(
        tokens={**_IDENTIFIER, "gender": "gender"},
        date=("birthDate",),
        date_name="birthdate",
        references=("link.other",),
    ),
    "Observation": Definition(
        tokens={
            **_CODE,
            **_IDENTIFIER,
            **_STATUS,
            **_CATEGORY,
            "method": "method",
            "component-code": "component.code",
            "combo-code": "code | component.code",
        },
        texts={"code:text": "code"},
        subjects=_of_patient(),
        date=("effectiveDateTime", "effectivePeriod", "effectiveInstant"),
        mandatory=("status", "code"),
        status_system="http://hl7.org/fhir/observation-status",
        references=(*_ACTORS, "device", "derivedFrom", "hasMember", "focus", "basedOn", "partOf"),
    ),
    "Condition": Definition(
        tokens={**_CODE, **_IDENTIFIER, **_CATEGORY},
        subjects=_of_patient(),
        mandatory=("subject",),
        references=("subject", "asserter", "evidence.detail"),
    ),
    "MedicationRequest": Definition(
        tokens={**_DRUG, **_IDENTIFIER, **_STATUS, **_CATEGORY},
        subjects=_of_patient(),
        mandatory=("status", "intent", "medication", "subject"),
        status_system="http://hl7.org/fhir/CodeSystem/medicationrequest-status",
        references=("subject", "medicationReference", "requester", "performer"),
    ),
    "MedicationStatement": Definition(
        tokens={**_DRUG, **_IDENTIFIER, **_STATUS, **_CATEGORY},
        subjects=_of_patient(),
        mandatory=("status", "medication", "subject"),
        status_system="http://hl7.org/fhir/CodeSystem/medication-statement-status",
        references=("subject", "medicationReference", "informationSource", "partOf"),
    ),
    "MedicationAdministration": Definition(
        tokens={**_DRUG, **_IDENTIFIER, **_STATUS},
        subjects=_of_patient(),
        mandatory=("status", "medication", "subject", "effective"),
        status_system="http://terminology.hl7.org/CodeSystem/medication-admin-status",
        references=("subject", "medicationReference", "performer.actor", "request", "device"),
    ),
    "MedicationDispense": Definition(
        tokens={**_DRUG, **_IDENTIFIER, **_STATUS},
        subjects=_of_patient(),
        mandatory=("status", "medication"),
        status_system="http://terminology.hl7.org/CodeSystem/medicationdispense-status",
        references=("subject", "medicationReference", "performer.actor", "authorizingPrescription"),
    ),
    "Procedure": Definition(
        tokens={**_CODE, **_IDENTIFIER, **_STATUS, **_CATEGORY},
        subjects=_of_patient(),
        date=("performedDateTime", "performedPeriod"),
        mandatory=("status", "subject"),
        status_system="http://hl7.org/fhir/event-status",
        references=("subject", "performer.actor", "partOf", "reasonReference", "basedOn"),
    ),
    "DiagnosticReport": Definition(
        tokens={**_CODE, **_IDENTIFIER, **_STATUS, **_CATEGORY},
        subjects=_of_patient(),
        date=("effectiveDateTime", "effectivePeriod"),
        mandatory=("status", "code"),
        status_system="http://hl7.org/fhir/diagnostic-report-status",
        references=("subject", "performer", "basedOn", "result", "specimen"),
    ),
    "Specimen": Definition(
        tokens={**_IDENTIFIER, **_STATUS, "type": "type"},
        subjects=_of_patient(),
        status_system="http://hl7.org/fhir/specimen-status",
        references=("subject", "parent", "request"),
    ),
    "Medication": Definition(
        tokens={**_CODE, **_IDENTIFIER, **_STATUS}, status_system="http://hl7.org/fhir/CodeSystem/medication-status"
    ),
    "RiskAssessment": Definition(
        tokens={**_IDENTIFIER, "method": "method", "risk": "prediction.qualitativeRisk"},
        subjects=_of_patient(),
        date=("occurrenceDateTime",),
        mandatory=("status", "subject"),
        references=(*_ACTORS, "condition"),
    ),
    "Task": Definition(
        tokens={**_IDENTIFIER, **_CODE, **_STATUS},
        subjects={"subject": "for", "patient": "for", "owner": "owner"},
        mandatory=("status", "intent"),
        status_system="http://hl7.org/fhir/task-status",
        references=("for", "focus", "owner", "requester"),
    ),
    "PractitionerRole": Definition(tokens={**_IDENTIFIER}),
    "Group": Definition(
        tokens={**_IDENTIFIER, **_CODE},
        subjects={"member": "member.entity"},
        mandatory=("type", "actual"),
        references=("member.entity", "managingEntity"),
    ),
    "Device": Definition(
        tokens={**_IDENTIFIER, **_STATUS},
        subjects={"patient": "patient"},
        status_system="http://hl7.org/fhir/device-status",
        references=("patient",),
    ),
    "AuditEvent": Definition(
        tokens={"type": "type", "action": "action", "outcome": "outcome"},
        date=("recorded",),
        mandatory=("type", "recorded", "agent", "source"),
        references=("agent.who", "source.observer", "entity.what"),
    ),
    # What `screener conformance --load` loads; url is a token here: the sandbox compares it whole, as R4 does.
    **{
        kind: Definition(tokens={"url": "url", **_IDENTIFIER, **_STATUS}, mandatory=("url", "status"))
        for kind in (
            "StructureDefinition",
            "CodeSystem",
            "ValueSet",
            "PlanDefinition",
            "ActivityDefinition",
            "Library",
            "Measure",
        )
    },
    "Consent": Definition(
        tokens={**_IDENTIFIER, **_STATUS, **_CATEGORY},
        subjects={"patient": "patient"},
        date=("dateTime",),
        mandatory=("status", "scope", "category"),
        status_system="http://hl7.org/fhir/consent-state-codes",
        references=("patient", "performer"),
    ),
}
