"""A record as far as the job could have known it when the results came in.

A site's own patients are looked at with hindsight, and hindsight selects: a woman whose DXA showed osteoporosis is treated for it,
and treatment excludes. Were she judged by what holds today, the cases would be missing from the very cohort that counts them.
"""

import msgspec

from screener.clinical import occasions
from screener.clinical.judge import day_of
from screener.clinical.merge import merge
from screener.clinical.policy import Policy
from screener.clinical.records import PatientRecord


def as_of_occasion(record: PatientRecord, policy: Policy, now_us: int) -> list[PatientRecord]:
    """The record without the exclusions that began only after its occasion, for each occasion that may count, the better first.

    These are the newest Mg with all the other predictors, and the newest Mg. Whatever else the rules say holds as ever: a record
    without a Mg result comes back as it is.
    """
    view = merge(record)
    facts = [fact for fact in view.facts if occasions.not_in_future(fact, now_us)]
    mg = occasions.magnesium(facts, day_of(now_us), policy)
    complete = occasions.nomogram_facts(mg, facts, policy)
    days = dict.fromkeys(fact.moment.day for fact in (*complete[:1], *mg[:1]))
    # From the view, not from the record: an older copy must not stand in for a newer one that was dropped.
    return [
        msgspec.structs.replace(record, exclusions=tuple(x for x in view.exclusions if x.start_day <= day))
        for day in days
    ] or [record]
