"""From records to verdicts: one outcome for each patient, with all that led to it.

Rows until the evidence is chosen, columns for the nomogram: all patients of a batch are scored in one call, and the
model's sums have a fixed order, so a batch of one and a batch of a thousand give the same digits.
"""

from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal, localcontext
from functools import cache
from typing import NamedTuple

import msgspec
import numpy as np

from model import PREDICTORS, Artefact, ModelError, Nomogram, assess, flag
from screener.clinical import caveats, eligibility, occasions
from screener.clinical.dates import day_text
from screener.clinical.merge import PatientView, merge
from screener.clinical.occasions import Evidence
from screener.clinical.policy import Policy
from screener.clinical.records import Analyte, Fact, Method, Occasion, Outcome, PatientRecord, Scores

MICROSECONDS_PER_DAY = 86_400_000_000
EPOCH_ORDINAL = 719_163  # date(1970, 1, 1).toordinal()
# Own limits: beyond them a wrong weight or height is likelier, and the model was made from 16 to 36.
LEAST_BMI_KG_M2, GREATEST_BMI_KG_M2 = Decimal(13), Decimal(60)

_AGE, _BMI, _MG = PREDICTORS[:3]
_COLUMNS = {
    _MG: Analyte.MG,
    "p_mmol_l": Analyte.P,
    "ctx_ng_ml": Analyte.CTX,
    "p1np_ng_ml": Analyte.P1NP,
    "ocn_ng_ml": Analyte.OCN,
}
_PREDICTOR = {analyte: name for name, analyte in _COLUMNS.items()}


class Verdict(msgspec.Struct, frozen=True):
    """What the rules say of one patient at the run's instant.

    `reasons` says for each method why there is no assessment ("" where there is one); `days` the day of the Mg result that would
    date it, also where a rule then keeps her out. `view` is the merged evidence: the
    reconciler and every report read it there, so that no rule is written twice.
    """

    view: PatientView
    outcome: Outcome
    reason: str
    occasions: dict[Method, Occasion]
    reasons: dict[Method, str]
    days: dict[Method, int] = {}
    scores: Scores | None = None

    @property
    def patient(self) -> str:
        """The patient's logical id at the source."""
        return self.view.patient


def judge(records: Iterable[PatientRecord], policy: Policy, artefact: Artefact, now_us: int) -> list[Verdict]:
    """A verdict for each record, in the same order. `now_us` is the run's instant."""
    model = _Needs(results_needed(artefact), _chooser(artefact) if policy.reduced_nomograms else None)
    found = [_decide(merge(record), policy, now_us, model) for record in records]
    scored = [verdict for verdict in found if Method.NOMOGRAM in verdict.occasions]
    with_scores = iter(_scored(scored, artefact))
    return [next(with_scores) if Method.NOMOGRAM in verdict.occasions else verdict for verdict in found]


def _scored(verdicts: Sequence[Verdict], artefact: Artefact) -> list[Verdict]:
    """The verdicts with their scores. Where the model refuses a batch, each alone: one absurd value stops no other."""
    try:
        scores = _score(verdicts, artefact)
    except ModelError:
        if len(verdicts) == 1:
            return [_not_scored(verdicts[0])]
        return [scored for verdict in verdicts for scored in _scored([verdict], artefact)]
    return [msgspec.structs.replace(v, scores=found) for v, found in zip(verdicts, scores, strict=True)]


def _not_scored(verdict: Verdict) -> Verdict:
    """Her values are plausible one by one but not together (a BMI beyond what the model takes): the flag remains."""
    reasons = {**verdict.reasons, Method.NOMOGRAM: "predictors_implausible"}
    kept = {method: occasion for method, occasion in verdict.occasions.items() if method is not Method.NOMOGRAM}
    outcome, reason = _outcome(reasons)
    return msgspec.structs.replace(verdict, outcome=outcome, reason=reason, occasions=kept, reasons=reasons)


def day_of(instant_us: int) -> int:
    """The UTC day of an instant, as a proleptic ordinal."""
    return EPOCH_ORDINAL + instant_us // MICROSECONDS_PER_DAY


class _Needs(NamedTuple):
    """What a model needs around its magnesium: for its whole nomogram, and (where the site wants them) for its reduced ones."""

    results: tuple[Analyte, ...]
    choose: occasions.Choose | None


def results_needed(artefact: Artefact) -> tuple[Analyte, ...]:
    """The results that the whole nomogram of a model needs around its magnesium: the paper's, and the model's further predictors."""
    return (*occasions.PREDICTORS, *(_COLUMNS[name] for name in artefact.further))


def _chooser(artefact: Artefact) -> occasions.Choose:
    """Which reduced nomogram fits the analytes that are there (BMI takes two of them), and which it uses."""
    needs = {_AGE: frozenset[Analyte](), _BMI: frozenset({Analyte.WEIGHT, Analyte.HEIGHT}), _MG: frozenset[Analyte]()}
    needs |= {name: frozenset({analyte}) for name, analyte in _COLUMNS.items() if name != _MG}

    @cache
    def choose(there: frozenset[Analyte]) -> tuple[str, frozenset[Analyte]] | None:
        nomogram = artefact.reduced_for({name for name, analytes in needs.items() if analytes <= there})
        if nomogram is None:
            return None
        return nomogram.name, frozenset[Analyte]().union(*(needs[p.name] for p in nomogram.predictors))

    return choose


def _decide(view: PatientView, policy: Policy, now_us: int, model: _Needs) -> Verdict:
    today = day_of(now_us)
    barred = _barred(view, today, policy)
    if barred:
        outcome = Outcome.NOT_SCORABLE if barred == "patient_missing" else Outcome.NOT_ELIGIBLE
        return _without(view, outcome, barred)
    if view.unreadable:
        return _without(view, Outcome.FAILED, "exclusions_unreadable")
    facts = occasions.until_now(view.facts, now_us)
    mg = occasions.magnesium(facts, today, policy)
    if not mg:
        return _without(view, Outcome.NOT_SCORABLE, _why_no_magnesium(view, today, policy))
    chosen = {Method.FLAG: Evidence((mg[0],)), Method.NOMOGRAM: _evidence(mg, facts, policy, model)}
    missing = "" if chosen[Method.NOMOGRAM].facts else occasions.missing(mg, facts, policy, model.results)
    if _absurd_bmi(chosen[Method.NOMOGRAM].facts):
        chosen[Method.NOMOGRAM], missing = Evidence(), "bmi_implausible"
    return _both_methods(view, chosen, missing, today, policy)


def _evidence(mg: Sequence[Fact], facts: Sequence[Fact], policy: Policy, model: _Needs) -> Evidence:
    """Of the nomogram: all its predictors, on any occasion of the lookback, come before a reduced one."""
    whole = occasions.nomogram_facts(mg, facts, policy, model.results)
    if whole.facts or model.choose is None:
        return whole
    return occasions.reduced_facts(mg, facts, policy, model.choose, model.results)


def _absurd_bmi(used: Sequence[Fact]) -> bool:
    """Whether weight and height, plausible one by one, make a body mass index that no walking adult has."""
    if not {Analyte.WEIGHT, Analyte.HEIGHT} <= {fact.analyte for fact in used}:
        return False
    return not LEAST_BMI_KG_M2 <= bmi_kg_m2(used) <= GREATEST_BMI_KG_M2


def _barred(view: PatientView, today: int, policy: Policy) -> str:
    """What keeps her out whatever the occasion: a woman too young today was younger on every occasion before."""
    reason = eligibility.who(view.demographics, policy)
    if reason or view.demographics is None:
        return reason
    by_age = eligibility.age(view, view.demographics, today, policy)
    return by_age if by_age in ("too_young", "birth_date_missing", "birth_date_implausible") else ""


def _why_no_magnesium(view: PatientView, today: int, policy: Policy) -> str:
    refused = [
        row
        for row in view.refusals
        if row.analyte is Analyte.MG
        and not row.withdrawn
        and (not row.day or 0 <= today - row.day <= policy.lookback_days)
    ]
    return "magnesium_refused" if refused else "no_magnesium"


def _both_methods(
    view: PatientView, chosen: dict[Method, Evidence], missing: str, today: int, policy: Policy
) -> Verdict:
    reasons = {
        method: eligibility.at_occasion(view, used.facts[0].moment.day, today, policy) if used.facts else missing
        for method, used in chosen.items()
    }
    usable = {method: used for method, used in chosen.items() if not reasons[method]}
    known = {
        day: caveats.of_patient(view, day, today, policy) for day in {u.facts[0].moment.day for u in usable.values()}
    }
    made = {method: _occasion(method, view, used, known, today, policy) for method, used in usable.items()}
    made = _naming_each_other(made)
    outcome, reason = _outcome(reasons)
    if outcome is Outcome.SCORED and chosen[Method.NOMOGRAM].reduced:
        reason = f"reduced_{chosen[Method.NOMOGRAM].reduced}"
    days = {method: used.facts[0].moment.day for method, used in chosen.items() if used.facts}
    return Verdict(view=view, outcome=outcome, reason=reason, occasions=made, reasons=reasons, days=days)


def _naming_each_other(made: dict[Method, Occasion]) -> dict[Method, Occasion]:
    """Where flag and nomogram rest on different magnesium results, each says the other's day and side."""
    if len(made) < len(Method) or len({occasion.mg.id for occasion in made.values()}) == 1:
        return made
    flag_, nomogram = made[Method.FLAG], made[Method.NOMOGRAM]
    return {Method.NOMOGRAM: _naming(nomogram, flag_), Method.FLAG: _naming(flag_, nomogram)}


def _naming(occasion: Occasion, other: Occasion) -> Occasion:
    side = "at-or-below" if other.at_or_below_cut_off else "above"
    mark = f"other_magnesium:{day_text(other.mg.moment.day)}:{side}"
    return msgspec.structs.replace(occasion, marks=tuple(sorted({*occasion.marks, mark})))


def _outcome(reasons: dict[Method, str]) -> tuple[Outcome, str]:
    if not reasons[Method.NOMOGRAM]:
        return Outcome.SCORED, "complete"
    if not reasons[Method.FLAG]:
        return Outcome.FLAG_ONLY, reasons[Method.NOMOGRAM]
    return Outcome.NOT_ELIGIBLE, reasons[Method.FLAG]


def without_methods(verdict: Verdict, methods: Collection[Method], reason: str) -> Verdict:
    """The verdict as if nothing could be assessed by these methods, for that reason."""
    reasons = {method: reason if method in methods else known for method, known in verdict.reasons.items()}
    kept = {method: occasion for method, occasion in verdict.occasions.items() if method not in methods}
    # With a nomogram left, or nothing taken away, she ends as before.
    as_before = not methods or Method.NOMOGRAM in kept
    outcome, why = (verdict.outcome, verdict.reason) if as_before else _outcome(reasons)
    return msgspec.structs.replace(
        verdict,
        outcome=outcome,
        reason=why,
        occasions=kept,
        reasons=reasons,
        scores=verdict.scores if Method.NOMOGRAM in kept else None,
    )


def _without(view: PatientView, outcome: Outcome, reason: str) -> Verdict:
    return Verdict(view=view, outcome=outcome, reason=reason, occasions={}, reasons=dict.fromkeys(Method, reason))


def _occasion(
    method: Method, view: PatientView, evidence: Evidence, known: dict[int, set[str]], today: int, policy: Policy
) -> Occasion:
    """`known`: what is known of her on the day of the occasion, as caveats."""
    assert view.demographics is not None  # noqa: S101 - eligibility.at_occasion has said so
    used = evidence.facts
    mg = used[0]
    years, exact = eligibility.completed_years(view.demographics, mg.moment.day)
    marks = caveats.of_results(used, policy) | known[mg.moment.day]
    if evidence.reduced:
        marks.add(f"reduced_nomogram:{evidence.reduced}")
    if not exact:
        marks.add("age_from_partial_birth_date")
    if years < policy.presumed_until_years and eligibility.menopause_status(view, today, policy) != "post":
        marks.add("menopause_presumed")
    return Occasion(
        method=method,
        facts=used,
        age_years=years,
        at_or_below_cut_off=at_or_below(mg),
        bmi_kg_m2=bmi_kg_m2(used) if method is Method.NOMOGRAM else None,
        marks=tuple(sorted(marks)),
        reduced=evidence.reduced,
    )


def at_or_below(mg: Fact) -> bool:
    """The flag. With a comparator the side is certain (the map refuses the others): "<" and "<=" lie at or below."""
    return mg.comparator.startswith("<") if mg.comparator else flag(mg.value)


def bmi_kg_m2(used: Sequence[Fact]) -> Decimal:
    """Body mass index from the weight in kg and the height in cm among the results; KeyError where one is missing."""
    value = {fact.analyte: fact.value for fact in used}
    with localcontext(prec=34):
        return value[Analyte.WEIGHT] / (value[Analyte.HEIGHT] / 100) ** 2


def _score(verdicts: Sequence[Verdict], artefact: Artefact) -> list[Scores]:
    """Scores in the order of the verdicts; one call for each nomogram that is used."""
    chosen = [verdict.occasions[Method.NOMOGRAM] for verdict in verdicts]
    found: list[Scores | None] = [None] * len(chosen)
    for nomogram in (artefact, *artefact.reduced):
        name = "" if nomogram is artefact else nomogram.name
        places = [i for i, occasion in enumerate(chosen) if occasion.reduced == name]
        for i, scores in zip(places, _scores([chosen[i] for i in places], nomogram), strict=True):
            found[i] = scores
    return [scores for scores in found if scores is not None]


def _scores(chosen: Sequence[Occasion], nomogram: Nomogram) -> list[Scores]:
    if not chosen:
        return []
    rows = [_values(occasion) for occasion in chosen]
    columns = {p.name: np.array([row[p.name] for row in rows], dtype=np.float64) for p in nomogram.predictors}
    side = np.array([occasion.at_or_below_cut_off for occasion in chosen], dtype=np.bool_)
    found = assess(nomogram, columns, side)
    other = assess(nomogram, columns, ~side) if nomogram.has_category else None
    return [
        Scores(
            risk=float(found.risk[i]),
            risk_low=float(found.risk_low[i]),
            risk_high=float(found.risk_high[i]),
            linear_predictor=float(found.linear_predictor[i]),
            points={name: float(column[i]) for name, column in found.points.items()},
            total_points=float(found.total_points[i]),
            extrapolated=tuple(sorted(name for name, column in found.extrapolated.items() if column[i])),
            other_side_risk=float(other.risk[i]) if other and "near_cut_off" in occasion.marks else None,
        )
        for i, occasion in enumerate(chosen)
    ]


def _values(occasion: Occasion) -> dict[str, float]:
    """The values of the predictors on the occasion, in the model's units."""
    values = {_PREDICTOR[fact.analyte]: float(fact.value) for fact in occasion.facts if fact.analyte in _PREDICTOR}
    values[_AGE], values[_BMI] = float(occasion.age_years), float(occasion.bmi_kg_m2 or 0)
    return values
