"""What is said of a patient beside her measurements: diagnoses, procedures and medicines that may exclude her, and her menopause.

A statement about a medicine may name a Medication resource instead of a code. It then gives an `Unsettled` row, which becomes
exclusions (or none) once the Medication is known: the two may come in any order, from different files and searches.
"""

import hashlib
from collections.abc import Callable, Mapping

import msgspec

from screener.clinical import dates, exclusions, wire
from screener.clinical.exclusions import CodeList, ExclusionRow, MenopauseRow
from screener.clinical.patients import version
from screener.clinical.records import Exclusion, Medicine, Menopause, Span, Unreadable, Unsettled, Version

_REMEMBERED = 16_384  # texts of each kind

_MEDICATED = ("MedicationRequest", "MedicationStatement", "MedicationAdministration")

Find = Callable[[wire.Reference | None], str]
Said = tuple[Exclusion | Menopause | Unreadable | Unsettled, ...]
Settled = tuple[Exclusion | Unreadable, ...]


class Statements:
    """Reads Condition, Procedure and the three statements about medicines. `patient` and `medication` read references."""

    def __init__(
        self, excluding: CodeList[ExclusionRow], menopause: CodeList[MenopauseRow], patient: Find, medication: Find
    ) -> None:
        self._excluding, self._menopause = excluding, menopause
        self._patient, self._medication = patient, medication
        self._rules = dates.Remembered(self._rules_anew, _REMEMBERED)
        self._states = dates.Remembered(self._states_anew, _REMEMBERED)

    def menopause(self, resource: str, code: bytes) -> tuple[MenopauseRow, ...]:
        """The rows on menopause that a concept, as sent, meets in a resource type."""
        return self._states[resource, code]

    def none_of_ours(self, resource: str, concept: wire.CodeableConcept) -> bool:
        """Whether the concept is coded, and no code of it matters here."""
        found = self._excluding.find(resource, concept) or self._menopause.find(resource, concept)
        return bool(concept.coding) and not found

    def condition(self, condition: wire.Condition, raw: bytes | msgspec.Raw) -> Said:
        """A diagnosis."""
        code = bytes(condition.code)
        rules, states = self._rules["Condition", code], self._states["Condition", code]
        patient = self._patient(condition.subject) if rules or states else ""
        if not patient:
            return ()
        copy, id_ = version(condition.meta), condition.id or content_id(raw)
        span, stands = exclusions.condition_span(condition, copy), not exclusions.refuted(condition)
        about = (patient, "Condition", id_, copy)
        # Menopause does not end; a status before it does.
        statuses = tuple(
            Menopause(
                *about, row.status, span.start_day, stands and (row.status == "post" or not span.over), row.surgical
            )
            for row in states[:1]
        )
        return (*_excluded(about, rules, span, stands=stands), *statuses)

    def procedure(self, procedure: wire.Procedure, raw: bytes | msgspec.Raw) -> Said:
        """An operation or treatment."""
        code = bytes(procedure.code)
        rules, states = self._rules["Procedure", code], self._states["Procedure", code]
        patient = self._patient(procedure.subject) if rules or states else ""
        if not patient:
            return ()
        about = (patient, "Procedure", procedure.id or content_id(raw), version(procedure.meta))
        span, done = exclusions.procedure_span(procedure), exclusions.meant(procedure)
        finished = done and procedure.status == "completed"
        statuses = tuple(Menopause(*about, row.status, span.start_day, finished, row.surgical) for row in states[:1])
        return (*_excluded(about, rules, span, stands=done), *statuses)

    def medicated(self, resource: wire.Medicated, raw: bytes | msgspec.Raw) -> Said:
        """A prescription, a statement or an administration of a medicine."""
        kind = type(resource).__name__
        patient = self._patient(resource.subject)
        if not patient:
            return ()
        copy = version(resource.meta)
        about = (patient, kind, resource.id or content_id(raw), copy)
        stands = exclusions.meant(resource)
        code = _code(resource)
        if code is not None:
            rules = self._rules[kind, code]
            return _excluded(about, rules, exclusions.medication_span(resource, copy), stands=stands) if rules else ()
        held = self._medication(resource.medicationReference)
        return (Unsettled(*about, held, exclusions.medication_span(resource, copy), stands),)

    def settle(self, row: Unsettled, medicines: Mapping[str, Medicine]) -> Settled:
        """What a statement comes to, now that the medicines are known: `Unreadable` where its own is not among them."""
        about = (row.patient, row.resource, row.id, row.version)
        medicine = medicines.get(row.medicine)
        if medicine is None:
            # It may be one that excludes.
            return (Unreadable(*about),) if row.stands else ()
        return _excluded(about, self._rules[row.resource, medicine.concept], row.span, stands=row.stands)

    def matters(self, medicine: Medicine) -> bool:
        """Whether some rule is about a medicine, however it is stated."""
        return any(self._rules[kind, medicine.concept] for kind in _MEDICATED)

    # What repeats is read once

    def _rules_anew(self, key: tuple[str, bytes]) -> tuple[ExclusionRow, ...]:
        resource, code = key
        return self._excluding.find(resource, wire.decode_concept(code)) if code else ()

    def _states_anew(self, key: tuple[str, bytes]) -> tuple[MenopauseRow, ...]:
        resource, code = key
        return self._menopause.find(resource, wire.decode_concept(code)) if code else ()


def medicine(raw: bytes | msgspec.Raw) -> Medicine | None:
    """A Medication resource: all codings of itself and of its ingredients; None for what is none or has no id."""
    try:
        found = wire.decode_medication(raw)
        codings = _codings(found)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not found.id:
        return None
    return Medicine(found.id, version(found.meta), msgspec.json.encode({"coding": codings}))


def _codings(medication: wire.Medication) -> list[wire.Coding]:
    raws = [medication.code, *(part.itemCodeableConcept for part in medication.ingredient or ())]
    return [c for raw in raws if wire.present(raw) for c in wire.decode_concept(raw).coding or ()]


def _code(resource: wire.Medicated) -> bytes | None:
    """The code of the medicine, raw; b"" where none is given; None where it stands in a resource of its own."""
    if wire.present(resource.medicationCodeableConcept):
        return bytes(resource.medicationCodeableConcept)
    if resource.medicationReference is None:
        return b""
    reference = resource.medicationReference.reference or ""
    for inner in resource.contained or ():
        held = wire.decode_medication(inner)
        if reference == f"#{held.id}":
            return msgspec.json.encode({"coding": _codings(held)})
    return None


_About = tuple[str, str, str, Version]


def _excluded(about: _About, rules: tuple[ExclusionRow, ...], span: Span, *, stands: bool) -> tuple[Exclusion, ...]:
    found: dict[str, Exclusion] = {}
    for row in rules:
        start, end, counts = exclusions.window(row, span)
        new = Exclusion(*about, row.rule, start, end, counts and stands, row.effect == "caveat", row.token)
        held = found.get(row.rule)
        # Two codings of one rule (SNOMED beside ICD): the one that excludes for longer.
        if held is None or _reach(new) > _reach(held):
            found[row.rule] = new
    return tuple(found.values())


def _reach(row: Exclusion) -> tuple[bool, bool, int]:
    return row.counts, row.end_day == 0, row.end_day


def content_id(raw: bytes | msgspec.Raw) -> str:
    """Stands for the id of a resource without one, so that two of them are not taken for copies of each other."""
    return "#" + hashlib.sha256(bytes(raw)).hexdigest()[:32]
