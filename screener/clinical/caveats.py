"""What a reader of an assessment must know beside its result, as codes: "name" or "name:detail:detail".

They say what is already known of her, how old the results are, and what could not be checked. They exclude nobody.
"""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

from model import MG_CUT_OFF_MMOL_L
from screener.clinical import eligibility
from screener.clinical.dates import day_text
from screener.clinical.merge import PatientView
from screener.clinical.policy import Policy
from screener.clinical.records import LABORATORY, NOT_UNDERSTOOD, SUSPECTED, TREATED_BEFORE, Analyte, Exclusion, Fact

# Payne et al., BMJ 1973: 0.02 mmol/L of calcium for each g/L of albumin below 40.
_ALBUMIN_NORMAL_G_L = Decimal(40)
_CALCIUM_PER_ALBUMIN = Decimal("0.02")
_NOON = "12"
_ONE_STAY_DAYS = 30  # the paper took all blood in one stay
_ALBUMIN_DAYS = 7  # own limit: albumin changes slowly

_DXA = "dxa"
_KIND = {"Condition": "diagnoses", "Procedure": "procedures"}
_ON_THE_OCCASION = frozenset({"amputation"})  # what began later did not bear on the results


def of_results(used: Iterable[Fact], policy: Policy) -> set[str]:
    """What the results themselves say: marks of the map, an old height, a magnesium result near the cut-off."""
    found = {f"{mark}:{fact.analyte}" for fact in used for mark in fact.marks}
    mg, *others = used
    if mg.comparator:
        found.add("mg_known_by_comparator")
    elif abs(mg.value - MG_CUT_OFF_MMOL_L) <= policy.imprecision_mmol_l:
        found.add("near_cut_off")
    found |= _circumstances(used)
    for fact in others:
        if fact.analyte is Analyte.HEIGHT and mg.moment.day - fact.moment.day > policy.height_old_days:
            found.add(f"height_old:{day_text(fact.moment.day)}")
    return found


def _circumstances(used: Iterable[Fact]) -> set[str]:
    """How the blood was taken, where it was otherwise than in the paper: in the morning, and within one stay."""
    drawn = sorted((fact for fact in used if fact.analyte in LABORATORY), key=lambda fact: fact.moment.day)
    found = {
        f"afternoon:{clock[0]}.{clock[1]}"
        for fact in drawn
        if fact.analyte is Analyte.CTX and (clock := _local_clock(fact.moment.text)) and clock > (_NOON, "00")
    }
    if drawn[-1].moment.day - drawn[0].moment.day > _ONE_STAY_DAYS:
        found.add(f"results_apart:{day_text(drawn[0].moment.day)}:{day_text(drawn[-1].moment.day)}")
    return found


def _local_clock(text: str) -> tuple[str, str] | None:
    """Hour and minute by the clock of the place; None where there are none, or only those of UTC."""
    clock = text.partition("T")[2]
    return (clock[:2], clock[3:5]) if clock and not clock.endswith("Z") else None


def of_patient(view: PatientView, occasion_day: int, today: int, policy: Policy) -> set[str]:
    """What is known of her beside the results, on the day of the occasion or on that of the run."""
    found: set[str] = set()
    if today - occasion_day > policy.old_results_days:
        found.add(f"results_old:{day_text(occasion_day)}")
    found |= {f"exclusions_not_checked:{resource}" for resource in view.unchecked}
    found |= {f"read_in_part:{part}" for part in view.in_part}
    found |= {f"read_by_category:{part}" for part in view.by_category}
    rows = [r for r in view.conditions if eligibility.holds(r, occasion_day) or _still_matters(r, today)]
    found |= {_condition(row) for row in rows if row.rule not in (_DXA, NOT_UNDERSTOOD)}
    found |= _treated_before(found) | _not_understood(rows)
    dxa = _dxa(view, rows, today)
    if dxa:
        found.add(dxa)
    calcium = _calcium(view, today, policy)
    if calcium:
        found.add(calcium)
    return found


def _still_matters(row: Exclusion, today: int) -> bool:
    return row.rule not in _ON_THE_OCCASION and eligibility.holds(row, today)


def _treated_before(found: set[str]) -> set[str]:
    """Of several ended treatments the last one; takes the others out of `found`."""
    treated = {code for code in found if code.partition(":")[0] == TREATED_BEFORE}
    found -= treated
    return {max(treated)} if treated else set()


def _not_understood(rows: Iterable[Exclusion]) -> set[str]:
    """How many diagnoses, procedures and medicines nobody here can read, as one caveat."""
    kinds = Counter(_KIND.get(row.resource, "medicines") for row in rows if row.rule == NOT_UNDERSTOOD)
    counts = ":".join(str(kinds[name]) for name in ("diagnoses", "procedures", "medicines"))
    return {f"{NOT_UNDERSTOOD}:{counts}"} if kinds else set()


def _condition(row: Exclusion) -> str:
    return f"{row.rule}:{row.words}" if row.rule.startswith(SUSPECTED) else row.rule


def _dxa(view: PatientView, rows: Iterable[Exclusion], today: int) -> str:
    """The newest bone density measurement up to today, with the lowest T-score of its day where there is one."""
    scores = [f for f in view.facts if f.analyte is Analyte.T_SCORE and f.moment.day <= today]
    days = [fact.moment.day for fact in scores] + [row.start_day for row in rows if row.rule == _DXA]
    if not days:
        return ""
    newest = max(days)
    if not newest:
        return "dxa_on_record"
    of_that_day = [fact.value for fact in scores if fact.moment.day == newest]
    lowest = f":{min(of_that_day)}" if of_that_day else ""
    return f"dxa_on_record:{day_text(newest)}{lowest}"


def _calcium(view: PatientView, today: int, policy: Policy) -> str:
    """High calcium in the newest result of the lookback: hyperparathyroidism that nobody coded may be behind it."""
    calcium = eligibility.newest(view.facts, Analyte.CALCIUM, today, policy.lookback_days)
    if calcium is None:
        return ""
    near = [
        fact
        for fact in view.facts
        if fact.analyte is Analyte.ALBUMIN and abs(fact.moment.day - calcium.moment.day) <= _ALBUMIN_DAYS
    ]
    albumin = min(near, key=lambda f: (abs(f.moment.day - calcium.moment.day), f.id), default=None)
    value = calcium.value
    if albumin is not None:
        value += _CALCIUM_PER_ALBUMIN * (_ALBUMIN_NORMAL_G_L - albumin.value)
    if value <= policy.calcium_high_mmol_l and "above_range" not in calcium.marks:
        return ""
    return f"calcium_high:{value:.2f}:{day_text(calcium.moment.day)}"
