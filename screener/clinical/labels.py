"""Whether a woman had osteoporosis about the time of her magnesium result: from DXA T-scores, from diagnoses, or from both.

Needed only where the model is checked against a site's own patients. The codes are in data/codes.csv and
data/valuesets, and in the tables that a site adds.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from screener.clinical import exclusions, observations, spans, wire
from screener.clinical.certainty import certainty
from screener.clinical.codes import SiteRows, TableRow, code_table, decimal_of, read_rows
from screener.clinical.exclusions import CodeList, ListRow
from screener.clinical.mapping import Mapper
from screener.clinical.patients import version
from screener.clinical.records import Analyte, MalformedResource, Row, Version

# WHO 1994: osteoporosis is a T-score of -2.5 or less.
T_SCORE_CUT_OFF = Decimal("-2.5")
# Own limits: beyond them a BMD, a Z-score of a child or a lost decimal point is likelier than a T-score.
T_SCORE_LEAST, T_SCORE_GREATEST = Decimal(-8), Decimal(6)
# A T-score counts standard deviations and has no unit. UCUM reads whatever stands in braces as 1, so the word must be looked at.
_T_SCORE_UNITS = frozenset({"t-score", "tscore", "t score", "sd", "1", ""})
# Enough to keep a woman from an assessment, where it is an exclusion; not enough to be the truth that a model is judged by.


# Fractures due to osteoporosis are osteoporosis.
_DIAGNOSES = ("osteoporosis", "fragility_fracture")


class LabelKind(StrEnum):
    """What a label rests on."""

    T_SCORE = "t-score"
    DIAGNOSIS = "diagnosis"
    EITHER = "either"


class LabelRule(msgspec.Struct, frozen=True):
    """The label's definition. `max_gap_days`: how far DXA or diagnosis may lie from the Mg result, before or after, inclusive;
    `after_only`: a DXA before its day does not count."""

    kind: LabelKind = LabelKind.T_SCORE
    max_gap_days: int = 365
    after_only: bool = False


class TScoreRow(TableRow, frozen=True, kw_only=True):
    """One code of an Observation, or of a component of one, whose value is a T-score."""

    system: str
    code: str
    site: str = ""


class DiagnosisRow(ListRow, frozen=True, kw_only=True):
    """One code that is a diagnosis of osteoporosis."""


class LabelTables(msgspec.Struct, frozen=True):
    """The effective codes: our own with a site's rows over them."""

    t_scores: tuple[TScoreRow, ...]
    diagnoses: tuple[DiagnosisRow, ...]

    @classmethod
    def default(cls, extra_t_scores: SiteRows = (), extra_diagnoses: SiteRows = ()) -> "LabelTables":
        """The shipped tables (T-scores of lumbar spine, hip and femur, where the WHO's cut-off applies) with a site's rows."""
        ours_t = [TScoreRow(system=r.system, code=r.code) for r in code_table(()) if r.analyte is Analyte.T_SCORE]
        t_scores = (*ours_t, *read_rows(extra_t_scores, TScoreRow, "cohort.t_scores"))
        ours = [
            DiagnosisRow(
                resources="Condition", system=c.system, code=c.code, match="prefix" if c.match == "prefix" else "exact"
            )
            for name in _DIAGNOSES
            for c in exclusions.value_set(name)
        ]
        diagnoses = (*ours, *read_rows(extra_diagnoses, DiagnosisRow, "cohort.diagnoses"))
        return cls(t_scores, diagnoses)


class TScore(Row, frozen=True, array_like=True):
    """One usable T-score; an exam has several, all of one day."""

    patient: str
    resource: str
    id: str
    version: Version
    value: Decimal
    day: int


class Diagnosis(Row, frozen=True, array_like=True):
    """Osteoporosis as a diagnosis. `start_day` 0: ever since; `end_day` 0: it goes on. `counts` False: taken back, or suspected."""

    patient: str
    resource: str
    id: str
    version: Version
    start_day: int
    end_day: int
    counts: bool


class Unusable(Row, frozen=True, array_like=True):
    """A T-score or a diagnosis that must not be used, and why; it supersedes an older copy all the same."""

    patient: str
    resource: str
    id: str
    version: Version
    reason: str


Evidence = TScore | Diagnosis | Unusable


class Label(msgspec.Struct, frozen=True):
    """What is known of a woman about her Mg result. `osteoporosis` is None where nothing is, and `reason` says why.

    `t_score` is the lowest of the exam nearest to the result; `gap_days` from the result to that exam, negative where it came first.
    """

    osteoporosis: bool | None = None
    source: str = ""
    reason: str = ""
    t_score: Decimal | None = None
    gap_days: int | None = None


# Reading


_decode = msgspec.json.Decoder(wire.Observation | wire.Condition).decode
_decode_components = msgspec.json.Decoder(tuple[wire.Component, ...]).decode
_decode_focus = msgspec.json.Decoder(tuple[wire.Reference, ...]).decode


class _Kind(msgspec.Struct, frozen=True):
    resourceType: str = ""  # noqa: N815 - R4's name


_decode_kind = msgspec.json.Decoder(_Kind).decode


class LabelReader:
    """Maps Observations and Conditions to evidence of osteoporosis. Whose they are is read as `mapper` reads it."""

    def __init__(self, mapper: Mapper, kind: LabelKind, tables: LabelTables) -> None:
        self._patient = mapper.patient_id
        self._kind = kind
        self._systems = mapper.systems
        self._t_scores = tables.t_scores
        self._codes = frozenset((row.system, row.code) for row in self._t_scores)
        self._diagnoses = CodeList(tables.diagnoses, self._systems)

    @property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """The resource types to be read, and of each the codes as `system|code`; none means all: ICD families cannot be listed."""
        tokens = tuple(f"{row.system}|{row.code}" for row in self._t_scores)
        wanted = {"Observation": tokens, "Condition": ()}
        unwanted = {LabelKind.T_SCORE: "Condition", LabelKind.DIAGNOSIS: "Observation"}.get(self._kind)
        return {kind: codes for kind, codes in wanted.items() if kind != unwanted}

    def map(self, raw: bytes | msgspec.Raw) -> tuple[Evidence, ...]:
        """The evidence in one resource; () where it holds none. MalformedResource for what is no resource."""
        try:
            if _decode_kind(raw).resourceType not in self.kinds:
                return ()
            resource = _decode(raw)
            return self._examined(resource) if isinstance(resource, wire.Observation) else self._diagnosed(resource)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._salvage(raw)

    def _examined(self, exam: wire.Observation) -> tuple[Evidence, ...]:
        parts = _decode_components(exam.component) if wire.present(exam.component) else ()
        values = [part.valueQuantity for part in parts if self._is_t_score(part.code)]
        if self._is_t_score(exam.code) and (wire.present(exam.valueQuantity) or not values):
            values.append(exam.valueQuantity)
        patient = self._patient(exam.subject.reference if exam.subject else None) if values else ""
        if not patient:
            return ()
        about = (patient, "Observation", exam.id or "", version(exam.meta))
        reason = self._refused(exam, patient)
        moment = observations.when(exam)
        if reason or isinstance(moment, str):
            return (Unusable(*about, reason or str(moment)),)
        found = [_t_score(value) for value in values]
        return tuple(
            Unusable(*about, value) if isinstance(value, str) else TScore(*about, value, moment.day) for value in found
        )

    def _refused(self, exam: wire.Observation, patient: str) -> str:
        if exam.status in observations.WITHDRAWN:
            return "withdrawn"
        if exam.status not in observations.USABLE:
            return "status"
        if not exam.id:
            return "id_missing"
        if wire.present(exam.focus) and any(self._patient(r.reference) != patient for r in _decode_focus(exam.focus)):
            return "not_the_patient"
        return observations.refused_by_remarks(exam)

    def _diagnosed(self, condition: wire.Condition) -> tuple[Evidence, ...]:
        if not wire.present(condition.code) or not self._diagnoses.find(
            "Condition", wire.decode_concept(condition.code)
        ):
            return ()
        patient = self._patient(condition.subject.reference if condition.subject else None)
        if not patient:
            return ()
        copy = version(condition.meta)
        about = (patient, "Condition", condition.id or "", copy)
        span = spans.condition_span(condition, copy)
        counts = certainty(condition) in ("", "past")
        return (Diagnosis(*about, span.start_day, span.end_day, counts),)

    def _is_t_score(self, code: msgspec.Raw) -> bool:
        concept = wire.decode_concept(code) if wire.present(code) else wire.CodeableConcept()
        pairs = ((c.system or "", (c.code or "").strip()) for c in concept.coding or ())
        return any((self._systems.name(system), code) in self._codes for system, code in pairs)

    def _salvage(self, raw: bytes | msgspec.Raw) -> tuple[Evidence, ...]:
        """Evidence with an element of the wrong type is unusable; other resources are ignored as always."""
        try:
            envelope = wire.decode_envelope(raw)
            concept = wire.decode_concept(envelope.code) if wire.present(envelope.code) else wire.CodeableConcept()
            subject = msgspec.json.decode(envelope.subject, type=wire.Reference)
            kind = _decode_kind(raw).resourceType
            name = msgspec.json.decode(envelope.id, type=str)
            meta = msgspec.json.decode(envelope.meta, type=wire.Meta) if wire.present(envelope.meta) else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedResource("an Observation or Condition that cannot be read") from None
        ours = self._is_t_score(envelope.code) if kind == "Observation" else self._diagnoses.find(kind, concept)
        patient = self._patient(subject.reference) if ours else ""
        return (Unusable(patient, kind, name, version(meta), "malformed"),) if patient else ()


def _t_score(raw: msgspec.Raw) -> Decimal | str:
    """The T-score in a quantity as sent, or the reason against it."""
    if not wire.present(raw):
        return "value_missing"
    quantity = wire.decode_quantity(raw)
    written = bytes(quantity.value)
    if not wire.present(quantity.value):
        return "value_missing"
    number = decimal_of(written.decode("ascii", "replace")) if written[0] in b"-0123456789" else None
    if number is None:
        return "malformed"
    if any((text or "").strip().strip("{}").lower() not in _T_SCORE_UNITS for text in (quantity.code, quantity.unit)):
        return "unit_unknown"
    if quantity.comparator:
        return "comparator"
    return number if T_SCORE_LEAST <= number <= T_SCORE_GREATEST else "implausible"


# Judging


def label(evidence: Iterable[Evidence], mg_day: int, rule: LabelRule) -> Label:
    """The label of one woman whose Mg result is of `mg_day` (an ordinal), from all that is known of her, in any order.

    By T-score: the lowest of the exam nearest to the result, of two equally near ones the earlier, at or below -2.5. By diagnosis:
    whether it held at some time within the gap. Either: a diagnosis makes a case whatever the T-score; without a diagnosis
    the T-score decides, and without both there is no label.
    """
    rows = latest(evidence)
    by_t_score = _by_t_score(rows, mg_day, rule)
    if rule.kind is LabelKind.T_SCORE:
        return by_t_score
    by_diagnosis = _by_diagnosis(rows, mg_day, rule)
    if rule.kind is LabelKind.DIAGNOSIS:
        return by_diagnosis
    if not by_diagnosis.osteoporosis:
        return by_t_score
    return msgspec.structs.replace(by_diagnosis, t_score=by_t_score.t_score, gap_days=by_t_score.gap_days)


def latest(evidence: Iterable[Evidence]) -> list[Evidence]:
    """Of every resource the rows of its latest copy, each once; a resource without an id counts as one of its own."""
    rows = set(evidence)
    newest: dict[tuple[str, str], Version] = {}
    for row in rows:
        key = (row.resource, row.id)
        newest[key] = max(newest.get(key, row.version), row.version)
    return [row for row in rows if not row.id or row.version == newest[row.resource, row.id]]


def _by_t_score(rows: Sequence[Evidence], mg_day: int, rule: LabelRule) -> Label:
    usable = [row for row in rows if isinstance(row, TScore)]
    earliest = mg_day if rule.after_only else mg_day - rule.max_gap_days
    near = [row for row in usable if earliest <= row.day <= mg_day + rule.max_gap_days]
    if not near:
        refused = any(isinstance(row, Unusable) and row.resource == "Observation" for row in rows)
        return Label(reason="dxa_outside_gap" if usable else "dxa_unusable" if refused else "no_dxa")
    exam_day = min((row.day for row in near), key=lambda day: (abs(day - mg_day), day))
    lowest = min(row.value for row in near if row.day == exam_day)
    return Label(
        osteoporosis=lowest <= T_SCORE_CUT_OFF,
        source=LabelKind.T_SCORE.value,
        t_score=lowest,
        gap_days=exam_day - mg_day,
    )


def _by_diagnosis(rows: Sequence[Evidence], mg_day: int, rule: LabelRule) -> Label:
    """No diagnosis is read as no osteoporosis: true only as far as a site records its diagnoses."""
    stated = [row for row in rows if isinstance(row, Diagnosis) and row.counts]
    if any(_held(row, mg_day - rule.max_gap_days, mg_day + rule.max_gap_days) for row in stated):
        return Label(osteoporosis=True, source=LabelKind.DIAGNOSIS.value)
    if any(isinstance(row, Unusable) and row.resource == "Condition" for row in rows):
        return Label(reason="diagnosis_unusable")
    return Label(osteoporosis=False, source="no-diagnosis")


def _held(row: Diagnosis, first_day: int, last_day: int) -> bool:
    return row.start_day <= last_day and (not row.end_day or row.end_day >= first_day)
