"""Table 2: areas under the curve, and the exchange of sensitivity and specificity."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from scipy import special

from model.evidence.checks.result import NOT_PRINTED, Check, Figures, Interval, around, printed_p_interval, with_limits
from model.evidence.checks.two_by_two import Exposed, exposed_women
from model.stats.roc import hanley_mcneil

_Z = float(special.ndtri(0.975))
_AUC_AGREEMENT = 0.002  # Hanley and McNeil's limits; the paper's come from SPSS's non-parametric standard error
_SCREENING_PREVALENCE = 0.20  # of osteoporosis, in the example of a screened population


class Sizes(NamedTuple):
    """Women without osteoporosis and with it."""

    without: int
    osteoporosis: int


class Flag(NamedTuple):
    """Of a test: each a share or a ratio of shares."""

    sensitivity: float
    specificity: float

    @property
    def positive_likelihood_ratio(self) -> float:
        """How many times likelier the flag is with the disease."""
        return self.sensitivity / (1 - self.specificity)

    @property
    def negative_likelihood_ratio(self) -> float:
        """How many times likelier its absence is with the disease."""
        return (1 - self.sensitivity) / self.specificity

    def predictive_values(self, prevalence: float) -> tuple[float, float]:
        """Share of the flagged with the disease, and of the others without it."""
        true_positive, false_positive = self.sensitivity * prevalence, (1 - self.specificity) * (1 - prevalence)
        false_negative, true_negative = prevalence - true_positive, 1 - prevalence - false_positive
        return true_positive / (true_positive + false_positive), true_negative / (true_negative + false_negative)


def table_2(figures: Figures) -> Iterator[Check]:
    """Areas, their intervals and p-values, sensitivity and specificity; then what follows for the flag."""
    sizes = Sizes(**figures["groups"])
    for name, row in figures["table_2"]["rows"].items():
        yield _interval(row, sizes)
        yield _p_value(row, sizes)
        yield from _exchange(figures, name)
    yield from _flag(figures, exposed_women(figures), sizes)


def section_3_2_curves(figures: Figures) -> Iterator[Check]:
    """Sensitivity and specificity of magnesium once more, in per cent."""
    flag = magnesium_flag(figures)
    found = {"mg_sensitivity": flag.sensitivity, "mg_specificity": flag.specificity}
    for key, share in found.items():
        row = figures["text"][key]
        agrees = abs(100 * share - row["value"]) <= row["rounding"]
        yield Check(
            table=f"Section {row['section']}",
            row="Mg",
            quantity=row["quantity"],
            unit=row["unit"],
            published=f"{row['value']:.1f}",
            recomputed=f"{100 * share:.1f}",
            agrees=agrees,
            why="" if agrees else "sensitivity and specificity are exchanged, as in Table 2",
        )


def magnesium_flag(figures: Figures) -> Flag:
    """Sensitivity and specificity of magnesium at or below the cut-off, from the counts behind Model 1."""
    exposed, sizes = exposed_women(figures), figures["groups"]
    return Flag(exposed.osteoporosis / sizes["osteoporosis"], 1 - exposed.without / sizes["without"])


def counts_of(share: float, size: int, rounding: float) -> list[int]:
    """Which numbers of `size` people round to this share."""
    return [count for count in range(size + 1) if abs(count / size - share) <= rounding]


def _interval(row: Figures, sizes: Sizes) -> Check:
    error = hanley_mcneil(row["auc"], sizes.osteoporosis, sizes.without)
    found = (row["auc"] - _Z * error, row["auc"] + _Z * error)
    agrees = all(abs(x - y) <= _AUC_AGREEMENT for x, y in zip(found, row["confidence_95"], strict=True))
    return Check(
        table="Table 2",
        row=row["row"],
        quantity="AUC and 95 % interval",
        unit="1",
        published=with_limits(row["auc"], row["confidence_95"]),
        recomputed=with_limits(row["auc"], found),
        agrees=agrees,
        why=f"Hanley and McNeil's standard error, asked to agree to {_AUC_AGREEMENT}"
        if agrees
        else "the interval does not belong to this area and these groups",
    )


def _p_value(row: Figures, sizes: Sizes) -> Check:
    """Against an area of 0.5, by the null standard error of the Mann-Whitney statistic."""
    error = math.sqrt((sizes.osteoporosis + sizes.without + 1) / (12 * sizes.osteoporosis * sizes.without))
    distances = [abs(area - 0.5) / error for area in around(row["auc"], row["rounding"])]
    low, high = sorted(float(2 * special.ndtr(-z)) for z in distances)
    agrees = printed_p_interval(row["printed_p"]).overlaps(Interval(low, high))
    return Check(
        table="Table 2",
        row=row["row"],
        quantity="p-value of the AUC",
        unit="1",
        published=row["printed_p"],
        recomputed=Interval(low, high),
        agrees=agrees,
        why="" if agrees else "the p-value does not belong to this area and these groups",
    )


def _exchange(figures: Figures, name: str) -> Iterator[Check]:
    """Each printed share, and the other one printed in the same row, as counts of the women it is a share of."""
    row, sizes = figures["table_2"]["rows"][name], Sizes(**figures["groups"])
    possible = bool(counts_of(row["sensitivity"], sizes.osteoporosis, row["rounding"])) and bool(
        counts_of(row["specificity"], sizes.without, row["rounding"])
    )
    shares = {"sensitivity": ("specificity", sizes.osteoporosis), "specificity": ("sensitivity", sizes.without)}
    for quantity, (other, size) in shares.items():
        found = row[quantity] if possible else row[other]
        yield Check(
            table="Table 2",
            row=row["row"],
            quantity=f"{quantity} at {row['threshold']} {row['unit']}",
            unit="1",
            published=f"{row[quantity]:.3f}",
            recomputed=_fraction(found, size, row["rounding"]),
            agrees=possible,
            why="" if possible else _why_exchanged(figures, name),
        )


def _why_exchanged(figures: Figures, name: str) -> str:
    """The impossible count, and what the group means expect."""
    row, sizes = figures["table_2"]["rows"][name], Sizes(**figures["groups"])
    shares = [
        100 * float(special.ndtr((row["threshold"] - mean) / sd))
        for mean, sd in (figures["table_1"][name][group] for group in ("osteoporosis", "without"))
    ]
    return (
        f"exchanged with its neighbour: {row['sensitivity']} is no share of {sizes.osteoporosis} but is "
        f"{_fraction(row['sensitivity'], sizes.without, row['rounding'])}; by the means about {shares[0]:.0f} % with osteoporosis "
        f"and {shares[1]:.0f} % without lie at or below the threshold"
    )


def _fraction(share: float, size: int, rounding: float) -> str:
    """A share as the counts it can come from: 137/288 = 0.476."""
    return " or ".join(f"{count}/{size} = {count / size:.3f}" for count in counts_of(share, size, rounding))


def _flag(figures: Figures, exposed: Exposed, sizes: Sizes) -> Iterator[Check]:
    flag, women = magnesium_flag(figures), sum(sizes)
    raised, prevalence = sum(exposed), sizes.osteoporosis / women
    here, screened = flag.predictive_values(prevalence), flag.predictive_values(_SCREENING_PREVALENCE)
    derived = {
        "women flagged": f"{raised} of {women} ({raised / women:.1%})",
        "predictive values of the flag, cohort": f"PPV {here[0]:.3f}, NPV {here[1]:.3f}",
        f"predictive values at {_SCREENING_PREVALENCE:.0%} prevalence": f"PPV {screened[0]:.2f}, NPV {screened[1]:.2f}",
        "likelihood ratios of the flag": f"LR+ {flag.positive_likelihood_ratio:.2f}, LR- {flag.negative_likelihood_ratio:.2f}",
    }
    for quantity, found in derived.items():
        yield Check("Table 2", "Mg", quantity, "1", NOT_PRINTED, found, None, "from the 2x2 table behind Model 1")
