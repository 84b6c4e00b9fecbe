"""What the sandbox says of itself: no more than it does."""

from datetime import datetime

from screener.fhir.time import instant_text
from screener.sandbox.definitions import DEFINITIONS, Definition
from screener.sandbox.outcome import Json

_BULK = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition"
_INTERACTIONS = ("read", "vread", "history-instance", "search-type", "create", "update", "delete")


def statement(base_url: str, started: datetime) -> Json:
    """The CapabilityStatement of a server that listens at `base_url`."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": instant_text(started),
        "kind": "instance",
        "software": {"name": "screener sandbox"},
        "implementation": {"description": "Embedded server for trying and testing; synthetic data", "url": base_url},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json"],
        "rest": [
            {
                "mode": "server",
                "security": {"description": "None: it is reached from this machine only"},
                "resource": [_resource(kind, definition) for kind, definition in DEFINITIONS.items()],
                "interaction": [{"code": "batch"}],
                "operation": [
                    {"name": "export", "definition": f"{_BULK}/export"},
                    {"name": "patient-export", "definition": f"{_BULK}/patient-export"},
                ],
            }
        ],
    }


def _resource(kind: str, definition: Definition) -> Json:
    parameters = {"_id": "token", "_lastUpdated": "date", "_tag": "token"}
    parameters |= dict.fromkeys(definition.tokens, "token") | dict.fromkeys(definition.subjects, "reference")
    parameters |= {definition.date_name: "date"} if definition.date else {}
    return {
        "type": kind,
        "interaction": [{"code": code} for code in _INTERACTIONS],
        "versioning": "versioned-update",
        "readHistory": True,
        "updateCreate": True,
        "conditionalCreate": True,
        "conditionalRead": "not-supported",
        "conditionalUpdate": True,
        "conditionalDelete": "not-supported",
        "referencePolicy": ["literal", "logical", "local"],
        "searchParam": [{"name": name, "type": of} for name, of in sorted(parameters.items())],
    }
