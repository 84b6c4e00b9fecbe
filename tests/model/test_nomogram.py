"""The nomogram against decimal arithmetic, by property, and with what it must refuse."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import Assessment, PredictorError, assess, flag, load_artefact
from tests.model.reference import NAMES, expected, reduced_document, shipped

ARTEFACT = load_artefact()
DOCUMENT = shipped()
POSSIBLE = {p.name: p.possible for p in ARTEFACT.predictors}

WOMAN = {
    "age_years": Decimal(70),
    "bmi_kg_m2": Decimal(24),
    "mg_mmol_l": Decimal("0.84"),
    "p_mmol_l": Decimal("1.10"),
    "ctx_ng_ml": Decimal("0.50"),
    "p1np_ng_ml": Decimal(60),
}


def alone(values: dict[str, Any], *, at_or_below: bool | None = None) -> Assessment:
    """The assessment of one woman."""
    side = flag(Decimal(values["mg_mmol_l"])) if at_or_below is None else at_or_below
    return assess(ARTEFACT, {name: np.array([float(values[name])]) for name in NAMES}, np.array([side]))


def population(n: int) -> tuple[dict[str, Any], Any]:
    """Women drawn over the development ranges and beyond them."""
    rng = np.random.default_rng(20260101)
    columns = {
        p.name: rng.uniform(0.8 * p.development_range[0], 1.2 * p.development_range[1], n) for p in ARTEFACT.predictors
    }
    return columns, columns["mg_mmol_l"] <= 0.845


# Linear predictor and risk, worked with bc (scale=40) from the numbers printed in the artefact: intercept, plus for each
# predictor its coefficient times (value less centre), magnesium as 1 or 0; then 1 / (1 + e(-x)).
WORKED = [
    (WOMAN, "1.32658113305291", "0.7902745517764764382362525052"),
    ({**WOMAN, "mg_mmol_l": Decimal("0.85")}, "0.66389315995291", "0.6601343898238669814883577855"),
    (
        {
            "age_years": Decimal(52),
            "bmi_kg_m2": Decimal("31.2"),
            "mg_mmol_l": Decimal("0.95"),
            "p_mmol_l": Decimal("1.35"),
            "ctx_ng_ml": Decimal("0.22"),
            "p1np_ng_ml": Decimal("30.5"),
        },
        "-1.89558041385159",
        "0.1306095025180938624024203759",
    ),
    (
        {
            "age_years": Decimal(86),
            "bmi_kg_m2": Decimal("18.4"),
            "mg_mmol_l": Decimal("0.71"),
            "p_mmol_l": Decimal("0.92"),
            "ctx_ng_ml": Decimal("1.10"),
            "p1np_ng_ml": Decimal(140),
        },
        "3.74817751907291",
        "0.9769816808792668432624688675",
    ),
]


@pytest.mark.parametrize(("woman", "linear", "risk"), WORKED)
def test_worked_examples(woman: dict[str, Decimal], linear: str, risk: str) -> None:
    found = alone(woman)
    assert float(found.linear_predictor[0]) == pytest.approx(float(linear), abs=1e-13)
    assert float(found.risk[0]) == pytest.approx(float(risk), abs=1e-14)


def test_agrees_with_decimal_arithmetic_to_1e_12() -> None:
    columns, side = population(2000)
    found = assess(ARTEFACT, columns, side)
    worst = 0.0
    for i in range(2000):
        woman = {name: Decimal(float(columns[name][i])) for name in NAMES}
        exact = expected(DOCUMENT, woman, at_or_below=bool(side[i]))
        pairs = [
            (exact.risk, found.risk[i]),
            (exact.risk_low, found.risk_low[i]),
            (exact.risk_high, found.risk_high[i]),
            (exact.linear_predictor, found.linear_predictor[i]),
            *((exact.points[name] / 100, found.points[name][i] / 100) for name in NAMES),
            (sum(exact.points.values()) / 100, found.total_points[i] / 100),
        ]
        worst = max(worst, *(abs(float(a - Decimal(float(b)))) for a, b in pairs))  # type: ignore[operator]
    assert worst < 1e-12


@pytest.mark.parametrize("name", [n.name for n in ARTEFACT.reduced])
def test_a_reduced_nomogram_agrees_with_decimal_arithmetic(name: str) -> None:
    (nomogram,) = (n for n in ARTEFACT.reduced if n.name == name)
    document = reduced_document(DOCUMENT, name)
    columns, side = population(200)
    found = assess(nomogram, columns, side)
    assert list(found.points) == [row["name"] for row in document["predictors"]]
    for i in range(200):
        woman = {name: Decimal(float(columns[name][i])) for name in NAMES}
        exact = expected(document, woman, at_or_below=bool(side[i]))
        assert float(exact.risk) == pytest.approx(float(found.risk[i]), abs=1e-12)
        assert float(exact.risk_high) == pytest.approx(float(found.risk_high[i]), abs=1e-12)
        assert float(sum(exact.points.values())) == pytest.approx(float(found.total_points[i]), abs=1e-9)


def test_a_continuous_magnesium_needs_no_cut_off() -> None:
    continuous = load_artefact("shi2026-mg-continuous")
    columns, side = population(100)
    with_flags, without = assess(continuous, columns, side), assess(continuous, columns, ~side)
    assert with_flags.risk.tobytes() == without.risk.tobytes()
    assert not continuous.has_category
    assert ARTEFACT.has_category


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 4095, 4096, 4097])
def test_a_batch_of_any_size_gives_the_same_bits(size: int) -> None:
    columns, side = population(9000)
    whole = assess(ARTEFACT, columns, side)
    for start in (0, 1, 4093, 9000 - size):
        part = slice(start, start + size)
        found = assess(ARTEFACT, {name: column[part] for name, column in columns.items()}, side[part])
        for name in ("risk", "risk_low", "risk_high", "linear_predictor", "total_points"):
            assert getattr(found, name).tobytes() == getattr(whole, name)[part].tobytes()
        for name in NAMES:
            assert found.points[name].tobytes() == whole.points[name][part].tobytes()
            assert found.extrapolated[name].tobytes() == whole.extrapolated[name][part].tobytes()


def test_strided_columns_give_the_same_bits() -> None:
    columns, side = population(1000)
    packed = np.column_stack([columns[name] for name in NAMES])
    strided = assess(ARTEFACT, {name: packed[:, i] for i, name in enumerate(NAMES)}, side)
    assert strided.risk.tobytes() == assess(ARTEFACT, columns, side).risk.tobytes()


def women() -> st.SearchStrategy[dict[str, float]]:
    """Any woman that the model accepts."""
    return st.fixed_dictionaries({name: st.floats(*POSSIBLE[name]) for name in NAMES})


@given(woman=women(), side=st.booleans())
def test_the_interval_contains_the_risk(woman: dict[str, float], *, side: bool) -> None:
    found = alone(woman, at_or_below=side)
    assert 0 <= found.risk_low[0] <= found.risk[0] <= found.risk_high[0] <= 1


@given(woman=women(), side=st.booleans())
def test_points_add_up_to_the_linear_predictor(woman: dict[str, float], *, side: bool) -> None:
    found = alone(woman, at_or_below=side)
    total = float(found.total_points[0])
    assert total == pytest.approx(sum(float(column[0]) for column in found.points.values()), abs=1e-9)
    linear = ARTEFACT.linear_predictor_at_no_points + total / ARTEFACT.points_per_logit
    assert linear == pytest.approx(float(found.linear_predictor[0]), abs=1e-11)


@settings(max_examples=300)
@given(woman=women(), name=st.sampled_from([n for n in NAMES if n != "mg_mmol_l"]), side=st.booleans(), data=st.data())
def test_monotone_in_each_predictor(woman: dict[str, float], name: str, *, side: bool, data: st.DataObject) -> None:
    low, high = POSSIBLE[name]
    other = data.draw(st.floats(low, high).filter(lambda x: abs(x - woman[name]) > 1e-6))
    lower, upper = sorted((woman[name], other))
    (coefficient,) = (p.coefficient for p in ARTEFACT.predictors if p.name == name)
    below, above = alone({**woman, name: lower}, at_or_below=side), alone({**woman, name: upper}, at_or_below=side)
    if coefficient < 0:
        below, above = above, below
    assert below.linear_predictor[0] < above.linear_predictor[0]
    assert below.risk[0] <= above.risk[0]


@given(women())
def test_a_woman_at_or_below_the_cut_off_has_the_higher_risk(woman: dict[str, float]) -> None:
    below, above = alone(woman, at_or_below=True), alone(woman, at_or_below=False)
    assert above.linear_predictor[0] < below.linear_predictor[0]
    assert float(below.linear_predictor[0] - above.linear_predictor[0]) == pytest.approx(0.6626879731, abs=1e-9)


@pytest.mark.parametrize(
    ("mg", "at_or_below"),
    [("0.845", True), ("0.8450", True), ("0.8450000000000000001", False), ("0.84", True), ("0.85", False)],
)
def test_the_flag_is_decimal(mg: str, *, at_or_below: bool) -> None:
    assert flag(Decimal(mg)) is at_or_below


def test_the_category_comes_from_the_flag_and_not_from_the_float() -> None:
    # As floats both are 0.845; as decimals they lie on the two sides of the cut-off.
    just_above = Decimal("0.8450000000000000001")
    assert float(just_above) == 0.845
    assert alone({**WOMAN, "mg_mmol_l": just_above}).risk[0] < alone({**WOMAN, "mg_mmol_l": Decimal("0.845")}).risk[0]


def test_age_has_the_widest_axis_and_so_a_hundred_points() -> None:
    oldest = alone({**WOMAN, "age_years": 95})
    youngest = alone({**WOMAN, "age_years": 50})
    assert float(oldest.points["age_years"][0]) == pytest.approx(100, abs=1e-12)
    assert float(youngest.points["age_years"][0]) == pytest.approx(0, abs=1e-12)
    # Its risk falls with BMI: no points at the upper end of the axis. Magnesium has none above the cut-off.
    assert float(alone({**WOMAN, "bmi_kg_m2": 40}).points["bmi_kg_m2"][0]) == pytest.approx(0, abs=1e-12)
    assert float(alone(WOMAN, at_or_below=False).points["mg_mmol_l"][0]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("predictor", ARTEFACT.predictors, ids=lambda p: p.name)
def test_values_outside_the_development_range_are_used_and_marked(predictor: Any) -> None:
    low, high = predictor.development_range
    for value, outside in ((low, False), (high, False), (np.nextafter(low, 0), True), (np.nextafter(high, 1e9), True)):
        found = alone({**WOMAN, predictor.name: value}, at_or_below=True)
        assert bool(found.extrapolated[predictor.name][0]) is outside
        assert not any(found.extrapolated[name][0] for name in NAMES if name != predictor.name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0, 0.0, -0.0, 1e9])
def test_what_cannot_be_a_measurement_is_refused_by_name_and_row(name: str, value: float) -> None:
    columns, side = population(5000)
    columns[name][4711] = value
    with pytest.raises(PredictorError, match=f"{name}, row 4711: not a number from .* check value and unit"):
        assess(ARTEFACT, columns, side)


def test_a_refusal_does_not_tell_the_value() -> None:
    with pytest.raises(PredictorError) as refused:
        alone({**WOMAN, "p_mmol_l": 98.7654})
    assert "98" not in str(refused.value)


def test_ctx_in_pg_per_ml_is_refused() -> None:
    with pytest.raises(PredictorError, match="ctx_ng_ml, row 0"):
        alone({**WOMAN, "ctx_ng_ml": 470})


def test_columns_that_do_not_fit_are_refused() -> None:
    columns, side = population(10)
    without = {name: column for name, column in columns.items() if name != "p_mmol_l"}
    with pytest.raises(PredictorError, match="the column p_mmol_l is missing"):
        assess(ARTEFACT, without, side)
    with pytest.raises(PredictorError, match=r"p_mmol_l has shape \(9,\), the flag has \(10,\)"):
        assess(ARTEFACT, {**columns, "p_mmol_l": columns["p_mmol_l"][1:]}, side)
    with pytest.raises(PredictorError, match="not one truth value a row"):
        assess(ARTEFACT, columns, columns["mg_mmol_l"])
    with pytest.raises(PredictorError, match="p_mmol_l does not hold numbers"):
        assess(ARTEFACT, {**columns, "p_mmol_l": np.array(["low"] * 10)}, side)


def test_nobody_is_an_empty_assessment() -> None:
    found = assess(ARTEFACT, {name: np.empty(0) for name in NAMES}, np.empty(0, dtype=np.bool_))
    assert found.risk.shape == found.total_points.shape == (0,)


def test_the_given_columns_are_left_as_they_were() -> None:
    columns, side = population(100)
    before = {name: column.copy() for name, column in columns.items()}
    assess(ARTEFACT, columns, side)
    assert all(np.array_equal(before[name], columns[name]) for name in NAMES)
