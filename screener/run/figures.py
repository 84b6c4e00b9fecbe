"""What a run keeps for later runs to be compared with: counts, and medians of many results. Nothing in it is about one patient."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from math import ceil, log2

import msgspec

from model import MG_CUT_OFF_MMOL_L

_MG_STEP = Decimal("0.05")
_STEPS_PER_OCTAVE = 16  # a step is 4.4 %, so a median is right to 2.2 %
_ENOUGH_FOR_A_MEDIAN = 50  # below it a median may be some patient's value


def size_of(value: Decimal) -> int:
    """The step in which a value lies. Values of 0 and below (T-scores) are no results of the nomogram, and lie in the lowest."""
    number = float(value)
    return round(log2(number) * _STEPS_PER_OCTAVE) if number > 0 else -10_000


class AnalyteFigures(msgspec.Struct, frozen=True):
    """Of one analyte: the results that assessments rest on, those refused, and of the former the units, the codes, and the median in the
    model's unit (None below 50 results).

    `distribution`: how many results lie in each quarter of an octave, by its number: the values of number n are from
    2**((n - 0.5) / 4) to 2**((n + 0.5) / 4).
    """

    used: int = 0
    refused: int = 0
    units: dict[str, int] = {}
    median: float | None = None
    distribution: dict[str, int] = {}
    codes: dict[str, int] = {}


class Figures(msgspec.Struct, frozen=True):
    """Of one run. `standing` counts patients who had an assessment of ours before it. `candidates` are women who are old enough and have a usable Mg: what is said of excluding types and of scores is a
    share of them, because runs of one kind look at other patients than those of another. `created`, `amended`, `retracted` and `failed` are its difference, whether it was written or not; `types` counts
    candidates with a statement that some rule is about, by resource type.

    For the report of a run: `risks`, women by their risk, in steps of 5 % ("40" for 40 to below 45 %); `risks_by_mg`, the same by their
    magnesium in steps of 0.05 mmol/L that end at the cut-off ("0.845" for above 0.795 to 0.845); `excluded_by`, patients whom each row of each rule keeps out."""

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
    risks: dict[str, int] = {}
    risks_by_mg: dict[str, dict[str, int]] = {}
    excluded_by: dict[str, dict[str, int]] = {}


_COUNTS = tuple(name for name, kind in Figures.__annotations__.items() if kind is int)


def together(runs: Sequence[Figures]) -> Figures:
    """Several runs as one; a median is the mean of theirs, weighted by their results."""
    analytes = sorted({name for run in runs for name in run.analytes})
    return Figures(
        **{name: sum(getattr(run, name) for run in runs) for name in _COUNTS},
        types=_sum([run.types for run in runs]),
        risks=_sum([run.risks for run in runs]),
        analytes={name: _of_analyte([run.analytes[name] for run in runs if name in run.analytes]) for name in analytes},
    )


def _sum(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    whole: Counter[str] = Counter()
    for part in parts:
        whole.update(part)
    return dict(whole)


def _of_analyte(parts: Sequence[AnalyteFigures]) -> AnalyteFigures:
    known = [(part.median, part.used) for part in parts if part.median is not None]
    results = sum(used for _, used in known)
    return AnalyteFigures(
        used=sum(part.used for part in parts),
        refused=sum(part.refused for part in parts),
        units=_sum([part.units for part in parts]),
        median=sum(middle * used for middle, used in known) / results if results else None,
        distribution=_sum([part.distribution for part in parts]),
        codes=_sum([part.codes for part in parts]),
    )


def analyte_figures(
    used: Counter[tuple[str, str, str, int]], refused: Counter[tuple[str, str]]
) -> dict[str, AnalyteFigures]:
    """From the counts of a run: `used` by (analyte, code, unit, size), `refused` by (analyte, reason)."""
    units: dict[str, Counter[str]] = {}
    sizes: dict[str, Counter[int]] = {}
    codes: dict[str, Counter[str]] = {}
    for (analyte, code, unit, size), count in used.items():
        codes.setdefault(analyte, Counter())[code] += count
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
            distribution=_distribution(sizes.get(name, Counter())),
            codes=dict(sorted(codes.get(name, Counter()).items())),
        )
        for name in sorted({*units, *turned_down})
    }


def _distribution(sizes: Counter[int]) -> dict[str, int]:
    found: Counter[int] = Counter()
    for size, count in sizes.items():
        found[round(size * 4 / _STEPS_PER_OCTAVE)] += count
    return {str(number): found[number] for number in sorted(found)}


def by_risk(risks: Counter[tuple[int, int]]) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """`risks` and `risks_by_mg` of Figures from women counted by (risk, Mg), each as the number of its step."""
    alone: Counter[int] = Counter()
    by_mg: dict[int, Counter[int]] = {}
    for (risk, mg), count in risks.items():
        alone[risk] += count
        by_mg.setdefault(mg, Counter())[risk] += count
    return (
        {str(5 * risk): alone[risk] for risk in sorted(alone)},
        {
            str(MG_CUT_OFF_MMOL_L + mg * _MG_STEP): {str(5 * risk): by_mg[mg][risk] for risk in sorted(by_mg[mg])}
            for mg in sorted(by_mg)
        },
    )


def risk_step(risk: float, mg_mmol_l: Decimal) -> tuple[int, int]:
    """The steps of 5 % and of 0.05 mmol/L in which a woman lies."""
    return min(int(risk * 20), 19), ceil((mg_mmol_l - MG_CUT_OFF_MMOL_L) / _MG_STEP)


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
