"""What sending women to DXA by a threshold of the risk would cost and find, at a site's own prevalence and capacity.

Two sources: a cohort with outcomes, from which sensitivity and false positive rate at each threshold are estimated; or the risks of a
run without outcomes, which are then taken at their word. Risks are moved from the prevalence that they stand for to the site's by
Bayes' rule on the odds, under the assumption that the predictors separate alike there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelError
from model.odds import at_prevalence
from model.stats.checked import outcome, risks
from model.stats.logistic import Array

_DRAWS = 4000
_FAR = 0.03  # between the prevalence that was given and the one that the risks add up to
_ENOUGH = 100  # in the smaller class: below it intervals say little (Collins et al. 2016, doi:10.1002/sim.6787)


@dataclass(frozen=True)
class Range:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """One threshold. `threshold` is the risk as printed, `moved` the same at the site's prevalence (fractions). Women per year: sent to
    DXA, with osteoporosis found among them, missed among the others. `scans_per_found`: sent for each found. `net_benefit` is per
    1,000 women against sending none, with a false positive weighted by the odds of `moved`; `net_benefit_all` that of sending everyone."""

    threshold: float
    moved: float
    sent: Range
    found: Range
    missed: Range
    scans_per_found: Range
    net_benefit: Range
    net_benefit_all: float


@dataclass(frozen=True)
class Plan:
    """The rows, what they rest on, and what to know of them. `affordable`: the lowest threshold of all risks that the capacity allows,
    None where none does or no capacity was given; its own row is among the rows."""

    rows: Sequence[Row]
    women: float
    prevalence: float
    based_on: str
    warnings: Sequence[str]
    capacity: float | None = None
    affordable: float | None = None


def of_cohort(
    y: Array,
    risk: Array,
    thresholds: Sequence[float],
    *,
    stands_for: float,
    women: float,
    prevalence: float | None = None,
    capacity: float | None = None,
) -> Plan:
    """From n women with outcomes `y` (n,) and printed risks (n,). `stands_for`: the prevalence that the risks stand for; `prevalence`:
    the site's, by default the cohort's. Intervals: 4,000 draws of sensitivity and false positive rate from their Jeffreys posteriors.

    Raises ModelError for thresholds outside 0 to 1, and where one class is empty.
    """
    p = risks(risk)
    y = outcome(y, p)
    t = _thresholds(thresholds)
    cases, others = np.sort(p[y == 1]), np.sort(p[y == 0])
    if not len(cases) or not len(others):
        raise ModelError("the cohort holds women of one class only: both with and without osteoporosis are needed")
    pi = len(cases) / len(p) if prevalence is None else _share(prevalence)
    random = np.random.default_rng(1)
    best = None
    if capacity is not None:
        each = np.unique(p)
        shares = [(len(one) - np.searchsorted(one, each, side="left")) / len(one) for one in (cases, others)]
        best = _lowest(each, women * (pi * shares[0] + (1 - pi) * shares[1]), capacity)
        t = t if best is None else np.unique([*t, best])
    hit, false = (_rates(random, one, t) for one in (cases, others))
    rows = [
        _row(at, at_prevalence(at, stands_for, pi), hit[:, place], false[:, place], women, pi)
        for place, at in enumerate(t.tolist())
    ]
    warnings = []
    if min(len(cases), len(others)) < _ENOUGH:
        warnings.append(
            f"The smaller class has {min(len(cases), len(others))} women; below {_ENOUGH} the intervals say little, and a plan should "
            "not rest on them"
        )
    said = f"{len(p):,} women with outcomes, {len(cases):,} with osteoporosis"
    return Plan(rows, women, pi, said, tuple(warnings), capacity, best)


def of_run(
    risk: Array,
    count: NDArray[np.int64],
    thresholds: Sequence[float],
    *,
    stands_for: float,
    women: float,
    prevalence: float | None = None,
    capacity: float | None = None,
) -> Plan:
    """From the risks of a run, in steps: `count` (m,) women have about the printed `risk` (m,). There are no outcomes: the risks, moved
    to the site's prevalence, are taken at their word. Intervals are those of chance alone."""
    t = _thresholds(thresholds)
    total = int(count.sum())
    if not total:
        raise ModelError("the run scored nobody: there is nothing to plan with")
    pi = stands_for if prevalence is None else _share(prevalence)
    true = np.array([at_prevalence(one, stands_for, pi) for one in risk.tolist()])
    expected = float((true * count).sum() / total)
    best = None
    if capacity is not None:
        above_each = np.array([count[risk >= at].sum() for at in risk])
        best = _lowest(risk, women * above_each / total, capacity)
        t = t if best is None else np.unique([*t, best])
    random = np.random.default_rng(1)
    with_it = np.vstack([true * count, random.binomial(count, true, size=(_DRAWS, len(count)))])
    cases, rows = with_it.sum(axis=1), []
    for at in t.tolist():
        above = risk >= at
        whole = with_it[:, above].sum(axis=1)
        hit = np.divide(whole, cases, out=np.zeros(len(cases)), where=cases > 0)
        free = total - cases
        false = np.divide(count[above].sum() - whole, free, out=np.zeros(len(cases)), where=free > 0)
        rows.append(_row(at, at_prevalence(at, stands_for, pi), hit, false, women, expected))
    warnings = ["There are no outcomes: every figure rests on the model's risks being right at this prevalence"]
    if prevalence is None:
        warnings.append(
            "No prevalence was given: that of the women from whom the model was made is assumed, which is too high elsewhere"
        )
    elif abs(expected - pi) > _FAR:
        warnings.append(
            f"At a prevalence of {pi:.0%} the risks of these women add up to {expected:.0%}: they differ from the women of the model, and "
            "outcomes (--cohort) would say how"
        )
    said = f"{total:,} women that a run scored"
    return Plan(rows, women, expected, said, tuple(warnings), capacity, best)


def _thresholds(thresholds: Sequence[float]) -> Array:
    t = np.asarray(thresholds, dtype=np.float64)
    if not len(t) or not ((t > 0) & (t < 1)).all():
        raise ModelError("a threshold lies outside 0 to 1. Give risks between them, e.g. 0.4")
    return np.sort(t)


def _share(prevalence: float) -> float:
    if not 0 < prevalence < 1:
        raise ModelError("the prevalence lies outside 0 to 1")
    return prevalence


def _rates(random: np.random.Generator, ordered: Array, thresholds: Array) -> Array:
    """(draws, m): the share of these women at or above each threshold; the first draw is the estimate itself."""
    above = len(ordered) - np.searchsorted(ordered, thresholds, side="left")
    drawn = random.beta(above + 0.5, len(ordered) - above + 0.5, size=(_DRAWS, len(thresholds)))
    return np.vstack([above / len(ordered), drawn])


def _row(at: float, moved: float, hit: Array, false: Array, women: float, prevalence: float) -> Row:
    found, wrong = women * prevalence * hit, women * (1 - prevalence) * false
    sent, odds = found + wrong, moved / (1 - moved)
    scans = np.divide(sent, found, out=np.full(len(sent), np.inf), where=found > 0)
    return Row(
        threshold=at,
        moved=moved,
        sent=_range(sent),
        found=_range(found),
        missed=_range(women * prevalence - found),
        scans_per_found=_range(scans),
        net_benefit=_range(1000 * (found - wrong * odds) / women),
        net_benefit_all=1000 * (prevalence - (1 - prevalence) * odds),
    )


def _range(draws: Array) -> Range:
    """The estimate and its interval, which holds it: at rates of 0 and 1 the posterior alone would not."""
    low, high = np.quantile(draws[1:], (0.025, 0.975), method="nearest").tolist()
    value = float(draws[0])
    return Range(value, min(low, value), max(high, value))


def _lowest(risks_: Array, sent: Array, capacity: float) -> float | None:
    """The lowest of the risks from which no more women are sent than the capacity allows."""
    allowed = risks_[sent <= capacity]
    return float(allowed.min()) if allowed.size else None


# The same as a table of text.

HEADINGS = (
    "Risk from",
    "At this prevalence",
    "Sent",
    "Found",
    "Missed",
    "Scans for each found",
    "Net benefit per 1,000",
)

NOTE = (
    "In brackets: 95 % intervals. Second column: the printed risk at this prevalence. Benefit: against sending nobody."
)


def cells(plan: Plan) -> list[list[str]]:
    """The rows of the table as text."""
    return [
        [
            _per_cent(row.threshold),
            _per_cent(row.moved),
            _whole(row.sent),
            _whole(row.found),
            _whole(row.missed),
            "" if row.scans_per_found.value == float("inf") else f"{row.scans_per_found.value:.1f}",
            _whole(row.net_benefit),
        ]
        for row in plan.rows
    ]


def _per_cent(fraction: float) -> str:
    shown = f"{100 * fraction:.1f}"
    return f"{shown.removesuffix('.0')} %"


def _whole(one: Range) -> str:
    return f"{one.value:,.0f} ({one.low:,.0f}, {one.high:,.0f})"


def affordable(plan: Plan) -> str:
    """Which threshold the capacity allows, in words."""
    if plan.affordable is None:
        return f"No threshold keeps within {plan.capacity:,.0f} scans a year."
    return f"With {plan.capacity:,.0f} scans a year the lowest threshold of all is a printed risk of {_per_cent(plan.affordable)}."
