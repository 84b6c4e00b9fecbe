"""Units of the bone markers, and body mass index against weight and height."""

from collections.abc import Iterator
from typing import NamedTuple

from model.evidence.checks.result import Check, Figures, Interval, around
from model.predictors import CTX, OCN, P1NP


class Assay(NamedTuple):
    """Of one marker on the paper's analyser: what it can measure, and what is usual after the menopause; ng/mL."""

    measurable: Interval
    usual: Interval


# Roche's package inserts: Elecsys beta-CrossLaps/serum, total P1NP, N-MID Osteocalcin.
ASSAYS = {
    OCN: Assay(Interval(0.5, 300), Interval(15, 46)),
    CTX: Assay(Interval(0.010, 6.0), Interval(0.0, 1.008)),
    P1NP: Assay(Interval(5, 1200), Interval(20.25, 76.31)),
}
_NG_ML = {"ng/mL": 1.0, "pg/mL": 1e-3}


def section_2_3(figures: Figures) -> Iterator[Check]:
    """The reference ranges as printed, against the manufacturer's."""
    for name, assay in ASSAYS.items():
        row = figures["reference_ranges"][name]
        unit = row.get("printed_unit", row["unit"])
        limits = Interval(row.get("low", 0.0), row["high"])
        agrees = tuple(limit * _NG_ML[unit] for limit in limits) == tuple(assay.usual)
        yield Check(
            table=f"Section {row['section']}",
            row=row["row"],
            quantity="reference range after the menopause",
            unit="",
            published=f"{_span(limits)} {unit}",
            recomputed=f"{_span(assay.usual)} ng/mL",
            agrees=agrees,
            why="" if agrees else f"the unit is wrong: Roche's range has these very numbers in ng/mL, not {unit}",
        )


def marker_units(table: str, rows: Figures, groups: tuple[str, str]) -> Iterator[Check]:
    """Whether the group means, in the unit that the row is printed in, can be measured at all."""
    for name, assay in ASSAYS.items():
        row = rows[name]
        unit = row.get("printed_unit", row["unit"])
        means = [row[group][0] for group in groups]
        converted = [mean * _NG_ML[unit] for mean in means]
        agrees = all(assay.measurable.low <= mean <= assay.measurable.high for mean in converted)
        yield Check(
            table=table,
            row=row["row"],
            quantity="unit of the means",
            unit="",
            published=f"{means[0]:.2f} and {means[1]:.2f} {unit}",
            recomputed=f"{_converted(converted)} ng/mL of {assay.measurable.low:g} to {assay.measurable.high:g} measurable",
            agrees=agrees,
            why=""
            if agrees
            else f"the unit is wrong: {unit} would lie below what the assay measures; the values are in ng/mL",
        )


def body_mass_index(table: str, rows: Figures, groups: tuple[str, str]) -> Iterator[Check]:
    """Mean BMI from the means and SDs of weight and height, whatever their correlation from 0 to 1 (a second-order expansion)."""
    for group in groups:
        row = rows["bmi_kg_m2"]
        found = mean_ratio(rows["weight_kg"][group], rows["height_cm"][group])
        printed = around(row[group][0], row["rounding"])
        agrees = printed.overlaps(found)
        yield Check(
            table=table,
            row=row["row"],
            quantity=f"mean from weight and height, {group.replace('_', ' ')}",
            unit=row["unit"],
            published=f"{row[group][0]:.2f}",
            recomputed=found,
            agrees=agrees,
            why="" if agrees else "the means of weight and height give another BMI",
        )


def mean_ratio(weight_kg: list[float], height_cm: list[float]) -> Interval:
    """Mean of weight / height^2 (kg/m2) from mean and SD of each, for correlations of 1 and of 0."""
    (w, w_sd), (h, h_sd) = weight_kg, (x / 100 for x in height_cm)
    relative_w, relative_h = w_sd / w, h_sd / h
    low, high = (w / h**2 * (1 + 3 * relative_h**2 - 2 * r * relative_w * relative_h) for r in (1.0, 0.0))
    return Interval(low, high)


def _span(limits: Interval) -> str:
    low, high = limits
    return f"{low}-{high}" if low else f"< {high}"


def _converted(means: list[float]) -> str:
    return " and ".join(f"{mean:.3g}" for mean in means)
