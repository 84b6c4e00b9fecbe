"""Whether an assessment is valid FHIR R4, by the models of fhir.resources."""

from collections.abc import Callable
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from screener.assessment.draft import Shape
from screener.assessment.reconcile import Change
from screener.assessment.resource import Json


class Validator:
    """Validates what a change writes. Keep one: it remembers what it found valid, and nothing else: a resource that is not costs no
    other one of its shape.

    New assessments are validated once for each shape: within a shape only numbers, ids, times and texts differ, which we form
    ourselves. What is altered holds elements of others, so on a server each is validated; in files, where millions go, each shape
    once (the same elements with values of the same types).
    """

    def __init__(self, *, every: bool) -> None:
        """`every`: each altered resource, not only each shape."""
        self._every = every
        self._valid: set[Shape | int] = set()  # of new assessments, and of altered ones by their hash

    def problem(self, resource: Json) -> str:
        """ "" for a valid resource, else the paths of the elements that are wrong (without their values)."""
        return _problem(resource) if self._every else self._once(hash(_structure(resource)), lambda: resource)

    def problem_of(self, change: Change) -> str:
        """The same of what a change writes; "" where it writes nothing."""
        draft = change.draft
        if draft is not None:
            return self._once(draft.shape, lambda: draft.json)
        return "" if change.resource is None else self.problem(change.resource)

    def _once(self, alike: Shape | int, make: Callable[[], Json]) -> str:
        """The problem of a resource, of which those that are `alike` are valid with it."""
        if alike in self._valid:
            return ""
        problem = _problem(make())
        if not problem:
            self._valid.add(alike)
        return problem


def _structure(value: Any) -> Any:
    if isinstance(value, dict):
        # Resources of one kind have their elements in one order. Another order is another shape, and is validated once
        # more.
        return tuple([(name, _structure(part)) for name, part in value.items()])
    if isinstance(value, list):
        # Elements of one shape are valid together where one of them is: how many there are does not matter.
        return ("list", *dict.fromkeys([_structure(part) for part in value]))
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
