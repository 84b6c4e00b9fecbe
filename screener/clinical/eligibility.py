"""Who may be assessed. Each rule is a small function of the merged view and a day, so that the same rule serves the run's
day, the occasion's day and the day of an assessment that already stands.
"""

from collections.abc import Iterable
from decimal import Decimal

from screener.clinical.dates import age_years
from screener.clinical.merge import PatientView
from screener.clinical.policy import Policy
from screener.clinical.records import Analyte, Demographics, Exclusion, Fact, Menopause

UMOL_L_PER_MG_DL = 88.42  # creatinine, as laboratories convert it
# Own limit: beyond it a placeholder for an unknown date (1900-01-01) is likelier. Only some hundred people alive are 110 or older.
OLDEST_YEARS = 115
PREGNANCY_DAYS = 300  # 42 weeks and some days: then it is over, whatever was recorded
_STATUSES = frozenset({"post", "pre", "peri"})
TWELVE_MONTHS_DAYS = 365  # without a period: menopause (WHO)


def who(person: Demographics | None, policy: Policy) -> str:
    """The reason why this patient is not assessed whatever the occasion, or ""."""
    if person is None:
        return "patient_missing"
    sex = sex_of(person, policy)
    if sex != "female":
        return f"sex_{sex}"
    if person.merged:
        return "merged"
    if not person.active:
        return "inactive"
    return "deceased" if person.deceased else ""


def sex_of(person: Demographics, policy: Policy) -> str:
    """The sex by which she is assessed: where what is recorded contradicts itself, the site's own choice."""
    if person.sex != "not_clear":
        return person.sex
    chosen = {"recorded_sex": person.recorded_sex, "gender": person.gender}.get(policy.sex_not_clear, "")
    return chosen or person.sex


def may_be_assessed(person: Demographics | None) -> bool:
    """Whether a patient is assessed under some policy, as far as her Patient resource says."""
    return who(person, Policy()) in ("", "sex_not_clear")


def age(view: PatientView, person: Demographics, day: int, policy: Policy) -> str:
    """The reason why her age on `day` keeps her out, or "". A partial birth date must be certain to suffice."""
    if person.birth_date in ("", "malformed"):
        return "birth_date_missing"
    youngest, oldest = age_years(person.birth_date, day)
    if youngest > OLDEST_YEARS:
        return "birth_date_implausible"
    least = minimum_age_years(view, day, policy)
    if oldest < least:
        return "too_young"
    return "age_uncertain" if youngest < least else ""


def minimum_age_years(view: PatientView, day: int, policy: Policy) -> int:
    """From which age she may be assessed: a lower one, if the site says so, once her ovaries were removed."""
    least = policy.minimum_age_years
    if not view.menopause:
        return least
    surgical = any(row.surgical and row.status == "post" and row.day <= day for row in view.menopause)
    return min(least, policy.minimum_age_surgical_years) if surgical else least


def completed_years(person: Demographics, day: int) -> tuple[int, bool]:
    """Age in completed years on `day`, and whether it is exact: a partial birth date gives the least possible age."""
    youngest, oldest = age_years(person.birth_date, day)
    return youngest, youngest == oldest


def menopause_status(view: PatientView, day: int, policy: Policy) -> str:
    """What is documented on `day`: "post", "pre", "peri", or "" where nothing is. The latest statement holds.

    Menopause comes and stays; that it had not come is outdated after some years (`premenopause_days`).
    """
    if not view.menopause:
        return ""
    known = [
        row
        for row in view.menopause
        if row.status in _STATUSES
        and row.day <= day
        and not _outdated(row, day, policy)
        and not _ended_by_operation(row, view)
    ]
    return max(known, key=_recency).status if known else ""


def _ended_by_operation(row: Menopause, view: PatientView) -> bool:
    """Whether her last period came before a hysterectomy: that there was none since then does not tell menopause."""
    return bool(row.last_period_day) and any(
        other.status == "hysterectomy" and (not other.day or other.day >= row.last_period_day)
        for other in view.menopause
    )


def is_pregnant(view: PatientView, day: int) -> bool:
    """Whether she is pregnant on `day` by the newest status before it; a pregnancy is over after `PREGNANCY_DAYS`."""
    known = [row for row in view.menopause if row.status in ("pregnant", "not_pregnant") and 0 < row.day <= day]
    newest_ = max(known, key=_recency, default=None)
    return newest_ is not None and newest_.status == "pregnant" and day - newest_.day < PREGNANCY_DAYS


def _outdated(row: Menopause, day: int, policy: Policy) -> bool:
    return row.status != "post" and 0 < row.day < day - policy.premenopause_days


def _recency(row: Menopause) -> tuple[object, ...]:
    return row.day, row.version, row.id, row.status


def not_menopausal(view: PatientView, occasion_day: int, run_day: int, policy: Policy) -> str:
    """The reason why her menopausal status keeps her out, or "": as documented on the run's day, or by a period near the occasion."""
    documented = {"pre": "premenopausal", "peri": "perimenopausal"}.get(menopause_status(view, run_day, policy), "")
    return documented or ("perimenopausal" if had_period(view, occasion_day) else "")


def had_period(view: PatientView, day: int) -> bool:
    """Whether her last period lay within the twelve months before `day`, or after it; once the ovaries are removed, periods end."""
    if not view.menopause:
        return False
    last = max((row.last_period_day for row in view.menopause), default=0)
    if not last or last <= day - TWELVE_MONTHS_DAYS:
        return False
    return not any(row.surgical and row.status == "post" and last <= row.day <= day for row in view.menopause)


def excluded(view: PatientView, day: int) -> str:
    """The reason why one of the paper's exclusions keeps her out on `day`, or "" (the first rule by name)."""
    rules = sorted(x.rule for x in view.exclusions if holds(x, day)) if view.exclusions else []
    if view.menopause and is_pregnant(view, day):
        rules = sorted([*rules, "pregnancy"])
    return f"excluded_{rules[0]}" if rules else ""


def conditions(view: PatientView, day: int) -> list[str]:
    """The rules of the statements that only call for a caveat and hold on `day`, sorted."""
    return sorted({x.rule for x in view.conditions if holds(x, day)}) if view.conditions else []


def holds(statement: Exclusion, day: int) -> bool:
    """Whether an excluding statement covers a day."""
    return statement.start_day <= day and (not statement.end_day or day <= statement.end_day)


def at_occasion(view: PatientView, occasion_day: int, run_day: int, policy: Policy) -> str:
    """The reason against a new or renewed assessment of an occasion, or "".

    Age counts on the occasion. An exclusion counts on either day: one that held on the occasion spoiled its results,
    one that holds now makes the assessment pointless.
    """
    if view.demographics is None:
        return "patient_missing"
    return (
        age(view, view.demographics, occasion_day, policy)
        or not_menopausal(view, occasion_day, run_day, policy)
        or excluded(view, occasion_day)
        or excluded(view, run_day)
        or excluded_by_measurement(view, occasion_day, policy)
        or excluded_by_measurement(view, run_day, policy)
        or documented(view, run_day, policy)
    )


def excluded_by_measurement(view: PatientView, day: int, policy: Policy) -> str:
    """The reason why a result keeps her out on `day`, or "": severe renal insufficiency by the newest eGFR of the lookback, or by the
    one that the newest creatinine comes to, where no eGFR was reported on its day or later."""
    egfr = newest(view.facts, Analyte.EGFR, day, policy.lookback_days)
    creatinine = newest(view.facts, Analyte.CREATININE, day, policy.lookback_days)
    if creatinine is None or (egfr is not None and egfr.moment.day >= creatinine.moment.day):
        return "excluded_renal" if egfr and below(egfr, policy.egfr_least) else ""
    computed = computed_egfr(view.demographics, creatinine)
    return "excluded_renal_by_creatinine" if computed is not None and computed < policy.egfr_least else ""


def computed_egfr(person: Demographics | None, creatinine: Fact) -> Decimal | None:
    """A woman's eGFR (mL/min/1.73 m2) from her creatinine (umol/L) by CKD-EPI 2021 (Inker et al., NEJM 2021); None without an age. Of a
    birth date that is known in part, the greatest possible age counts: it gives the lowest eGFR."""
    if person is None or person.birth_date in ("", "malformed"):
        return None
    _, years = age_years(person.birth_date, creatinine.moment.day)
    ratio = float(creatinine.value) / UMOL_L_PER_MG_DL / 0.7
    value = 142 * min(ratio, 1.0) ** -0.241 * max(ratio, 1.0) ** -1.200 * 0.9938**years * 1.012
    return Decimal(f"{value:.1f}")


def newest(facts: Iterable[Fact], analyte: Analyte, day: int, days: int) -> Fact | None:
    """The newest result of an analyte in the `days` before `day`, that day included; None where there is none."""
    found = [fact for fact in facts if fact.analyte is analyte and 0 <= day - fact.moment.day <= days]
    return max(found, key=recency) if found else None


def recency(fact: Fact) -> tuple[object, ...]:
    """Greater is later: by time, then the later `issued`, the higher version, the id."""
    return fact.moment.instant_us, fact.issued_us, fact.version, fact.id


def below(fact: Fact, limit: Decimal) -> bool:
    """Whether a result lies below a limit; "<15" does where the limit is 30, ">90" never does."""
    return fact.value < limit or (fact.comparator == "<" and fact.value <= limit)


def documented(view: PatientView, day: int, policy: Policy) -> str:
    """The reason why documented osteoporosis keeps her out on `day`, where the site says that it does; else ""."""
    known = policy.documented == "skip" and {"osteoporosis", "fragility_fracture"} & set(conditions(view, day))
    return "osteoporosis_documented" if known else ""
