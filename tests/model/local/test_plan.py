"""`screener plan`: thresholds by hand, against the decision curve, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.local.plan import of_cohort, of_run
from model.stats.decision import net_benefit
from tests.command import screener

# Ten women with osteoporosis and ten without; at 0.5: eight true, three false positives.
RISKS = np.array([0.9] * 5 + [0.6] * 3 + [0.2] * 2 + [0.7] * 3 + [0.3] * 7)
Y = np.array([1] * 10 + [0] * 10)


def test_by_hand() -> None:
    """1,000 women, 20 % with osteoporosis: 0.8 of 200 are found, 0.3 of 800 are sent in vain."""
    (row,) = of_cohort(Y, RISKS, [0.5], stands_for=0.5, women=1000, prevalence=0.2).rows
    assert row.found.value == pytest.approx(160)
    assert row.missed.value == pytest.approx(40)
    assert row.sent.value == pytest.approx(160 + 240)
    assert row.scans_per_found.value == pytest.approx(2.5)
    assert row.moved == pytest.approx(0.2)  # odds 1 x (0.25 / 1)
    assert row.net_benefit.value == pytest.approx(160 - 240 / 4)
    assert row.net_benefit_all == pytest.approx(1000 * (0.2 - 0.8 / 4))
    assert row.found.low < 160 < row.found.high
    assert row.sent.low < 400 < row.sent.high


def test_at_the_cohorts_own_prevalence_it_is_the_decision_curve() -> None:
    thresholds = [0.25, 0.5, 0.65]
    plan = of_cohort(Y, RISKS, thresholds, stands_for=0.5, women=1000)
    curve = net_benefit(Y, RISKS, np.array(thresholds))
    assert [row.net_benefit.value for row in plan.rows] == pytest.approx((1000 * curve.model).tolist())
    assert [row.net_benefit_all for row in plan.rows] == pytest.approx((1000 * curve.everyone).tolist())
    assert any("smaller class has 10 women" in warning for warning in plan.warnings)


@given(
    st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), min_size=4, max_size=60),
    st.floats(0.05, 0.6),
    st.integers(10, 5000),
)
def test_whoever_is_not_found_is_missed_and_a_higher_threshold_sends_fewer(
    women: list[tuple[float, bool]], prevalence: float, count: int
) -> None:
    y, risk = np.array([int(case) for _, case in women]), np.array([risk for risk, _ in women])
    if y.min() == y.max():
        return
    plan = of_cohort(y, risk, [0.2, 0.4, 0.6, 0.8], stands_for=0.58, women=count, prevalence=prevalence)
    for row in plan.rows:
        assert row.found.value + row.missed.value == pytest.approx(count * prevalence)
        assert -1e-9 <= row.found.value <= row.sent.value + 1e-9
        assert row.moved == pytest.approx(row.threshold) if prevalence == 0.58 else row.moved != row.threshold
    sent = [row.sent.value for row in plan.rows]
    assert sent == sorted(sent, reverse=True)


def test_a_runs_risks_are_taken_at_their_word() -> None:
    """At the prevalence that they stand for: 100 women at 0.2 and 100 at 0.8 are 100 with osteoporosis."""
    plan = of_run(
        np.array([0.2, 0.8]), np.array([100, 100]), [0.5], stands_for=0.58, women=200, prevalence=0.58, capacity=100
    )
    # The lowest threshold of all is the risk of those who are sent, whatever the list says.
    row, best = plan.rows
    assert (plan.prevalence, plan.affordable) == (pytest.approx(0.5), 0.8)
    assert (best.threshold, best.sent.value) == (0.8, row.sent.value)
    assert (row.sent.value, row.found.value, row.missed.value) == (
        pytest.approx(100),
        pytest.approx(80),
        pytest.approx(20),
    )
    assert 65 < row.found.low < 80 < row.found.high < 95
    assert "no outcomes" in plan.warnings[0]


def test_the_best_threshold_is_sought_among_all_risks() -> None:
    risk = np.round(np.linspace(0.05, 0.9, 400), 3)
    y = (np.arange(400) % 2).astype(float)
    plan = of_cohort(y, risk, [0.3, 0.6], stands_for=0.5, women=400, capacity=170)
    assert plan.affordable is not None
    (best,) = (row for row in plan.rows if row.threshold == plan.affordable)
    assert 165 < best.sent.value <= 170
    assert 0.3 < plan.affordable < 0.6


def test_an_interval_holds_its_estimate_where_a_rate_is_whole() -> None:
    y, risk = np.repeat([1.0, 0.0], 30), np.repeat([0.9, 0.1], 30)
    (row,) = of_cohort(y, risk, [0.5], stands_for=0.5, women=60).rows
    for one in (row.sent, row.found, row.missed, row.scans_per_found, row.net_benefit):
        assert one.low <= one.value <= one.high


# The command


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A hundred women, of whom the thin and old have osteoporosis more often."""
    random = np.random.default_rng(3)
    age, bmi = random.uniform(52, 85, 100), random.uniform(19, 33, 100)
    risk = 1 / (1 + np.exp(-(0.1 * (age - 68) - 0.2 * (bmi - 25))))
    table = pd.DataFrame(
        {
            "age_years": age.round(),
            "bmi_kg_m2": bmi.round(1),
            "mg_mmol_l": random.uniform(0.75, 0.95, 100).round(2),
            "p_mmol_l": random.uniform(0.9, 1.4, 100).round(2),
            "ctx_ng_ml": random.uniform(0.2, 0.9, 100).round(2),
            "p1np_ng_ml": random.uniform(20, 90, 100).round(),
            "osteoporosis": (random.uniform(size=100) < risk).astype(int),
        }
    )
    table.to_csv(tmp_path / "women.csv", index=False)
    return tmp_path / "women.csv"


def test_a_table_a_figure_and_json(cohort: Path) -> None:
    call = ("plan", "--cohort", "women.csv", "--women", "500", "--prevalence", "20", "--capacity", "150")
    said = screener(*call, "--out", "plan", cwd=cohort.parent).stdout
    assert "With 150 scans a year the lowest threshold of all is a printed risk of" in said
    assert "a plan should not rest on them" in said
    assert max(map(len, said.splitlines()[:10])) <= 100
    assert {"report.html", "planning.svg", "results.json"} <= {path.name for path in (cohort.parent / "plan").iterdir()}
    found: Any = json.loads(screener(*call, "--json", cwd=cohort.parent).stdout)
    affordable = [row["threshold"] for row in found["rows"] if row["sent"]["value"] <= 150]
    assert found["affordable"] == min(affordable)
    assert found["prevalence"] == 0.2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Give one of --cohort FILE and --run ID"),
        (["--cohort", "women.csv", "--run", "0"], "Give one of"),
        (["--run", "0b6f", "--artefact", "ours.json"], "those of the model that it used"),
        (["--cohort", "women.csv", "--thresholds", "a,b"], "not a list of percentages"),
        (["--cohort", "women.csv", "--thresholds", "120"], "outside 0 to 1"),
        (["--cohort", "unlabelled.csv"], "osteoporosis"),
        (["--run", "0b6f"], "There is no state at"),
    ],
)
def test_what_it_refuses_it_refuses_before_it_writes(arguments: list[str], words: str, cohort: Path) -> None:
    table = pd.read_csv(cohort).drop(columns="osteoporosis")
    table.to_csv(cohort.parent / "unlabelled.csv", index=False)
    said = screener("plan", *arguments, "--out", "plan", cwd=cohort.parent, expect=2).stderr
    assert words in said
    assert not (cohort.parent / "plan").exists()
