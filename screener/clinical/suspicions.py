"""What is on no list but reads like an exclusion: by the words of a diagnosis, procedure or medicine.

It excludes nobody. It leaves a caveat with the words of the source, and coverage counts it with what is needed to map it. The words
are in data/suspicions.csv (English, German, French, Spanish, Dutch, Danish, Norwegian, Swedish, Italian; brand names of medicines),
what takes them back in data/denials.csv. Both are compared without accents.

A denial takes back one finding: the one that follows it ("carcinoma, no evidence of metastases" is a carcinoma), the one right
before it ("cirrhosis ruled out"), or the noun before its colon ("Pregnancy test: negative"). Words about her family take back what
is said in the same sentence.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import msgspec

from screener.clinical import wire
from screener.clinical.codes import TableRow, read_table
from screener.clinical.exclusions import ExclusionRow, policy_of, shipped_rules

LONGEST_TEXT = 2000  # characters that are looked at
LONGEST_WORDS = 80  # characters of the source's words that are kept
_PLAIN = frozenset({"lowers_magnesium", "dxa"})  # caveats of their own, by a code or by a name


class SuspicionRow(TableRow, frozen=True, kw_only=True):
    """A pattern (regular expression, case ignored) in the words of a rule's diagnoses or medicines; `unless` takes it back."""

    rule: str
    resources: str
    pattern: str
    unless: str = ""


class DenialRow(TableRow, frozen=True, kw_only=True):
    """Words that say that the patient does not have it: a negation, a screening, a risk ("next": the finding that follows; "before":
    the one before), or her family."""

    language: str
    takes_back: Literal["next", "before", "family"]
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
    """The rules that one text points to."""
    text = _without_accents(text[:LONGEST_TEXT])
    found = [
        finding
        for rule in _table()
        if resource in rule.kinds
        for match in rule.pattern.finditer(text)
        for finding in _parted(rule, match, text)
    ]
    if not found:
        return []
    found = [finding for finding in found if not _is_otherwise(finding, text)]
    taken_back = _denied(found, text) | _of_her_family(found, text)
    rules = [finding.rule for place, finding in enumerate(found) if place not in taken_back]
    return list({id(rule): rule for rule in rules}.values())


class _Finding(NamedTuple):
    """Where the words of a rule stand in a text."""

    rule: _Suspected
    start: int
    end: int


def _parted(rule: _Suspected, match: re.Match[str], text: str) -> Iterable[_Finding]:
    """What a pattern found. Where a denial stands within it, what the pattern finds before and behind that: "alcoholic cirrhosis without
    ascites" is a cirrhosis."""
    cue = _denials("next").search(text, match.start(), match.end())
    if cue is None or cue.end() >= match.end() or cue.start() <= match.start():
        return [_Finding(rule, match.start(), match.end())]
    parts = [(match.start(), cue.start()), (cue.end(), match.end())]
    return [_Finding(rule, *found.span()) for start, end in parts for found in rule.pattern.finditer(text, start, end)]


# Where a denial ends: another clause, or words that begin another thought.
_BREAK = re.compile(
    r"[;\n]|\.(?=\s|$)|,(?!\d)|\b(?:but|aber|jedoch|sondern|mais|pero|sino|maar|men|with|mit|bei|after|nach|due to|secondary to|because of|"
    r"wegen|avec|con|met|med|since|seit|and|und|et)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[;\n]|\.(?=\s|$)")
_CLAUSE = re.compile(r"[;\n]|\.(?=\s|$)|,(?!\d)")
_REACH = 60  # characters between a denial and what it denies
# "No progression of the carcinoma" says that there is one.
_STATE = re.compile(
    r"\b(?:progress|recurr|relaps|rezidiv|recidiv|residual|change|improve|remission|response|complication|cure|treat|therap)",
    re.IGNORECASE,
)
_SAME_NOUN = re.compile(
    r"\w*[\s/-]*(?:(?!of\b|from\b|in\b|due\b|des\b|der\b|von\b|vom\b|du\b|de\b|del\b|di\b|van\b)\w+[\s/-]+){0,2}",
    re.IGNORECASE,
)
_OR = re.compile(r"\w*\W+(?:or|oder|nor|noch|ou|ni|eller|oppure|bzw\.?)\W+(?:[\w-]+\W+){0,3}[\w-]*", re.IGNORECASE)
_OF_A_NOUN = (
    r"\w*(?:\s+(?:of|der|des|du|de|del|di|van)\s+(?:the\s+)?\w+(?:\s\w+)?)?\s*(?:tests?|status|befund|nachweis|result|marker)?\s*"
    r"(?:(?:has|have|was|were|is|are|been|be|wurden?|ist|sind|konnte|a|ete|fue|es|werd|is|blev|ble|er|stato|stata)\s+)*"
)
_RIGHT_BEFORE = re.compile(_OF_A_NOUN, re.IGNORECASE)
_BEHIND_COLON = re.compile(
    r"\w*(?:\s+(?:tests?|status|screening|nachweis|befund|result|history|marker|anamnese?)\w*)?\s*[:=]\s*"
    r"(?:no|none|nil|negative?|negativ\w*|negatief|nein|keine?r?|non|absente?|ningun[oa]|geen|nej|nei|ingen|nessun[oa]?)\b",
    re.IGNORECASE,
)


def _is_otherwise(finding: _Finding, text: str) -> bool:
    """Whether words of the rule's own exceptions stand in the finding's clause, or reach into it."""
    unless = finding.rule.unless
    if unless is None:
        return False
    start, end = _around(finding, text, _CLAUSE)
    return any(found.start() < end and found.end() > start for found in unless.finditer(text))


def _around(finding: _Finding, text: str, boundary: re.Pattern[str]) -> tuple[int, int]:
    """First and last place of the clause or sentence in which a finding stands."""
    start = max((found.end() for found in boundary.finditer(text, 0, finding.start)), default=0)
    after = boundary.search(text, finding.end)
    return start, after.start() if after else len(text)


def _denied(found: Sequence[_Finding], text: str) -> set[int]:
    """The places of the findings that a negation, a screening or a risk takes back."""
    taken: set[int] = set()
    order = sorted(range(len(found)), key=lambda place: (found[place].start, found[place].end))
    for cue in _denials("next").finditer(text):
        taken |= _that_follow(cue.end(), found, order, text)
    for cue in _denials("before").finditer(text):
        ended = [place for place in order if found[place].end <= cue.start()]
        taken |= {p for p in ended if _RIGHT_BEFORE.fullmatch(text, found[p].end, cue.start())}
    taken |= {place for place in order if _BEHIND_COLON.match(text, found[place].end)}
    return taken


def _that_follow(after: int, found: Sequence[_Finding], order: Sequence[int], text: str) -> set[int]:
    """The finding that follows a denial in its clause, in all its words, and what an "or" adds to it."""
    end = _BREAK.search(text, after)
    clause_end = end.start() if end else len(text)
    taken: set[int] = set()
    reached = -1
    for place in order:
        finding = found[place]
        if finding.start < after or finding.start >= clause_end:
            continue
        if reached < 0:
            if finding.start - after > _REACH or _STATE.search(text, after, finding.start):
                break
        elif finding.start > reached:
            gap = text[reached : finding.start]
            if not (_SAME_NOUN.fullmatch(gap) or _OR.fullmatch(gap)):
                break
        taken.add(place)
        reached = max(reached, finding.end)
    return taken


def _of_her_family(found: Sequence[_Finding], text: str) -> set[int]:
    """The places of the findings that are about her family: behind such words in a sentence, or before them in a clause. What is said of
    a mother in pregnancy is about the patient."""
    taken: set[int] = set()
    for cue in _denials("family").finditer(text):
        for place, finding in enumerate(found):
            if finding.rule.row.rule == "pregnancy":
                continue
            if finding.start >= cue.start():
                between = _SENTENCE.search(text, cue.end(), finding.start)
            else:
                between = _CLAUSE.search(text, finding.end, cue.start())
            if between is None:
                taken.add(place)
    return taken


def _without_accents(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))


def preload() -> None:
    """Read and compile the tables."""
    _table()
    for which in ("next", "before", "family"):
        _denials(which)


def _row(rule: _Suspected, resource: str, text: str) -> ExclusionRow:
    return ExclusionRow(
        resources=resource,
        system="",
        code="",
        source="words",
        # What cannot be printed has no place in a note: XHTML and FHIR's strings allow none of it.
        words=""
        if rule.row.rule in _PLAIN
        else "".join(filter(str.isprintable, " ".join(text.split())))[:LONGEST_WORDS],
        **rule.policies[resource],
    )


def _texts(concept: wire.CodeableConcept) -> list[str]:
    return [text for text in (concept.text, *(coding.display for coding in concept.coding or ())) if text]


@cache
def _denials(which: str) -> re.Pattern[str]:
    rows = [row for row in read_table("denials.csv", DenialRow) if row.takes_back == which]
    return _compiled("|".join(f"(?:{row.pattern})" for row in rows))


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(_without_accents(pattern), re.IGNORECASE)


@cache
def _table() -> tuple[_Suspected, ...]:
    return tuple(_read(read_table("suspicions.csv", SuspicionRow)))


def _read(rows: Iterable[SuspicionRow]) -> Iterable[_Suspected]:
    for row in rows:
        kinds = ExclusionRow(rule="", resources=row.resources, system="", code="", window="ever").kinds
        yield _Suspected(
            row=row,
            kinds=frozenset(kinds),
            pattern=_compiled(row.pattern),
            unless=_compiled(row.unless) if row.unless else None,
            policies={kind: _policy(row.rule, kind) for kind in kinds},
        )


def _policy(rule: str, resource: str) -> dict[str, Any]:
    """For how long it matters: as the rule's own codes do. Nobody is excluded, and nothing is added up."""
    ours = [row for row in shipped_rules() if row.rule == rule]
    kinds = [ExclusionRow(**policy_of(row), resources=row.resources, system="", code="").kinds for row in ours]
    best = next((row for row, of in zip(ours, kinds, strict=True) if resource in of), ours[0])
    least = best.minimum_days if rule in _PLAIN else 0
    return {**policy_of(best), "effect": "caveat", "route": "any", "minimum_days": least}
