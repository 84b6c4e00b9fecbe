"""The written policy: who is assessed, on which occasion, from which evidence. All of it is configuration."""

from decimal import Decimal

import msgspec


class Policy(msgspec.Struct, frozen=True):
    """Windows and limits of the clinical rules; the defaults are argued for in the README.

    `minimum_age_surgical_years` is the least age of women whose ovaries were removed: below 50 the model extrapolates, and says so.
    `premenopause_days`: so long a documented pre- or perimenopausal state counts; after that menopause is presumed from age, as where
    nothing is documented.
    `imprecision_mmol_l` is the half-width around the Mg cut-off within which a repeated measurement could fall on the
    other side (the assay's imprecision). `reduced_nomograms`: where predictors are missing, use the reduced nomogram for those that
    are there, and name it.
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
