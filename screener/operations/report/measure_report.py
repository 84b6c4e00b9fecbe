"""The counts of a run as a FHIR MeasureReport; small counts are left out, and the others rounded."""

import uuid

from screener.assessment.identity import NAMESPACE, Canonical
from screener.assessment.resource import Json
from screener.base.small_counts import shown
from screener.clinical.records import Outcome
from screener.run.summary import Summary

_POPULATION = "http://terminology.hl7.org/CodeSystem/measure-population"


def measure_report(summary: Summary, ended: str, canonical: Canonical, least: int) -> Json:
    """Of a run that came to its end. `ended`: the instant; counts that `least` hides have no `count`."""
    by_outcome = {outcome: sum(summary.outcomes[outcome.value].values()) for outcome in Outcome}
    looked_at = summary.patients_seen
    usable = looked_at - by_outcome[Outcome.NOT_SCORABLE] - by_outcome[Outcome.FAILED]
    counts = {
        "initial-population": looked_at,
        "denominator": usable,
        "denominator-exclusion": by_outcome[Outcome.NOT_ELIGIBLE],
        "numerator": summary.flagged,
    }
    strata = [
        {
            "value": {"text": f"{outcome}: {reason}"},
            "population": [_population("initial-population", count, least)],
        }
        for outcome, reasons in summary.outcomes.items()
        for reason, count in reasons.items()
    ]
    group: Json = {
        "code": {"text": "magnesium flag"},
        "population": [_population(code, count, least) for code, count in counts.items()],
    }
    if strata:
        group["stratifier"] = [{"code": [{"text": "outcome and reason"}], "stratum": strata}]
    return {
        "resourceType": "MeasureReport",
        "id": str(uuid.uuid5(NAMESPACE, f"measure-report {summary.run_id}")),
        "status": "complete",
        "type": "summary",
        "measure": canonical.measure,
        "date": ended,
        "period": {"start": summary.started, "end": ended},
        "group": [group],
    }


def _population(code: str, count: int, least: int) -> Json:
    told = shown(count, least)
    number = {} if told is None else {"count": told}
    return {"code": {"coding": [{"system": _POPULATION, "code": code}]}, **number}
