"""Who is treated for what her DXA showed belongs in the cohort all the same. The occasion is 2025-06-01 (tests.builders)."""

import pytest

from model import load_artefact
from screener.clinical.as_of_occasion import judge_as_of_occasion
from screener.clinical.judge import Verdict, judge
from screener.clinical.policy import Policy
from screener.clinical.records import MAGNESIUM_GIVEN, Analyte, Exclusion, Method, Outcome, PatientRecord, Version
from tests.builders import NOW_US, PATIENT, complete, fact, moment, record

ARTEFACT = load_artefact()


def treated(start: int, end: int | None = None, version: int = 1) -> Exclusion:
    first, last = (0 if days is None else moment(days).day for days in (start, end))
    return Exclusion(PATIENT, "MedicationRequest", "m1", Version(version, version), "antiresorptive", first, last)


def judged(given: PatientRecord) -> Verdict:
    return judge_as_of_occasion(given, Policy(), ARTEFACT, NOW_US)


@pytest.mark.parametrize(
    ("start", "today", "then"),
    [
        (1, Outcome.NOT_ELIGIBLE, Outcome.SCORED),
        (0, Outcome.NOT_ELIGIBLE, Outcome.NOT_ELIGIBLE),
        (-30, Outcome.NOT_ELIGIBLE, Outcome.NOT_ELIGIBLE),
    ],
)
def test_treatment_that_began_after_the_occasion_does_not_exclude(start: int, today: Outcome, then: Outcome) -> None:
    given = record(*complete(), exclusions=(treated(start),))
    assert judge([given], Policy(), ARTEFACT, NOW_US)[0].outcome is today
    assert judged(given).outcome is then


def test_without_exclusions_it_is_the_jobs_own_verdict() -> None:
    given = record(*complete())
    assert judged(given) == judge([given], Policy(), ARTEFACT, NOW_US)[0]


def test_an_older_copy_does_not_stand_in_for_the_one_that_began_later() -> None:
    given = record(*complete(), exclusions=(treated(-30), treated(10, version=2)))
    assert judged(given).outcome is Outcome.SCORED


def test_the_complete_occasion_comes_before_a_later_lone_magnesium() -> None:
    given = record(*complete(), fact(Analyte.MG, "0.90", 120), exclusions=(treated(30),))
    verdict = judged(given)
    assert verdict.outcome is Outcome.SCORED
    assert verdict.occasions[Method.NOMOGRAM].mg.moment.day == moment(0).day


def test_where_the_complete_occasion_was_excluded_the_later_flag_counts() -> None:
    given = record(*complete(), fact(Analyte.MG, "0.80", 120), exclusions=(treated(-10, 20),))
    verdict = judged(given)
    assert (verdict.outcome, verdict.occasions.keys()) == (Outcome.FLAG_ONLY, {Method.FLAG})


def test_without_a_magnesium_result_there_is_none_either_way() -> None:
    given = record(fact(Analyte.P, "1.1"), exclusions=(treated(10),))
    assert (judged(given).outcome, judged(given).reason) == (Outcome.NOT_SCORABLE, "no_magnesium")


def test_an_infusion_of_magnesium_spoils_the_result_whatever_is_left_out() -> None:
    first, last = moment(-2).day, moment(5).day
    about = (PATIENT, "MedicationAdministration", "m2", Version(1, 1))
    infused = Exclusion(*about, MAGNESIUM_GIVEN, first, last, caveat=True)
    given = record(*complete(), exclusions=(infused, treated(1)))
    assert judged(given).reason == "magnesium_refused"
