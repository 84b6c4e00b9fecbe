"""The verdict that the job would have reached when the results came in.

A site's own patients are looked at with hindsight, and hindsight selects: a woman whose DXA showed osteoporosis is treated for it,
and treatment excludes. Were she judged by what holds today, the cases would be missing from the very cohort that counts them.
"""

import msgspec

from model import Artefact
from screener.clinical.judge import Verdict, judge
from screener.clinical.merge import merge
from screener.clinical.policy import Policy
from screener.clinical.records import MAGNESIUM_GIVEN, Exclusion, Method, Outcome, PatientRecord


def judge_as_of_occasion(record: PatientRecord, policy: Policy, artefact: Artefact, now_us: int) -> Verdict:
    """The verdict without the exclusions that began only after the occasion; in all else the job's own verdict.

    Which occasion that is does not depend on exclusions: the nomogram's where she then has a score, else the flag's.
    """
    verdict = _judged(record, policy, artefact, now_us)
    if verdict.outcome is Outcome.SCORED or not verdict.view.exclusions:
        return verdict
    without = msgspec.structs.replace(record, exclusions=_infusions(record))
    occasions = _judged(without, policy, artefact, now_us).occasions
    for method in (Method.NOMOGRAM, Method.FLAG):
        if method in occasions:
            earlier = begun_by(record, occasions[method].mg.moment.day)
            verdict = _judged(earlier, policy, artefact, now_us)
            if method in verdict.occasions:
                return verdict
    return verdict


def begun_by(record: PatientRecord, day: int) -> PatientRecord:
    """The record without the exclusions that began after `day` (an ordinal)."""
    # Merged first: an older copy must not stand in for a newer one that is dropped.
    view = merge(record)
    kept = tuple(row for row in (*view.exclusions, *view.conditions) if row.start_day <= day)
    return msgspec.structs.replace(record, exclusions=(*kept, *_infusions(record)))


def _infusions(record: PatientRecord) -> tuple[Exclusion, ...]:
    """What refuses a magnesium, and excludes nobody: it holds whatever is left out."""
    return tuple(row for row in record.exclusions if row.rule == MAGNESIUM_GIVEN)


def _judged(record: PatientRecord, policy: Policy, artefact: Artefact, now_us: int) -> Verdict:
    return judge([record], policy, artefact, now_us)[0]
