"""Who objected, and what a site took back: which methods are left, and why the others are not."""

import pytest

from screener.assessment.identity import assessment_uuid
from screener.assessment.suppression import Suppressions, apply_suppressions
from screener.clinical.judge import Verdict, judge, without_methods
from screener.clinical.policy import Policy
from screener.clinical.records import Method, Outcome
from tests.builders import NOW_US, PATIENT, complete, record, woman, writer

BOTH = frozenset(Method)
FLAG_ID, NOMOGRAM_ID = (assessment_uuid("test", PATIENT, method) for method in (Method.FLAG, Method.NOMOGRAM))


def judged(*, whole: bool = True, **person: object) -> Verdict:
    facts = complete() if whole else complete()[:1]
    return judge([record(*facts, person=woman(**person))], Policy(), writer().artefact, NOW_US)[0]


@pytest.mark.parametrize(
    ("suppressions", "outcome", "reason", "left"),
    [
        (Suppressions(), Outcome.SCORED, "complete", BOTH),
        (Suppressions(opted_out=frozenset({"another"})), Outcome.SCORED, "complete", BOTH),
        (Suppressions(opted_out=frozenset({PATIENT})), Outcome.NOT_ELIGIBLE, "opted_out", frozenset()),
        (Suppressions(patients=frozenset({PATIENT})), Outcome.NOT_ELIGIBLE, "suppressed", frozenset()),
        (Suppressions(patients=frozenset({"another"})), Outcome.SCORED, "complete", BOTH),
        (Suppressions(model=True), Outcome.FLAG_ONLY, "suppressed", frozenset({Method.FLAG})),
        (Suppressions(identities=frozenset({NOMOGRAM_ID})), Outcome.FLAG_ONLY, "suppressed", frozenset({Method.FLAG})),
        # With a nomogram left, she ends as before.
        (Suppressions(identities=frozenset({FLAG_ID})), Outcome.SCORED, "complete", frozenset({Method.NOMOGRAM})),
        (Suppressions(identities=frozenset({FLAG_ID, NOMOGRAM_ID})), Outcome.NOT_ELIGIBLE, "suppressed", frozenset()),
        (Suppressions(identities=frozenset({"another"})), Outcome.SCORED, "complete", BOTH),
    ],
)
def test_what_is_left_of_a_verdict(
    suppressions: Suppressions, outcome: Outcome, reason: str, left: frozenset[Method]
) -> None:
    found = apply_suppressions(judged(), suppressions, "test")
    assert (found.outcome, found.reason, found.occasions.keys()) == (outcome, reason, left)
    assert (found.scores is not None) is (Method.NOMOGRAM in left)
    why = (suppressions.opted_out and "opted_out") or "suppressed"
    assert found.reasons == {method: "" if method in left else why for method in Method}
    assert found.days == judged().days  # what would have dated them is known all the same


def test_identities_are_those_of_the_source() -> None:
    taken = Suppressions(identities=frozenset({FLAG_ID, NOMOGRAM_ID}))
    assert apply_suppressions(judged(), taken, "another source").outcome is Outcome.SCORED


def test_a_suppressed_woman_keeps_her_own_reason_and_an_objection_comes_first() -> None:
    young = judged(birth_date="1990")
    assert apply_suppressions(young, Suppressions(patients=frozenset({PATIENT})), "test").reason == "too_young"
    objected = apply_suppressions(young, Suppressions(opted_out=frozenset({PATIENT})), "test")
    assert (objected.outcome, objected.reason) == (Outcome.NOT_ELIGIBLE, "opted_out")
    assert objected.reasons == dict.fromkeys(Method, "opted_out")
    assert apply_suppressions(young, Suppressions(model=True), "test").reason == "too_young"


def test_a_suppressed_model_leaves_a_flag_without_a_nomogram_as_it_was() -> None:
    alone = judged(whole=False)
    assert apply_suppressions(alone, Suppressions(model=True), "test") == alone


@pytest.mark.parametrize("held", ["opted_out", "patients", "identities", "model"])
def test_whether_there_is_anything_to_obey(held: str) -> None:
    value = True if held == "model" else frozenset({PATIENT})
    suppressions = Suppressions(**{held: value})  # type: ignore[arg-type]
    assert suppressions.any
    assert not Suppressions().any
    about_patients = suppressions.of_patients()
    assert about_patients == (suppressions if held in ("opted_out", "patients") else Suppressions())


def test_a_verdict_without_methods_that_it_does_not_have() -> None:
    verdict = judged()
    assert without_methods(verdict, frozenset(), "x") == verdict
    flagless = without_methods(verdict, frozenset({Method.FLAG}), "x")
    assert (flagless.outcome, flagless.reason, flagless.scores) == (Outcome.SCORED, "complete", verdict.scores)
    assert flagless.reasons == {Method.FLAG: "x", Method.NOMOGRAM: ""}
    bare = without_methods(verdict, BOTH, "x")
    assert (bare.outcome, bare.reason, bare.occasions, bare.scores) == (Outcome.NOT_ELIGIBLE, "x", {}, None)
