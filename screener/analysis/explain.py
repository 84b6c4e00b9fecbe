"""Everything about one patient: what was found, what each rule says of it, and what becomes of her assessments.

This only puts verdicts and changes into words. Every decision is made where the job makes it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from screener.analysis.as_sent import Sent, SentReader, Stated, StatedReader
from screener.assessment.reconcile import Change, Rules
from screener.assessment.resource import Json
from screener.assessment.values import UNITS
from screener.base.errors import InputError, ServerError, is_about_the_type
from screener.clinical import eligibility, occasions
from screener.clinical.dates import age_years, instant_text
from screener.clinical.exclusions import ExclusionRow
from screener.clinical.judge import Verdict, day_of, results_needed
from screener.clinical.mapping import Mapper
from screener.clinical.merge import PatientView
from screener.clinical.policy import Policy
from screener.clinical.records import Analyte, Exclusion, Fact, Menopause, Method, Refusal
from screener.clinical.wire import EXCLUDING
from screener.run.deciding import Stores, cannot_judge, decide
from screener.run.opening import Consulted
from screener.stores.protocols import FullSource


class Rule(msgspec.Struct, frozen=True):
    """One rule of eligibility. `reason` is "" where it is met; `evidence` is what it rests on."""

    rule: str
    reason: str
    evidence: list[str]


class Measurement(msgspec.Struct, frozen=True):
    """One result. `value` is in `unit`, the model's, and None where it is refused; `fates` says by method what became of it."""

    observation: str
    analyte: str
    date: str
    sent: str
    code: str
    comparator: str
    value: Decimal | None
    unit: str
    refused: str
    fates: dict[str, str]


class Nomogram(msgspec.Struct, frozen=True):
    """What the nomogram says. Risks are in per cent; points by predictor as the nomogram counts them."""

    model: str
    version: str
    predictors: dict[str, str]
    points: dict[str, float]
    total_points: float
    risk: float
    risk_low: float
    risk_high: float
    extrapolated: list[str]
    other_side_risk: float | None


class Assessment(msgspec.Struct, frozen=True):
    """One method's assessment: whether there is one and why not, its caveats, and what a run would do with what stands."""

    method: str
    reason: str
    occasion: str
    caveats: list[str]
    action: str
    because: str
    resource: Json | None
    standing: Json | None


class Explanation(msgspec.Struct, frozen=True):
    """All of it, ready for JSON."""

    patient: str
    instant: str
    outcome: str
    reason: str
    rules: list[Rule]
    measurements: list[Measurement]
    nomogram: Nomogram | None
    assessments: list[Assessment]


class _Sources:
    """Where each row of the exclusion list is from, by rule and token."""

    def __init__(self, rows: Iterable[ExclusionRow]) -> None:
        self._sources = {(row.rule, row.token): row.source for row in rows}

    def said(self, row: Exclusion) -> str:
        """What a statement rests on: the row of the list and the row's source, or only its words."""
        if row.words:
            return f'on no list, by its words "{row.words}"'
        source = self._sources.get((row.rule.removesuffix("_local"), row.by), "")
        return f"by {row.by}{f' ({source})' if source else ''}"


def explain(patient: str, consulted: Consulted) -> Explanation:
    """Read, judge and compare one patient; nothing is written. InputError where the source does not show her."""
    source, rules, mapper = consulted.source, consulted.rules, consulted.site.mapper
    stores = Stores(source, consulted.destination)
    decision = next(iter(decide([patient], stores, rules, cannot_judge, whole=[patient])))
    verdict, standing, changes = decision.verdict, decision.standing, decision.changes
    view = verdict.view
    if not view.demographics and not view.facts and not view.refusals:
        raise InputError(
            f"The source shows no Patient/{patient} and no result of hers",
            "Check the logical id (not a record number), and what the account may see",
        )
    sent = {row.id: row for row in source.read_more(SentReader(mapper), [patient])}
    return Explanation(
        patient=patient,
        instant=instant_text(rules.now_us),
        outcome=verdict.outcome.value,
        reason=verdict.reason,
        rules=[*_rules(verdict, rules, _Sources(mapper.exclusions)), _on_no_list(patient, source, mapper)],
        measurements=_measurements(verdict, sent, rules),
        nomogram=_nomogram(verdict, rules),
        assessments=[_assessment(verdict, method, changes, standing) for method in Method],
    )


# Rules


def _rules(verdict: Verdict, rules: Rules, sources: _Sources) -> list[Rule]:
    view, policy = verdict.view, rules.policy
    today = day_of(rules.now_us)
    person = view.demographics
    found = [Rule("person", eligibility.who(person, policy), _person(view))]
    if person is None:
        return found
    found.append(Rule("age today", eligibility.age(view, person, today, policy), [_age(view, today, policy)]))
    found.append(_menopause(view, max(verdict.days.values(), default=today), today, policy))
    found.append(_excluded("exclusions today", view, today, sources))
    found.append(_measured(view, today, policy))
    known = eligibility.documented(view, today, policy)
    if known:
        found.append(Rule("documented osteoporosis", known, ['policy.documented = "skip"']))
    for method, day in verdict.days.items():
        place = f"on the occasion of {method.value}"
        found.append(Rule(f"age {place}", eligibility.age(view, person, day, policy), [_age(view, day, policy)]))
        found.append(_excluded(f"exclusions {place}", view, day, sources))
    unreadable = [f"{kind}: a resource that cannot be understood" for kind in view.unreadable]
    unchecked = [f"{kind}: not checked" for kind in view.unchecked]
    unchecked += [f"{part}: read in part" for part in view.in_part]
    found.append(
        Rule("what can exclude is readable", "exclusions_unreadable" if unreadable else "", unreadable + unchecked)
    )
    return found


def _person(view: PatientView) -> list[str]:
    person = view.demographics
    if person is None:
        return ["no Patient resource"]
    said = (
        f" (administrative gender {person.gender}, recorded sex {person.recorded_sex})" if person.recorded_sex else ""
    )
    state = [name for name, holds in (("deceased", person.deceased), ("merged", person.merged)) if holds]
    return [f"sex {person.sex}{said}", "active" if person.active else "inactive", *state]


def _age(view: PatientView, day: int, policy: Policy) -> str:
    person = view.demographics
    if person is None or person.birth_date in ("", "malformed"):
        return "birth date unknown"
    youngest, oldest = age_years(person.birth_date, day)
    years = str(youngest) if youngest == oldest else f"{youngest} or {oldest}"
    return f"{years} years on {_date(day)}; from {eligibility.minimum_age_years(view, day, policy)} years"


def _menopause(view: PatientView, occasion_day: int, today: int, policy: Policy) -> Rule:
    statements = [
        f"{row.resource}/{row.id}: {_status(row)}{', ovaries removed' if row.surgical else ''} {_since(row.day)}"
        for row in sorted(view.menopause, key=lambda row: row.day)
    ]
    status = eligibility.menopause_status(view, today, policy)
    held = f"documented: {status}menopausal" if status else "nothing documented that still counts: presumed from age"
    return Rule("menopause", eligibility.not_menopausal(view, occasion_day, today, policy), [*statements, held])


def _excluded(name: str, view: PatientView, day: int, sources: _Sources) -> Rule:
    rows = [_statement(row, day, sources) for row in (*view.exclusions, *view.conditions)]
    return Rule(name, eligibility.excluded(view, day), rows)


def _on_no_list(patient: str, source: FullSource, mapper: Mapper) -> Rule:
    """Diagnoses, procedures and medicines whose codes are on no list: they keep nobody out."""
    reader = StatedReader(mapper, *sorted(EXCLUDING - source.reading.not_readable.keys() - source.reading.not_offered))
    try:
        found = {(row.resource, row.id): row for row in source.read_more(reader, [patient])}.values()
    except ServerError as error:
        if not is_about_the_type(error):
            raise
        return Rule("on no list", "", [f"could not be listed: {error.what}"])
    known = source.medicines({row.medicine for row in found if row.medicine})
    rows = [reader.resolved(row, known.get(row.medicine)) if row.medicine else row for row in found]
    return Rule("on no list", "", sorted(_unlisted(row) for row in rows if not row.met))


def _unlisted(row: Stated) -> str:
    codes = ", ".join(row.codes) or (f"Medication/{row.medicine}" if row.medicine else "no code")
    words = f' "{row.words}"' if row.words else ""
    return f"{row.resource}/{row.id}: {codes}{words}: on no list"


def _measured(view: PatientView, day: int, policy: Policy) -> Rule:
    egfr = eligibility.newest(view.facts, Analyte.EGFR, day, policy.lookback_days)
    evidence = []
    if egfr is not None:
        value = f"{egfr.comparator}{short(egfr.value)} {UNITS[Analyte.EGFR]}"
        evidence = [
            f"Observation/{egfr.id}: eGFR {value} on {_date(egfr.moment.day)}; severe below {policy.egfr_least}"
        ]
    creatinine = eligibility.newest(view.facts, Analyte.CREATININE, day, policy.lookback_days)
    computed = eligibility.computed_egfr(view.demographics, creatinine) if creatinine else None
    if creatinine is not None and computed is not None:
        value = f"{short(creatinine.value)} {UNITS[Analyte.CREATININE]}"
        evidence.append(
            f"Observation/{creatinine.id}: creatinine {value} on {_date(creatinine.moment.day)}: eGFR {computed} by CKD-EPI 2021; "
            "it counts where no eGFR was reported that day or later"
        )
    return Rule("kidney function", eligibility.excluded_by_measurement(view, day, policy), evidence)


def _statement(row: Exclusion, day: int, sources: _Sources) -> str:
    span = f"{_since(row.start_day)}{f' until {_date(row.end_day)}' if row.end_day else ', no end known'}"
    what = "a caveat" if row.caveat else "excludes"
    held = what if eligibility.holds(row, day) else "not on this day"
    return f"{row.resource}/{row.id}: {row.rule} {sources.said(row)}, {span}: {held}"


def _status(row: Menopause) -> str:
    period = f"last period {_date(row.last_period_day)}" if row.last_period_day else ""
    if row.status == "period":
        return period
    return f"{row.status}menopausal{f' by her {period}' if period else ''}"


def _since(day: int) -> str:
    return f"since {_date(day)}" if day else "since ever"


def _date(day: int) -> str:
    return date.fromordinal(day).isoformat()


# Measurements

_ANALYTES = list(Analyte)


def _measurements(verdict: Verdict, sent: Mapping[str, Sent], rules: Rules) -> list[Measurement]:
    rows = verdict.view.measurements
    return [_measurement(row, sent.get(row.id), verdict, rules) for row in sorted(rows, key=_by_analyte_then_newest)]


def _by_analyte_then_newest(row: Fact | Refusal) -> tuple[object, ...]:
    return _ANALYTES.index(row.analyte), -(row.moment.day if isinstance(row, Fact) else row.day), row.id


def _measurement(row: Fact | Refusal, sent: Sent | None, verdict: Verdict, rules: Rules) -> Measurement:
    if isinstance(row, Refusal):
        day, value, refused, fates = row.day, None, row.reason, {}
    else:
        day, value, refused = row.moment.day, row.value, ""
        fates = {method.value: _fate(row, method, verdict, rules) for method in Method if _concerns(row, method)}
    return Measurement(
        observation=row.id,
        analyte=row.analyte.value,
        date=_date(day) if day else "",
        sent=f"{sent.comparator}{sent.number} {sent.unit}".strip() if sent else "",
        code=sent.code if sent else "",
        comparator=row.comparator if isinstance(row, Fact) else "",
        value=value,
        unit=UNITS[row.analyte],
        refused=refused,
        fates=fates,
    )


# Reasons that come from the choice of results; all others keep her out whatever her results are.
_OF_THE_RESULTS = ("missing_", "bmi_implausible", "no_magnesium", "magnesium_refused")


def _concerns(row: Fact, method: Method) -> bool:
    return method is Method.NOMOGRAM or row.analyte is Analyte.MG


def _fate(row: Fact, method: Method, verdict: Verdict, rules: Rules) -> str:
    occasion = verdict.occasions.get(method)
    reason = verdict.reasons[method]
    if occasion is None and not reason.startswith(_OF_THE_RESULTS):
        return reason
    used = occasion.facts if occasion else ()
    return occasions.fate(
        row, used, day_of(rules.now_us), rules.now_us, rules.policy, results_needed(rules.writer.artefact)
    )


# Results


def _nomogram(verdict: Verdict, rules: Rules) -> Nomogram | None:
    scores = verdict.scores
    if scores is None:
        return None
    occasion = verdict.occasions[Method.NOMOGRAM]
    artefact = rules.writer.artefact
    values = {fact.analyte.value: f"{short(fact.value)} {UNITS[fact.analyte]}" for fact in occasion.facts}
    values["age"] = f"{occasion.age_years} a"
    if occasion.bmi_kg_m2 is not None:
        values["bmi"] = f"{occasion.bmi_kg_m2:.2f} kg/m2"
    return Nomogram(
        model=f"{artefact.id}-{occasion.reduced}" if occasion.reduced else artefact.id,
        version=artefact.version,
        predictors=values,
        points=scores.points,
        total_points=scores.total_points,
        risk=100 * scores.risk,
        risk_low=100 * scores.risk_low,
        risk_high=100 * scores.risk_high,
        extrapolated=list(scores.extrapolated),
        other_side_risk=None if scores.other_side_risk is None else 100 * scores.other_side_risk,
    )


def short(value: Decimal) -> str:
    """A value for people: as it is up to six digits, else to four decimals."""
    return f"{value.normalize():f}" if len(value.as_tuple().digits) <= 6 else f"{value:.4f}"


def _assessment(verdict: Verdict, method: Method, changes: Sequence[Change], standing: Sequence[Json]) -> Assessment:
    occasion = verdict.occasions.get(method)
    change = next((change for change in changes if change.method is method), None)
    target = next((held for held in standing if change and held.get("id") == change.target), None)
    resource = change.resource if change else None
    return Assessment(
        method=method.value,
        reason=verdict.reasons[method],
        occasion=occasion.mg.moment.text if occasion else "",
        caveats=[str(note.get("text", "")) for note in (resource or target or {}).get("note", ())],
        action=change.action.value if change else "nothing",
        because=change.reason if change else "",
        resource=resource,
        standing=target,
    )


def plain(found: Explanation) -> dict[str, Any]:
    """For JSON; decimals as strings, so that no digit is lost."""
    made: dict[str, Any] = msgspec.to_builtins(found)
    return made
