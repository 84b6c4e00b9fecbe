"""Which results an assessment rests on: the occasion of the flag, and the occasion of the nomogram."""

from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from screener.clinical.dates import may_be_at
from screener.clinical.eligibility import recency
from screener.clinical.policy import Policy
from screener.clinical.records import NOMOGRAM_RESULTS, Analyte, Fact


class Evidence(msgspec.Struct, frozen=True):
    """The results that a method rests on, Mg first, before anybody asks whether she may be assessed; `reduced` names the reduced nomogram
    that they are for. Empty where there are none."""

    facts: tuple[Fact, ...] = ()
    reduced: str = ""


Choose = Callable[[frozenset[Analyte]], tuple[str, frozenset[Analyte]] | None]

# Around the magnesium result that dates the occasion, of the published model; a site's own may need further ones (`needed`).
PREDICTORS = NOMOGRAM_RESULTS[1:]


def not_in_future(fact: Fact, now_us: int) -> bool:
    """Whether the result can have existed at the run's instant."""
    return may_be_at(fact.moment, now_us)


def until_now(facts: Iterable[Fact], now_us: int) -> list[Fact]:
    """The results that can have existed at the run's instant."""
    return [fact for fact in facts if fact.moment.instant_us <= now_us or not_in_future(fact, now_us)]


def magnesium(facts: Iterable[Fact], today: int, policy: Policy) -> list[Fact]:
    """The Mg results within the lookback, the newest first; ties by later `issued`, higher version, id."""
    found = [f for f in facts if f.analyte is Analyte.MG and today - f.moment.day <= policy.lookback_days]
    return sorted(found, key=recency, reverse=True) if len(found) > 1 else found


def nomogram_facts(
    mg_newest_first: Sequence[Fact], facts: Sequence[Fact], policy: Policy, needed: Sequence[Analyte]
) -> Evidence:
    """The newest Mg with all the other predictors around it; empty where no Mg has them all.

    A Mg known only by a comparator ("<0.5") has no value for the nomogram and is skipped.
    """
    for mg in mg_newest_first:
        if not mg.comparator:
            around = predictors_around(mg, facts, policy, needed)
            if len(around) == len(needed):
                return Evidence((mg, *(around[analyte] for analyte in needed)))
    return Evidence()


def reduced_facts(
    mg_newest_first: Sequence[Fact],
    facts: Sequence[Fact],
    policy: Policy,
    choose: Choose,
    needed: Sequence[Analyte],
) -> Evidence:
    """The newest Mg around which a reduced nomogram finds what it needs.

    `choose` answers for the analytes that are there which nomogram fits, and what it uses of them; None for none.
    """
    for mg in mg_newest_first:
        if not mg.comparator:
            around = predictors_around(mg, facts, policy, needed)
            fitting = choose(frozenset(around))
            if fitting is not None:
                name, used = fitting
                return Evidence((mg, *(around[analyte] for analyte in needed if analyte in used)), name)
    return Evidence()


def missing(mg_newest_first: Sequence[Fact], facts: Sequence[Fact], policy: Policy, needed: Sequence[Analyte]) -> str:
    """Why there is no nomogram: the predictors that the newest Mg with a value lacks, as a stable code."""
    mg = next((fact for fact in mg_newest_first if not fact.comparator), None)
    if mg is None:
        return "missing_mg_value"
    around = predictors_around(mg, facts, policy, needed)
    return "missing_" + "+".join(analyte for analyte in needed if analyte not in around)


def predictors_around(
    mg: Fact, facts: Iterable[Fact], policy: Policy, wanted: Collection[Analyte] = PREDICTORS
) -> dict[Analyte, Fact]:
    """For each other predictor, or each analyte in `wanted`, the best result in its window around `mg`, where there is one."""
    best: dict[Analyte, Fact] = {}
    for fact in facts:
        if fact.analyte not in wanted or not _in_window(fact, mg, policy):
            continue
        held = best.get(fact.analyte)
        if held is None or _preference(fact, mg) > _preference(held, mg):
            best[fact.analyte] = fact
    return best


def fate(
    fact: Fact,
    used: Sequence[Fact],
    today: int,
    now_us: int,
    policy: Policy,
    needed: Sequence[Analyte],
) -> str:
    """What became of a usable result in the choice of a method's evidence `used` (Mg first, empty where there is none): "used", or
    why not as a stable code.
    """
    if fact in used:
        return "used"
    if not not_in_future(fact, now_us):
        return "in_future"
    if fact.analyte is Analyte.MG:
        return _fate_of_magnesium(fact, used, today, policy)
    if fact.analyte not in needed:
        return "no_predictor"
    if not used:
        return "no_occasion"
    return "another_preferred" if _in_window(fact, used[0], policy) else "outside_window"


def _fate_of_magnesium(mg: Fact, used: Sequence[Fact], today: int, policy: Policy) -> str:
    if today - mg.moment.day > policy.lookback_days:
        return "before_lookback"
    if used and magnesium([mg, used[0]], today, policy)[0] is used[0]:
        return "older"
    # Newer than what was used, or nothing was: it lacks a value, or what has to be around it.
    return "no_value" if mg.comparator else "incomplete"


def _in_window(fact: Fact, mg: Fact, policy: Policy) -> bool:
    analyte, days = fact.analyte, fact.moment.day - mg.moment.day
    if analyte is Analyte.WEIGHT:
        return abs(days) <= policy.weight_days
    if analyte is Analyte.HEIGHT:
        return abs(days) <= policy.height_days
    return -policy.marker_days_before <= days <= policy.marker_days_after


def _preference(fact: Fact, mg: Fact) -> tuple[object, ...]:
    """Greater is better: same day or earlier, nearest day, measured before stated, nearest instant, then the ties."""
    days = fact.moment.day - mg.moment.day
    apart_us = abs(fact.moment.instant_us - mg.moment.instant_us)
    return (days <= 0, -abs(days), -fact.rank, -apart_us, fact.issued_us, fact.version, fact.id)
