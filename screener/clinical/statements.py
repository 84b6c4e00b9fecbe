"""What is said of a patient beside her measurements: diagnoses, procedures and medicines that may exclude her, and her menopause.

A statement about a medicine may name a Medication resource instead of a code. It then gives an `UnresolvedMedication` row, which becomes
exclusions (or none) once the Medication is known: the two may come in any order, from different files and searches.
"""

import hashlib
from collections.abc import Callable, Mapping

import msgspec

from screener.clinical import dates, exclusions, routes, spans, wire
from screener.clinical.exclusions import MEDICATED, CodeList, ExclusionRow, MenopauseRow
from screener.clinical.patients import References, security, version
from screener.clinical.records import (
    NO_PATIENT,
    Exclusion,
    MalformedResource,
    Medicine,
    Menopause,
    Span,
    Unreadable,
    UnresolvedMedication,
    Version,
)
from screener.clinical.suspicions import suspected

_REMEMBERED = 16_384  # texts of each kind

SUSPECTED = "suspected:"  # before the rule of a statement whose words alone point to it

Find = Callable[[wire.Reference | None], str]
Said = tuple[Exclusion | Menopause | Unreadable | UnresolvedMedication, ...]
Settled = tuple[Exclusion | Unreadable, ...]


class Statements:
    """Reads Condition, Procedure and the four statements about medicines. `patients` and `medication` read references."""

    def __init__(
        self,
        excluding: CodeList[ExclusionRow],
        menopause: CodeList[MenopauseRow],
        patients: References,
        medication: Find,
    ) -> None:
        self._excluding, self._menopause = excluding, menopause
        self._patients, self._medication = patients, medication
        self._rules = dates.Remembered(self._read_rules, _REMEMBERED)
        self._states = dates.Remembered(self._read_states, _REMEMBERED)

    def menopause(self, resource: str, code: bytes) -> tuple[MenopauseRow, ...]:
        """The rows on menopause that a concept, as sent, meets in a resource type."""
        return self._states[resource, code]

    def none_of_ours(self, resource: str, concept: wire.CodeableConcept) -> bool:
        """Whether the concept is coded, and neither its codes nor its words matter here."""
        rows = self._found(resource, concept) or self._menopause.find(resource, concept)
        return bool(concept.coding) and not rows

    def listed(self, resource: str, concept: wire.CodeableConcept) -> tuple[ExclusionRow, ...]:
        """Every row of the list that the codes of a concept meet, those without effect too; words do not count."""
        return self._excluding.find(resource, concept)

    def observed(self, observation: wire.Observation, code: bytes, patient: str, day: int) -> tuple[Exclusion, ...]:
        """What an Observation of a listed code states by being there (a bone density measurement)."""
        rules = self._rules["Observation", code]
        done = observation.status not in spans.NOT_MEANT and bool(day)
        about = (patient, "Observation", observation.id or "", version(observation.meta))
        once = Span(day, day, over=True, documented_end=True)
        return _excluded(about, rules, once, counts=done, labels=security(observation.meta))

    def condition(self, condition: wire.Condition, raw: bytes | msgspec.Raw) -> Said:
        """A diagnosis."""
        code = bytes(condition.code)
        rules, states = self._rules["Condition", code], self._states["Condition", code]
        patient = self._patient_of(condition.subject) if rules or states else ""
        if not patient:
            return ()
        copy, id_ = version(condition.meta), condition.id or content_id(raw)
        span, counts = spans.condition_span(condition, copy), not spans.refuted(condition)
        about = (patient, "Condition", id_, copy)
        # Menopause does not end; a status before it does.
        statuses = tuple(
            Menopause(
                *about, row.status, span.start_day, counts and (row.status == "post" or not span.over), row.surgical
            )
            for row in states[:1]
        )
        return (*_excluded(about, rules, span, counts=counts, labels=security(condition.meta)), *statuses)

    def procedure(self, procedure: wire.Procedure, raw: bytes | msgspec.Raw) -> Said:
        """An operation or treatment."""
        code = bytes(procedure.code)
        rules, states = self._rules["Procedure", code], self._states["Procedure", code]
        patient = self._patient_of(procedure.subject) if rules or states else ""
        if not patient:
            return ()
        about = (patient, "Procedure", procedure.id or content_id(raw), version(procedure.meta))
        span, done = spans.procedure_span(procedure), spans.meant(procedure)
        finished = done and procedure.status == "completed"
        statuses = tuple(Menopause(*about, row.status, span.start_day, finished, row.surgical) for row in states[:1])
        return (*_excluded(about, rules, span, counts=done, labels=security(procedure.meta)), *statuses)

    def medicated(self, resource: wire.Medicated, raw: bytes | msgspec.Raw) -> Said:
        """A prescription, a statement or an administration of a medicine."""
        kind = type(resource).__name__
        code = _code(resource)
        rules = () if code is None else self._rules[kind, code]
        patient = self._patient_of(resource.subject) if rules or code is None else ""
        if not patient:
            return ()
        copy = version(resource.meta)
        about = (patient, kind, resource.id or content_id(raw), copy)
        counts = spans.meant(resource)
        if code is not None:
            span, labels = spans.medication_span(resource, copy), security(resource.meta)
            return _excluded(about, rules, span, counts=counts, route=_route(resource), labels=labels)
        held = self._medication(resource.medicationReference)
        return (UnresolvedMedication(*about, held, spans.medication_span(resource, copy), counts, _route(resource)),)

    def _patient_of(self, subject: wire.Reference | None) -> str:
        """The patient; "" where the statement is about something else. MalformedResource where it does not say about whom: it would
        otherwise be lost without a trace, and may exclude her."""
        patient = self._patients.find(subject)
        if not patient and self._patients.is_unclear(subject):
            raise MalformedResource(NO_PATIENT)
        return patient

    def settle(self, row: UnresolvedMedication, medicines: Mapping[str, Medicine]) -> Settled:
        """What a statement comes to, now that the medicines are known: `Unreadable` where its own is not among them."""
        about = (row.patient, row.resource, row.id, row.version)
        medicine = medicines.get(row.medicine)
        if medicine is None:
            # It may be one that excludes.
            return (Unreadable(*about),) if row.counts else ()
        rules = self._rules[row.resource, medicine.concept]
        return _excluded(about, rules, row.span, counts=row.counts, route=row.route)

    def matters(self, medicine: Medicine) -> bool:
        """Whether some rule is about a medicine, however it is stated."""
        return any(self._rules[kind, medicine.concept] for kind in MEDICATED)

    # What repeats is read once

    def _read_rules(self, key: tuple[str, bytes]) -> tuple[ExclusionRow, ...]:
        resource, code = key
        return self._found(resource, wire.decode_concept(code)) if code else ()

    def _found(self, resource: str, concept: wire.CodeableConcept) -> tuple[ExclusionRow, ...]:
        """The rows with an effect; words count only where no code of the concept is on a list."""
        rows = self._excluding.find(resource, concept)
        return tuple(row for row in rows if row.effect != "none") if rows else suspected(resource, concept)

    def _read_states(self, key: tuple[str, bytes]) -> tuple[MenopauseRow, ...]:
        resource, code = key
        return self._menopause.find(resource, wire.decode_concept(code)) if code else ()


def medicine(raw: bytes | msgspec.Raw) -> Medicine | None:
    """A Medication resource: all codings of itself and of its ingredients; None for another type, and where it has no id."""
    try:
        found = wire.decode_medication(raw)
        concept = wire.CodeableConcept(tuple(_codings(found)), _text(found))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not found.id:
        return None
    return Medicine(found.id, version(found.meta), msgspec.json.encode(concept))


def _codings(medication: wire.Medication) -> list[wire.Coding]:
    raws = [medication.code, *(part.itemCodeableConcept for part in medication.ingredient or ())]
    return [c for raw in raws if wire.present(raw) for c in wire.decode_concept(raw).coding or ()]


def _text(medication: wire.Medication) -> str | None:
    return wire.decode_concept(medication.code).text if wire.present(medication.code) else None


def _route(resource: wire.Medicated) -> str:
    """By which route the medicine is taken: "systemic", "local", or "" where nothing says so."""
    if isinstance(resource, wire.MedicationRequest | wire.MedicationDispense):
        raws = [dosage.route for dosage in resource.dosageInstruction or ()]
    elif isinstance(resource, wire.MedicationStatement):
        raws = [dosage.route for dosage in wire.lenient(resource.dosage, tuple[wire.Dosage, ...]) or ()]
    else:
        dosage = wire.lenient(resource.dosage, wire.Dosage)
        raws = [dosage.route] if dosage else []
    return routes.route_of(found for raw in raws if (found := wire.lenient(raw, wire.CodeableConcept)))


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
            return msgspec.json.encode(wire.CodeableConcept(tuple(_codings(held)), _text(held)))
    return None


_About = tuple[str, str, str, Version]


def _excluded(
    about: _About,
    rules: tuple[ExclusionRow, ...],
    span: Span,
    *,
    counts: bool,
    route: str = "",
    labels: tuple[str, ...] = (),
) -> tuple[Exclusion, ...]:
    found: dict[tuple[str, bool], Exclusion] = {}
    for row in rules:
        effect = _effect(row, route)
        if effect == "none":
            continue
        start, end, by_window = exclusions.window(row, span)
        rule = f"{SUSPECTED}{row.rule}" if row.words else row.rule
        added_up = effect == "exclude" and exclusions.is_course(row, span)
        new = Exclusion(
            *about,
            rule if effect == row.effect else f"{row.rule}_local",
            start,
            end,
            by_window and counts,
            effect == "caveat",
            row.token if row.system else "",
            row.words,
            row.minimum_days if added_up else 0,
            row.washout_days if added_up else 0,
            labels,
        )
        held = found.get((new.rule, new.caveat))
        # Two codings of one rule (SNOMED beside ICD): the one that excludes for longer.
        if held is None or _reach(new) > _reach(held):
            found[new.rule, new.caveat] = new
    return tuple(found.values())


def _effect(row: ExclusionRow, route: str) -> str:
    fits = row.route == "any" or (route == "systemic" if row.route == "systemic" else route != "local")
    return row.effect if fits else row.otherwise


def _reach(row: Exclusion) -> tuple[bool, bool, int]:
    return row.counts, row.end_day == 0, row.end_day + row.washout_days


def content_id(raw: bytes | msgspec.Raw) -> str:
    """Stands for the id of a resource without one, so that two of them are not taken for copies of each other."""
    return "#" + hashlib.sha256(bytes(raw)).hexdigest()[:32]
