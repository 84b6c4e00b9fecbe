"""The distribution of each variable in each group: published means and SDs, moved only inside their rounding.

Two further figures move the means: the p-value of Table 1 (which knows the unrounded difference) and the pooled mean of
Table 4 (the same women, divided by fracture). Magnesium has its own: its grid, its skew, its count at the cut-off, its AUC.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, special, stats

from model.predictors import AGE, BMI, CTX, MG, OCN, P1NP, P
from model.stats.logistic import Array

MINIMUM_AGE_YEARS = 50.0  # the paper's inclusion
GROUPS = ("without", "osteoporosis")

# A normal score z (n,) to the value that has the same rank in the margin (n,).
Quantile = Callable[[Array], Array]
Published = Mapping[str, Any]


class Magnesium(NamedTuple):
    """Probability of each value of the 0.01 grid in one group; `POINTS` are the values."""

    masses: Array

    @property
    def mean(self) -> float:
        """In mmol/L."""
        return float(self.masses @ POINTS)

    @property
    def sd(self) -> float:
        """In mmol/L."""
        return float(np.sqrt(self.masses @ (POINTS - self.mean) ** 2))

    @property
    def share_at_or_below(self) -> float:
        """At or below 0.845, which lies between two values of the grid."""
        return float(self.masses[POINTS < 0.845].sum())

    def values(self, z: Array) -> Array:
        """Normal scores to values of the grid."""
        ends = special.ndtri(np.minimum(np.cumsum(self.masses), 1.0))
        found: Array = POINTS[np.minimum(np.searchsorted(ends, z), len(POINTS) - 1)]
        return found


# Between two equal normal distributions with SD 0.06 it gives the printed AUC; 0.03 is printed, from means rounded to 0.01.
_MG_DIFFERENCE_MMOL_L = -0.022

POINTS = np.round(np.arange(0.40, 1.31, 0.01), 2)
_STEP = 0.01


def margins(figures: Published) -> tuple[dict[str, Quantile], dict[str, Quantile]]:
    """The quantile functions of every variable but magnesium, without and with osteoporosis."""
    shapes = {
        AGE: _truncated_normal,
        BMI: _normal,
        P: _normal,
        CTX: _log_normal,  # SD / mean says that the bone markers are skewed
        P1NP: _log_normal,
        OCN: _log_normal,
    }
    without, osteoporosis = (
        {
            name: shape(group_means(figures, name)[g], figures["table_1"][name][group][1])
            for name, shape in shapes.items()
        }
        for g, group in enumerate(GROUPS)
    )
    return without, osteoporosis


def group_means(figures: Published, name: str) -> tuple[float, float]:
    """Means without and with osteoporosis, inside their rounding, in keeping with the p-value and with Table 4.

    Where all three cannot hold (phosphate, by 0.0013 mmol/L), Table 1 keeps the word and Table 4 is met as nearly as it allows.
    """
    row = figures["table_1"][name]
    return _means(figures, name, _difference(row, figures["groups"]))


def _means(figures: Published, name: str, difference: float) -> tuple[float, float]:
    row, sizes = figures["table_1"][name], figures["groups"]
    share = sizes["osteoporosis"] / (sizes["without"] + sizes["osteoporosis"])
    printed = [row[group][0] for group in GROUPS]
    # The pooled mean c gives the groups c - share d and c + (1 - share) d: both stay inside their rounding.
    shifts = (-share * difference, (1 - share) * difference)
    bounds = [
        (m - shift - row["rounding"], m - shift + row["rounding"]) for m, shift in zip(printed, shifts, strict=True)
    ]
    low, high = max(low for low, _ in bounds), min(high for _, high in bounds)
    low_4, high_4 = pooled_mean_range(figures, name)
    middle = (max(low, low_4) + min(high, high_4)) / 2
    pooled = float(np.clip(middle if max(low, low_4) <= min(high, high_4) else np.clip(low_4, low, high), low, high))
    return pooled + shifts[0], pooled + shifts[1]


def pooled_mean_range(figures: Published, name: str) -> tuple[float, float]:
    """What Table 4 allows for the mean of all 496 women."""
    sizes, means = figures["table_4"]["groups"], figures["table_4"]["means"][name]
    weights = (sizes["without_fracture"], sizes["fracture"])
    pooled = sum(w * m for w, m in zip(weights, means, strict=True)) / sum(weights)
    rounding = figures["table_1"][name]["rounding"]
    return pooled - rounding, pooled + rounding


def _difference(row: Published, sizes: Mapping[str, int]) -> float:
    """With less without: as printed where its p-value is the printed one, else what the p-value implies."""
    n0, n1 = (sizes[group] for group in GROUPS)
    (m0, s0), (m1, s1) = (row[group] for group in GROUPS)
    printed = float(m1 - m0)
    if "p_value" not in row:
        return printed
    error = np.sqrt(((n0 - 1) * s0**2 + (n1 - 1) * s1**2) / (n0 + n1 - 2) * (1 / n0 + 1 / n1))
    if round(2 * float(stats.t.sf(abs(printed) / error, n0 + n1 - 2)), 3) == row["p_value"]:
        return printed
    return float(np.sign(printed) * stats.t.isf(row["p_value"] / 2, n0 + n1 - 2) * error)


def _normal(mean: float, sd: float) -> Quantile:
    return lambda z: mean + sd * z


def _log_normal(mean: float, sd: float) -> Quantile:
    variance = float(np.log1p((sd / mean) ** 2))
    return lambda z: np.exp(np.log(mean) - variance / 2 + np.sqrt(variance) * z)


def _truncated_normal(mean: float, sd: float) -> Quantile:
    """A normal cut off at 50 years, with the published mean and SD after the cut."""

    def missed(x: Array) -> list[float]:
        cut = stats.truncnorm((MINIMUM_AGE_YEARS - x[0]) / x[1], np.inf, x[0], x[1])
        return [float(cut.mean()) - mean, float(cut.std()) - sd]

    location, scale = (float(x) for x in optimize.root(missed, [mean - 3, sd * 1.3], tol=1e-13).x)
    # Both tails by the upper one, which keeps its digits where the lower one is all but 1.
    kept = special.ndtr((location - MINIMUM_AGE_YEARS) / scale)
    return lambda z: location - scale * special.ndtri(kept * special.ndtr(-z))


def magnesium(figures: Published) -> tuple[Magnesium, Magnesium]:
    """Left-skewed margins on the 0.01 grid: means, SDs and counts at the cut-off as published, and the AUC between them.

    A Gaussian cannot do it: the share at or below the cut-off among women with osteoporosis would need a mean of 0.849,
    and 0.84 was printed. Both SDs are printed as 0.06; they move apart inside their rounding until the AUC is the printed one.
    """
    counts, sizes = figures["table_2"]["at_or_below_cut_off"], figures["groups"]
    row, means = figures["table_1"][MG], _means(figures, MG, _MG_DIFFERENCE_MMOL_L)

    def both(shift: float) -> tuple[Magnesium, Magnesium]:
        without, osteoporosis = (
            _skewed(mean, row[group][1] + sign * shift, counts[group] / sizes[group])
            for mean, sign, group in zip(means, (-1, 1), GROUPS, strict=True)
        )
        return without, osteoporosis

    def missed(shift: float) -> float:
        return magnesium_auc(*both(shift)) - float(figures["table_2"]["mg_auc"])

    return both(optimize.brentq(missed, 0.0, row["rounding"], xtol=1e-14))


def magnesium_auc(without: Magnesium, osteoporosis: Magnesium) -> float:
    """The chance that a woman with osteoporosis has the lower magnesium, ties counted half."""
    above = 1 - np.cumsum(without.masses)
    return float(osteoporosis.masses @ (above + without.masses / 2))


def _skewed(mean: float, sd: float, share: float) -> Magnesium:
    """A skew normal, binned to the grid, with this mean, SD and share at or below 0.84."""

    def binned(shape: float) -> Magnesium:
        delta = shape / np.sqrt(1 + shape**2)
        scale = np.sqrt((sd**2 - _STEP**2 / 12) / (1 - 2 * delta**2 / np.pi))  # Sheppard's correction for the bins
        location = mean - scale * delta * np.sqrt(2 / np.pi)
        edges = np.append(POINTS - _STEP / 2, POINTS[-1] + _STEP / 2)
        masses: Array = np.diff(stats.skewnorm.cdf(edges, shape, location, scale))
        return Magnesium(masses / masses.sum())

    return binned(optimize.brentq(lambda shape: binned(shape).share_at_or_below - share, -40.0, -0.2, xtol=1e-13))
