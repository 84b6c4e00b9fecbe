"""Assessments written by a form: the same bytes as by the ordinary way."""

import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.assessment.draft import Draft, Templates
from screener.assessment.identity import NAMESPACE, assessment_uuid
from screener.assessment.values import per_cent, shown_points
from screener.clinical.records import Method
from tests.builders import writer
from tests.clinical.judged import verdict
from tests.clinical.oddities import records

Json = dict[str, Any]
WRITERS = (writer(), writer(fraction=True, tags=(("https://site.example", "night"),)))
encode = msgspec.json.Encoder(decimal_format="number").encode


def dressed(resource: Json, identity: str) -> Json:
    return {"resourceType": "RiskAssessment", "id": identity, **resource}


# Kept over all examples: a form that is made of one woman is filled in for others.
TEMPLATES = tuple(Templates(dressed) for _ in WRITERS)


@given(records(oddly=False), st.sampled_from(range(len(WRITERS))))
def test_a_form_gives_what_the_ordinary_way_gives(resources: list[Json], which: int) -> None:
    found = verdict(resources)
    for method in found.occasions:
        draft = Draft(found, method, WRITERS[which])
        for _ in range(4):  # the first ones are written by the ordinary way
            written = TEMPLATES[which].encode(draft)
        assert written == encode(dressed(draft.json, draft.identity))
        assert TEMPLATES[which]._templates[draft.shape] is not None


@given(st.floats(0, 1), st.floats(-300, 300))
def test_numbers_are_rounded_half_to_even_by_their_exact_value(risk: float, points: float) -> None:
    from decimal import ROUND_HALF_EVEN, Context, Decimal  # noqa: PLC0415

    exact = Context(prec=200)
    assert str(per_cent(risk)) == str(
        exact.multiply(Decimal(risk), Decimal(100)).quantize(Decimal("0.1"), ROUND_HALF_EVEN)
    )
    assert str(shown_points(points)) == str(Decimal(points).quantize(Decimal("0.1"), ROUND_HALF_EVEN))


@given(st.text(), st.text(), st.sampled_from(Method))
def test_an_identity_is_a_name_based_uuid(source: str, patient: str, method: Method) -> None:
    try:
        expected = str(uuid.uuid5(NAMESPACE, f"{source}\n{patient}\n{method.value}"))
    except UnicodeEncodeError:
        pytest.skip("no text that JSON could hold")
    assert assessment_uuid(source, patient, method) == expected
