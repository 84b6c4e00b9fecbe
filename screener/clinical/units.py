"""From a quantity as sent to a value in the model's unit, decimally exact. Factors are in data/units.csv; codes of UCUM that
are not there are read by its grammar.

A value is converted by its unit, whatever property its code claims; no unit is guessed. Factors are fractions of decimals
(mg/dL of Mg: 10 / 24.305), so that 1.69 meq/L and 2.0537725 mg/dL are both exactly 0.845 mmol/L.
"""

from collections.abc import Iterable, Iterator
from decimal import Context, Decimal
from typing import Literal

import msgspec

from model import MG_CUT_OFF_MMOL_L
from screener.clinical import ucum, wire
from screener.clinical.codes import Match, SiteRows, TableRow, decimal_of, read_rows, read_table
from screener.clinical.records import Analyte
from screener.clinical.specimens import contradiction

UCUM = frozenset(
    {
        "http://unitsofmeasure.org",
        "http://unitsofmeasure.org/",
        "https://unitsofmeasure.org",
        "urn:oid:2.16.840.1.113883.6.8",
    }
)

EGFR_SEVERE = Decimal(30)  # mL/min/1.73 m2; KDIGO stages G4 and G5 lie below
IMPLAUSIBLE = "implausible"
UNIT_SUSPECTED = "implausible_unit_suspected"

_CONTEXT = Context(prec=34)
OTHER_UCUM = "other UCUM"  # a unit that only the grammar of UCUM explains: its text is the source's own
_MAX_MAGNITUDE = 30  # powers of ten: no quantity of ours comes near, and the context's exponents cannot overflow


class UnitRow(TableRow, frozen=True, kw_only=True):
    """One spelling of a unit of one analyte: value x numerator / denominator is in the model's unit.

    `kind` "ucum" is a code of UCUM, "printed" a spelling seen on reports. `reason` refuses a unit that is known but has no
    agreed factor.
    """

    analyte: Analyte
    unit: str
    kind: Literal["ucum", "printed"] = "printed"
    numerator: Decimal = Decimal(1)
    denominator: Decimal = Decimal(1)
    quantity: Literal["", "molar", "mass"] = ""
    reason: str = ""


class RangeRow(TableRow, frozen=True, kw_only=True):
    """Limits of an analyte in the model's unit, both inclusive: "plausible" refuses, "usual" only marks."""

    analyte: Analyte
    kind: Literal["plausible", "usual"]
    low: Decimal | None = None
    high: Decimal | None = None


class Conversion(msgspec.Struct, frozen=True):
    """A usable value in the model's unit."""

    value: Decimal
    comparator: str = ""
    marks: tuple[str, ...] = ()
    unit: str = ""  # in which it was sent, as our tables write it
    sent: str = ""  # value and unit as they were sent, where that was another unit than the model's


def unit_table(extra: SiteRows) -> tuple[UnitRow, ...]:
    """The unit rows, the site's over our own."""
    rows = [*read_table("units.csv", UnitRow), *read_rows(extra, UnitRow, "extra_units")]
    table = {(row.analyte, row.unit): row for row in rows}
    return tuple(table[key] for key in sorted(table))


def range_table() -> tuple[RangeRow, ...]:
    """The plausible and usual ranges."""
    return tuple(read_table("ranges.csv", RangeRow))


class UnitTable:
    """Converts and judges quantities."""

    def __init__(self, units: Iterable[UnitRow], ranges: Iterable[RangeRow]) -> None:
        self._units = {(row.analyte, row.unit): row for row in units}
        self._ranges = {(row.analyte, row.kind): row for row in ranges}

    def read(self, match: Match, quantity: wire.Quantity) -> Conversion | str:
        """The value in the model's unit, or the reason why it has no value."""
        number = _number(quantity.value)
        if isinstance(number, str):
            return number
        unit = self._unit(match, quantity)
        if isinstance(unit, str):
            return unit
        if unit.reason:
            return unit.reason
        against = contradiction(match.analyte, [text for text in (quantity.code, quantity.unit) if text])
        if against:
            return against
        if (
            (number <= 0 and match.analyte is not Analyte.T_SCORE)
            or not number.is_finite()
            or abs(number.adjusted()) > _MAX_MAGNITUDE
        ):
            return IMPLAUSIBLE
        value = _CONTEXT.divide(_CONTEXT.multiply(number, unit.numerator), unit.denominator)
        if quantity.comparator:
            return self._compared(match, value, quantity.comparator, unit.unit)
        if not self._within(match.analyte, "plausible", value):
            # A suspicion is reported and never acted on: 470 "ng/mL" of beta-CTx stays refused.
            suspected = any(self._would_be_usual(other, number) for other in self._others(unit))
            return UNIT_SUSPECTED if suspected else IMPLAUSIBLE
        sent = "" if value == number else f"{number} {quantity.unit or quantity.code}"
        return Conversion(value, "", self._marks(match, unit, value), unit.unit, sent)

    def usual(self, analyte: Analyte, value: Decimal) -> bool:
        """Whether a value in the model's unit lies in the usual range."""
        return self._within(analyte, "usual", value)

    def units_that_fit(self, analyte: Analyte, unit: str, value: Decimal) -> list[str]:
        """The other units in which the digits that were sent as `unit` would be usual, one for each factor. `value` is what they
        came to in the model's unit."""
        given = self._units.get((analyte, unit))
        if given is None or given.reason:
            return []
        digits = _CONTEXT.divide(_CONTEXT.multiply(value, given.denominator), given.numerator)
        fitting: list[UnitRow] = []
        for other in self._others(given):
            if self._would_be_usual(other, digits) and not any(_same_factor(other, row) for row in fitting):
                fitting.append(other)
        return [row.unit for row in fitting]

    def _others(self, given: UnitRow) -> Iterator[UnitRow]:
        """The units of another factor, those of UCUM first."""
        rows = [row for row in self._units.values() if row.analyte is given.analyte and not row.reason]
        yield from (row for row in sorted(rows, key=lambda row: row.kind != "ucum") if not _same_factor(row, given))

    def _would_be_usual(self, other: UnitRow, digits: Decimal) -> bool:
        value = _CONTEXT.divide(_CONTEXT.multiply(digits, other.numerator), other.denominator)
        return self._within(other.analyte, "plausible", value) and self._within(other.analyte, "usual", value)

    def _unit(self, match: Match, quantity: wire.Quantity) -> UnitRow | str:
        """The unit of a quantity: its code first, its text where the code says nothing."""
        code, text = (quantity.code or "").strip(), (quantity.unit or "").strip()
        if not code and not text:
            code = match.unit
        by_code = self._units.get((match.analyte, code))
        if by_code is None and code != text and code.casefold() == text.casefold():
            by_code = self._units.get(
                (match.analyte, text)
            )  # Mg/dl beside MG/DL is the same in another case, not megagrams
        if code and not by_code and quantity.system in UCUM:
            # Where UCUM means nothing of ours by it ("mg", "Cel"), the text beside it is not believed either.
            by_grammar = _by_grammar(match.analyte, code)
            if isinstance(by_grammar, str):
                return by_grammar
            by_code = by_grammar
        by_text = self._units.get((match.analyte, text))
        if not code and not text:
            return "unit_missing"
        if by_code and by_text and not _same_factor(by_code, by_text):
            return "unit_contradiction"
        return by_code or by_text or "unit_unknown"

    def _compared(self, match: Match, value: Decimal, comparator: str, unit: str) -> Conversion | str:
        """Only of Mg and eGFR, and only where every value that "<" or ">" allows lies on one side of the limit.

        Of Mg the cut-off itself lies on the side below, of eGFR on the side above (severe is below 30).
        """
        high = self._ranges[(match.analyte, "plausible")].high
        limit = {Analyte.MG: MG_CUT_OFF_MMOL_L, Analyte.EGFR: EGFR_SEVERE}.get(match.analyte)
        if limit is None or (high is not None and value > high):
            return "comparator"
        if match.analyte is Analyte.EGFR:
            below = (comparator == "<" and value <= limit) or (comparator == "<=" and value < limit)
            above = comparator in (">", ">=") and value >= limit
        else:
            below = comparator in ("<", "<=") and value <= limit
            above = (comparator == ">" and value >= limit) or (comparator == ">=" and value > limit)
        return Conversion(value, comparator, match.marks, unit) if below or above else "comparator"

    def _within(self, analyte: Analyte, kind: Literal["plausible", "usual"], value: Decimal) -> bool:
        limits = self._ranges.get((analyte, kind))
        if limits is None:
            return True
        return (limits.low is None or value >= limits.low) and (limits.high is None or value <= limits.high)

    def _marks(self, match: Match, unit: UnitRow, value: Decimal) -> tuple[str, ...]:
        marks = set(match.marks)
        if match.quantity and unit.quantity and match.quantity != unit.quantity:
            marks.add("unit_unlike_code")
        if not self._within(match.analyte, "usual", value):
            marks.add("unusual")
        return tuple(sorted(marks))


def _by_grammar(analyte: Analyte, code: str) -> UnitRow | str:
    found = ucum.factor(analyte, code)
    if isinstance(found, str):
        return found
    numerator, denominator, quantity = found
    return UnitRow(
        analyte=analyte, unit=OTHER_UCUM, kind="ucum", numerator=numerator, denominator=denominator, quantity=quantity
    )


def _number(raw: msgspec.Raw) -> Decimal | str:
    """The digits as written, or a reason. A number in quotes, a truth value, a list: malformed."""
    if not wire.present(raw):
        return "value_missing"
    written = bytes(raw)
    number = decimal_of(written.decode("ascii", "replace")) if written[0] in b"-0123456789" else None
    if number is None:
        # JSON allows exponents that no decimal can hold; they are numbers all the same, and no result.
        return IMPLAUSIBLE if written[0] in b"-0123456789" else "malformed"
    return number


def _same_factor(one: UnitRow, other: UnitRow) -> bool:
    if one.reason or other.reason:
        return one.reason == other.reason
    return one.numerator * other.denominator == other.numerator * one.denominator
