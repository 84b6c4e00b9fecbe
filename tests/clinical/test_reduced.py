"""Reduced nomograms: off unless the site asks; then the one that uses most of what was measured, named in every output."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from model import assess, load_artefact
from screener.assessment.validate import Validator
from screener.clinical.judge import Verdict, judge
from screener.clinical.policy import Policy
from screener.clinical.records import Analyte, Fact, Method, Outcome
from tests.builders import NOW_US, complete, desired, fact, record, writer

ARTEFACT = load_artefact()
ON = Policy(reduced_nomograms=True)


def without(*analytes: Analyte, days: float = 0) -> tuple[Fact, ...]:
    """A stay in which some predictors were not measured."""
    return tuple(f for f in complete(days) if f.analyte not in analytes)


def verdict(*facts: Fact, policy: Policy = ON) -> Verdict:
    (found,) = judge([record(*facts)], policy, ARTEFACT, NOW_US)
    return found


@pytest.mark.parametrize(
    ("missing", "name"),
    [
        ((Analyte.P, Analyte.CTX, Analyte.P1NP), "age-bmi-mg"),
        ((Analyte.CTX, Analyte.P1NP), "age-bmi-mg-p"),
        ((Analyte.P1NP,), "age-bmi-mg-p-ctx"),
        ((Analyte.CTX,), "age-bmi-mg-p-p1np"),
        ((Analyte.P,), "age-bmi-mg-ctx-p1np"),
        ((Analyte.P, Analyte.P1NP), "age-bmi-mg"),
    ],
)
def test_the_one_that_uses_most_is_taken_and_named(missing: tuple[Analyte, ...], name: str) -> None:
    found = verdict(*without(*missing))
    assert (found.outcome, found.reason) == (Outcome.SCORED, f"reduced_{name}")
    resource = desired(found, writer())[Method.NOMOGRAM]
    assert Validator(every=True).problem({**resource, "status": "final"}) == ""
    assert resource["method"]["coding"][1]["code"] == f"shi2026-mg-category-{name}"
    assert resource["method"]["text"] == f"Reduced nomogram ({name})"
    assert any(name in note["text"] for note in resource["note"])
    used = {part["valueCode"] for e in resource["extension"] for part in e.get("extension", ()) if "valueCode" in part}
    assert used == {"age", "bmi", "weight", "height", *name.split("-")}


def test_its_risk_is_the_reduced_nomograms() -> None:
    scores = verdict(*without(Analyte.CTX, Analyte.P1NP)).scores
    (nomogram,) = (n for n in ARTEFACT.reduced if n.name == "age-bmi-mg-p")
    bmi = Decimal(60) / Decimal("1.58") ** 2
    values: dict[str, Any] = {"age_years": 67, "bmi_kg_m2": float(bmi), "mg_mmol_l": 0.84, "p_mmol_l": 1.10}
    expected = assess(nomogram, {name: np.array([float(x)]) for name, x in values.items()}, np.array([True]))
    assert scores is not None
    assert scores.risk == float(expected.risk[0])
    assert list(scores.points) == list(values)
    assert scores.other_side_risk is not None


def test_off_by_default() -> None:
    found = verdict(*without(Analyte.CTX), policy=Policy())
    assert (found.outcome, found.reason) == (Outcome.FLAG_ONLY, "missing_ctx")


@pytest.mark.parametrize("missing", [Analyte.WEIGHT, Analyte.HEIGHT])
def test_without_a_bmi_there_is_none(missing: Analyte) -> None:
    assert verdict(*without(missing)).outcome is Outcome.FLAG_ONLY


def test_an_older_whole_set_comes_before_a_newer_reduced_one() -> None:
    found = verdict(*complete(0), *without(Analyte.CTX, days=200))
    assert found.reason == "complete"
    assert found.occasions[Method.NOMOGRAM].mg.id == "mg-0"
    assert found.occasions[Method.FLAG].mg.id == "mg-200"


def test_a_batch_of_mixed_nomograms_keeps_its_order() -> None:
    sets = [complete(), without(Analyte.P), without(Analyte.CTX, Analyte.P1NP), complete(), (fact(Analyte.MG, "0.80"),)]
    together = judge([record(*facts) for facts in sets], ON, ARTEFACT, NOW_US)
    alone = [verdict(*facts) for facts in sets]
    assert [v.scores for v in together] == [v.scores for v in alone]
    assert [v.reason for v in together] == [v.reason for v in alone]


def test_with_magnesium_as_a_number_there_is_no_other_side() -> None:
    continuous = load_artefact("shi2026-mg-continuous")
    (found,) = judge([record(*complete())], ON, continuous, NOW_US)
    assert found.scores is not None
    assert found.scores.other_side_risk is None
    assert "near_cut_off" in found.occasions[Method.NOMOGRAM].marks
