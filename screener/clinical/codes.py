"""Which codes mean which analyte, and which look alike but must not be used. The codes are in data/codes.csv.

A table row and a row of a site's configuration are the same thing, read the same way: the site's row extends the table, or
replaces the row of the same system and code.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from importlib import resources
from typing import Any, Literal, TypeVar

import msgspec

from screener.base.errors import ConfigurationError
from screener.clinical import specimens, wire
from screener.clinical.records import Analyte

LOINC = "http://loinc.org"
NOT_THE_ANALYTE = "not_the_analyte"  # the reason of codes that other lists take for ours

R = TypeVar("R", bound=msgspec.Struct)
SiteRows = Iterable[Mapping[str, Any]]


class TableRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the rows of data tables; `source` says where the row's content is from."""

    source: str = "site"


class CodeRow(TableRow, frozen=True, kw_only=True):
    """One code of an Observation and what to do with it.

    A site's row without a `system` is for results that carry no code: `code` is then the text that they have instead, in whatever
    case and spacing.

    `rank` 0 is measured, 1 stated or estimated. `quantity` says what the code's own property is ("molar", "mass"); the unit
    decides all the same. `unit` is what a value without a unit is in: only a site can know that of its own code.
    """

    system: str = ""
    code: str
    analyte: Analyte
    specimen: str = ""
    use: Literal["accept", "opt_in", "refuse"] = "accept"
    reason: str = ""
    rank: int = 0
    quantity: Literal["", "molar", "mass"] = ""
    unit: str = ""


class SystemRow(TableRow, frozen=True, kw_only=True):
    """Another name of a code system, under which servers send its codes.

    `shares` says what the two have in common: "codes" (all of them), or "categories" (a national edition of ICD-10, which has WHO's
    three-character categories and subdivides them in its own way). A site may say "nothing" of a system that it wants ignored; it
    then needs no `system`.
    """

    alias: str
    system: str = ""
    shares: Literal["codes", "categories", "nothing"] = "codes"


class Systems(msgspec.Struct, frozen=True):
    """The names of code systems: `names` leads from another name to ours, `editions` from a national edition of ICD-10 to the
    system whose categories it shares; `ignored` are systems whose codes say nothing to us, as the site says."""

    names: dict[str, str]
    editions: dict[str, str]
    ignored: tuple[str, ...] = ()

    def name(self, system: str | None) -> str:
        """Our name of a system; the same where we have no other, "" where there is none."""
        written = (system or "").strip()
        return self.names.get(written, written)


_LOINC = "http://loinc.org"


class Match(msgspec.Struct, frozen=True, eq=False):
    """What the codings of one Observation add up to; compared by identity, so that it can key a cache cheaply.

    `reason` is "" where the result may be used.
    """

    analyte: Analyte
    reason: str = ""
    rank: int = 0
    quantity: str = ""
    unit: str = ""
    marks: tuple[str, ...] = ()
    code: str = ""  # by which the result may be used: of LOINC the code alone, else system|code, "text" for a row without a system


def read_table(name: str, row_type: type[R]) -> list[R]:
    """The rows of a data table shipped beside the code."""
    text = resources.files("screener.clinical").joinpath("data", name).read_text(encoding="utf-8")
    return read_rows(csv.DictReader(text.splitlines()), row_type, name)


def read_rows(rows: SiteRows, row_type: type[R], where: str) -> list[R]:
    """Rows checked against their type; ConfigurationError names table, row and column."""
    found = []
    for number, row in enumerate(rows, start=1):
        given = {key: value for key, value in row.items() if value not in ("", None)}
        try:
            found.append(msgspec.convert(given, row_type, strict=False))
        except (msgspec.ValidationError, InvalidOperation) as error:
            raise ConfigurationError(
                f"{where}: row {number} cannot be used: {error}",
                f"Its columns are {', '.join(row_type.__struct_fields__)}",
            ) from None
    return found


def code_table(extra: SiteRows, *, whole_blood: bool = False) -> tuple[CodeRow, ...]:
    """The code rows, the site's over our own. `whole_blood` accepts the rows that a site must opt in to."""
    rows = [*read_table("codes.csv", CodeRow), *read_rows(extra, CodeRow, "extra_codes")]
    table = {(row.system, row.code if row.system else plain(row.code)): row for row in rows}
    ordered = (table[key] for key in sorted(table))
    return tuple(_opted_in(row) if whole_blood and row.use == "opt_in" else row for row in ordered)


def _opted_in(row: CodeRow) -> CodeRow:
    return msgspec.structs.replace(row, use="accept", reason="")


def plain(text: str) -> str:
    """A text as it is compared: case and spacing do not count."""
    return " ".join(text.casefold().split())


def systems(extra: SiteRows = ()) -> Systems:
    """The shipped names of code systems, with a site's rows over them. ConfigurationError names a row that cannot be used."""
    site = read_rows(extra, SystemRow, "systems")
    for number, row in enumerate(site, start=1):
        if row.shares != "nothing" and not row.system:
            raise ConfigurationError(
                f"systems: row {number} names no system that {row.alias} stands for",
                'Name the system of the shipped tables, or write "nothing" in the column shares, to have it ignored',
            )
    rows = {row.alias: row for row in (*read_table("systems.csv", SystemRow), *site)}
    return Systems(
        {alias: row.system for alias, row in rows.items() if row.shares == "codes"},
        {alias: row.system for alias, row in rows.items() if row.shares == "categories"},
        tuple(sorted(alias for alias, row in rows.items() if row.shares == "nothing")),
    )


class CodeMap:
    """Finds the analyte of an Observation from its codings."""

    def __init__(self, rows: Iterable[CodeRow], systems: Systems) -> None:
        table = tuple(rows)
        self._rows = {(row.system, row.code): row for row in table if row.system}
        self._texts = {plain(row.code): row for row in table if not row.system}
        self._systems = systems
        self._matches: dict[tuple[object, ...], Match] = {}

    def find(self, concept: wire.CodeableConcept) -> Match | None:
        """What the codings add up to, in any order; None where none of them concerns us.

        A coding that refuses outweighs one that accepts: a sender that adds "urine" to a serum code knows something of the
        specimen that the serum code hides, and a result not used does less harm than a wrong one.
        """
        codings = concept.coding or ()
        found = [row for coding in codings if (row := self._row(coding))]
        if self._texts and not any(coding.code for coding in codings):
            found = self._by_text(concept)
        if not found:
            return None
        refused = sorted((row for row in found if row.use != "accept"), key=lambda row: (row.analyte, row.code))
        if refused:
            return self._intern(Match(refused[0].analyte, refused[0].reason or "code_refused"))
        if len({row.analyte for row in found}) > 1:
            return self._intern(Match(min(row.analyte for row in found), "code_contradiction"))
        texts = specimens.words(concept)
        against = specimens.contradiction(found[0].analyte, texts)
        if against:
            return self._intern(Match(found[0].analyte, against))
        return self._intern(_accepted(found, texts))

    def token(self, concept: wire.CodeableConcept) -> str:
        """`system|code` of the first coding that our table has, else of the first one that has a code; else ""."""
        coded = [coding for coding in concept.coding or () if coding.code]
        first = next((coding for coding in coded if self._row(coding)), coded[0] if coded else None)
        return f"{first.system or ''}|{first.code}" if first else ""

    def coded(self, analytes: Iterable[Analyte], *, refused: bool = False) -> tuple[tuple[str, str], ...]:
        """System and code of every accepted code of these analytes.

        With `refused` also of those that are the analyte and must not be used (another specimen, another form): asked for, so
        that they can be counted.
        """
        wanted = frozenset(analytes)
        return tuple(
            (row.system, row.code)
            for row in self._rows.values()
            if row.analyte in wanted and (row.use == "accept" or (refused and row.reason != NOT_THE_ANALYTE))
        )

    def texts(self, analytes: Iterable[Analyte]) -> tuple[str, ...]:
        """The texts of a site's rows without a system, of these analytes, sorted."""
        wanted = frozenset(analytes)
        return tuple(sorted(row.code for row in self._texts.values() if row.analyte in wanted))

    def _by_text(self, concept: wire.CodeableConcept) -> list[CodeRow]:
        """A result without any code: by its text, where the site's table has that."""
        said = (concept.text, *(coding.display for coding in concept.coding or ()))
        return [row for text in said if text and (row := self._texts.get(plain(text)))][:1]

    def _row(self, coding: wire.Coding) -> CodeRow | None:
        if not coding.system or not coding.code:
            return None
        return self._rows.get((self._systems.name(coding.system), coding.code.strip()))

    def _intern(self, match: Match) -> Match:
        return self._matches.setdefault(msgspec.structs.astuple(match), match)


# Assays of intact P1NP read other values than those of total P1NP, which the paper used.
_INTACT = re.compile(r"\bintact|intakt", re.IGNORECASE)


def _accepted(rows: list[CodeRow], texts: Iterable[str]) -> Match:
    quantities = {row.quantity for row in rows}
    marks = ("specimen_whole_blood",) if any(row.specimen == "whole_blood" for row in rows) else ()
    if rows[0].analyte is Analyte.P1NP and any(map(_INTACT.search, texts)):
        marks = (*marks, "intact")
    return Match(
        analyte=rows[0].analyte,
        rank=max(row.rank for row in rows),  # "stated weight" beside "weight" says more than "weight"
        quantity=quantities.pop() if len(quantities) == 1 else "",
        unit=next((row.unit for row in rows if row.unit), ""),
        marks=marks,
        code=_named(rows[0]),
    )


def _named(row: CodeRow) -> str:
    if not row.system:
        return "text"
    return row.code if row.system == _LOINC else f"{row.system}|{row.code}"


def decimal_of(text: str) -> Decimal | None:
    """The number in `text`, or None; no float in between."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return None
