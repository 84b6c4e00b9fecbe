"""One Observation of a known code: a fact, or a refusal with its reason.

The reasons, in the order in which they are looked for (the first one found is given):
`withdrawn`; the code's own (`specimen_...`, `ionised`, ...); `status_...`; `id_missing`; `modifier_unknown`;
`not_the_patient`; `haemolysed`; `held_for_review`; what a note or the specimen says against the code; `value_absent`, `value_missing`, `value_not_quantity`; `malformed`;
`unit_...`; `comparator`; `implausible`, `implausible_unit_suspected`; `date_...`.
"""

import re
from decimal import Decimal

import msgspec

from screener.clinical import dates, wire
from screener.clinical.codes import Match, decimal_of
from screener.clinical.haemolysis import says_haemolysed
from screener.clinical.patients import security
from screener.clinical.records import Analyte, Fact, Moment, Refusal, Version
from screener.clinical.specimens import contradiction_in_note, words
from screener.clinical.units import Conversion

WITHDRAWN = frozenset({"entered-in-error", "cancelled"})
USABLE = frozenset({"final", "amended", "corrected"})
STATUSES = frozenset({"registered", "preliminary", "unknown"})
DATE_MISSING = "date_missing"
_REMEMBERED = 16_384

_IN_WORDS = re.compile(
    r"^\W*?(?:e?gfr\D{0,12}?)?(?P<comparator><=|>=|[<>≤≥]|less than|greater than|kleiner|größer)?\s*(?P<number>\d+(?:[.,]\d+)?)"
    r"\s*(?P<unit>ml\s?/\s?min[^\s;,]*(?:\s?m²|\s?m2|\s?qm)?)?\W*$",
    re.IGNORECASE,
)
_COMPARATORS = {"≤": "<=", "≥": ">=", "less than": "<", "kleiner": "<", "greater than": ">", "größer": ">"}
# HL7 v2 tables: 0493 specimen condition HEM, 0490 specimen reject reason RH.
_HAEMOLYSIS_CODES = frozenset(
    {
        ("http://terminology.hl7.org/CodeSystem/v2-0493", "HEM"),
        ("http://terminology.hl7.org/CodeSystem/v2-0490", "RH"),
    }
)
_HIGH = frozenset({"H", "HH", "HU", ">"})  # v3-ObservationInterpretation
_HOLD_FOR_REVIEW = ("http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "HM")

_decode_concepts = msgspec.json.Decoder(tuple[wire.CodeableConcept, ...]).decode
_decode_notes = msgspec.json.Decoder(tuple[wire.Annotation, ...]).decode
_decode_ranges = msgspec.json.Decoder(wire.Ranges).decode
_decode_other_values = msgspec.json.Decoder(wire.OtherValues).decode


def when(observation: wire.Observation) -> Moment | str:
    """When the specimen was taken or the measurement made, or why that cannot be said.

    Of a period the start (for blood, the draw); of several times the first; the time of issue where nothing else is given.
    """
    text = observation.effectiveDateTime or observation.effectiveInstant
    if not text and observation.effectivePeriod:
        text = observation.effectivePeriod.start or observation.effectivePeriod.end
    if not text and observation.effectiveTiming and observation.effectiveTiming.event:
        text = observation.effectiveTiming.event[0]
    text = text or observation.issued
    return dates.moment(text) if text else DATE_MISSING


def fact(
    patient: str,
    observation: wire.Observation,
    version: Version,
    match: Match,
    moment: Moment,
    reading: Conversion,
    specimen: str = "",
) -> Fact:
    """The usable measurement."""
    meta = observation.meta
    return Fact(
        patient,
        observation.id or "",
        version,
        match.analyte,
        reading.value,
        moment,
        dates.instant_of(observation.issued) if observation.issued else 0,
        reading.comparator,
        match.rank,
        reading.marks,
        security(meta) if meta is not None and meta.security else (),
        reading.unit,
        match.code,
        specimen,
        reading.sent,
    )


def refusal(
    patient: str, observation: wire.Observation, version: Version, match: Match, reason: str, moment: Moment | str
) -> Refusal:
    """The measurement that must not be used."""
    day = moment.day if isinstance(moment, Moment) else 0
    return Refusal(patient, observation.id or "", version, match.analyte, reason, day, reason == "withdrawn")


def refused_by_status(status: str | None, match: Match) -> str:
    """Why a result of this status and code is not used; a withdrawn one counts as that, whatever its code."""
    if status in WITHDRAWN:
        return "withdrawn"
    if match.reason:
        return match.reason
    if not status:
        return "status_missing"
    # What R4 does not list becomes one reason: a reason code must not carry a sender's text.
    return f"status_{status}" if status in STATUSES else "status_not_r4"


def refused_by_remarks(observation: wire.Observation, *, absent: bool = True, analyte: Analyte | None = None) -> str:
    """Whether something said beside the value forbids its use: the reason, or "".

    Without `absent` it is no reason that a value is said to be absent: of a panel, whose values are in its components.
    """
    if wire.present(observation.modifierExtension):
        return "modifier_unknown"  # R4: who does not understand a modifier extension must not use the resource
    interpretation = _decode_concepts(_or_empty(observation.interpretation))
    lacking = wire.decode_concept(observation.dataAbsentReason) if wire.present(observation.dataAbsentReason) else None
    said = [*interpretation, *([lacking] if lacking else [])]
    notes = [note.text for note in _decode_notes(_or_empty(observation.note)) if note.text]
    texts = [*(text for concept in said for text in words(concept)), *notes]
    codings = {(coding.system, coding.code) for concept in said for coding in concept.coding or ()}
    if not codings.isdisjoint(_HAEMOLYSIS_CODES) or any(map(says_haemolysed, texts)):
        return "haemolysed"
    if _HOLD_FOR_REVIEW in codings:
        return "held_for_review"
    against = next((why for note in notes if analyte and (why := contradiction_in_note(analyte, note))), "")
    if against:
        return against
    return "value_absent" if lacking and absent else ""


def is_harmless(interpretation: bytes) -> bool:
    """Whether an interpretation, as JSON, says nothing against the use of a value, as "normal" and "high" do."""
    try:
        return not refused_by_remarks(wire.Observation(interpretation=msgspec.Raw(interpretation)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def above_range(observation: wire.Observation, raw: bytes | msgspec.Raw) -> bool:
    """Whether the laboratory calls the value high: by its interpretation, or by the upper end of its reference range in the same unit."""
    ranges = _decode_ranges(raw).referenceRange
    return _above[bytes(observation.interpretation), bytes(observation.valueQuantity), bytes(ranges)]


def _read_above(texts: tuple[bytes, bytes, bytes]) -> bool:
    interpretation, quantity, ranges = map(msgspec.Raw, texts)
    concepts = _decode_concepts(_or_empty(interpretation))
    if any(coding.code in _HIGH for concept in concepts for coding in concept.coding or ()):
        return True
    sent = wire.lenient(quantity, wire.Quantity)
    value = _decimal(sent.value) if sent else None
    highs = [one.high for one in wire.lenient(ranges, tuple[wire.ReferenceRange, ...]) or () if one.high]
    limits = [
        _decimal(high.value) for high in highs if sent and (high.code or high.unit or "") in ("", sent.code, sent.unit)
    ]
    known = [limit for limit in limits if limit is not None]
    return value is not None and bool(known) and value > max(known)


_above = dates.Remembered(_read_above, _REMEMBERED)


def _decimal(raw: msgspec.Raw) -> Decimal | None:
    return decimal_of(bytes(raw).decode("ascii", "replace"))


def no_quantity(observation: wire.Observation, raw: bytes | msgspec.Raw) -> str:
    """Why there is no `valueQuantity`: something else stands in its place, or nothing does.

    A report in words may say that the specimen was haemolysed: that is the better reason.
    """
    other = _decode_other_values(raw)
    if other.valueString and says_haemolysed(other.valueString):
        return "haemolysed"
    if wire.present(observation.valueCodeableConcept):
        concept = wire.decode_concept(observation.valueCodeableConcept)
        return "haemolysed" if any(says_haemolysed(t) for t in words(concept)) else "value_not_quantity"
    kinds = (getattr(other, name) for name in wire.OtherValues.__struct_fields__)
    return "value_not_quantity" if any(kinds) else "value_missing"


def quantity_in_words(observation: wire.Observation, raw: bytes | msgspec.Raw) -> bytes | None:
    """A quantity that a report gives in words ("<15", "18 mL/min/1.73m2"), as the JSON of a Quantity; None for other words."""
    text = _decode_other_values(raw).valueString
    if not text and wire.present(observation.valueCodeableConcept):
        text = wire.decode_concept(observation.valueCodeableConcept).text
    found = _IN_WORDS.match(text or "")
    if found is None:
        return None
    number = decimal_of(found["number"].replace(",", "."))
    if number is None:
        return None
    sent: dict[str, object] = {"value": msgspec.Raw(str(number).encode()), "unit": found["unit"] or "mL/min"}
    comparator = _COMPARATORS.get(found["comparator"] or "", found["comparator"])
    return msgspec.json.encode(sent | ({"comparator": comparator} if comparator else {}))


def _or_empty(raw: msgspec.Raw) -> msgspec.Raw | bytes:
    return raw if wire.present(raw) else b"[]"
