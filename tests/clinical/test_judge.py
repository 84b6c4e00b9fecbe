"""One odd record costs itself and nobody else, and a site's own model may need more results than the published one."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest

from model import Artefact, load_artefact
from model.artefact import Predictor
from model.predictors import FURTHER, OCN
from screener.assessment.reconcile import Rules
from screener.clinical.judge import Verdict, judge
from screener.clinical.policy import Policy
from screener.clinical.records import Analyte, Fact, Method, Outcome, PatientRecord
from screener.run import deciding
from tests.builders import NOW_US, complete, desired, fact, record, writer


def test_values_that_no_model_takes_together_leave_the_flag_and_every_other_woman() -> None:
    """A site's model that takes a body mass index up to 35: at 100 kg and 158 cm hers is 40."""
    published = load_artefact()
    age, bmi, *others = published.predictors
    narrow = replace(published, predictors=(age, replace(bmi, possible=(15.0, 35.0)), *others))
    odd = record(*complete(weight="100"))
    found = judge([record(*complete()), odd, record(*complete())], Policy(), narrow, NOW_US)
    assert [(v.outcome, v.reason) for v in found] == [
        (Outcome.SCORED, "complete"),
        (Outcome.FLAG_ONLY, "predictors_implausible"),
        (Outcome.SCORED, "complete"),
    ]
    assert [set(v.occasions) for v in found] == [set(Method), {Method.FLAG}, set(Method)]
    assert found[0].scores == found[2].scores
    assert found[1].reasons == {Method.FLAG: "", Method.NOMOGRAM: "predictors_implausible"}
    assert (found[1].scores, found[1].days) == (None, found[0].days)


def test_a_record_that_breaks_a_rule_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(records: Sequence[PatientRecord], *given: Any) -> list[Verdict]:
        if any(one.patient == "odd" for one in records):
            raise KeyError("odd")
        return judge(records, *given)

    monkeypatch.setattr(deciding, "judge_records", breaks)
    records = [msgspec.structs.replace(record(*complete()), patient=name) for name in ("p1", "odd", "p2")]
    failed: list[str] = []
    found = deciding.judge(records, Rules(Policy(), writer(), NOW_US), failed.append)
    assert [one.patient for one in found] == ["p1", "p2"]
    assert found[0].outcome is Outcome.SCORED
    assert failed == ["odd"]


def own_model() -> Artefact:
    """The published model with osteocalcin, as a site might have fitted it."""
    published = load_artefact()
    said = {"kind": "fitted", "recipe": "for this test"}
    row = FURTHER[OCN]
    osteocalcin = Predictor(OCN, row.unit, "continuous", 19.0, 0.05, row.axis, (7.0, 46.0), row.possible, said, said)
    covariance = np.zeros((8, 8))
    covariance[:7, :7], covariance[7, 7] = published.covariance, 0.0001
    without = replace(
        published.reduced[0], name="without-ocn", predictors=published.predictors, covariance=published.covariance
    )
    return replace(
        published,
        id="site-x",
        calibration="local",
        predictors=(*published.predictors, osteocalcin),
        covariance=covariance,
        reduced=(without, *published.reduced),
    )


def woman_with(*further: Fact) -> PatientRecord:
    return record(*complete(), *further)


@pytest.mark.parametrize(
    ("further", "reduced", "outcome", "reason"),
    [
        ((fact(Analyte.OCN, "29", 3),), False, Outcome.SCORED, "complete"),
        ((fact(Analyte.OCN, "29", 40),), False, Outcome.FLAG_ONLY, "missing_ocn"),  # 14 days after, at most
        ((), True, Outcome.SCORED, "reduced_without-ocn"),
        ((fact(Analyte.OCN, "29"),), True, Outcome.SCORED, "complete"),
    ],
)
def test_a_further_predictor_is_needed_by_the_model_that_has_it(
    further: tuple[Fact, ...], *, reduced: bool, outcome: Outcome, reason: str
) -> None:
    (found,) = judge([woman_with(*further)], Policy(reduced_nomograms=reduced), own_model(), NOW_US)
    assert (found.outcome, found.reason) == (outcome, reason)
    (published,) = judge([woman_with(*further)], Policy(), load_artefact(), NOW_US)
    assert (published.outcome, published.reason) == (Outcome.SCORED, "complete")
    assert all(used.analyte is not Analyte.OCN for used in published.occasions[Method.NOMOGRAM].facts)


def test_an_assessment_by_a_further_predictor_shows_it_and_names_all() -> None:
    by = writer(artefact=own_model())
    (with_it,) = judge([woman_with(fact(Analyte.OCN, "29"))], Policy(), by.artefact, NOW_US)
    (published,) = judge([woman_with()], Policy(), load_artefact(), NOW_US)
    assert with_it.scores is not None
    assert published.scores is not None
    # 10 ng/mL beyond the centre, at 0.05 for each.
    assert with_it.scores.linear_predictor == pytest.approx(published.scores.linear_predictor + 0.5)
    resource = desired(with_it, by)[Method.NOMOGRAM]
    assert resource["method"]["text"].startswith("This site's own nomogram (age, body mass index, magnesium,")
    assert resource["method"]["text"].endswith("P1NP, osteocalcin)")
    assert "osteocalcin 29 ng/mL" in resource["text"]["div"]
    evidence = [part["extension"] for part in resource["extension"] if part["url"].endswith("/evidence")]
    values = {parts[0]["valueCode"]: parts[1]["valueQuantity"]["value"] for parts in evidence}
    assert values["ocn"] == Decimal(29)
