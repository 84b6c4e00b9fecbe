"""What is remembered of valid assessments, and of those that are not."""

from screener.assessment.draft import Draft
from screener.assessment.reconcile import Action, Change
from screener.assessment.validate import Validator
from screener.clinical.records import Method
from tests.builders import writer
from tests.clinical.judged import verdict
from tests.clinical.oddities import COMPLETE


def created(draft: Draft) -> Change:
    return Change(Action.CREATE, draft.verdict.patient, draft.method, draft.identity, draft=draft)


def test_a_resource_that_is_not_valid_costs_no_other_one_of_its_kind() -> None:
    found = verdict(COMPLETE)
    wrong, right = (Draft(found, Method.FLAG, writer()) for _ in range(2))
    wrong._json = {**wrong.json, "status": []}
    assert wrong.shape is right.shape
    for every in (False, True):
        validator = Validator(every=every)
        assert validator.problem_of(created(wrong)) == "status"
        assert [validator.problem_of(created(right)) for _ in range(2)] == ["", ""]


def test_in_files_an_altered_shape_that_is_not_valid_is_said_each_time() -> None:
    resource = {"resourceType": "RiskAssessment", **Draft(verdict(COMPLETE), Method.FLAG, writer()).json}
    validator = Validator(every=False)
    for _ in range(2):
        assert validator.problem({**resource, "status": []}) == "status"
    assert validator.problem(resource) == ""
