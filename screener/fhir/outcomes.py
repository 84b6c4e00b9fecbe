"""What a message may repeat of a server's answer: codes that FHIR and HAPI define. A server's own words may be patient data."""

import re

import msgspec

_HAPI_CODE = re.compile(r"HAPI-\d{4}")


class _Issue(msgspec.Struct):
    code: str = ""
    diagnostics: str = ""


class _Outcome(msgspec.Struct):
    issue: list[_Issue] = []


# R4, ValueSet/issue-type: a server's own words may be patient data, and stay where they are.
_ISSUE_CODES = frozenset(
    [
        "business-rule",
        "code-invalid",
        "conflict",
        "deleted",
        "duplicate",
        "exception",
        "expired",
        "extension",
        "forbidden",
        "incomplete",
        "informational",
        "invalid",
        "invariant",
        "lock-error",
        "login",
        "multiple-matches",
        "no-store",
        "not-found",
        "not-supported",
        "processing",
        "required",
        "security",
        "structure",
        "suppressed",
        "throttled",
        "timeout",
        "too-costly",
        "too-long",
        "transient",
        "unknown",
        "value",
    ]
)
_RESOURCE_TYPES = frozenset(
    [
        "Basic",
        "Binary",
        "Bundle",
        "CapabilityStatement",
        "Condition",
        "Device",
        "DiagnosticReport",
        "Encounter",
        "Group",
        "List",
        "Medication",
        "MedicationAdministration",
        "MedicationDispense",
        "MedicationRequest",
        "MedicationStatement",
        "Observation",
        "OperationOutcome",
        "Organization",
        "Parameters",
        "Patient",
        "Practitioner",
        "Procedure",
        "Provenance",
        "RiskAssessment",
        "Specimen",
        "ValueSet",
    ]
)


def type_name(resource_type: str) -> str:
    """A resource type for a message: one that servers are known to answer, else only that it is another."""
    return resource_type if resource_type in _RESOURCE_TYPES else "resource of another type"


def outcome_codes(body: bytes) -> str:
    """The codes of an OperationOutcome, as " (code, code)". Its texts are left out: servers quote patient data in them."""
    try:
        outcome = msgspec.json.decode(body, type=_Outcome)
    except msgspec.MsgspecError:
        return ""
    codes = {issue.code if issue.code in _ISSUE_CODES else "other" for issue in outcome.issue}
    codes.update(found for issue in outcome.issue for found in _HAPI_CODE.findall(issue.diagnostics))
    return f" ({', '.join(sorted(codes))})" if codes else ""
