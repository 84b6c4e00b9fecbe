"""The map step: one FHIR R4 resource, as JSON bytes, into rows. Pure, and never in the way of the next resource.

What we do not use gives no rows. What we use and cannot read gives a Refusal (a measurement) or an `Unreadable` (a patient or
something that may exclude one): it is counted, never lost.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from screener.clinical import exclusions, observations, specimens, wire
from screener.clinical.codes import CodeMap, CodeRow, SiteRows, Systems, code_table, read_table, systems
from screener.clinical.exclusions import (
    CodeList,
    Effective,
    ExclusionRow,
    MenopauseObservationRow,
    MenopauseObservations,
    MenopauseRow,
)
from screener.clinical.patients import References, demographics, version
from screener.clinical.records import (
    FURTHER_RESULTS,
    NO_PATIENT,
    Analyte,
    Demographics,
    Exclusion,
    Fact,
    MalformedResource,
    Medicine,
    Menopause,
    Refusal,
    Sample,
    Unreadable,
    UnresolvedMedication,
)
from screener.clinical.results import Results
from screener.clinical.statements import Statements
from screener.clinical.units import RangeRow, UnitRow, UnitTable, range_table, unit_table

Settled = Fact | Refusal | Exclusion | Menopause | Demographics | Sample | Unreadable
Mapped = Settled | UnresolvedMedication
Rows = tuple[Mapped, ...]


class MappingTables(msgspec.Struct, frozen=True):
    """The effective tables: our own with a site's rows over them."""

    codes: tuple[CodeRow, ...]
    units: tuple[UnitRow, ...]
    ranges: tuple[RangeRow, ...]
    site_exclusions: exclusions.Given
    expanded: exclusions.Given
    menopause: tuple[MenopauseRow, ...]
    menopause_observations: tuple[MenopauseObservationRow, ...]
    named: exclusions.Given  # the site's names of code systems
    systems: Systems

    @classmethod
    def default(
        cls,
        extra_codes: SiteRows = (),
        extra_units: SiteRows = (),
        extra_exclusions: SiteRows = (),
        expanded: SiteRows = (),
        named: SiteRows = (),
        *,
        whole_blood: bool = False,
    ) -> "MappingTables":
        """The shipped tables with a site's rows, which have the columns of the CSV files of the same name.

        `expanded`: codes of the value sets from a terminology server. `whole_blood` takes magnesium of whole blood, too.

        ConfigurationError names a row that cannot be used.
        """
        tables = cls(
            codes=code_table(extra_codes, whole_blood=whole_blood),
            units=unit_table(extra_units),
            ranges=range_table(),
            site_exclusions=exclusions.given(extra_exclusions),
            expanded=exclusions.given(expanded),
            menopause=tuple(read_table("menopause.csv", MenopauseRow)),
            menopause_observations=tuple(read_table("menopause_observations.csv", MenopauseObservationRow)),
            named=exclusions.given(named),
            systems=systems(named),
        )
        _ = tables.exclusions  # a row that cannot be used is said here
        return tables

    @property
    def exclusions(self) -> tuple[ExclusionRow, ...]:
        """The effective exclusion list."""
        return self.effective.rows

    @property
    def effective(self) -> Effective:
        """The same, with what is found from it."""
        return exclusions.effective(self.site_exclusions, self.expanded, self.named)

    def digest(self) -> str:
        """SHA-256 over the effective tables: changes whenever a row does."""
        return hashlib.sha256(msgspec.json.encode([self, self.effective.digest], order="sorted")).hexdigest()


NOT_UTF8 = "not text in UTF-8"


def _is_utf8(raw: msgspec.Raw) -> bool:
    try:
        bytes(raw).decode()
    except UnicodeDecodeError:
        return False
    return True


class Mapper:
    """Maps resources. Build one and keep it: it remembers the codes and quantities that it has seen.

    Absolute references count as local: which patient a resource belongs to is what the server matched it by. `use_preliminary` takes
    results of status preliminary as well; `further` also the results of further predictors (FURTHER_RESULTS): for a
    validation cohort, and for a model that uses them.
    """

    def __init__(
        self,
        tables: MappingTables,
        *,
        use_preliminary: bool = False,
        further: bool = False,
    ) -> None:
        self._recipe = (tables, use_preliminary, further)
        self.systems = tables.systems
        self._code_rows = [row for row in tables.codes if further or row.analyte not in FURTHER_RESULTS]
        self._codes = CodeMap(self._code_rows, tables.systems)
        self._menopause = MenopauseObservations(tables.menopause_observations, tables.systems)
        self._observed = tables.effective.observed
        patients = References("Patient")
        self._patient, self._is_unclear = patients.find, patients.is_unclear
        self._medication = References("Medication").find
        self._statements = Statements(
            tables.effective.by_code,
            CodeList(tables.menopause, tables.systems),
            tables.systems,
            patients,
            self._medication,
        )
        self._results = Results(
            self._codes,
            UnitTable(tables.units, tables.ranges),
            self._menopause,
            self._statements,
            patients,
            observations.USABLE | {"preliminary"} if use_preliminary else observations.USABLE,
        )
        self._by_type: dict[type, Callable[[Any, bytes | msgspec.Raw], Rows]] = {
            wire.Observation: self._results.rows,
            wire.Patient: self._person,
            wire.Condition: self._statements.condition,
            wire.Procedure: self._statements.procedure,
            wire.MedicationRequest: self._statements.medicated,
            wire.MedicationStatement: self._statements.medicated,
            wire.MedicationAdministration: self._statements.medicated,
            wire.MedicationDispense: self._statements.medicated,
            wire.DiagnosticReport: self._statements.reported,
            wire.Specimen: self._sample,
        }

    def __reduce__(self) -> tuple[Callable[..., "Mapper"], tuple[object, ...]]:
        """For another process: the tables only, without what is remembered."""
        return _mapper, self._recipe

    def map(self, raw: bytes | msgspec.Raw) -> Rows:
        """The rows of one resource; () for what we do not use. MalformedResource for what is no resource at all."""
        return self.open(raw)[1]

    def open(self, raw: bytes | msgspec.Raw) -> tuple[wire.AnyResource | None, Rows]:
        """The resource as far as we read it, and its rows; None in its place for a type that we do not read, or where some element does not fit."""
        try:
            resource = wire.decode_resource(raw)
            return resource, self._by_type[type(resource)](resource, raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None, self._salvage(raw)

    def codes_for(self, analytes: Iterable[Analyte], *, refused: bool = False) -> tuple[str, ...]:
        """The Observation codes of these analytes as a FHIR token search takes them, sorted: the accepted ones, or with `refused` also
        those that are asked for only to be counted."""
        return self._tokens(self._codes.coded(analytes, refused=refused))

    def _tokens(self, coded: Iterable[tuple[str, str]]) -> tuple[str, ...]:
        """`system|code`, but the code alone where senders write the system in several ways: a search by one finds no other, and what
        another system means by the code is left out when it is read (R4, search.html#token)."""
        several = set(self.systems.names.values())
        return tuple(sorted({code if system in several else f"{system}|{code}" for system, code in coded}))

    def codes_that_matter(self) -> frozenset[str] | None:
        """The codes of all systems by one of which every Observation that gives rows does so; None where a site has results without
        any code."""
        tables = self._recipe[0]
        if any(not row.system for row in self._code_rows):
            return None
        stated = (row.code for row in tables.menopause if "Observation" in row.resources.split())
        documented = (row.code for row in tables.menopause_observations)
        return frozenset(
            {*(row.code for row in self._code_rows), *stated, *documented, *(r.code for r in self._observed)}
        )

    def texts_for(self, analytes: Iterable[Analyte]) -> tuple[str, ...]:
        """The texts that a site maps where a result has no code, sorted."""
        return self._codes.texts(analytes)

    def maps(self, concept: wire.CodeableConcept) -> bool:
        """Whether a result under this code concerns us."""
        return self._codes.find(concept) is not None

    def token(self, concept: wire.CodeableConcept) -> str:
        """`system|code` of the coding that decides, else of the first coding; "" where there is no coding."""
        return self._codes.token(concept)

    def system(self, name: str) -> str:
        """The name that our tables have for a code system."""
        return self.systems.name(name)

    def further_tokens(self) -> tuple[str, ...]:
        """The codes of the Observations that document menopause, or that matter by being there, as a FHIR token search takes them,
        sorted."""
        return self._tokens([*self._menopause.coded(), *((row.system, row.code) for row in self._observed)])

    def patient_id(self, reference: str | None) -> str:
        """The logical id of the patient that a reference names, or "" where it names no resource of the source."""
        return self._patient(wire.Reference(reference))

    def tokens_for(self, kind: str) -> tuple[str, ...]:
        """The codes by which a resource type is asked for, as a FHIR token search takes them; () where all of it is: of reports only those
        on the list are of interest, and there are many others."""
        if kind != "DiagnosticReport":
            return ()
        return self._tokens((row.system, row.code) for row in self.exclusions if kind in row.kinds)

    @property
    def exclusions(self) -> tuple[ExclusionRow, ...]:
        """The effective exclusion list."""
        return self._recipe[0].exclusions

    def medicine_id(self, reference: wire.Reference) -> str:
        """The logical id of the Medication that a reference names, or "" where it names no resource of the source."""
        return self._medication(reference)

    def listed(self, resource: str, concept: wire.CodeableConcept) -> tuple[ExclusionRow, ...]:
        """Every row of the exclusion list that the codes of a concept meet, those without effect too."""
        return self._statements.listed(resource, concept)

    def matters(self, medicine: Medicine) -> bool:
        """Whether a Medication can exclude anybody."""
        return self._statements.matters(medicine)

    def resolve_medications(self, rows: Iterable[Mapped], medicines: Mapping[str, Medicine]) -> Iterator[Settled]:
        """The rows, in their order, with each statement about a medicine settled by the Medication resources that are known."""
        for row in rows:
            if isinstance(row, UnresolvedMedication):
                yield from self._statements.settle(row, medicines)
            else:
                yield row

    def is_without_patient(self, resource: wire.AnyResource | None) -> bool:
        """Whether it is a result of ours that names nobody, and so gave no rows."""
        return (
            isinstance(resource, wire.Observation)
            and (resource.subject is None or not resource.subject.reference)
            and self._results.is_ours(resource)
        )

    # Patients

    def _person(self, patient: wire.Patient, _raw: bytes | msgspec.Raw) -> Rows:
        found = demographics(patient)
        return (found,) if found else ()

    def _sample(self, specimen: wire.Specimen, _raw: bytes | msgspec.Raw) -> Rows:
        patient = self._patient(specimen.subject)
        if not patient or not specimen.id:
            return ()
        copy = version(specimen.meta)
        reason = specimens.reason_against(specimen)
        # Nearly all are in order: only a later copy, which may take an earlier reason back, is a row.
        return (Sample(patient, specimen.id, copy, reason),) if reason or copy.number > 1 else ()

    # What does not fit

    def _salvage(self, raw: bytes | msgspec.Raw) -> Rows:
        """The rows of a resource some element of which has the wrong type, or MalformedResource."""
        try:
            envelope = wire.decode_envelope(raw)
            kind = msgspec.json.decode(envelope.resourceType, type=str)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedResource("not a JSON object with a resourceType") from None
        if kind not in wire.TYPES or kind == "Specimen":
            return ()  # an odd Specimen tells nothing, and keeps no result from being used
        if not _is_utf8(envelope.id):
            raise MalformedResource(NOT_UTF8)  # without its id nobody could say which resource it is
        id_ = wire.lenient(envelope.id, str) or ""
        meta = wire.lenient(envelope.meta, wire.Meta)
        if kind == "Patient":
            return (Unreadable(id_, kind, id_, version(meta)),) if id_ else ()
        subject = wire.lenient(envelope.subject, wire.Reference)
        patient = self._patient(subject)
        if kind == "Observation":
            return self._results.salvaged(envelope, patient, id_, version(meta)) if patient else ()
        concept = wire.lenient(envelope.medicationCodeableConcept or envelope.code, wire.CodeableConcept)
        if concept and self._statements.none_of_ours(kind, concept):
            return ()  # the code can be read and we do not use it: the rest does not matter
        if not patient:
            if self._is_unclear(subject):
                raise MalformedResource(NO_PATIENT)
            return ()
        return (Unreadable(patient, kind, id_, version(meta)),)


def _mapper(
    tables: MappingTables,
    use_preliminary: bool,  # noqa: FBT001 - see __reduce__
    further: bool,  # noqa: FBT001
) -> Mapper:
    return Mapper(tables, use_preliminary=use_preliminary, further=further)
