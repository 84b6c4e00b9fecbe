"""What is on no list but reads like an exclusion: by the words of a diagnosis, procedure or medicine.

It excludes nobody. It leaves a caveat with the words of the source, and coverage counts it with what is needed to map it. The words
are in data/suspicions.csv (English, German, French, Spanish; brand names of medicines), what takes them back in data/denials.csv.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec

from screener.clinical import wire
from screener.clinical.codes import TableRow, read_table
from screener.clinical.exclusions import ExclusionRow, policy_of, shipped_rules

LONGEST_TEXT = 2000  # characters that are looked at
LONGEST_WORDS = 80  # characters of the source's words that are kept


class SuspicionRow(TableRow, frozen=True, kw_only=True):
    """A pattern (regular expression, case ignored) in the words of a rule's diagnoses or medicines; `unless` takes it back."""

    rule: str
    resources: str
    pattern: str
    unless: str = ""


class DenialRow(TableRow, frozen=True, kw_only=True):
    """Words that say that the patient does not have it: a negation, her family, a screening, a risk."""

    language: str
    pattern: str


class _Suspected(msgspec.Struct, frozen=True):
    row: SuspicionRow
    kinds: frozenset[str]
    pattern: re.Pattern[str]
    unless: re.Pattern[str] | None
    policies: dict[str, dict[str, Any]]


def suspected(resource: str, concept: wire.CodeableConcept) -> tuple[ExclusionRow, ...]:
    """A caveat row for each rule that the words of a concept point to, with the words; () where they point to none."""
    found: dict[str, ExclusionRow] = {}
    for text in _texts(concept):
        for rule in rules_in(resource, text):
            found.setdefault(rule.row.rule, _row(rule, resource, text))
    return tuple(found.values())


def rules_in(resource: str, text: str) -> list[_Suspected]:
    """The rules that one text points to, with its accents or without."""
    text = text[:LONGEST_TEXT]
    text = f"{text}\n{_without_accents(text)}"
    if _denials().search(text):
        return []
    return [
        rule
        for rule in _table()
        if resource in rule.kinds and rule.pattern.search(text) and not (rule.unless and rule.unless.search(text))
    ]


def _without_accents(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))


def preload() -> None:
    """Read and compile the tables."""
    _table()
    _denials()


def _row(rule: _Suspected, resource: str, text: str) -> ExclusionRow:
    return ExclusionRow(
        resources=resource,
        system="",
        code="",
        source="words",
        # What cannot be printed has no place in a note: XHTML and FHIR's strings allow none of it.
        words="".join(filter(str.isprintable, " ".join(text.split())))[:LONGEST_WORDS],
        **rule.policies[resource],
    )


def _texts(concept: wire.CodeableConcept) -> list[str]:
    return [text for text in (concept.text, *(coding.display for coding in concept.coding or ())) if text]


@cache
def _denials() -> re.Pattern[str]:
    return re.compile("|".join(row.pattern for row in read_table("denials.csv", DenialRow)), re.IGNORECASE)


@cache
def _table() -> tuple[_Suspected, ...]:
    return tuple(_read(read_table("suspicions.csv", SuspicionRow)))


def _read(rows: Iterable[SuspicionRow]) -> Iterable[_Suspected]:
    for row in rows:
        kinds = ExclusionRow(rule="", resources=row.resources, system="", code="", window="ever").kinds
        yield _Suspected(
            row=row,
            kinds=frozenset(kinds),
            pattern=re.compile(row.pattern, re.IGNORECASE),
            unless=re.compile(row.unless, re.IGNORECASE) if row.unless else None,
            policies={kind: _policy(row.rule, kind) for kind in kinds},
        )


def _policy(rule: str, resource: str) -> dict[str, Any]:
    """For how long it matters: as the rule's own codes do. Nobody is excluded, and nothing is added up."""
    ours = [row for row in shipped_rules() if row.rule == rule]
    kinds = [ExclusionRow(**policy_of(row), resources=row.resources, system="", code="").kinds for row in ours]
    best = next((row for row, of in zip(ours, kinds, strict=True) if resource in of), ours[0])
    return {**policy_of(best), "effect": "caveat", "route": "any", "minimum_days": 0}
