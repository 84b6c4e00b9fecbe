"""What the client may send along, so that nothing has to be asked: the queries, and the record that is made of their answers."""

from collections.abc import Mapping

import msgspec

from screener.clinical import statements
from screener.clinical.mapping import Mapped, Mapper
from screener.clinical.records import Analyte, MalformedResource, Medicine, PatientRecord
from screener.stores.grouping import gather
from screener.visit.hooks import Refused

_PATIENT = "patient"
_RESULTS = "results"
_EVERY = "_count=1000"


def key_of(kind: str) -> str:
    """The prefetch key of a resource type: `medicationRequest` for MedicationRequest."""
    return kind[0].lower() + kind[1:]


def templates(mapper: Mapper, needs: Mapping[str, str]) -> dict[str, str]:
    """The queries by their keys; `{{context.patientId}}` is filled in by the client."""
    her = "patient={{context.patientId}}"
    codes = ",".join(mapper.codes_for(list(Analyte), refused=True))
    found = {_PATIENT: "Patient/{{context.patientId}}", _RESULTS: f"Observation?{her}&code={codes}&{_EVERY}"}
    for kind, need in needs.items():
        if need != "off":
            found[key_of(kind)] = f"{kind}?{her}&{_EVERY}"
    return found


class _Kind(msgspec.Struct):
    resourceType: str = ""  # noqa: N815 - FHIR's name
    id: str = ""


class _Entry(msgspec.Struct):
    resource: msgspec.Raw = msgspec.Raw(b"")


class _Link(msgspec.Struct):
    relation: str = ""


class _Bundle(msgspec.Struct):
    resourceType: str = ""  # noqa: N815
    entry: list[_Entry] = []
    link: list[_Link] = []


def missing(prefetch: Mapping[str, bytes], needs: Mapping[str, str]) -> list[str]:
    """The keys that are needed for a verdict and are not there, or of which only the first page is."""
    wanted = [_PATIENT, _RESULTS, *(key_of(kind) for kind, need in needs.items() if need == "required")]
    return [key for key in wanted if key not in prefetch or _has_more(prefetch[key])]


def _has_more(raw: bytes) -> bool:
    try:
        return any(link.relation == "next" for link in msgspec.json.decode(raw, type=_Bundle).link)
    except msgspec.DecodeError:
        return True


def record(patient: str, prefetch: Mapping[str, bytes], mapper: Mapper, needs: Mapping[str, str]) -> PatientRecord:
    """Her record as the prefetch has it. Refused (400) where it is of somebody else, or of two patients."""
    rows: list[Mapped] = []
    medicines: dict[str, Medicine] = {}
    for raw in prefetch.values():
        for resource in _resources(raw):
            kind = msgspec.json.decode(resource, type=_Kind)
            if kind.resourceType == "Medication":
                found = statements.medicine(resource)
                if found is not None:
                    medicines[found.id] = found
            elif kind.resourceType != "OperationOutcome":
                try:
                    rows += mapper.open(resource)[1]
                except MalformedResource:
                    raise Refused(400, "A resource of the prefetch does not say for which patient it is") from None
            if kind.resourceType == "Patient" and kind.id != patient:
                raise Refused(400, "The prefetch holds another patient than context.patientId")
    if any(row.patient != patient for row in rows):
        raise Refused(400, "The prefetch holds resources of another patient than context.patientId")
    here = {kind for kind in needs if key_of(kind) in prefetch and not _has_more(prefetch[key_of(kind)])}
    unchecked = tuple(sorted(kind for kind, need in needs.items() if need != "if_offered" and kind not in here))
    (found_record,) = gather([patient], mapper.resolve_medications(rows, medicines), {patient: unchecked}, needs)
    return found_record


def _resources(raw: bytes) -> list[bytes]:
    """The resources of a Bundle, or the one resource. Refused (400) for what is no FHIR."""
    try:
        if msgspec.json.decode(raw, type=_Kind).resourceType != "Bundle":
            return [raw]
        entries = msgspec.json.decode(raw, type=_Bundle).entry
    except msgspec.DecodeError:
        raise Refused(400, "A part of the prefetch is no FHIR resource") from None
    return [bytes(entry.resource) for entry in entries if bytes(entry.resource)]
