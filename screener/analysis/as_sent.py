"""Results as they were sent, with what the mapper made of them: for people who look into one patient, or into a site's codes and
units.

The mapper says whether a result is used, and why not; nothing is judged here.
"""

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from screener.clinical import wire
from screener.clinical.mapping import Mapper
from screener.clinical.records import Analyte, Fact, MalformedResource, Medicine, Refusal, Row
from screener.clinical.suspicions import suspected


class Sent(Row, frozen=True, array_like=True):
    """One value of an Observation, or of a component of one.

    `analyte` is "" where the code is not mapped; `reason` is "" where the value is usable, and then `value` is it in the model's unit.
    `code` is `system|code`, "" where there is only a text; `number` and `unit` are as sent, "" where there is no quantity.
    """

    patient: str
    id: str
    code: str
    text: str
    number: str
    unit: str
    comparator: str = ""
    analyte: str = ""
    reason: str = ""
    value: Decimal | None = None


class SentReader:
    """Maps Observations to what was sent. With `everything` also those whose codes are not mapped, where they have a number."""

    def __init__(self, mapper: Mapper, *, everything: bool = False) -> None:
        self._mapper, self._everything = mapper, everything

    @property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """Observations: those of our codes, or all of them (where a site maps texts, no list of codes finds them)."""
        if self._everything or self._mapper.texts_for(Analyte):
            return {"Observation": ()}
        return {"Observation": self._mapper.codes_for(Analyte, refused=True)}

    def map(self, raw: bytes | msgspec.Raw) -> tuple[Sent, ...]:
        """The values of one resource; () for what is no Observation. MalformedResource for what is no resource at all."""
        became = {row.id: row for row in self._mapper.map(raw) if isinstance(row, Fact | Refusal)}
        try:
            resource = wire.decode_resource(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return tuple(_unread(row) for row in became.values())
        if not isinstance(resource, wire.Observation):
            return ()
        patient = self._mapper.patient_id(resource.subject.reference if resource.subject else None)
        if not patient:
            return ()
        return tuple(self._sent(patient, resource, became))

    def _sent(self, patient: str, observation: wire.Observation, became: dict[str, Fact | Refusal]) -> Iterator[Sent]:
        for id_, code, quantity in _values(observation):
            concept = wire.lenient(code, wire.CodeableConcept) or wire.CodeableConcept()
            sent = wire.lenient(quantity, wire.Quantity)
            row = became.get(id_)
            if row is None and (not self._everything or sent is None or self._mapper.maps(concept)):
                continue  # of no interest; or a panel whose value is in its components
            yield Sent(
                patient=patient,
                id=id_,
                code=self._mapper.token(concept),
                text=_words(concept),
                number=bytes(sent.value).decode("utf-8", "replace").strip()
                if sent and wire.present(sent.value)
                else "",
                unit=(sent.code or sent.unit or "") if sent else "",
                comparator=(sent.comparator or "") if sent else "",
                analyte=row.analyte.value if row else "",
                reason=row.reason if isinstance(row, Refusal) else "",
                value=row.value if isinstance(row, Fact) else None,
            )


class Stated(Row, frozen=True, array_like=True):
    """A diagnosis, a procedure or a statement about a medicine, compared with the list of what excludes.

    `codes` are its codes as `system|code`, empty where it says what it is in words only; `words` are those words. `met` says that a row
    of the list stands for one of the codes; `suspected` names the rules that only the words point to. `medicine` is the id of the
    Medication resource that says what it is, "" where the statement itself does.
    """

    patient: str
    id: str
    resource: str
    codes: tuple[str, ...] = ()
    words: str = ""
    met: bool = False
    suspected: tuple[str, ...] = ()
    medicine: str = ""


class StatedReader:
    """Maps the resources of some excluding types to what they state, and whether the list has it."""

    def __init__(self, mapper: Mapper, *kinds: str) -> None:
        self._mapper, self._kinds = mapper, kinds

    @property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """The types, all of each."""
        return dict.fromkeys(self._kinds, ())

    def map(self, raw: bytes | msgspec.Raw) -> tuple[Stated, ...]:
        """One row; () for another type, and where no patient is named. MalformedResource for what is no resource."""
        try:
            envelope = wire.decode_envelope(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedResource("not a JSON object with a resourceType") from None
        subject = wire.lenient(envelope.subject, wire.Reference)
        patient = self._mapper.patient_id(subject.reference if subject else None)
        kind = wire.lenient(envelope.resourceType, str) or ""
        if kind not in self._kinds or not patient:
            return ()
        id_ = wire.lenient(envelope.id, str) or ""
        reference = wire.lenient(envelope.medicationReference, wire.Reference)
        if reference is not None:
            held = self._mapper.medicine_id(reference)
            return (Stated(patient, id_, kind, medicine=held or "unknown"),)
        concept = wire.lenient(envelope.medicationCodeableConcept or envelope.code, wire.CodeableConcept)
        return (self._stated(Stated(patient, id_, kind), concept or wire.CodeableConcept()),)

    def resolved(self, row: Stated, medicine: Medicine | None) -> Stated:
        """The statement, with what its Medication resource says; unchanged where that is not known, or is on no list (`concept` empty)."""
        if medicine is None or not medicine.concept:
            return row
        return self._stated(row, wire.decode_concept(medicine.concept))

    def _stated(self, row: Stated, concept: wire.CodeableConcept) -> Stated:
        codings = concept.coding or ()
        found = {f"{self._mapper.system(c.system)}|{c.code.strip()}" for c in codings if c.system and c.code}
        rows = self._mapper.listed(row.resource, concept)
        points_to = () if rows else tuple(found.rule for found in suspected(row.resource, concept))
        return msgspec.structs.replace(
            row, codes=tuple(sorted(found)), words=_words(concept), met=bool(rows), suspected=points_to
        )


def _values(observation: wire.Observation) -> Iterator[tuple[str, msgspec.Raw, msgspec.Raw]]:
    """Id, code and quantity of the Observation itself and of its components."""
    id_ = observation.id or ""
    yield id_, observation.code, observation.valueQuantity
    if wire.present(observation.component):
        for place, part in enumerate(wire.lenient(observation.component, tuple[wire.Component, ...]) or ()):
            yield f"{id_}#{place}", part.code, part.valueQuantity


def _words(concept: wire.CodeableConcept) -> str:
    said = (concept.text, *(coding.display for coding in concept.coding or ()))
    return next((text for text in said if text), "")


def _unread(row: Fact | Refusal) -> Sent:
    """Of a resource some element of which has the wrong type."""
    reason = row.reason if isinstance(row, Refusal) else ""
    return Sent(row.patient, row.id, "", "", "", "", "", row.analyte.value, reason)
