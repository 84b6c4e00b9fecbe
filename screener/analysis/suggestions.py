"""What a code or a unit that nobody mapped may be, by its name. A suggestion is for people to check: no value is ever read by one."""

import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from screener.clinical.codes import TableRow, read_table
from screener.clinical.records import Analyte
from screener.clinical.units import UnitRow


class SuggestionRow(TableRow, frozen=True, kw_only=True):
    """A pattern of names: "analyte" says what it may be, "refuse" why it must not be used all the same."""

    kind: Literal["analyte", "refuse"]
    pattern: str
    analyte: Analyte | None = None
    reason: str = ""


class Suggestion(msgspec.Struct, frozen=True):
    """What a code may be, as the columns of the code map have it; `reason` is "" where it may be accepted."""

    analyte: Analyte
    reason: str = ""

    @property
    def use(self) -> str:
        """The column `use` of the code map."""
        return "refuse" if self.reason else "accept"


class Suggestions:
    """Reads names of codes and spellings of units."""

    def __init__(self, units: Iterable[UnitRow]) -> None:
        rows = [(row, re.compile(row.pattern, re.IGNORECASE)) for row in read_table("suggestions.csv", SuggestionRow)]
        self._analytes = [(row.analyte, pattern) for row, pattern in rows if row.kind == "analyte" and row.analyte]
        self._refuse = [(row.reason, pattern) for row, pattern in rows if row.kind == "refuse"]
        self._units: dict[tuple[Analyte, str], UnitRow] = {}
        for unit in sorted(units, key=lambda row: row.kind != "ucum"):  # UCUM's spelling before others
            if not unit.reason:
                self._units.setdefault((unit.analyte, _spelt(unit.unit)), unit)

    def of_code(self, *names: str) -> Suggestion | None:
        """What a code with these names (its text, its displays, itself) may be; None where they say nothing, or two things."""
        found = {analyte for analyte, pattern in self._analytes for name in names if pattern.search(name)}
        if len(found) != 1:
            return None
        reason = next((why for why, pattern in self._refuse for name in names if pattern.search(name)), "")
        return Suggestion(found.pop(), reason)

    def of_unit(self, analyte: Analyte, unit: str) -> UnitRow | None:
        """The unit of the table that differs from this one only in how it is written."""
        return self._units.get((analyte, _spelt(unit)))


def _spelt(unit: str) -> str:
    """Without case, blanks, dots and brackets, and with one letter for micro."""
    plain = re.sub(r"[\s.()\[\]{}_^*]", "", unit.casefold()).replace("µ", "u").replace("μ", "u")
    return plain.replace("mcg", "ug").replace("litre", "l").replace("liter", "l").replace("mole", "mol")
