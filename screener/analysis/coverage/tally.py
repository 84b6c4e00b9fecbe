"""Counts codes and units as they were seen. Texts and counts of few patients are not shown."""

from collections import Counter
from collections.abc import Collection, Iterable
from decimal import Decimal
from statistics import median

import msgspec

from screener.analysis.as_sent import Sent, Stated
from screener.analysis.suggestions import Suggestion, Suggestions
from screener.base.small_counts import shown
from screener.clinical.records import Analyte
from screener.clinical.units import UnitTable

_VALUES_KEPT = 2001  # of each code and unit: enough for a median


class UnitSeen(msgspec.Struct, frozen=True):
    """One unit under one code. `median` is in the model's unit, None where few values were usable; `suspicion` is in words."""

    unit: str
    results: int | None
    used: int | None
    refused: dict[str, int | None]
    median: float | None
    suspicion: str


class CodeSeen(msgspec.Struct, frozen=True):
    """One code with its units. `analyte` is "" where it is not mapped; then `suggestion` may say what it is by its name."""

    code: str
    text: str
    analyte: str
    results: int | None
    patients: int | None
    units: list[UnitSeen]
    suggestion: Suggestion | None


class _Unit:
    def __init__(self) -> None:
        self.results = 0
        self.refused: Counter[str] = Counter()
        self.values: list[Decimal] = []


class _Code:
    def __init__(self) -> None:
        self.texts: Counter[str] = Counter()
        self.patients: set[str] = set()
        self.units: dict[str, _Unit] = {}


class UnmetSeen(msgspec.Struct, frozen=True):
    """One code (or text, where there is no code) of a statement that met no row of the list; `suspected` are rules that its words point to.

    To map it, a row of `codes.exclusions` with its system and code is needed; words alone cannot be mapped."""

    code: str
    text: str
    resources: int | None
    suspected: list[str]


class SystemSeen(msgspec.Struct, frozen=True):
    """What states diagnoses, procedures or medicines, by type and code system, compared with the exclusion list.

    `system` is "" for words only, and "reference" for a Medication resource that could not be looked into. `met`: how many statements
    have a code for which the list has a row (one that excludes, calls for a caveat, or is known to be of no consequence). `listed` says
    whether the list has codes of the system for this type at all. `unmet`: the most frequent codes that met none, suspected ones first.
    """

    resource: str
    system: str
    resources: int | None
    met: int | None
    suspected: int | None
    listed: bool
    unmet: list[UnmetSeen]


_UNMET_TOLD = 20  # of each type and system


def systems(rows: Iterable[Stated], listed: Collection[tuple[str, str]], least: int) -> list[SystemSeen]:
    """Each statement under each of its systems. `listed`: the resource types and systems of the exclusion list."""
    groups: dict[tuple[str, str], list[Stated]] = {}
    for row in rows:
        for system in _systems_of(row):
            groups.setdefault((row.resource, system), []).append(row)
    return [
        SystemSeen(
            resource,
            system,
            shown(len(stated), least),
            shown(sum(row.met for row in stated), least),
            shown(sum(bool(row.suspected) for row in stated), least),
            (resource, system) in listed,
            _unmet(system, stated, least),
        )
        for (resource, system), stated in sorted(groups.items())
    ]


def _systems_of(row: Stated) -> set[str]:
    if row.codes:
        return {code.rpartition("|")[0] for code in row.codes}
    return {"reference"} if row.medicine and not row.words else {""}


def _unmet(system: str, stated: Iterable[Stated], least: int) -> list[UnmetSeen]:
    counts: Counter[str] = Counter()
    texts: dict[str, str] = {}
    points_to: dict[str, set[str]] = {}
    patients: dict[str, set[str]] = {}
    for row in stated:
        if row.met or system == "reference":
            continue
        names = [code for code in row.codes if code.rpartition("|")[0] == system] or [row.words]
        for name in names:
            counts[name] += 1
            texts.setdefault(name, row.words)
            points_to.setdefault(name, set()).update(row.suspected)
            patients.setdefault(name, set()).add(row.patient)
    # A text of a few patients may be about one of them.
    told = [name for name in counts if name and len(patients[name]) >= max(least, 1)]
    told.sort(key=lambda name: (not points_to[name], -counts[name], name))
    return [
        UnmetSeen(name if system else "", texts[name], shown(counts[name], least), sorted(points_to[name]))
        for name in told[:_UNMET_TOLD]
    ]


class Tally:
    """Counts what was sent. Counts below `least` are None in what it gives."""

    def __init__(self, suggestions: Suggestions, units: UnitTable, least: int) -> None:
        self._suggestions, self._units, self._least = suggestions, units, least
        self._codes: dict[tuple[str, str], _Code] = {}  # by code (or text, where there is none) and analyte

    def add(self, rows: Iterable[Sent]) -> None:
        """Count results; each must come once."""
        for row in rows:
            code = self._codes.setdefault((row.code or row.text, row.analyte), _Code())
            code.texts[row.text] += 1
            code.patients.add(row.patient)
            unit = code.units.setdefault(row.unit, _Unit())
            unit.results += 1
            if row.reason:
                unit.refused[row.reason] += 1
            elif row.value is not None and len(unit.values) < _VALUES_KEPT:
                unit.values.append(row.value)

    def mapped(self) -> list[CodeSeen]:
        """The codes that the map has, by analyte."""
        found = [self._seen(name, analyte, code) for (name, analyte), code in self._codes.items() if analyte]
        return sorted(found, key=lambda seen: (list(Analyte).index(Analyte(seen.analyte)), seen.code))

    def unmapped(self) -> list[CodeSeen]:
        """The others that are seen in enough patients, those with a suggestion first, then by how often they are seen."""
        enough = {key: code for key, code in self._codes.items() if not key[1] and len(code.patients) >= self._least}
        found = [self._seen(name, analyte, code) for (name, analyte), code in enough.items()]
        return sorted(found, key=lambda seen: (seen.suggestion is None, -(seen.results or 0), seen.code))

    def few(self) -> int:
        """How many unmapped codes are seen in too few patients to be shown."""
        return sum(not analyte and len(code.patients) < self._least for (_, analyte), code in self._codes.items())

    def _seen(self, name: str, analyte: str, code: _Code) -> CodeSeen:
        told = len(code.patients) >= self._least  # a text of a few patients may be about one of them
        text = code.texts.most_common(1)[0][0] if told else ""
        known = Analyte(analyte) if analyte else None
        suggestion = None if known else self._suggestions.of_code(text, name.rpartition("|")[2])
        units = sorted(code.units.items(), key=lambda item: (-item[1].results, item[0]))
        return CodeSeen(
            code=name,
            text=text,
            analyte=analyte,
            results=shown(sum(unit.results for unit in code.units.values()), self._least),
            patients=shown(len(code.patients), self._least),
            units=[self._unit(known, name, unit) for name, unit in units],
            suggestion=suggestion,
        )

    def _unit(self, analyte: Analyte | None, name: str, unit: _Unit) -> UnitSeen:
        enough = len(unit.values) >= max(self._least, 1)
        middle = median(unit.values) if enough else None
        return UnitSeen(
            unit=name,
            results=shown(unit.results, self._least),
            used=shown(unit.results - unit.refused.total(), self._least) if analyte else None,
            refused={reason: shown(count, self._least) for reason, count in sorted(unit.refused.items())},
            median=None if middle is None else float(middle),
            suspicion=self._suspicion(analyte, name, unit, middle),
        )

    def _suspicion(self, analyte: Analyte | None, name: str, unit: _Unit, middle: Decimal | None) -> str:
        """In words what does not look right, or ""."""
        if analyte is None:
            return ""
        if "unit_unknown" in unit.refused:
            like = self._suggestions.of_unit(analyte, name)
            return f"unknown unit; perhaps {like.unit}" if like else "unknown unit"
        if middle is not None and not self._units.usual(analyte, middle):
            others = " or ".join(self._units.units_that_fit(analyte, name, middle))
            return f"the median is {middle:.4g}, outside the usual range" + (
                f"; the values would fit {others}" if others else ""
            )
        return "the values would fit another unit" if unit.refused.get("implausible_unit_suspected", 0) else ""
