"""A run as an AuditEvent (FHIR R4): who, when, how many, and nothing of any patient."""

from datetime import UTC, datetime

from screener.assessment.identity import PRODUCT, Canonical, device_uuid
from screener.assessment.resource import Json
from screener.base.errors import AuditNotWritten, ServerError
from screener.fhir.bundles import ENCODER
from screener.fhir.client import Client
from screener.fhir.time import instant_text
from screener.run.summary import Summary

_TYPES = "http://terminology.hl7.org/CodeSystem/audit-event-type"


def audit_event(summary: Summary, canonical: Canonical, source_system: str) -> Json:
    """The resource. The Device is named by its identifier, so that it can still be purged."""
    device = {"system": canonical.identifier, "value": f"urn:uuid:{device_uuid(source_system)}"}
    who = {"type": "Device", "identifier": device}
    counts = {
        "run": summary.run_id,
        "mode": summary.mode,
        "patients looked at": summary.patients_seen,
        **summary.writes,
    }
    return {
        "resourceType": "AuditEvent",
        "type": {"system": _TYPES, "code": "rest", "display": "RESTful Operation"},
        "action": "E",
        "period": {"start": summary.started, "end": instant_text(datetime.now(UTC))},
        "recorded": instant_text(datetime.now(UTC)),
        "outcome": "4" if summary.exit_code else "0",
        "agent": [{"who": who, "name": PRODUCT, "requestor": True}],
        "source": {"observer": who},
        "entity": [
            {
                "name": "RiskAssessments of osteoporosis",
                "detail": [{"type": name, "valueString": str(value)} for name, value in counts.items()],
            }
        ],
    }


def write(client: Client, summary: Summary, canonical: Canonical, source_system: str) -> None:
    """Create the run's AuditEvent. AuditNotWritten where the server does not take it: what the run wrote is right all the same."""
    event = audit_event(summary, canonical, source_system)
    try:
        client.write("POST", "AuditEvent", ENCODER.encode(event), what="the AuditEvent of the run")
    except ServerError as error:
        raise AuditNotWritten(
            f"The run is done, but its AuditEvent could not be written: {error.what}",
            "What it wrote is right and stands in the ledger; look at the server, or set output.audit_event = false",
        ) from error
