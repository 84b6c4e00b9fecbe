"""What is said of a patient beside her measurements: diagnoses, procedures and medicines that may exclude her, and her menopause.

A statement about a medicine may name a Medication resource instead of a code. It then gives an `UnresolvedMedication` row, which becomes
exclusions (or none) once the Medication is known: the two may come in any order, from different files and searches.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from screener.clinical import dates, exclusions, routes, spans, wire
from screener.clinical.certainty import certainty
from screener.clinical.codes import Systems, plain
from screener.clinical.exclusions import (
    MEDICATED,
    SNOMED_CT,
    CodeList,
    ExclusionRow,
    MenopauseRow,
    focus_concepts,
)
from screener.clinical.patients import References, security, version
from screener.clinical.records import (
    DOUBTFUL,
    END_UNKNOWN,
    LENGTH_UNKNOWN,
    NO_PATIENT,
    NOT_UNDERSTOOD,
    SUSPECTED,
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

NO_SYSTEM = "no system"  # of a statement whose code names none, or that has neither code nor words
MODIFIED = "modifierExtension"  # R4: who does not understand one must not use the resource
SUSPICION_DAYS = 365  # own choice: a suspicion that nobody confirmed within a year is likely to be wrong
_LONGEST_WASHOUT_DAYS = 730  # of all rules: so long a medicine that cannot be read may matter
_REPORTED = frozenset({"partial", "preliminary", "final", "amended", "corrected", "appended"})
# SNOMED CT: expressions of these concepts say that something is absent, of the family, planned or past.
_WITH_CONTEXT = frozenset({"243796009", "413350009", "129125009"})

Find = Callable[[wire.Reference | None], str]
Said = tuple[Exclusion | Menopause | Unreadable | UnresolvedMedication, ...]
Settled = tuple[Exclusion | Unreadable, ...]


class _Read(NamedTuple):
    """What a concept says: the rows of the exclusion list that it meets (or that its words point to), those about menopause, and the
    code system that nobody here can read, where it says nothing else."""

    rules: tuple[ExclusionRow, ...] = ()
    states: tuple[MenopauseRow, ...] = ()
    unread: str = ""

    def __bool__(self) -> bool:
        return bool(self.rules or self.states or self.unread)


class Statements:
    """Reads Condition, Procedure and the four statements about medicines. `patients` and `medication` read references."""

    def __init__(
        self,
        excluding: CodeList[ExclusionRow],
        menopause: CodeList[MenopauseRow],
        systems: Systems,
        patients: References,
        medication: Find,
    ) -> None:
        self._excluding, self._menopause, self._systems = excluding, menopause, systems
        self._patients, self._medication = patients, medication
        self._read = dates.Remembered(self._read_concept, _REMEMBERED)

    def menopause(self, resource: str, code: bytes) -> tuple[MenopauseRow, ...]:
        """The rows on menopause that a concept, as sent, meets in a resource type."""
        return self._read[resource, code].states

    def none_of_ours(self, resource: str, concept: wire.CodeableConcept) -> bool:
        """Whether the concept is coded, and neither its codes nor its words matter here."""
        rows = self._found(resource, concept) or self._menopause.find(resource, concept)
        return bool(concept.coding) and not rows and not self._unread(resource, concept)

    def listed(self, resource: str, concept: wire.CodeableConcept) -> tuple[ExclusionRow, ...]:
        """Every row of the list that the codes of a concept meet, those without effect too; words do not count."""
        return self._excluding.find(resource, concept)

    def observed(self, observation: wire.Observation, code: bytes, patient: str, day: int) -> tuple[Exclusion, ...]:
        """What an Observation of a listed code states by being there (a bone density measurement)."""
        rules = self._read["Observation", code].rules
        done = observation.status not in spans.NOT_MEANT and bool(day)
        about = (patient, "Observation", observation.id or "", version(observation.meta))
        once = Span(day, day, over=True, documented_end=True)
        return _excluded(about, rules, once, counts=done, labels=security(observation.meta))

    def condition(self, condition: wire.Condition, raw: bytes | msgspec.Raw) -> Said:
        """A diagnosis."""
        read = self._read["Condition", bytes(condition.code)]
        patient = self._patient_of(condition.subject) if read else ""
        if not patient:
            return ()
        copy, sure = version(condition.meta), certainty(condition)
        about = (patient, "Condition", condition.id or content_id(raw), copy)
        span, counts = (
            spans.condition_span(condition, copy, past=sure == "past"),
            sure not in ("ruled_out", "withdrawn"),
        )
        if read.unread or wire.present(condition.modifierExtension):
            return _not_understood(about, read.unread or MODIFIED, span, counts=counts)
        # Menopause does not end; a status before it does.
        statuses = tuple(
            Menopause(
                *about,
                row.status,
                span.start_day,
                counts and (row.status in ("post", "hysterectomy") or not span.over),
                row.surgical,
            )
            for row in read.states[:1]
        )
        rows = _excluded(about, read.rules, span, counts=counts, labels=security(condition.meta))
        if sure == "suspected":
            rows = tuple(part for row in rows for part in _aging(row, spans.recorded_day(condition, copy)))
        return (*rows, *statuses)

    def procedure(self, procedure: wire.Procedure, raw: bytes | msgspec.Raw) -> Said:
        """An operation or treatment."""
        read = self._read["Procedure", bytes(procedure.code)]
        patient = self._patient_of(procedure.subject) if read else ""
        if not patient:
            return ()
        about = (patient, "Procedure", procedure.id or content_id(raw), version(procedure.meta))
        span, done = spans.procedure_span(procedure), spans.meant(procedure)
        if read.unread or wire.present(procedure.modifierExtension):
            return _not_understood(about, read.unread or MODIFIED, span, counts=done)
        finished = done and procedure.status == "completed"
        statuses = tuple(
            Menopause(*about, row.status, span.start_day, finished, row.surgical) for row in read.states[:1]
        )
        return (*_excluded(about, read.rules, span, counts=done, labels=security(procedure.meta)), *statuses)

    def reported(self, report: wire.DiagnosticReport, raw: bytes | msgspec.Raw) -> Said:
        """A report that says, by being there, that something was measured."""
        rules = self._read["DiagnosticReport", bytes(report.code)].rules
        patient = self._patient_of(report.subject) if rules else ""
        if not patient:
            return ()
        about = (patient, "DiagnosticReport", report.id or content_id(raw), version(report.meta))
        day = spans.report_day(report)
        counts = report.status in _REPORTED and not wire.present(report.modifierExtension)
        once = Span(day, day, over=True, documented_end=True)
        return _excluded(about, rules, once, counts=counts, labels=security(report.meta))

    def medicated(self, resource: wire.Medicated, raw: bytes | msgspec.Raw) -> Said:
        """A prescription, a statement or an administration of a medicine."""
        kind = type(resource).__name__
        code = _code(resource)
        read = _Read() if code is None else self._read[kind, code]
        patient = self._patient_of(resource.subject) if read or code is None else ""
        if not patient:
            return ()
        copy = version(resource.meta)
        about = (patient, kind, resource.id or content_id(raw), copy)
        counts, modified = spans.meant(resource), wire.present(resource.modifierExtension)
        if code is not None:
            span, labels = spans.medication_span(resource, copy), security(resource.meta)
            if read.unread or modified:
                return _not_understood(about, read.unread or MODIFIED, span, counts=counts)
            return _excluded(about, read.rules, span, counts=counts, route=_route(resource), labels=labels)
        held, span = self._medication(resource.medicationReference), spans.medication_span(resource, copy)
        return (UnresolvedMedication(*about, held, span, counts, _route(resource), modified),)

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
        if not medicine.concept:
            return ()  # a source that keeps no concepts of medicines that bear on nobody
        read = self._read[row.resource, medicine.concept]
        if read.unread or (row.modified and read):
            return _not_understood(about, read.unread or MODIFIED, row.span, counts=row.counts)
        return _excluded(about, read.rules, row.span, counts=row.counts, route=row.route)

    def matters(self, medicine: Medicine) -> bool:
        """Whether a medicine bears on anybody, however it is stated: by some rule, or because nobody here can read it."""
        return any(self._read[kind, medicine.concept] for kind in MEDICATED)

    # What repeats is read once

    def _read_concept(self, key: tuple[str, bytes]) -> _Read:
        resource, code = key
        concept = wire.decode_concept(code) if code else wire.CodeableConcept()
        rules, states = self._found(resource, concept), self._menopause.find(resource, concept)
        return _Read(rules, states, "" if rules or states else self._unread(resource, concept))

    def _found(self, resource: str, concept: wire.CodeableConcept) -> tuple[ExclusionRow, ...]:
        """The rows with an effect; words count only where no code of the concept is on a list."""
        rows = self._excluding.find(resource, concept)
        return tuple(row for row in rows if row.effect != "none") if rows else suspected(resource, concept)

    def _unread(self, resource: str, concept: wire.CodeableConcept) -> str:
        """The code system of a concept that nobody here can read, NO_SYSTEM where it names none; "" for one with words, or with a code
        of a system that the list covers for this type."""
        if resource not in wire.EXCLUDING or says_words(concept) or self._excluding.find(resource, concept):
            return ""
        codings = concept.coding or ()
        counting = [coding for coding in codings if self._systems.name(coding.system) not in self._systems.ignored]
        if (codings and not counting) or any(self._covers(resource, coding) for coding in counting):
            return ""
        return next((name for coding in counting if (name := self._systems.name(coding.system))), NO_SYSTEM)

    def _covers(self, resource: str, coding: wire.Coding) -> bool:
        """Whether the list is complete for the coding's system: a code of it that is not on the list excludes nobody."""
        system, code = self._systems.name(coding.system), coding.code or ""
        if not system or not code.strip():
            return False
        if system == SNOMED_CT:
            foci = focus_concepts(code)
            return bool(foci) and not _WITH_CONTEXT.intersection(foci)
        edition = self._systems.editions.get(system)
        if edition:
            return self._excluding.excludes_by(resource, edition) and not self._excluding.covers_part_of_category(
                coding
            )
        return self._excluding.excludes_by(resource, system)


def says_words(concept: wire.CodeableConcept) -> bool:
    """Whether a concept says in words what it is: more than its code once again."""
    codes = {plain(coding.code) for coding in concept.coding or () if coding.code}
    said = (concept.text, *(coding.display for coding in concept.coding or ()))
    return any(text and plain(text) not in codes and any(sign.isalpha() for sign in text) for text in said)


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
        for new in _held(about, row, span, route):
            counted = msgspec.structs.replace(new, counts=new.counts and counts, security=labels)
            held = found.get((counted.rule, counted.caveat))
            # Two codings of one rule (SNOMED beside ICD): the one that excludes for longer.
            if held is None or _reach(counted) > _reach(held):
                found[counted.rule, counted.caveat] = counted
    return tuple(found.values())


def _held(about: _About, row: ExclusionRow, span: Span, route: str) -> Iterator[Exclusion]:
    """What one row comes to: the exclusion or caveat itself, and the caveats that begin where it ends."""
    effect = _effect(row, route)
    if effect == "none":
        return
    rule = f"{SUSPECTED}{row.rule}" if row.words else row.rule
    by = row.token if row.system else ""
    start, end, by_window = exclusions.window(row, span)
    made = Exclusion(*about, rule, start, end, by_window, effect != "exclude", by, row.words)
    if effect != row.effect:  # under another route
        end = span.end_day + row.otherwise_days if span.end_day else 0
        yield msgspec.structs.replace(made, rule=f"{row.rule}_local", end_day=end)
    elif row.minimum_days:
        yield from _course(made, row, span)
    elif about[1] in MEDICATED and span.over and not span.documented_end and effect == "exclude":
        yield from _of_unknown_end(made, row, span)
    else:
        yield made
    if row.after and effect == row.effect and by_window and end and span.end_day:
        last = dates.day_text(span.end_day)
        yield msgspec.structs.replace(made, rule=f"{row.after}:{last}", start_day=end + 1, end_day=0, caveat=True)


def _course(made: Exclusion, row: ExclusionRow, span: Span) -> Iterator[Exclusion]:
    """A course that counts together with others; one that goes on counts alone."""
    if exclusions.is_course(row, span):
        yield msgspec.structs.replace(
            made,
            start_day=span.start_day,
            end_day=span.end_day,
            counts=True,
            minimum_days=row.minimum_days,
            washout_days=row.washout_days,
            length_known=span.documented_end,
        )
    elif span.over or span.documented_end:
        if not made.caveat:
            yield msgspec.structs.replace(made, rule=f"{LENGTH_UNKNOWN}:{row.rule}", caveat=True)
    elif made.caveat and made.start_day:
        yield msgspec.structs.replace(made, start_day=made.start_day + row.minimum_days - 1)
    else:
        yield made


def _of_unknown_end(made: Exclusion, row: ExclusionRow, span: Span) -> Iterator[Exclusion]:
    """A medicine that is over since an unknown day: it excludes by its last sign of life, and is a caveat while it may have been taken."""
    known = span.end_day + row.washout_days if span.end_day else 0
    if known:
        yield made
    at_latest = span.changed_day + row.washout_days if span.changed_day else 0
    if not known or at_latest > known:
        start = known + 1 if known else span.start_day
        yield msgspec.structs.replace(
            made, rule=f"{END_UNKNOWN}:{row.rule}", start_day=start, end_day=at_latest, caveat=True
        )


def _aging(row: Exclusion, since: int) -> Iterator[Exclusion]:
    """A suspected diagnosis: it excludes for a year after it was written down, and is a caveat from then on."""
    if row.caveat or not since:
        yield row
        return
    last = since + SUSPICION_DAYS - 1
    if not row.end_day or row.end_day > last:
        yield msgspec.structs.replace(row, end_day=last)
        yield msgspec.structs.replace(row, rule=f"{DOUBTFUL}:{row.rule}", start_day=last + 1, caveat=True)
    else:
        yield row


def _not_understood(about: _About, why: str, span: Span, *, counts: bool) -> tuple[Exclusion, ...]:
    """A statement that cannot be read, and may be about anything. `why`: its code system. A medicine is past after the longest washout."""
    ends = about[1] in MEDICATED and span.end_day
    end = max(span.end_day, span.changed_day) + _LONGEST_WASHOUT_DAYS if ends else 0
    return (Exclusion(*about, NOT_UNDERSTOOD, span.start_day, end, counts, caveat=True, by=why),)


def _effect(row: ExclusionRow, route: str) -> str:
    fits = {
        "any": True,
        "not_local": route != "local",
        "systemic": route in ("systemic", "parenteral"),
        "parenteral": route == "parenteral",
    }
    return row.effect if fits[row.route] else row.otherwise


def _reach(row: Exclusion) -> tuple[bool, bool, int]:
    return row.counts, row.end_day == 0, row.end_day + row.washout_days


def content_id(raw: bytes | msgspec.Raw) -> str:
    """Stands for the id of a resource without one, so that two of them are not taken for copies of each other."""
    return "#" + hashlib.sha256(bytes(raw)).hexdigest()[:32]
