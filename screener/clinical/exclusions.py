"""Which codes may exclude a patient, which only call for a caveat, and which document her menopausal status.

`data/rules.csv` has one row for each rule and value set: what follows from a code, and for how long. `data/valuesets/` enumerates
the codes: nothing stands for its descendants, and ICD-10 rows belong to one edition. A rule counts `ever` from the start on, `active`
while it lasts, or `washout` for some days after the end.
"""

import csv
import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from importlib import resources
from sys import intern
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import msgspec

from screener.base.errors import ConfigurationError
from screener.clinical import wire
from screener.clinical.codes import SiteRows, Systems, TableRow, read_rows, read_table, systems
from screener.clinical.records import Span

ICD_10_WHO = "http://hl7.org/fhir/sid/icd-10"
ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD_10_GM = "http://fhir.de/CodeSystem/bfarm/icd-10-gm"
ICD_9_CM = "http://hl7.org/fhir/sid/icd-9-cm"
ATC = "http://www.whocc.no/atc"
SNOMED_CT = "http://snomed.info/sct"
_CATEGORY = 3  # characters of a category of ICD-10
_DOTTED = frozenset({ICD_10_WHO, ICD_10_CM, ICD_10_GM, ICD_9_CM, ATC})

# What `medicines` stands for in the column `resources`.
MEDICINES = "medicines"
MEDICATED = ("MedicationRequest", "MedicationStatement", "MedicationAdministration", "MedicationDispense")

_NOT_ALPHANUMERIC = re.compile(r"[^A-Z0-9]")

Window = Literal["ever", "active", "washout", "never"]
Route = Literal["any", "not_local", "systemic", "parenteral"]
Effect = Literal["exclude", "caveat", "refuse_magnesium", "none"]


class ListRow(TableRow, frozen=True, kw_only=True):
    """A code in certain resource types (separated by blanks; `medicines` is all four); "prefix" takes every code that begins so."""

    resources: str
    system: str
    code: str
    match: Literal["exact", "prefix"] = "exact"

    @property
    def kinds(self) -> list[str]:
        """The resource types."""
        return self.resources.replace(MEDICINES, " ".join(MEDICATED)).split()

    @property
    def token(self) -> str:
        """`system|code`, with a star where it is the beginning of codes."""
        return f"{self.system}|{self.code}{'*' if self.match == 'prefix' else ''}"


class ExclusionRow(ListRow, frozen=True, kw_only=True):
    """One code, what follows from it, and for how long. A site switches a row off with the window "never".

    `effect`: "exclude"; "caveat" (nobody is excluded, the assessment says so); "refuse_magnesium" (a result of the window must not be
    used); "none" (known to matter not).
    `minimum_days`: courses that follow each other closely are added up, and count from so many days of intake within a year.
    `longest_days` ends what is recorded without an end so long after its start (a pregnancy is over, whatever the record says).
    `after` is the caveat that an excluding medicine leaves when its window is over.
    `route`: "systemic" and "parenteral" need such a route on the statement, "not_local" only lacks effect under a local one; what comes
    under another route has the effect `otherwise`, for `otherwise_days` after its end. `words` are the source's own, where only they
    made us think of the rule.
    """

    rule: str
    window: Window
    washout_days: int = 0
    minimum_days: int = 0
    longest_days: int = 0
    effect: Effect = "exclude"
    route: Route = "any"
    otherwise: Literal["caveat", "none"] = "none"
    otherwise_days: int = 0
    after: str = ""
    words: str = ""


class RuleRow(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from the codes of one value set in certain resource types; the columns are those of `ExclusionRow`."""

    rule: str
    value_set: str
    resources: str
    window: Window
    washout_days: int = 0
    minimum_days: int = 0
    longest_days: int = 0
    effect: Effect = "exclude"
    route: Route = "any"
    otherwise: Literal["caveat", "none"] = "none"
    otherwise_days: int = 0
    after: str = ""
    why: str = ""


class ValueSetCode(NamedTuple):
    """One code of a value set, as its file has it."""

    system: str
    code: str
    match: str
    source: str


class MenopauseRow(ListRow, frozen=True, kw_only=True):
    """One code that states a menopausal status, a pregnancy or a hysterectomy; `surgical` says that the ovaries were removed."""

    status: Literal["post", "pre", "peri", "pregnant", "not_pregnant", "hysterectomy"]
    surgical: bool = False


class MenopauseObservationRow(TableRow, frozen=True, kw_only=True):
    """One code of an Observation whose value says something of menopause other than by a concept."""

    system: str
    code: str
    means: Literal["last_period", "age_at_menopause", "status"]


class MenopauseObservations:
    """The rows of Observations whose value says something of menopause."""

    def __init__(self, rows: Iterable[MenopauseObservationRow], systems: Systems) -> None:
        self._means = {(row.system, row.code): row.means for row in rows}
        self._systems = systems

    def means(self, concept: wire.CodeableConcept) -> str:
        """What a value under this code says: "last_period", "age_at_menopause", "status" (its concept says it), or "" for nothing."""
        pairs = ((self._systems.name(c.system), c.code or "") for c in concept.coding or ())
        return next((self._means[pair] for pair in pairs if pair in self._means), "")

    def coded(self) -> tuple[tuple[str, str], ...]:
        """System and code of each."""
        return tuple(self._means)


L = TypeVar("L", bound=ListRow)


class CodeList(Generic[L]):
    """Finds rows by the codings of a concept.

    A code of a national edition of ICD-10 meets the rows of whole categories only. Of a post-coordinated expression of SNOMED CT the
    focus concepts count.
    """

    def __init__(self, rows: Iterable[L], systems: Systems) -> None:
        self._systems = systems
        self._exact: dict[tuple[str, str], list[L]] = {}
        self._prefixes: dict[tuple[str, str], list[L]] = {}
        self._kinds: dict[str, frozenset[str]] = {}
        self._excluding: set[tuple[str, str]] = set()
        seen: set[tuple[str, str]] = set()
        for row in rows:
            where = self._exact if row.match == "exact" else self._prefixes
            where.setdefault((row.system, _canonical(row.system, row.code)), []).append(row)
            if row.resources not in self._kinds:
                self._kinds[row.resources] = frozenset(row.kinds)
            if getattr(row, "effect", "") == "exclude" and (row.resources, row.system) not in seen:
                seen.add((row.resources, row.system))
                self._excluding.update((kind, row.system) for kind in row.kinds)
        self._prefixed = frozenset(system for system, _ in self._prefixes)
        self._subdivided = {
            (system, code[:_CATEGORY])
            for system, code in (*self._exact, *self._prefixes)
            if system in set(systems.editions.values()) and len(code) > _CATEGORY
        }

    def find(self, resource: str, concept: wire.CodeableConcept) -> tuple[L, ...]:
        """Every row that one of the codings meets, in the order of the codings."""
        return tuple(
            row for coding in concept.coding or () for row in self._of(coding) if resource in self._kinds[row.resources]
        )

    def excludes_by(self, resource: str, system: str) -> bool:
        """Whether rows that exclude stand for codes of a system in a resource type."""
        return (resource, system) in self._excluding

    def covers_part_of_category(self, coding: wire.Coding) -> bool:
        """Whether the code is of a national edition, in a category of which the list has only some codes of WHO's: they may mean
        something else there (E83.31)."""
        system = self._systems.editions.get(self._systems.name(coding.system))
        return system is not None and (system, _canonical(system, coding.code or "")[:_CATEGORY]) in self._subdivided

    def _of(self, coding: wire.Coding) -> list[L]:
        if not coding.system or not coding.code:
            return []
        system = self._systems.name(coding.system)
        if system == SNOMED_CT and not coding.code.isdecimal():
            return [row for focus in focus_concepts(coding.code) for row in self._exact.get((system, focus), ())]
        edition = self._systems.editions.get(system)
        code = _canonical(edition or system, coding.code)
        if edition:
            return [row for n in range(1, _CATEGORY + 1) for row in self._prefixes.get((edition, code[:n]), ())]
        found = list(self._exact.get((system, code), ()))
        if system in self._prefixed:
            for length in range(1, len(code) + 1):
                found += self._prefixes.get((system, code[:length]), ())
        return found


def focus_concepts(expression: str) -> tuple[str, ...]:
    """The focus concepts of an expression in SNOMED CT compositional grammar: what stands before its refinement, terms left out; ()
    where it is none."""
    head = re.split(r"[:{]", re.sub(r"\|[^|]*\|", "", expression), maxsplit=1)[0]
    parts = [part.strip(" =<()\t") for part in head.split("+")]
    return tuple(parts) if all(part.isdecimal() for part in parts) else ()


@cache
def shipped_rules() -> tuple[RuleRow, ...]:
    """The rules that are shipped, in the order of their table."""
    return tuple(read_table("rules.csv", RuleRow))


def value_set(name: str) -> tuple[ValueSetCode, ...]:
    """The codes of one shipped value set; FileNotFoundError for an unknown name."""
    rows = csv.reader(_data("valuesets", f"{name}.csv").splitlines())
    next(rows)
    return tuple(map(ValueSetCode._make, rows))


def _data(*path: str) -> str:
    return resources.files("screener.clinical").joinpath("data", *path).read_text(encoding="utf-8")


def value_set_names() -> tuple[str, ...]:
    """The names of the value sets that rules use, sorted."""
    return tuple(sorted({row.value_set for row in shipped_rules()}))


def exclusion_table(extra: SiteRows, expanded: SiteRows = ()) -> tuple[ExclusionRow, ...]:
    """The effective list: the shipped rules over their value sets, codes from a terminology server, and the site's rows over all.

    `expanded` has the columns value_set, system, code and source. A site's row replaces every other of the same rule and
    system that it covers: the same code, or all codes that begin so.
    """
    site = read_rows(extra, ExclusionRow, "extra_exclusions")
    found = [*_shipped(), *_further(expanded)]
    if not site and len(found) == len(_shipped()):
        return _shipped()
    over = _Replaced(site)
    table = {_key(row): row for row in (*(row for row in found if row not in over), *site)}
    return tuple(table[key] for key in sorted(table))


def _key(row: ExclusionRow) -> tuple[str, str, str, str]:
    return row.rule, row.resources, row.system, row.code


@cache
def _shipped() -> tuple[ExclusionRow, ...]:
    """The shipped rows, in the order of the tables. A code of two sets of one rule has two rows, and they agree."""
    return tuple(row for rule in shipped_rules() for row in _of_rule(rule, value_set(rule.value_set)))


def _further(expanded: SiteRows) -> Iterable[ExclusionRow]:
    """The rows for codes that a terminology server added to our value sets."""
    further: dict[str, list[ValueSetCode]] = {}
    for number, row in enumerate(expanded, start=1):
        further.setdefault(str(row.get("value_set")), []).append(_expanded(row, number))
    for rule in shipped_rules():
        yield from _of_rule(rule, further.get(rule.value_set, ()))


class _Replaced:
    """The shipped rows that a site's rows replace."""

    def __init__(self, site: Iterable[ExclusionRow]) -> None:
        self._codes: dict[tuple[str, str], set[str]] = {}
        self._beginnings: dict[tuple[str, str], tuple[str, ...]] = {}
        for row in site:
            key, code = (row.rule, row.system), _canonical(row.system, row.code)
            self._codes.setdefault(key, set()).add(code)
            if row.match == "prefix":
                self._beginnings[key] = (*self._beginnings.get(key, ()), code)

    def __contains__(self, row: ExclusionRow) -> bool:
        key = (row.rule, row.system)
        if key not in self._codes:
            return False
        code = _canonical(row.system, row.code)
        return code in self._codes[key] or code.startswith(self._beginnings.get(key, ()) or ("\0",))


def _expanded(row: Mapping[str, Any], number: int) -> ValueSetCode:
    if row.get("value_set") not in value_set_names() or not row.get("system") or not row.get("code"):
        raise ConfigurationError(
            f"The file of expanded value sets: row {number} cannot be used",
            "Make the file again with `screener codes expand`; its columns are value_set, system, code and source",
        )
    return ValueSetCode(str(row["system"]), str(row["code"]), "exact", str(row.get("source", "")))


def _of_rule(rule: RuleRow, codes: Iterable[ValueSetCode]) -> Iterable[ExclusionRow]:
    policy = policy_of(rule)
    for system, code, match, source in codes:
        yield ExclusionRow(
            resources=rule.resources,
            system=intern(system),
            code=code,
            match="prefix" if match == "prefix" else "exact",
            source=intern(source),
            **policy,
        )


def policy_of(rule: RuleRow) -> dict[str, Any]:
    """What follows from a rule's codes, as the fields of an `ExclusionRow`."""
    return {
        "rule": rule.rule,
        "window": rule.window,
        "washout_days": rule.washout_days,
        "minimum_days": rule.minimum_days,
        "longest_days": rule.longest_days,
        "effect": rule.effect,
        "route": rule.route,
        "otherwise": rule.otherwise,
        "otherwise_days": rule.otherwise_days,
        "after": rule.after,
    }


def window(row: ExclusionRow, span: Span) -> tuple[int, int, bool]:
    """First and last day on which `row` holds (0 = open), and whether it does so at all. Courses are left to `courses`."""
    if row.window == "never":
        return span.start_day, span.end_day, False
    if row.longest_days and span.start_day and not span.documented_end:
        longest = span.start_day + row.longest_days - 1
        end = min(span.end_day or longest, longest)
        return span.start_day, end + row.washout_days, True
    if row.window == "ever" or not span.over:
        # A planned end that lies ahead is the end all the same; it is compared with the day in question.
        planned = span.end_day if span.documented_end and row.window != "ever" else 0
        return span.start_day, planned + row.washout_days if planned else 0, True
    return span.start_day, span.end_day + row.washout_days if span.end_day else 0, True


def is_course(row: ExclusionRow, span: Span) -> bool:
    """Whether the span is a course under a row whose courses are added up: one with a first and a last day, or at least a day on which
    the medicine was ordered, handed out or taken."""
    return bool(row.minimum_days and span.start_day and span.end_day)


def _canonical(system: str, code: str) -> str:
    """ICD and ATC codes come with and without dots, in either case, and with marks behind them (N18.4+)."""
    return _NOT_ALPHANUMERIC.sub("", code.upper()) if system in _DOTTED else code.strip()


Given = tuple[tuple[tuple[str, Any], ...], ...]  # rows of a table as they were given, so that they can be compared


class Effective(NamedTuple):
    """The effective exclusion list: its rows, the same found by codings, the rows about Observations, and a hash of all."""

    rows: tuple[ExclusionRow, ...]
    by_code: CodeList[ExclusionRow]
    observed: tuple[ExclusionRow, ...]
    digest: str


@lru_cache(maxsize=4)
def effective(site: Given, expanded: Given, named: Given = ()) -> Effective:
    """The list with a site's rows, made once a process for the same rows. `named` are the site's names of code systems."""
    rows = exclusion_table([dict(row) for row in site], [dict(row) for row in expanded])
    observed = tuple(row for row in rows if "Observation" in row.resources)
    return Effective(rows, CodeList(rows, systems([dict(row) for row in named])), observed, _digest(site, expanded))


def _digest(site: Given, expanded: Given) -> str:
    """SHA-256 over all that the list is made from."""
    texts = [_data("rules.csv"), *(_data("valuesets", f"{name}.csv") for name in value_set_names())]
    return hashlib.sha256(msgspec.json.encode([texts, site, expanded])).hexdigest()


def given(rows: SiteRows) -> Given:
    """Rows as they were given, in a form that can be compared and sent to another process."""
    return tuple(tuple(sorted(row.items())) for row in rows)
