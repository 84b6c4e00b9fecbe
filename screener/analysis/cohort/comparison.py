"""Women with a label beside women without one: does the cohort look like those whom the job assesses?

Who is sent to DXA is not chosen at random (verification bias), and figures from the labelled alone hold for women like them.
"""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from screener.analysis.cohort.women import Woman

_MEASURED = ("age_years", "bmi_kg_m2", "mg_mmol_l", "p_mmol_l", "ctx_ng_ml", "p1np_ng_ml")
_SHARES = ("mg_at_or_below_cut_off",)
HEADER = (
    "predictor",
    "labelled_women",
    "labelled_missing_share",
    "labelled_mean",
    "labelled_sd",
    "unlabelled_women",
    "unlabelled_missing_share",
    "unlabelled_mean",
    "unlabelled_sd",
    "standardised_difference",
)


class Group(NamedTuple):
    """One predictor in one group: a mean (of a yes or no, the share) and what it rests on."""

    women: int
    values: list[float]
    share: bool

    @property
    def mean(self) -> float | None:
        """The mean, or None where nothing was measured."""
        return fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        """Standard deviation: of a share sqrt(p (1 - p)), else with n - 1; None where there are too few values."""
        if self.share:
            return sqrt(self.mean * (1 - self.mean)) if self.mean is not None else None
        return stdev(self.values) if len(self.values) > 1 else None

    def too_few(self, least_count: int) -> bool:
        """Whether the mean rests on so few women that it may say something of one of them."""
        if self.share and _few(int(sum(self.values)), len(self.values), least_count):
            return True
        return 0 < len(self.values) < least_count


def comparison(labelled: Sequence[Woman], unlabelled: Sequence[Woman], least_count: int) -> list[tuple[str, ...]]:
    """The rows under `HEADER`, as text. A figure that rests on 1 to `least_count` - 1 women is shown as "<least_count".

    The standardised difference is that of the means, labelled less unlabelled, over sqrt((sd1^2 + sd2^2) / 2)
    (Austin 2009, doi:10.1002/sim.3697), which no number of women makes larger or smaller; beyond 0.1 it is worth a thought.
    """
    return [_row(name, labelled, unlabelled, least_count) for name in (*_MEASURED, *_SHARES)]


def _row(name: str, labelled: Sequence[Woman], unlabelled: Sequence[Woman], least_count: int) -> tuple[str, ...]:
    groups = [_group(name, women) for women in (labelled, unlabelled)]
    hidden = f"<{least_count}"
    cells = [cell for group in groups for cell in _cells(group, least_count, hidden)]
    difference = hidden if any(group.too_few(least_count) for group in groups) else _figure(_standardised(*groups))
    return (name, *cells, difference)


def _group(name: str, women: Sequence[Woman]) -> Group:
    values = [getattr(row, name) for row in women]
    return Group(len(women), [float(value) for value in values if value is not None], name in _SHARES)


def _cells(group: Group, least_count: int, hidden: str) -> tuple[str, ...]:
    missing = group.women - len(group.values)
    women = hidden if 0 < group.women < least_count else str(group.women)
    share = missing / group.women if group.women else None
    shown = hidden if _few(missing, group.women, least_count) else _figure(share)
    if group.too_few(least_count):
        return women, shown, hidden, hidden
    # The standard deviation of a share is in the share.
    return women, shown, _figure(group.mean), "" if group.share else _figure(group.sd)


def _few(some: int, all_: int, least_count: int) -> bool:
    """Whether those with a property, or those without, are so few that the share would tell of them."""
    return 0 < some < least_count or 0 < all_ - some < least_count


def _standardised(one: Group, other: Group) -> float | None:
    if one.mean is None or other.mean is None or one.sd is None or other.sd is None:
        return None
    spread = sqrt((one.sd**2 + other.sd**2) / 2)
    return (one.mean - other.mean) / spread if spread else None


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
