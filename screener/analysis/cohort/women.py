"""One row of the cohort: a woman's values on her occasion, and her label. Nothing in it says who she is.

No id, no date: age in whole years with a common cap, the quarter of the year, and the days between result and DXA.
"""

from datetime import date
from decimal import Decimal
from typing import NamedTuple

import msgspec

from screener.base.table_files import Kind
from screener.clinical import occasions
from screener.clinical.judge import Verdict, bmi_kg_m2
from screener.clinical.labels import Label
from screener.clinical.policy import Policy
from screener.clinical.records import FURTHER_RESULTS, NOMOGRAM_RESULTS, Analyte, Fact, Method, Occasion

# HIPAA Safe Harbor, 45 CFR 164.514(b)(2)(i)(C): ages above 89 form one group.
OLDEST_SHOWN_YEARS = 90
_BMI_STEP = Decimal("0.01")  # to every digit, weight and height could be had back from it


class Woman(msgspec.Struct, frozen=True):
    """The columns of the cohort, in their order; what is not known is None."""

    age_years: int
    bmi_kg_m2: float | None
    mg_mmol_l: float | None
    p_mmol_l: float | None
    ctx_ng_ml: float | None
    p1np_ng_ml: float | None
    ocn_ng_ml: float | None
    mg_at_or_below_cut_off: int
    osteoporosis: int | None
    t_score: float | None
    gap_days: int | None
    label_source: str | None
    period: str
    assay: str | None


class Column(NamedTuple):
    """What a column holds."""

    name: str
    kind: Kind
    unit: str
    meaning: str


COLUMNS = (
    Column(
        "age_years", "integer", "a", "Age in completed years on the day of the magnesium result; 90 means 90 or older"
    ),
    Column("bmi_kg_m2", "number", "kg/m2", "Body mass index from the weight and the height nearest to the result"),
    Column(
        "mg_mmol_l", "number", "mmol/L", "Serum magnesium; empty where it was reported only as below or above a limit"
    ),
    Column("p_mmol_l", "number", "mmol/L", "Serum phosphate"),
    Column("ctx_ng_ml", "number", "ng/mL", "Beta-CTx"),
    Column("p1np_ng_ml", "number", "ng/mL", "P1NP"),
    Column(
        "ocn_ng_ml",
        "number",
        "ng/mL",
        "Osteocalcin, no predictor of the published nomogram; empty where the site does not measure it",
    ),
    Column("mg_at_or_below_cut_off", "integer", "", "1 where magnesium is at or below 0.845 mmol/L, compared exactly"),
    Column("osteoporosis", "integer", "", "The label: 1 osteoporosis, 0 none, empty not known"),
    Column("t_score", "number", "SD", "The lowest T-score of the DXA nearest to the magnesium result"),
    Column("gap_days", "integer", "d", "From the magnesium result to that DXA; negative where the DXA came first"),
    Column("label_source", "text", "", "What the label rests on: t-score, diagnosis, or no-diagnosis"),
    Column("period", "text", "", "Quarter of the magnesium result"),
    Column("assay", "text", "", "The laboratory's method, where known; the source does not say it: empty"),
)


def woman(verdict: Verdict, label: Label, policy: Policy, now_us: int) -> Woman:
    """The row of a patient with an occasion: the nomogram's where there is one, else the flag's with what lies around it."""
    occasion = occasion_of(verdict)
    values = _values(verdict, occasion, policy, now_us)
    weighed = {Analyte.WEIGHT, Analyte.HEIGHT} <= values.keys()
    bmi = bmi_kg_m2(tuple(values.values())) if weighed else None
    measured = {analyte: float(fact.value) for analyte, fact in values.items()}
    return Woman(
        age_years=min(occasion.age_years, OLDEST_SHOWN_YEARS),
        bmi_kg_m2=None if bmi is None else float(bmi.quantize(_BMI_STEP)),
        mg_mmol_l=None if occasion.mg.comparator else float(occasion.mg.value),
        p_mmol_l=measured.get(Analyte.P),
        ctx_ng_ml=measured.get(Analyte.CTX),
        p1np_ng_ml=measured.get(Analyte.P1NP),
        ocn_ng_ml=measured.get(Analyte.OCN),
        mg_at_or_below_cut_off=int(occasion.at_or_below_cut_off),
        osteoporosis=None if label.osteoporosis is None else int(label.osteoporosis),
        t_score=None if label.t_score is None else float(label.t_score),
        gap_days=label.gap_days,
        label_source=label.source or None,
        period=_quarter(occasion.mg.moment.day),
        assay=None,
    )


def occasion_of(verdict: Verdict) -> Occasion:
    """The occasion that stands for the patient; KeyError where she has none."""
    return verdict.occasions.get(Method.NOMOGRAM) or verdict.occasions[Method.FLAG]


def _values(verdict: Verdict, occasion: Occasion, policy: Policy, now_us: int) -> dict[Analyte, Fact]:
    """What lies around the Mg result by the job's windows: of a complete occasion all that its score rests on."""
    if verdict.reasons[Method.NOMOGRAM] == "predictors_implausible":
        return {}
    facts = occasions.until_now(verdict.view.facts, now_us)
    wanted = {*NOMOGRAM_RESULTS, *FURTHER_RESULTS} - {Analyte.MG}
    return occasions.predictors_around(occasion.mg, facts, policy, wanted)


def _quarter(day: int) -> str:
    on = date.fromordinal(day)
    return f"{on.year}Q{(on.month + 2) // 3}"
