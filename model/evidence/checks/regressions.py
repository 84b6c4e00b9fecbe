"""Table 3: odds ratios, Wald p-values, and the standard errors that tell which terms Model 2 had."""

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
from scipy import special

from model.evidence.checks.information import MARKER_CORRELATIONS, standard_errors
from model.evidence.checks.result import Check, Figures, Interval, around, printed_p_interval, with_limits
from model.evidence.checks.two_by_two import Exposed, behind_model_1, exposed_women
from model.stats.groups import odds_ratio

_Z = float(special.ndtri(0.975))
_SE_AGREEMENT = 0.03  # relative: the expected information stands for 496 women whom nobody has seen


def model_1(figures: Figures) -> Iterator[Check]:
    """The unadjusted regression is a 2x2 table, which its odds ratio and interval determine."""
    row, sizes, exposed = figures["table_3_model_1"]["mg_mmol_l"], figures["groups"], exposed_women(figures)
    found = behind_model_1(figures)
    agrees = found == (exposed,)
    yield Check(
        table="Table 3, Model 1",
        row=row["row"],
        quantity="odds ratio and 95 % interval",
        unit="1",
        published=with_limits(row["odds_ratio"], row["confidence_95"]),
        recomputed=_woolf(exposed, sizes),
        agrees=agrees,
        why=(
            f"the only integers that give it: {exposed.osteoporosis} of {sizes['osteoporosis']} women with osteoporosis "
            f"and {exposed.without} of {sizes['without']} without lie at or below the cut-off"
        )
        if agrees
        else f"{len(found)} tables of integers give the printed figures, and not these counts alone",
    )
    yield _wald("Table 3, Model 1", row)


def model_2(figures: Figures) -> Iterator[Check]:
    """Each printed term: the middle of its interval, its p-value, its standard error."""
    rows = figures["table_3_model_2"]
    for row in rows.values():
        yield _middle(row)
        yield _wald("Table 3, Model 2", row)
    yield from _terms(figures)


def section_3_2_regressions(figures: Figures) -> Iterator[Check]:
    """Model 1 as the text has it, against Model 1 as Table 3 has it."""
    said, row = figures["text"]["model_1_odds_ratio"], figures["table_3_model_1"]["mg_mmol_l"]
    published = with_limits(said["value"], said["confidence_95"])
    recomputed = with_limits(row["odds_ratio"], row["confidence_95"])
    other = figures["table_3_model_2"]["mg_mmol_l"]
    whose = " It is Model 2's." if published == with_limits(other["odds_ratio"], other["confidence_95"]) else ""
    yield Check(
        table=f"Section {said['section']}",
        row="Mg",
        quantity=said["quantity"],
        unit="1",
        published=published,
        recomputed=recomputed,
        agrees=published == recomputed,
        why="" if published == recomputed else f"the odds ratio in the text is not Model 1's of Table 3.{whose}",
    )


def implied_standard_error(row: Figures) -> float:
    """Of the log odds ratio, from the printed interval."""
    low, high = row["confidence_95"]
    return math.log(high / low) / (2 * _Z)


def wald_p_range(row: Figures) -> Interval:
    """The p-values that odds ratio and limits allow inside their rounding."""
    estimates, lows, highs = (around(x, row["rounding"]) for x in (row["odds_ratio"], *row["confidence_95"]))
    found = [
        float(2 * special.ndtr(-abs(math.log(estimate)) * 2 * _Z / math.log(high / low)))
        for estimate, low, high in product(estimates, lows, highs)
    ]
    return Interval(min(found), max(found))


def _woolf(exposed: Exposed, sizes: Figures) -> str:
    """Odds ratio of a 2x2 table with Woolf's interval, as the paper writes them."""
    above = (sizes["osteoporosis"] - exposed.osteoporosis, sizes["without"] - exposed.without)
    found = odds_ratio(np.array([[exposed.osteoporosis, exposed.without], above]))
    return with_limits(found.value, (found.low, found.high))


def _wald(table: str, row: Figures) -> Check:
    found = wald_p_range(row)
    agrees = printed_p_interval(row["printed_p"]).overlaps(found)
    return Check(
        table=table,
        row=row["row"],
        quantity="p-value of Wald's test",
        unit="1",
        published=row["printed_p"],
        recomputed=found,
        agrees=agrees,
        why="" if agrees else "the p-value does not belong to this odds ratio and interval",
    )


def _middle(row: Figures) -> Check:
    """A Wald interval has the odds ratio at its geometric middle."""
    lows, highs = (around(limit, row["rounding"]) for limit in row["confidence_95"])
    found = Interval(math.sqrt(lows.low * highs.low), math.sqrt(lows.high * highs.high))
    agrees = around(row["odds_ratio"], row["rounding"]).overlaps(found)
    return Check(
        table="Table 3, Model 2",
        row=row["row"],
        quantity="odds ratio as the middle of its interval",
        unit="1",
        published=with_limits(row["odds_ratio"], row["confidence_95"]),
        recomputed=found,
        agrees=agrees,
        why="" if agrees else "the odds ratio is not at the middle of its interval",
    )


def _terms(figures: Figures) -> Iterator[Check]:
    """Published standard errors against those of a regression with the four printed terms, and with all seven named."""
    rows = figures["table_3_model_2"]
    four = standard_errors(figures, MARKER_CORRELATIONS[0], adjusted=False)
    seven = [standard_errors(figures, r, adjusted=True) for r in MARKER_CORRELATIONS]
    for name, row in rows.items():
        published, low, high = implied_standard_error(row), seven[0][name], seven[-1][name]
        agrees = abs(four[name] / published - 1) <= _SE_AGREEMENT
        yield Check(
            table="Table 3, Model 2",
            row=row["row"],
            quantity="standard error of the log odds ratio",
            unit="1",
            published=f"{published:.4g} (from the interval)",
            recomputed=f"four terms {four[name]:.4g}; seven terms {low:.4g} to {high:.4g}",
            agrees=agrees,
            why=_why_terms((four[name] / published, low / published, high / published))
            if agrees
            else "the interval is not that of a regression with the four printed terms",
        )


def _why_terms(ratios: tuple[float, float, float]) -> str:
    """What the ratios to the published standard error say; seven terms first with the bone markers' lowest correlation."""
    four, low, high = ratios
    if low <= 1 + _SE_AGREEMENT:
        return f"four terms {four:.2f} times the published, seven {low:.2f}: this term does not tell them apart"
    return (
        f"four terms {four:.2f} times the published, seven {low:.2f} to {high:.2f} times (bone markers correlated by "
        f"{MARKER_CORRELATIONS[0]} to {MARKER_CORRELATIONS[-1]}): the printed interval speaks for four"
    )
