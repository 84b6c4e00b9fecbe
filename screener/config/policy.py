"""What can be set of the clinical rules."""

from decimal import Decimal
from typing import Literal

from pydantic import Field

from screener.clinical.policy import Policy
from screener.config.servers import Section

_POLICY = Policy()  # has the defaults; here are the bounds and the words of each


class PolicySettings(Section):
    """Windows and limits of the clinical rules."""

    lookback_days: int = Field(
        _POLICY.lookback_days, ge=1, le=36_500, description="days that a magnesium result counts"
    )
    marker_days_before: int = Field(
        _POLICY.marker_days_before,
        ge=0,
        le=3650,
        description="days before the magnesium from which phosphate, beta-CTx and P1NP count",
    )
    marker_days_after: int = Field(
        _POLICY.marker_days_after, ge=0, le=3650, description="days after the magnesium until which they count"
    )
    weight_days: int = Field(
        _POLICY.weight_days, ge=0, le=36_500, description="days before and after the magnesium that a weight counts"
    )
    height_days: int = Field(
        _POLICY.height_days, ge=0, le=36_500, description="days before and after the magnesium that a height counts"
    )
    minimum_age_years: int = Field(
        _POLICY.minimum_age_years, ge=50, le=120, description="the model was made from women of 50 and older"
    )
    minimum_age_surgical_years: int = Field(
        _POLICY.minimum_age_surgical_years, ge=18, le=120, description="of women whose ovaries were removed"
    )
    premenopause_days: int = Field(
        _POLICY.premenopause_days,
        ge=0,
        le=36_500,
        description="days that a documented pre- or perimenopausal state counts",
    )
    imprecision_mmol_l: Decimal = Field(
        _POLICY.imprecision_mmol_l,
        ge=0,
        le=Decimal("0.2"),
        description="a magnesium result within this distance of the cut-off is marked as near it",
    )
    egfr_least: Decimal = Field(
        _POLICY.egfr_least, ge=1, le=30, description="below this eGFR (mL/min/1.73 m2) renal insufficiency is severe"
    )
    calcium_high_mmol_l: Decimal = Field(
        _POLICY.calcium_high_mmol_l, ge=2, le=4, description="a (corrected) calcium above this gets a caveat"
    )
    old_results_days: int = Field(_POLICY.old_results_days, ge=0, le=36_500, description="older results get a caveat")
    presumed_until_years: int = Field(
        _POLICY.presumed_until_years,
        ge=50,
        le=120,
        description="below this age an assessment says that menopause is presumed",
    )
    height_old_days: int = Field(_POLICY.height_old_days, ge=0, le=36_500, description="an older height gets a caveat")
    documented: Literal["assess", "skip"] = Field(
        _POLICY.documented, description='"skip": women whose osteoporosis is documented are an outcome of their own'
    )
    sex_not_clear: Literal["leave_out", "recorded_sex", "gender"] = Field(
        _POLICY.sex_not_clear,
        description="by what a patient is assessed whose recorded sex and gender contradict each other",
    )
    reduced_nomograms: bool = Field(
        default=_POLICY.reduced_nomograms,
        description="where predictors are missing, use the model's reduced nomogram, and say so",
    )

    def policy(self) -> Policy:
        """The same as the record that the clinical rules take."""
        return Policy(**self.model_dump())
