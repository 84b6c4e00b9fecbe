"""What a run keeps for later runs to be compared with: counts, and medians of many results. Nothing in it is about one patient."""

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import log2

import msgspec

_STEPS_PER_OCTAVE = 16  # a step is 4.4 %, so a median is right to 2.2 %
_ENOUGH_FOR_A_MEDIAN = 50  # below it a median may be some patient's value


def size_of(value: Decimal) -> int:
    """The step in which a value lies. Values of 0 and below (T-scores) are no results of the nomogram, and lie in the lowest."""
    number = float(value)
    return round(log2(number) * _STEPS_PER_OCTAVE) if number > 0 else -10_000


class AnalyteFigures(msgspec.Struct):
    """Of one analyte: results that assessments rest on, those refused, the units in which the former were sent, and their median in
    the model's unit (None below 50 results)."""

    used: int = 0
    refused: int = 0
    units: dict[str, int] = {}
    median: float | None = None


class Figures(msgspec.Struct):
    """Of one run. `standing` counts patients who had an assessment of ours before it. `candidates` are women who are old enough and have a usable Mg: what is said of excluding types and of scores is a
    share of them, because runs of one kind look at other patients than those of another. `created`, `amended`, `retracted` and `failed` are its difference, whether it was written or not; `types` counts
    candidates with a statement that some rule is about, by resource type."""

    patients: int = 0
    standing: int = 0
    candidates: int = 0
    scored: int = 0
    flags_made: int = 0
    flagged: int = 0
    created: int = 0
    amended: int = 0
    retracted: int = 0
    failed: int = 0
    types: dict[str, int] = {}
    analytes: dict[str, AnalyteFigures] = {}


_COUNTS = tuple(name for name, kind in Figures.__annotations__.items() if kind is int)


def together(runs: Sequence[Figures]) -> Figures:
    """Several runs as one; a median is the mean of theirs, weighted by their results."""
    found = Figures(**{name: sum(getattr(run, name) for run in runs) for name in _COUNTS})
    for run in runs:
        found.types = dict(Counter(found.types) + Counter(run.types))
    for name in sorted({name for run in runs for name in run.analytes}):
        found.analytes[name] = _of_analyte([run.analytes[name] for run in runs if name in run.analytes])
    return found


def _of_analyte(parts: Sequence[AnalyteFigures]) -> AnalyteFigures:
    units: Counter[str] = Counter()
    for part in parts:
        units.update(part.units)
    known = [(part.median, part.used) for part in parts if part.median is not None]
    results = sum(used for _, used in known)
    median = sum(middle * used for middle, used in known) / results if results else None
    return AnalyteFigures(sum(part.used for part in parts), sum(part.refused for part in parts), dict(units), median)


def analyte_figures(
    used: Counter[tuple[str, str, int]], refused: Counter[tuple[str, str]]
) -> dict[str, AnalyteFigures]:
    """From the counts of a run: `used` by (analyte, unit, size), `refused` by (analyte, reason)."""
    units: dict[str, Counter[str]] = {}
    sizes: dict[str, Counter[int]] = {}
    for (analyte, unit, size), count in used.items():
        units.setdefault(analyte, Counter())[unit] += count
        sizes.setdefault(analyte, Counter())[size] += count
    turned_down: Counter[str] = Counter()
    for (analyte, _), count in refused.items():
        turned_down[analyte] += count
    return {
        name: AnalyteFigures(
            used=sum(units.get(name, Counter()).values()),
            refused=turned_down[name],
            units=dict(sorted(units.get(name, Counter()).items())),
            median=_median(sizes.get(name, Counter())),
        )
        for name in sorted({*units, *turned_down})
    }


def _median(sizes: Counter[int]) -> float | None:
    whole, below = sum(sizes.values()), 0
    if whole < _ENOUGH_FOR_A_MEDIAN:
        return None
    for size in sorted(sizes):
        below += sizes[size]
        if 2 * below >= whole:
            return float(f"{2 ** (size / _STEPS_PER_OCTAVE):.3g}")
    return None


def kept(summary: Mapping[str, object] | None) -> Figures | None:
    """The figures of an earlier run, from its summary; None where it has none that can be read."""
    try:
        return msgspec.convert((summary or {}).get("figures"), Figures)
    except msgspec.ValidationError:
        return None
