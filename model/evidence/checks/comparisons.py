"""Tables 1 and 4: p-values from means and SDs, and the same women counted two ways."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import stats

from model.evidence.checks.result import Check, Figures, Interval, printed_p_interval
from model.evidence.checks.units import body_mass_index, marker_units

GROUPS_1 = ("without", "osteoporosis")
GROUPS_4 = ("without_fracture", "fracture")
Group = tuple[int, float, float]  # size, mean, SD


class PRanges(NamedTuple):
    """What each t-test can give while means and SDs stay inside their rounding."""

    pooled: Interval
    welch: Interval


def table_1(figures: Figures) -> Iterator[Check]:
    """By osteoporosis."""
    yield from _table("Table 1", figures["table_1"], figures["groups"], GROUPS_1)


def table_4(figures: Figures) -> Iterator[Check]:
    """By fracture."""
    yield from _table("Table 4", figures["table_4"]["rows"], figures["table_4"]["groups"], GROUPS_4)


def tables_1_and_4(figures: Figures) -> Iterator[Check]:
    """The mean of all women, which both tables must agree on."""
    sizes_1, sizes_4 = figures["groups"], figures["table_4"]["groups"]
    yield _sizes(figures)
    for name, row in figures["table_1"].items():
        other = figures["table_4"]["rows"][name]
        first, second = _pooled_mean(row, sizes_1, GROUPS_1), _pooled_mean(other, sizes_4, GROUPS_4)
        allowed = row["rounding"] + other["rounding"]
        agrees = abs(first - second) <= allowed
        yield Check(
            table="Tables 1 and 4",
            row=row["row"],
            quantity="mean of all women",
            unit=row["unit"],
            published=f"{first:.3f} (Table 1)",
            recomputed=f"{second:.3f} (Table 4)",
            agrees=agrees,
            why="" if agrees else f"the means differ by {abs(first - second):.3f}; rounding explains {allowed:.2f}",
        )


def p_ranges(first: Group, second: Group, rounding: float) -> PRanges:
    """The two-sided p-values of two groups whose means and SDs were rounded by up to `rounding`.

    The pooled test's p falls with the difference and rises with either SD, so the ends of the roundings bound it; Welch's degrees
    of freedom hardly move, so they bound it too, to far more digits than are printed.
    """
    (n0, mean0, sd0), (n1, mean1, sd1) = first, second
    ends = np.array([-1.0, 0.0, 1.0]) * rounding
    differences = mean1 - mean0 + 2 * ends
    if differences[0] < 0 < differences[-1]:
        differences = np.append(differences, 0.0)
    difference, s0, s1 = np.meshgrid(differences, sd0 + ends, sd1 + ends)
    pooled, welch = (
        np.asarray(stats.ttest_ind_from_stats(difference, s1, n1, 0.0, s0, n0, equal_var=equal).pvalue)
        for equal in (True, False)
    )
    return PRanges(Interval(float(pooled.min()), float(pooled.max())), Interval(float(welch.min()), float(welch.max())))


def pooled_p(first: Group, second: Group) -> float:
    """Two-sided, of the figures exactly as printed."""
    return float(2 * stats.t.sf(abs(second[1] - first[1]) / _error(first, second), first[0] + second[0] - 2))


def implied_difference(first: Group, second: Group, p: float) -> float:
    """The size of the difference of the means that gives this p-value in the pooled test."""
    return float(stats.t.isf(p / 2, first[0] + second[0] - 2)) * _error(first, second)


def _error(first: Group, second: Group) -> float:
    (n0, _, sd0), (n1, _, sd1) = first, second
    variance = ((n0 - 1) * sd0**2 + (n1 - 1) * sd1**2) / (n0 + n1 - 2)
    return math.sqrt(variance * (1 / n0 + 1 / n1))


def _table(table: str, rows: Figures, sizes: Figures, groups: tuple[str, str]) -> Iterator[Check]:
    for row in rows.values():
        first, second = ((sizes[group], *row[group]) for group in groups)
        yield _p_value(table, row, first, second)
    yield from marker_units(table, rows, groups)
    yield from body_mass_index(table, rows, groups)


def _p_value(table: str, row: Figures, first: Group, second: Group) -> Check:
    ranges, printed = p_ranges(first, second, row["rounding"]), printed_p_interval(row["printed_p"])
    reached = [printed.overlaps(found) for found in ranges]
    return Check(
        table=table,
        row=row["row"],
        quantity="p-value of the t-test",
        unit="1",
        published=row["printed_p"],
        recomputed=f"pooled {_span(ranges.pooled)}; Welch {_span(ranges.welch)}",
        agrees=any(reached),
        why=_why(row["printed_p"], reached, first, second),
    )


def _why(printed: str, reached: list[bool], first: Group, second: Group) -> str:
    if not any(reached):
        return "no t-test gives this p-value inside the rounding of means and SDs: one of them is wrong, or fewer women were compared"
    if not reached[0]:
        return "only Welch's test gives it, whereas most other rows are the pooled test's"
    as_printed = pooled_p(first, second)
    if printed_p_interval(printed).overlaps(Interval(as_printed, as_printed)):
        return ""
    wanted, seen = implied_difference(first, second, float(printed.lstrip("<"))), abs(second[1] - first[1])
    return f"the figures as printed give {as_printed:.3f}: p wants means {wanted:.4f} apart, printed are {seen:.2f}; rounding allows it"


def _span(p_values: Interval) -> str:
    """To the paper's three decimals, and one more where these show nothing."""
    if p_values.high < 0.0005:
        return "< 0.0005"
    digits = 4 if p_values.high < 0.001 else 3
    return f"{p_values.low:.{digits}f} to {p_values.high:.{digits}f}"


def _pooled_mean(row: Figures, sizes: Figures, groups: tuple[str, str]) -> float:
    counts = [sizes[group] for group in groups]
    return float(np.average([row[group][0] for group in groups], weights=counts))


def _sizes(figures: Figures) -> Check:
    women = figures["cohort"]["women"]
    sums = [sum(sizes.values()) for sizes in (figures["groups"], figures["table_4"]["groups"])]
    agrees = sums == [women, women]
    return Check(
        table="Tables 1 and 4",
        row="Number",
        quantity="women",
        unit="1",
        published=str(women),
        recomputed=f"{sums[0]} (Table 1); {sums[1]} (Table 4)",
        agrees=agrees,
        why="" if agrees else "the groups do not add up to the cohort",
    )
