"""The written policy: who is assessed, on which occasion, from which evidence. All of it is configuration."""

from decimal import Decimal
from typing import Literal

import msgspec


class Policy(msgspec.Struct, frozen=True):
    """Windows and limits of the clinical rules; docs/how-a-run-works.md explains them.

    `minimum_age_surgical_years` is the least age of women whose ovaries were removed: below 50 the model extrapolates, and says so.
    `premenopause_days`: so long a documented pre- or perimenopausal state counts; after that menopause is presumed from age, as where
    nothing is documented.
    `imprecision_mmol_l` is the half-width around the Mg cut-off within which a repeated measurement could fall on the
    other side (the assay's imprecision). `reduced_nomograms`: where predictors are missing, use the reduced nomogram for those that
    are there, and name it.
    `egfr_least`: below it (mL/min/1.73 m2) kidney function is severely reduced (KDIGO stages G4 and G5). `calcium_high_mmol_l`: above it
    calcium, corrected by albumin where that was measured, is high. `old_results_days`: beyond it an assessment says how old its results
    are. `presumed_until_years`: up to this age it is worth saying that menopause is presumed. `height_old_days`: a height older than
    that is told, for women grow shorter. `documented` "skip" does not assess women whose osteoporosis is documented.
    `sex_not_clear`: where the recorded sex and the administrative gender contradict each other and no sex parameter for clinical use
    decides, nobody is assessed, or the one or the other counts.
    """

    lookback_days: int = 730
    marker_days_before: int = 90
    marker_days_after: int = 14
    weight_days: int = 365
    height_days: int = 3652
    minimum_age_years: int = 50
    minimum_age_surgical_years: int = 50
    premenopause_days: int = 1826
    imprecision_mmol_l: Decimal = Decimal("0.02")
    reduced_nomograms: bool = False
    egfr_least: Decimal = Decimal(30)
    calcium_high_mmol_l: Decimal = Decimal("2.60")
    old_results_days: int = 180
    presumed_until_years: int = 65
    height_old_days: int = 1826
    documented: Literal["assess", "skip"] = "assess"
    sex_not_clear: Literal["leave_out", "recorded_sex", "gender"] = "leave_out"
