"""Maps Observations to rows: a measurement becomes a fact or a refusal, and what documents menopause becomes a statement."""

from collections.abc import Collection, Iterator
from decimal import Decimal
from typing import Any

import msgspec

from screener.clinical import dates, observations, specimens, wire
from screener.clinical.codes import CodeMap, Match
from screener.clinical.eligibility import TWELVE_MONTHS_DAYS
from screener.clinical.exclusions import MenopauseObservations
from screener.clinical.patients import References, version
from screener.clinical.records import (
    NO_PATIENT,
    Analyte,
    Exclusion,
    Fact,
    MalformedResource,
    Menopause,
    Moment,
    Refusal,
    Version,
)
from screener.clinical.statements import Statements
from screener.clinical.units import Conversion, UnitTable

_REMEMBERED = 16_384  # texts of each kind
_NO_VALUE = frozenset({"value_missing", "value_absent"})

Rows = tuple[Fact | Refusal | Menopause | Exclusion, ...]

_decode_raws = msgspec.json.Decoder(tuple[msgspec.Raw, ...]).decode
_decode_references = msgspec.json.Decoder(tuple[wire.Reference, ...]).decode
_decode_other_values = msgspec.json.Decoder(wire.OtherValues).decode


class Results:
    """Reads Observations: a result of ours, or something that documents menopause."""

    def __init__(
        self,
        codes: CodeMap,
        units: UnitTable,
        menopause: MenopauseObservations,
        statements: Statements,
        patients: References,
        usable: Collection[str],
    ) -> None:
        """`usable`: the statuses whose results are taken. `patients` reads references."""
        self._codes, self._units, self._menopause = codes, units, menopause
        self._statements, self._patients, self._usable = statements, patients, usable
        self._patient = patients.find
        self._match = dates.Remembered(self._read_match, _REMEMBERED)
        self._readings = dates.Remembered(self._readings_of, _REMEMBERED)
        self._specimens: dates.Remembered[tuple[Analyte, bytes], str] = dates.Remembered(
            lambda key: specimens.named(*key), _REMEMBERED
        )
        self._specimen_ids = dates.Remembered(specimens.reference_of, _REMEMBERED)
        self._harmless = dates.Remembered(observations.is_harmless, _REMEMBERED)

    def rows(self, observation: wire.Observation, raw: bytes | msgspec.Raw) -> Rows:
        """The rows of one Observation, its components included; () where it does not concern us."""
        plain = self._plain(observation)
        return self.rows_by_every_rule(observation, raw) if plain is None else (plain,)

    def _plain(self, observation: wire.Observation) -> Fact | None:
        """The fact of a result about which there is nothing to decide: a known code, a usable status, one time and one quantity, and
        nothing beside them that could speak against it. None for all others.

        Nearly all results are so. This is `rows_by_every_rule` without the questions whose answer is plain, in one function because a call
        costs as much as an answer; a test holds the two against each other.
        """
        reference, text = observation.subject, observation.effectiveDateTime
        if (
            reference is None
            or not text
            or not observation.id
            or not observation.valueQuantity
            or observation.status not in self._usable
            or observation.component
            or observation.focus
            or observation.note
            or observation.dataAbsentReason
            or observation.modifierExtension
            or observation.contained
        ):
            return None
        match, _, listed = self._match[bytes(observation.code)]
        if match is None or listed or match.reason or match.analyte is Analyte.CALCIUM:
            return None
        if observation.interpretation and not self._harmless[bytes(observation.interpretation)]:
            return None
        patient, moment = self._patient(reference), dates.moment(text)
        if not patient or isinstance(moment, str):
            return None
        if observation.specimen and self._specimens[match.analyte, bytes(observation.specimen)]:
            return None
        found = self._readings[match][bytes(observation.valueQuantity)]
        if isinstance(found, str):
            return None
        specimen = self._specimen_ids[bytes(observation.specimen)] if observation.specimen else ""
        return observations.fact(patient, observation, version(observation.meta), match, moment, found, specimen)

    def is_ours(self, observation: wire.Observation) -> bool:
        """Whether its code is one that we use, or that excludes."""
        match, _, listed = self._match[bytes(observation.code)]
        return match is not None or bool(listed)

    def rows_by_every_rule(self, observation: wire.Observation, raw: bytes | msgspec.Raw) -> Rows:
        """The same as `rows`, with every question asked."""
        own = self._own_rows(observation, raw)
        if not observation.component or not wire.present(observation.component):
            return own
        parts = self._of_components(observation)
        given = {part.analyte for part in parts}
        # A panel has no value itself: that is no refusal where a component gives what the panel's code promises.
        kept = [r for r in own if not (isinstance(r, Refusal) and r.reason in _NO_VALUE and r.analyte in given)]
        return tuple(_unless_they_differ(kept, parts))

    def _own_rows(self, observation: wire.Observation, raw: bytes | msgspec.Raw) -> Rows:
        match, menopause, listed = self._match[bytes(observation.code)]
        if match is None and not listed:
            if menopause or observation.valueCodeableConcept:
                return self._menopause_rows(observation, raw, menopause)
            return ()
        patient = self._patient(observation.subject)
        if not patient:
            # R4 lets a result be about nobody (a control specimen); one about somebody who cannot be told would be lost in silence.
            if observation.subject is not None and self._patients.is_unclear(observation.subject):
                raise MalformedResource(NO_PATIENT)
            return ()
        if match is None or listed:
            return (
                *((self._measured(patient, observation, raw, match),) if match else ()),
                *self._listed(observation, patient),
            )
        return (self._measured(patient, observation, raw, match),)

    def _listed(self, observation: wire.Observation, patient: str) -> tuple[Exclusion, ...]:
        moment = observations.when(observation)
        day = moment.day if isinstance(moment, Moment) else 0
        return self._statements.observed(observation, bytes(observation.code), patient, day)

    def _measured(
        self, patient: str, observation: wire.Observation, raw: bytes | msgspec.Raw, match: Match
    ) -> Fact | Refusal:
        copy = version(observation.meta)
        text = observation.effectiveDateTime
        moment = dates.moment(text) if text else observations.when(observation)
        found = self._judged(patient, observation, raw, match)
        if isinstance(found, Conversion) and isinstance(moment, Moment):
            if match.analyte is Analyte.CALCIUM and observations.above_range(observation, raw):
                found = msgspec.structs.replace(found, marks=(*found.marks, "above_range"))
            specimen = self._specimen_ids[bytes(observation.specimen)] if observation.specimen else ""
            return observations.fact(patient, observation, copy, match, moment, found, specimen)
        reason = found if isinstance(found, str) else str(moment)
        return observations.refusal(patient, observation, copy, match, reason, moment)

    def _of_components(self, observation: wire.Observation) -> list[Fact | Refusal]:
        """Each component as a result of its own, under the id of the Observation and its place in it.

        What R4 says once for all of them (status, times, whom it is about, notes, interpretation) holds for each.
        """
        patient = self._patient(observation.subject)
        found: list[Fact | Refusal] = []
        for place, raw in enumerate(_decode_raws(observation.component) if patient else ()):
            part = wire.decode_component(raw)
            match, _, _ = self._match[bytes(part.code)]
            if match is None:
                continue
            said_of_all = observations.refused_by_remarks(observation, absent=False, analyte=match.analyte)
            alone = msgspec.structs.replace(
                observation,
                id=f"{observation.id}#{place}" if observation.id else None,
                valueQuantity=part.valueQuantity,
                valueCodeableConcept=part.valueCodeableConcept,
                dataAbsentReason=part.dataAbsentReason,
                interpretation=part.interpretation,
                modifierExtension=part.modifierExtension,
            )
            row = self._measured(patient, alone, raw, match)
            if said_of_all and isinstance(row, Fact):
                row = Refusal(patient, row.id, row.version, row.analyte, said_of_all, row.moment.day)
            found.append(row)
        return found

    def salvaged(self, envelope: wire.Envelope, patient: str, id_: str, copy: Version) -> tuple[Refusal, ...]:
        """An Observation some element of which has the wrong type: refused, where its code can be read and is one of ours."""
        concept = wire.lenient(envelope.code, wire.CodeableConcept)
        match = self._codes.find(concept) if concept else None
        if match is None:
            return ()
        withdrawn = wire.lenient(envelope.status, str) in observations.WITHDRAWN
        reason = "withdrawn" if withdrawn else match.reason or "malformed"
        return (Refusal(patient, id_, copy, match.analyte, reason, 0, withdrawn),)

    def _judged(
        self, patient: str, observation: wire.Observation, raw: bytes | msgspec.Raw, match: Match
    ) -> Conversion | str:
        """The value in the model's unit, or the reason against it."""
        if match.reason or observation.status not in self._usable:
            return observations.refused_by_status(observation.status, match)
        if not observation.id:
            return "id_missing"
        if observation.focus and self._about_another(patient, observation):
            return "not_the_patient"
        if (
            observation.interpretation
            or observation.note
            or observation.dataAbsentReason
            or observation.modifierExtension
        ):
            reason = observations.refused_by_remarks(observation, analyte=match.analyte)
            if reason:
                return reason
        if observation.specimen:
            reason = self._of_specimen(observation, match.analyte)
            if reason:
                return reason
        if not observation.valueQuantity:
            in_words = observations.quantity_in_words(observation, raw) if match.analyte is Analyte.EGFR else None
            if in_words is not None:
                return self._readings[match][in_words]
            return observations.no_quantity(observation, raw)
        return self._readings[match][bytes(observation.valueQuantity)]

    def _of_specimen(self, observation: wire.Observation, analyte: Analyte) -> str:
        """What the specimen says against the result, as far as the Observation itself describes it."""
        raw = bytes(observation.specimen)
        reason = self._specimens[analyte, raw]
        return reason or (specimens.contained(raw, observation.contained) if observation.contained else "")

    def _about_another(self, patient: str, observation: wire.Observation) -> bool:
        """R4's `focus` names whom the result is about if not the patient: a donor, a child, an implant."""
        if not wire.present(observation.focus):
            return False
        return any(self._patient(reference) != patient for reference in _decode_references(observation.focus))

    def _menopause_rows(self, observation: wire.Observation, raw: bytes | msgspec.Raw, means: str) -> Rows:
        patient = self._patient(observation.subject)
        moment = observations.when(observation)
        day = moment.day if isinstance(moment, Moment) else 0
        last = dates.last_day(_decode_other_values(raw).valueDateTime) if means == "last_period" else 0
        status = self._status_by_value(observation, means) or ("post" if last and _over(last, day) else "")
        if not patient or not (status or means):
            return ()
        # A copy of a code of ours that says nothing supersedes an older one that did.
        counts = bool(status or last) and observation.status in observations.USABLE
        about = (patient, "Observation", observation.id or "", version(observation.meta))
        return (Menopause(*about, status or "period", day or last, counts, last_period_day=last),)

    def _status_by_value(self, observation: wire.Observation, means: str) -> str:
        if wire.present(observation.valueCodeableConcept):
            stated = self._statements.menopause("Observation", bytes(observation.valueCodeableConcept))
            if stated:
                return stated[0].status
        return "post" if means == "age_at_menopause" and wire.present(observation.valueQuantity) else ""

    def _read_match(self, code: bytes) -> tuple[Match | None, str, bool]:
        """What an Observation's code means: an analyte; something that documents menopause; whether it is on the list of what excludes."""
        concept = wire.decode_concept(code) if code else wire.CodeableConcept()
        listed = bool(self._statements.listed("Observation", concept))
        return self._codes.find(concept), self._menopause.means(concept), listed

    def _readings_of(self, match: Match) -> dates.Remembered[bytes, Conversion | str]:
        def read(quantity: bytes) -> Conversion | str:
            return "value_missing" if quantity == b"null" else self._units.read(match, wire.decode_quantity(quantity))

        return dates.Remembered(read, _REMEMBERED)


def _unless_they_differ(own: list[Any], parts: list[Fact | Refusal]) -> Iterator[Any]:
    """The rows; where the Observation's own value and one of its components give the same analyte another value, none of them counts."""
    values: dict[Analyte, set[Decimal]] = {}
    for row in own:
        if isinstance(row, Fact):
            values[row.analyte] = {row.value}
    for row in parts:
        if isinstance(row, Fact) and row.analyte in values:
            values[row.analyte].add(row.value)
    for row in (*own, *parts):
        if isinstance(row, Fact) and len(values.get(row.analyte, ())) > 1:
            yield Refusal(row.patient, row.id, row.version, row.analyte, "component_differs", row.moment.day)
        else:
            yield row


def _over(last_period_day: int, day: int) -> bool:
    """Menopause is twelve months without a period (WHO)."""
    return day - last_period_day >= TWELVE_MONTHS_DAYS
