"""The map step: one FHIR R4 resource, as JSON bytes, into rows. Pure, and never in the way of the next resource.

What we do not use gives no rows. What we use and cannot read gives a Refusal (a measurement) or an `Unreadable` (a patient or
something that may exclude one): it is counted, never lost.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from screener.clinical import dates, exclusions, observations, wire
from screener.clinical.codes import CodeMap, CodeRow, Match, SiteRows, code_table, read_table, system_aliases
from screener.clinical.exclusions import CodeList, ExclusionRow, MenopauseObservationRow, MenopauseRow
from screener.clinical.patients import References, demographics, version
from screener.clinical.records import (
    Analyte,
    Demographics,
    Exclusion,
    Fact,
    Medicine,
    Menopause,
    Moment,
    Refusal,
    Unreadable,
    Unsettled,
    Version,
)
from screener.clinical.statements import Statements
from screener.clinical.units import RangeRow, Reading, UnitRow, UnitTable, range_table, unit_table

_REMEMBERED = 16_384  # texts of each kind
_TWELVE_MONTHS_DAYS = 365


class MalformedResource(ValueError):
    """The bytes are not one JSON object that names its resource type. The message never holds content."""


Settled = Fact | Refusal | Exclusion | Menopause | Demographics | Unreadable
Mapped = Settled | Unsettled
Rows = tuple[Mapped, ...]


class MappingTables(msgspec.Struct, frozen=True):
    """The effective tables: our own with a site's rows over them."""

    codes: tuple[CodeRow, ...]
    units: tuple[UnitRow, ...]
    ranges: tuple[RangeRow, ...]
    exclusions: tuple[ExclusionRow, ...]
    menopause: tuple[MenopauseRow, ...]
    menopause_observations: tuple[MenopauseObservationRow, ...]
    aliases: dict[str, str]

    @classmethod
    def default(
        cls, extra_codes: SiteRows = (), extra_units: SiteRows = (), extra_exclusions: SiteRows = ()
    ) -> "MappingTables":
        """The shipped tables with a site's rows, which have the columns of the CSV files of the same name.

        ConfigurationError names a row that cannot be used.
        """
        return cls(
            codes=code_table(extra_codes),
            units=unit_table(extra_units),
            ranges=range_table(),
            exclusions=exclusions.exclusion_table(extra_exclusions),
            menopause=tuple(read_table("menopause.csv", MenopauseRow)),
            menopause_observations=tuple(read_table("menopause_observations.csv", MenopauseObservationRow)),
            aliases=system_aliases(),
        )

    def digest(self) -> str:
        """SHA-256 over the effective tables: changes whenever a row does."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class Mapper:
    """Maps resources. Build one and keep it: it remembers the codes and quantities that it has seen.

    `base_url` is the source's own address; where it is None, absolute references count as local. `use_preliminary` takes
    results of status preliminary as well.
    """

    def __init__(self, tables: MappingTables, base_url: str | None = None, *, use_preliminary: bool = False) -> None:
        self._codes = CodeMap(tables.codes, tables.aliases)
        self._units = UnitTable(tables.units, tables.ranges)
        self._menopause_observations = {(row.system, row.code): row.means for row in tables.menopause_observations}
        self._aliases = tables.aliases
        self._patient = References("Patient", base_url).find
        self._statements = Statements(
            CodeList(tables.exclusions, tables.aliases),
            CodeList(tables.menopause, tables.aliases),
            self._patient,
            References("Medication", base_url).find,
        )
        self._usable = observations.USABLE | {"preliminary"} if use_preliminary else observations.USABLE
        self._match = dates.Remembered(self._match_anew, _REMEMBERED)
        self._readings = dates.Remembered(self._readings_of, _REMEMBERED)
        self._by_type: dict[type, Callable[[Any, bytes | msgspec.Raw], Rows]] = {
            wire.Observation: self._observation,
            wire.Patient: self._person,
            wire.Condition: self._statements.condition,
            wire.Procedure: self._statements.procedure,
            wire.MedicationRequest: self._statements.medicated,
            wire.MedicationStatement: self._statements.medicated,
            wire.MedicationAdministration: self._statements.medicated,
        }

    def map(self, raw: bytes | msgspec.Raw) -> Rows:
        """The rows of one resource; () for what we do not use. MalformedResource for what is no resource at all."""
        try:
            resource = wire.decode_resource(raw)
            use = self._by_type.get(type(resource))
            return use(resource, raw) if use else ()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._salvage(raw)

    def codes_for(self, analytes: Iterable[Analyte]) -> tuple[str, ...]:
        """`system|code` of every accepted Observation code of these analytes, sorted, for a FHIR token search."""
        return self._codes.tokens(analytes)

    def menopause_tokens(self) -> tuple[str, ...]:
        """`system|code` of the Observations that document menopause, sorted."""
        return tuple(sorted(f"{system}|{code}" for system, code in self._menopause_observations))

    def patient_id(self, reference: str | None) -> str:
        """The logical id of the patient that a reference names, or "" where it names none of the source's."""
        return self._patient(wire.Reference(reference))

    def settled(self, rows: Iterable[Mapped], medicines: Mapping[str, Medicine]) -> Iterator[Settled]:
        """The rows, in their order, with each statement about a medicine settled by the Medication resources that are known."""
        for row in rows:
            if isinstance(row, Unsettled):
                yield from self._statements.settle(row, medicines)
            else:
                yield row

    # Observations

    def _observation(self, observation: wire.Observation, raw: bytes | msgspec.Raw) -> Rows:
        match, menopause = self._match[bytes(observation.code)]
        if match is None:
            if menopause or observation.valueCodeableConcept:
                return self._menopause_observation(observation, raw, menopause)
            return ()
        patient = self._patient(observation.subject)
        if not patient:
            return ()
        copy = version(observation.meta)
        text = observation.effectiveDateTime
        moment = dates.moment(text) if text else observations.when(observation)
        found = self._judged(patient, observation, raw, match)
        if isinstance(found, Reading) and isinstance(moment, Moment):
            return (observations.fact(patient, observation, copy, match, moment, found),)
        reason = found if isinstance(found, str) else str(moment)
        return (observations.refusal(patient, observation, copy, match, reason, moment),)

    def _judged(
        self, patient: str, observation: wire.Observation, raw: bytes | msgspec.Raw, match: Match
    ) -> Reading | str:
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
            reason = observations.refused_by_remarks(observation)
            if reason:
                return reason
        if not observation.valueQuantity:
            return observations.no_quantity(observation, raw)
        return self._readings[match][bytes(observation.valueQuantity)]

    def _about_another(self, patient: str, observation: wire.Observation) -> bool:
        """R4's `focus` names whom the result is about if not the patient: a donor, a child, an implant."""
        if not wire.present(observation.focus):
            return False
        return any(self._patient(reference) != patient for reference in _decode_references(observation.focus))

    def _menopause_observation(self, observation: wire.Observation, raw: bytes | msgspec.Raw, means: str) -> Rows:
        patient = self._patient(observation.subject)
        moment = observations.when(observation)
        day = moment.day if isinstance(moment, Moment) else 0
        status = self._status_by_value(observation, raw, means, day)
        if not patient or not (status or means):
            return ()
        # A copy of a code of ours that says nothing supersedes an older one that did.
        counts = bool(status) and observation.status in observations.USABLE
        copy = version(observation.meta)
        return (Menopause(patient, "Observation", observation.id or "", copy, status or "post", day, counts),)

    def _status_by_value(self, observation: wire.Observation, raw: bytes | msgspec.Raw, means: str, day: int) -> str:
        if wire.present(observation.valueCodeableConcept):
            stated = self._statements.menopause("Observation", bytes(observation.valueCodeableConcept))
            if stated:
                return stated[0].status
        if means == "age_at_menopause" and wire.present(observation.valueQuantity):
            return "post"
        if means == "last_period":
            last = dates.last_day(_decode_other_values(raw).valueDateTime)
            return "post" if last and day - last >= _TWELVE_MONTHS_DAYS else ""
        return ""

    # Patients

    def _person(self, patient: wire.Patient, _raw: bytes | msgspec.Raw) -> Rows:
        found = demographics(patient)
        return (found,) if found else ()

    # What repeats is read once

    def _match_anew(self, code: bytes) -> tuple[Match | None, str]:
        """What an Observation's code means: an analyte, or something that documents menopause."""
        concept = wire.decode_concept(code) if code else wire.CodeableConcept()
        pairs = ((self._aliases.get(c.system or "", c.system or ""), c.code or "") for c in concept.coding or ())
        menopause = next(
            (self._menopause_observations[pair] for pair in pairs if pair in self._menopause_observations), ""
        )
        return self._codes.find(concept), menopause

    def _readings_of(self, match: Match) -> dates.Remembered[bytes, Reading | str]:
        def read(quantity: bytes) -> Reading | str:
            return "value_missing" if quantity == b"null" else self._units.read(match, wire.decode_quantity(quantity))

        return dates.Remembered(read, _REMEMBERED)

    # What does not fit

    def _salvage(self, raw: bytes | msgspec.Raw) -> Rows:
        """The rows of a resource some element of which has the wrong type, or MalformedResource."""
        try:
            envelope = wire.decode_envelope(raw)
            kind = msgspec.json.decode(envelope.resourceType, type=str)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedResource("not a JSON object with a resourceType") from None
        if kind not in wire.TYPES:
            return ()
        id_ = _lenient(envelope.id, str) or ""
        meta = _lenient(envelope.meta, wire.Meta)
        if kind == "Patient":
            return (Unreadable(id_, kind, id_, version(meta)),) if id_ else ()
        patient = self._patient(_lenient(envelope.subject, wire.Reference))
        if not patient:
            return ()
        if kind == "Observation":
            return self._salvaged_observation(envelope, patient, id_, version(meta))
        concept = _lenient(envelope.medicationCodeableConcept or envelope.code, wire.CodeableConcept)
        if concept and self._statements.none_of_ours(kind, concept):
            return ()  # the code can be read and is none of ours: the rest does not matter
        return (Unreadable(patient, kind, id_, version(meta)),)

    def _salvaged_observation(self, envelope: wire.Envelope, patient: str, id_: str, copy: Version) -> Rows:
        concept = _lenient(envelope.code, wire.CodeableConcept)
        match = self._codes.find(concept) if concept else None
        if match is None:
            return ()
        withdrawn = _lenient(envelope.status, str) in observations.WITHDRAWN
        reason = "withdrawn" if withdrawn else match.reason or "malformed"
        return (Refusal(patient, id_, copy, match.analyte, reason, 0, withdrawn),)


T = TypeVar("T")
_decode_references = msgspec.json.Decoder(tuple[wire.Reference, ...]).decode
_decode_other_values = msgspec.json.Decoder(wire.OtherValues).decode


def _lenient(raw: msgspec.Raw, wanted: type[T]) -> T | None:
    """The element as `wanted`, or None where it is not there or is something else."""
    try:
        return msgspec.json.decode(raw, type=wanted) if wire.present(raw) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
