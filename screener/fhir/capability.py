"""Compares what a server says that it can do with what the job needs, before anything else is asked of it."""

import re
from collections.abc import Iterable

import msgspec

from screener.base.errors import ServerError
from screener.fhir.answer import decode_document
from screener.fhir.client import Client


class _Interaction(msgspec.Struct):
    code: str = ""


class _Parameter(msgspec.Struct):
    name: str = ""


class _Resource(msgspec.Struct):
    type: str = ""
    interaction: list[_Interaction] = []
    searchParam: list[_Parameter] = []  # noqa: N815 - FHIR's name


class _Rest(msgspec.Struct):
    mode: str = ""
    resource: list[_Resource] = []
    interaction: list[_Interaction] = []


class _Software(msgspec.Struct):
    name: str = ""


_VERSION = re.compile(r"[0-9]\.[0-9]{1,2}(?:\.[0-9]{1,2})?(?:-[a-z0-9]{1,12})?")
SANDBOX_NAME = "screener sandbox"  # of the embedded server


class Capability(msgspec.Struct):
    """The part of a CapabilityStatement that we read."""

    software: _Software = msgspec.field(default_factory=_Software)

    resourceType: str = ""  # noqa: N815
    fhirVersion: str = ""  # noqa: N815
    rest: list[_Rest] = []

    def resource(self, kind: str) -> _Resource | None:
        """What is said of one resource type, or None."""
        return next((r for rest in self.rest for r in rest.resource if r.type == kind), None)

    def interactions(self) -> frozenset[str]:
        """The interactions of the whole system."""
        return frozenset(entry.code for rest in self.rest for entry in rest.interaction)


def read(client: Client) -> Capability:
    """The server's CapabilityStatement. Raises ServerError where it is no FHIR R4 server."""
    what = "/metadata"
    statement = decode_document(client.get("metadata", what=what), Capability, what, client.host)
    if statement.resourceType != "CapabilityStatement":
        raise ServerError(
            f"{client.host} answered no CapabilityStatement at /metadata", "Check that server.base_url is the FHIR base"
        )
    if not statement.fhirVersion.startswith("4."):
        version = statement.fhirVersion if _VERSION.fullmatch(statement.fhirVersion) else "of another version"
        raise ServerError(f"{client.host} speaks FHIR {version}", "screener needs FHIR R4 (4.0.1)")
    return statement


Besides = Iterable[tuple[str, tuple[str, ...], str]]  # resource type, interactions, the setting that asks for it


def lacks(statement: Capability, readable: Iterable[str], *, writes: bool, besides: Besides = ()) -> list[str]:
    """What the job needs and the server does not declare; empty where nothing is missing. `besides`: what else it writes."""
    found = [f"search of {kind}" for kind in sorted(readable) if not _can(statement, kind, "search-type")]
    if writes:
        found += [
            f"{code} of RiskAssessment" for code in ("create", "update") if not _can(statement, "RiskAssessment", code)
        ]
        if not statement.interactions() & {"batch", "transaction"}:
            found.append("batch Bundles")
    if writes:
        found += [
            f"{'search' if code == 'search-type' else code} of {kind} ({setting})"
            for kind, codes, setting in besides
            for code in codes
            if not _can(statement, kind, code)
        ]
    return found


def searches(statement: Capability, kind: str, parameter: str) -> bool:
    """Whether a type can be searched by a parameter."""
    resource = statement.resource(kind)
    return resource is not None and any(entry.name == parameter for entry in resource.searchParam)


def _can(statement: Capability, kind: str, interaction: str) -> bool:
    resource = statement.resource(kind)
    return resource is not None and any(entry.code == interaction for entry in resource.interaction)
