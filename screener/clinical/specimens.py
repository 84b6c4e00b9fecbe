"""From what a result was measured: what texts, a specimen or a unit say against the code's own word.

A serum code beside the words "24 h urine" is wrong in one of the two: such a result is not used. The words are in
data/contradictions.csv.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from screener.clinical import wire
from screener.clinical.haemolysis import says_haemolysed
from screener.clinical.patients import ID
from screener.clinical.records import Analyte

_REFERENCE = re.compile(rf"(?:^|/)Specimen/({ID})(?:/_history/{ID})?$")
_BLOOD_WORDS = re.compile(r"serum|plasma|blood|blut|\bser\b|\bplas\b|\bsang|siero|suero", re.IGNORECASE)
# SNOMED CT and HL7 v2 table 0487.
_URINE_CODES = frozenset({"122575003", "78014005", "258574006", "276833005", "UR", "URC", "URT", "URNS", "UMED"})
_CELL_CODES = frozenset({"119351004", "41898006", "ERYC", "RBC"})
_HAEMOLYSED_CODES = frozenset({"HEM", "RH", "118128002", "281283007", "8405002"})


class _Named(msgspec.Struct, frozen=True):
    reference: str | None = None
    display: str | None = None


class ContradictionRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pattern (regular expression, case ignored) that speaks against a blood result of these analytes, in a "name" (of a code, a unit
    or a specimen) or in a "note", which tells of many things: there only what it says of the result's own specimen counts."""

    reason: str
    where: Literal["name", "note"]
    analytes: str
    pattern: str
    source: str


def contradiction(analyte: Analyte, texts: Iterable[str]) -> str:
    """Why words beside a result speak against its code: another specimen, another fraction, another basis; "" where none do."""
    for text in texts:
        found = _reason("name", analyte, text)
        # "Serum and urine" is a name of a panel, and serum is there.
        if found and not (found == "specimen_urine" and _BLOOD_WORDS.search(text)):
            return found
    return ""


def contradiction_in_note(analyte: Analyte, text: str) -> str:
    """The same of a note, which may be about something else."""
    return _reason("note", analyte, text)


def _reason(where: str, analyte: Analyte, text: str) -> str:
    return next((reason for reason, pattern in _patterns()[where, analyte] if pattern.search(text)), "")


@cache
def _patterns() -> dict[tuple[str, Analyte], list[tuple[str, re.Pattern[str]]]]:
    content = resources.files("screener.clinical").joinpath("data", "contradictions.csv").read_text(encoding="utf-8")
    found: dict[tuple[str, Analyte], list[tuple[str, re.Pattern[str]]]] = defaultdict(list)
    for row in csv.DictReader(content.splitlines()):
        checked = msgspec.convert(row, ContradictionRow)
        pattern = re.compile(checked.pattern, re.IGNORECASE)
        for analyte in checked.analytes.split():
            found[checked.where, Analyte(analyte)].append((checked.reason, pattern))
    return found


def named(analyte: Analyte, specimen: bytes) -> str:
    """The same of a reference to a Specimen, by the display that it carries."""
    found = wire.lenient(msgspec.Raw(specimen), _Named)
    return contradiction(analyte, [found.display]) if found and found.display else ""


def reference_of(specimen: bytes) -> str:
    """The id of the Specimen that a reference names; "" for one inside the Observation, and where it names none."""
    found = wire.lenient(msgspec.Raw(specimen), _Named)
    named_ = _REFERENCE.search(found.reference or "") if found else None
    return named_[1] if named_ else ""


def contained(specimen: bytes, held_inside: msgspec.Raw) -> str:
    """The reason against a result by the Specimen inside its Observation."""
    reference = wire.lenient(msgspec.Raw(specimen), _Named)
    name = (reference.reference or "").removeprefix("#") if reference else ""
    for raw in wire.lenient(held_inside, tuple[msgspec.Raw, ...]) or ():
        held = wire.lenient(raw, _Contained)
        if held is not None and name and held.id == name:
            return reason_against(held)
    return ""


def reason_against(specimen: "wire.Specimen | _Contained") -> str:
    """Why a blood result of this Specimen must not be used; "" where nothing speaks against it."""
    kind = wire.lenient(specimen.type, wire.CodeableConcept) or wire.CodeableConcept()
    conditions = wire.lenient(specimen.condition, tuple[wire.CodeableConcept, ...]) or ()
    notes = wire.lenient(specimen.note, tuple[wire.Annotation, ...]) or ()
    codes = {coding.code for coding in kind.coding or ()}
    if codes & _URINE_CODES:
        return "specimen_urine"
    if codes & _CELL_CODES:
        return "specimen_red_cells"
    states = {coding.code for concept in conditions for coding in concept.coding or ()}
    said = [*(text for concept in conditions for text in words(concept)), *(n.text for n in notes if n.text)]
    if states & _HAEMOLYSED_CODES or any(map(says_haemolysed, said)):
        return "haemolysed"
    return contradiction(Analyte.MG, words(kind))


class _Contained(msgspec.Struct, frozen=True):
    """A Specimen inside an Observation, whatever it says of its type."""

    id: str | None = None
    type: msgspec.Raw = msgspec.Raw()
    condition: msgspec.Raw = msgspec.Raw()
    note: msgspec.Raw = msgspec.Raw()


def words(concept: wire.CodeableConcept) -> list[str]:
    """The text of a concept and the displays of its codings."""
    return [text for text in (concept.text, *(coding.display for coding in concept.coding or ())) if text]
