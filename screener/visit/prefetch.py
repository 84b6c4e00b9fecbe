"""What the client may send along, so that nothing has to be asked: the queries, and the record that is made of their answers."""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from screener.base.addresses import same_address
from screener.clinical import statements
from screener.clinical.mapping import Mapped, Mapper
from screener.clinical.records import Analyte, MalformedResource, Medicine, PatientRecord
from screener.fhir.reads import Reference, read
from screener.fhir.search import says_not_whole
from screener.stores.grouping import gather
from screener.stores.reading import Reading
from screener.visit.hooks import Refused

_PATIENT = "patient"
_RESULTS = "results"
_EVERY = "_count=1000"
NULL = b"null"


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
            tokens = ",".join(mapper.tokens_for(kind))
            found[key_of(kind)] = f"{kind}?{her}&{f'code={tokens}&' if tokens else ''}{_EVERY}"
    return found


class _Kind(msgspec.Struct):
    resourceType: str = ""  # noqa: N815 - FHIR's name


class _Whose(msgspec.Struct):
    resourceType: str = ""  # noqa: N815
    id: str = ""
    subject: Reference | None = None
    patient: Reference = msgspec.field(default_factory=Reference)


class _Search(msgspec.Struct):
    mode: str | None = None


class _Entry(msgspec.Struct):
    resource: msgspec.Raw = msgspec.Raw(b"")
    search: _Search | None = None


class _Link(msgspec.Struct):
    relation: str = ""


class _Bundle(msgspec.Struct):
    resourceType: str = ""  # noqa: N815
    total: int | None = None
    entry: list[_Entry] | None = None
    link: list[_Link] | None = None


def read_whole(prefetch: Mapping[str, bytes], wanted: str) -> bool:
    """Whether a key holds a whole answer. `null` is one: asked for, and there is none (CDS Hooks 2.0, prefetch).

    An OperationOutcome, alone or in a Bundle, a `total` above the entries, and a further page are none: the key counts as not sent.
    """
    raw = prefetch.get(wanted)
    if raw is None:
        return False
    if raw == NULL:
        return True
    try:
        found = msgspec.json.decode(raw, type=_Bundle, strict=False)
        if found.resourceType != "Bundle":
            return found.resourceType not in ("", "OperationOutcome")
        entries = _with_resource(found)
        said = [one for one in entries if _kind(one) == "OperationOutcome"]
        matches = [one for one in entries if _is_match(one) and _kind(one) != "OperationOutcome"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    more = any(link.relation == "next" for link in found.link or ()) or (found.total or 0) > len(matches)
    only_said = bool(said) and len(said) == len(entries)
    return not (more or only_said or any(says_not_whole(one.resource) for one in said))


def _kind(entry: _Entry) -> str:
    return msgspec.json.decode(entry.resource, type=_Kind).resourceType


def _with_resource(bundle: _Bundle) -> list[_Entry]:
    return [one for one in bundle.entry or () if bytes(one.resource) not in (b"", NULL)]


def _is_match(entry: _Entry) -> bool:
    return entry.search is None or entry.search.mode in (None, "match")


def missing(prefetch: Mapping[str, bytes], needs: Mapping[str, str]) -> list[str]:
    """The keys that are needed for a verdict and hold no whole answer."""
    wanted = [_PATIENT, _RESULTS, *(key_of(kind) for kind, need in needs.items() if need == "required")]
    return [key for key in wanted if not read_whole(prefetch, key) or (key == _PATIENT and prefetch[key] == NULL)]


def record(
    patient: str, prefetch: Mapping[str, bytes], mapper: Mapper, needs: Mapping[str, str], bases: Collection[str] = ()
) -> PatientRecord:
    """Her record as the prefetch has it. Refused (400) where it is of somebody else, or of two patients. `bases`: the FHIR bases, without
    a slash at the end, below which an absolute reference may name her."""
    rows: list[Mapped] = []
    medicines: dict[str, Medicine] = {}
    for key, raw in prefetch.items():
        for resource in _resources(raw) if raw != NULL and read_whole(prefetch, key) else ():
            _check_hers(resource, patient, bases)
            rows += _rows(resource, mapper, medicines)
    if any(row.patient != patient for row in rows):
        raise Refused(400, "The prefetch holds resources of another patient than context.patientId")
    settled = mapper.resolve_medications(rows, medicines)
    (found,) = gather([patient], settled, {patient: _reading(prefetch, needs).gaps()}, needs)
    return found


def _check_hers(resource: bytes, patient: str, bases: Collection[str]) -> None:
    found = read(resource, _Whose)
    if found is None:
        raise Refused(400, "A resource of the prefetch is not what R4 says")
    if found.resourceType == "Patient" and found.id != patient:
        raise Refused(400, "The prefetch holds another patient than context.patientId")
    base, _, _ = (found.subject or found.patient).reference.partition("/Patient/")
    if "://" in base and not any(same_address(base, one) for one in bases):
        raise Refused(400, "The prefetch holds a resource about a patient of another server")


def _rows(resource: bytes, mapper: Mapper, medicines: dict[str, Medicine]) -> Sequence[Mapped]:
    """What our rules read in a resource. A Medication is put beside the others, by its id."""
    kind = msgspec.json.decode(resource, type=_Kind).resourceType
    if kind == "Medication":
        medicine = statements.medicine(resource)
        if medicine is not None:
            medicines[medicine.id] = medicine
    elif kind != "OperationOutcome":
        try:
            return mapper.open(resource)[1]
        except MalformedResource:
            raise Refused(400, "A resource of the prefetch does not say for which patient it is") from None
    return ()


def _reading(prefetch: Mapping[str, bytes], needs: Mapping[str, str]) -> Reading:
    reading = Reading()
    for kind, need in needs.items():
        if need == "off":
            reading.cannot(kind, "switched off")
        elif read_whole(prefetch, key_of(kind)):
            reading.whole(kind)
        elif need == "if_offered":
            reading.not_offered.add(kind)
        else:
            reading.cannot(kind, "not in the prefetch")
    return reading


def _resources(raw: bytes) -> list[bytes]:
    """The resources of a Bundle, or the one resource. Refused (400) for what is no FHIR."""
    try:
        if msgspec.json.decode(raw, type=_Kind).resourceType != "Bundle":
            return [raw]
        return [bytes(one.resource) for one in _with_resource(msgspec.json.decode(raw, type=_Bundle, strict=False))]
    except msgspec.DecodeError:
        raise Refused(400, "A part of the prefetch is no FHIR resource") from None
