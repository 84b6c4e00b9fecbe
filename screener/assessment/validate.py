"""Whether an assessment is valid FHIR R4, by the models of fhir.resources."""

from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from screener.assessment.draft import Kind
from screener.assessment.reconcile import Change
from screener.assessment.resource import Json


class Validator:
    """Validates what a change writes. Keep one: it remembers what it has seen.

    New assessments are validated once for each kind: within a kind only numbers, ids, times and texts differ, which we form
    ourselves. What is altered holds elements of others, so on a server each is validated; in files, where millions go, each shape
    once (the same elements with values of the same types).
    """

    def __init__(self, *, every: bool) -> None:
        """`every`: each altered resource, not only each shape."""
        self._every = every
        self._known: dict[int, str] = {}
        self._kinds: dict[Kind, str] = {}

    def problem(self, resource: Json) -> str:
        """ "" for a valid resource, else the paths of the elements that are wrong (without their values)."""
        return _problem(resource) if self._every else self._by_shape(resource)

    def problem_of(self, change: Change) -> str:
        """The same of what a change writes; "" where it writes nothing."""
        if change.draft is not None:
            kind = change.draft.kind
            if kind not in self._kinds:
                self._kinds[kind] = _problem(change.draft.json)
            return self._kinds[kind]
        return "" if change.resource is None else self.problem(change.resource)

    def _by_shape(self, resource: Json) -> str:
        shape = hash(_shape(resource))
        if shape not in self._known:
            self._known[shape] = _problem(resource)
        return self._known[shape]


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        # Resources of one kind have their elements in one order. Another order is another shape, and is validated once
        # more.
        return tuple([(name, _shape(part)) for name, part in value.items()])
    if isinstance(value, list):
        # Elements of one shape are valid together where one of them is: how many there are does not matter.
        return ("list", *dict.fromkeys([_shape(part) for part in value]))
    return type(value).__name__


def _problem(resource: Json) -> str:
    try:
        _model().model_validate(resource)
    except ValidationError as error:
        return ", ".join(sorted({".".join(str(part) for part in detail["loc"]) for detail in error.errors()}))
    return ""


@cache
def _model() -> type[BaseModel]:
    from fhir.resources.R4B.riskassessment import RiskAssessment  # noqa: PLC0415 - takes half a second to import

    model: type[BaseModel] = RiskAssessment
    return model
