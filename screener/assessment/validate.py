"""Whether an assessment is valid FHIR R4, by the models of fhir.resources."""

from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from screener.assessment.resource import Json


class Validator:
    """Validates resources: each one, or each distinct shape once.

    Two resources have one shape when they have the same elements with values of the same types; what differs is then only
    numbers, ids and texts that we form ourselves. That is enough for files, where millions go; a server gets the full check.
    """

    def __init__(self, *, every: bool) -> None:
        self._every = every
        self._known: dict[int, str] = {}

    def problem(self, resource: Json) -> str:
        """ "" for a valid resource, else the paths of the elements that are wrong (without their values)."""
        if self._every:
            return _problem(resource)
        shape = hash(_shape(resource))
        if shape not in self._known:
            self._known[shape] = _problem(resource)
        return self._known[shape]


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((name, _shape(part)) for name, part in sorted(value.items()))
    if isinstance(value, list):
        return ("list", *(_shape(part) for part in value))
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
