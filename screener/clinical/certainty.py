"""How sure a diagnosis is: confirmed, suspected, ruled out, or past, by its verification status and by the mark that German
diagnoses carry (ICD-10-GM: A ruled out, V suspected, Z past, G confirmed), in an extension or behind the code.
"""

import re
from typing import Literal

import msgspec

from screener.clinical import dates, wire
from screener.clinical.exclusions import ICD_10_GM
from screener.clinical.spans import codes_of

Certainty = Literal["", "suspected", "ruled_out", "past", "withdrawn"]

# Codes of condition-ver-status (R4).
_VERIFICATION: dict[str, Certainty] = {
    "entered-in-error": "withdrawn",
    "refuted": "ruled_out",
    "provisional": "suspected",
    "differential": "suspected",
    "unconfirmed": "suspected",
}
_GERMAN: dict[str, Certainty] = {"A": "ruled_out", "V": "suspected", "Z": "past"}
_MARK_BEHIND_CODE = re.compile(r"^[A-Z]\d{2}(?:\.?[\d-]{1,2})?[+*!#]*\s*([AGVZ])(?:\s*[LRB])?$")
_EXTENSION = "icd-10-gm-diagnosesicherheit"


class _Marked(msgspec.Struct, frozen=True):
    system: str | None = None
    code: str | None = None
    extension: tuple[wire.Extension, ...] | None = None


class _Concept(msgspec.Struct, frozen=True):
    coding: tuple[_Marked, ...] | None = None


def certainty(condition: wire.Condition) -> Certainty:
    """What is said of it; "" for a confirmed diagnosis, and where nothing is said. The least sure statement counts."""
    said = {_VERIFICATION.get(code, "") for code in codes_of(bytes(condition.verificationStatus))}
    said.add(_marked[bytes(condition.code)])
    order: tuple[Certainty, ...] = ("withdrawn", "ruled_out", "suspected", "past")
    return next((one for one in order if one in said), "")


def _read_mark(code: bytes) -> Certainty:
    """The mark of a German diagnosis, from its concept as sent."""
    if b"icd-10-gm" not in code:
        return ""
    found = wire.lenient(msgspec.Raw(code), _Concept)
    for coding in (found.coding if found else None) or ():
        marks = [ext.valueCoding.code for ext in coding.extension or () if ext.valueCoding and _is_mark(ext)]
        if coding.system and ICD_10_GM.rpartition("/")[2] in coding.system:
            behind = _MARK_BEHIND_CODE.match((coding.code or "").strip().upper())
            marks += [behind[1]] if behind else []
        for mark in marks:
            if mark in _GERMAN:
                return _GERMAN[mark]
    return ""


def _is_mark(extension: wire.Extension) -> bool:
    return (extension.url or "").lower().endswith(_EXTENSION)


_marked = dates.Remembered(_read_mark, 16_384)
