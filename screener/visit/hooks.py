"""A call of a CDS Hooks service and its answer (cds-hooks.hl7.org/2.0): what must be in it, and what is wrong with it in words."""

import re
import uuid
from typing import Any

import msgspec

from screener.clinical.patients import ID

SERVICE_ID = "osteoporosis-screening"
HOOK = "patient-view"

_ID = re.compile(ID)


class Refused(Exception):
    """The call cannot be answered: an HTTP status, and words without anything of the patient."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


class _Context(msgspec.Struct):
    patientId: Any = None  # noqa: N815 - the specification's name
    userId: Any = None  # noqa: N815


class _Authorization(msgspec.Struct):
    access_token: str


class _Call(msgspec.Struct):
    hook: str = ""
    hookInstance: str = ""  # noqa: N815
    context: _Context = msgspec.field(default_factory=_Context)
    fhirServer: str | None = None  # noqa: N815
    fhirAuthorization: _Authorization | None = None  # noqa: N815
    prefetch: dict[str, msgspec.Raw] | None = None


class Call(msgspec.Struct, frozen=True):
    """One call, checked: for whom it asks, and how her records can be read."""

    patient: str
    fhir_server: str = ""
    token: str = ""
    prefetch: dict[str, bytes] = {}


def read_call(body: bytes) -> Call:
    """The call. Refused (400) for another document, another hook, and anything but one patient."""
    try:
        call = msgspec.json.decode(body, type=_Call)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(
            400, "The body is no call of a CDS Hooks service (JSON with hook, hookInstance and context)"
        ) from None
    if call.hook != HOOK:
        raise Refused(400, f"This service answers the hook {HOOK}, and no other")
    try:
        uuid.UUID(call.hookInstance)
    except ValueError:
        raise Refused(400, "hookInstance is no UUID") from None
    patient = call.context.patientId
    if not isinstance(patient, str) or not _ID.fullmatch(patient):
        raise Refused(400, "context.patientId must be the logical id of one Patient")
    if not isinstance(call.context.userId, str) or not call.context.userId:
        raise Refused(400, "context.userId is missing")
    authorization = call.fhirAuthorization
    prefetch = {key: bytes(raw) for key, raw in (call.prefetch or {}).items()}
    return Call(
        patient=patient,
        fhir_server=(call.fhirServer or "").rstrip("/"),
        token=authorization.access_token if authorization else "",
        prefetch=prefetch,
    )


class Link(msgspec.Struct, frozen=True):
    """A link below a card."""

    label: str
    url: str
    type: str = "absolute"


class Source(msgspec.Struct, frozen=True):
    """Who says so."""

    label: str
    url: str


class Card(msgspec.Struct, frozen=True, omit_defaults=True):
    """One card. `summary` has less than 140 characters; `detail` is Markdown (GitHub's)."""

    uuid: str
    summary: str
    indicator: str
    source: Source
    detail: str = ""
    links: tuple[Link, ...] = ()


def answer(cards: list[Card]) -> bytes:
    """The body of the answer; without cards there is nothing to say."""
    return msgspec.json.encode({"cards": cards})
