"""The nomogram over tables and for one woman: the digits of `assess`, in the table's own kind."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import PREDICTORS, PredictorError, assess, flag, flags, load_artefact
from model.frames import assess_table, assess_woman

ARTEFACT = load_artefact()
CONTINUOUS = load_artefact("shi2026-mg-continuous")
WOMEN = pd.DataFrame(
    {
        "p1np_ng_ml": [50.0, 60.0, 40.0],
        "ctx_ng_ml": [0.5, 0.4, 0.3],
        "p_mmol_l": [1.1, 1.2, 1.0],
        "ward": ["a", "b", "c"],
        "mg_mmol_l": [0.845, 0.865, 0.95],
        "bmi_kg_m2": [24.0, 25.0, 26.0],
        "age_years": [70, 60, 55],
    },
    index=[7, 8, 9],
)


def by_arrays(rows: pd.DataFrame, side: list[bool]) -> Any:
    return assess(ARTEFACT, {name: rows[name].to_numpy(float) for name in PREDICTORS}, np.array(side))


def test_a_pandas_table_has_the_digits_of_the_arrays_and_keeps_its_index() -> None:
    found, arrays = assess_table(ARTEFACT, WOMEN), by_arrays(WOMEN, [True, False, False])
    assert list(found.index) == [7, 8, 9]
    for name in ("risk", "risk_low", "risk_high", "linear_predictor", "total_points"):
        assert np.array_equal(found[name].to_numpy(), getattr(arrays, name))
    for name in PREDICTORS:
        assert np.array_equal(found[f"points_{name}"].to_numpy(), arrays.points[name])
        assert np.array_equal(found[f"extrapolated_{name}"].to_numpy(), arrays.extrapolated[name])
    assert list(found["nomogram"]) == ["all"] * 3
    assert list(found["mg_at_or_below_cut_off"]) == [True, False, False]


def test_near_the_cut_off_the_risk_of_the_other_side_is_given() -> None:
    found, other = assess_table(ARTEFACT, WOMEN), by_arrays(WOMEN, [False, True, True])
    # 0.845 and 0.865 lie within 0.02 of 0.845, the limit included; 0.95 does not.
    assert list(found["near_cut_off"]) == [True, True, False]
    assert np.array_equal(found["other_side_risk"].to_numpy()[:2], other.risk[:2])
    assert np.isnan(found["other_side_risk"].iloc[2])
    narrow = assess_table(ARTEFACT, WOMEN, imprecision_mmol_l=Decimal("0.019"))
    assert list(narrow["near_cut_off"]) == [True, False, False]


def test_a_number_has_no_other_side() -> None:
    found = assess_table(CONTINUOUS, WOMEN)
    assert list(found["near_cut_off"]) == [True, True, False]
    assert found["other_side_risk"].isna().all()


def test_an_arrow_table_gives_one_back_with_nulls_where_nothing_applies() -> None:
    found = assess_table(ARTEFACT, pa.Table.from_pandas(WOMEN, preserve_index=False))
    assert isinstance(found, pa.Table)
    assert found["risk"].to_pylist() == assess_table(ARTEFACT, WOMEN)["risk"].to_list()
    assert found["other_side_risk"].null_count == 1


@pytest.mark.parametrize("kind", ["pandas", "arrow"])
def test_decimals_are_exact_at_the_cut_off(kind: str) -> None:
    """0.8450000000000000001 is the float 0.845: only a decimal tells it from the cut-off."""
    exact = [Decimal("0.845"), Decimal("0.8450000000000000001"), Decimal("0.95")]
    table: Any = WOMEN.assign(mg_mmol_l=exact)  # type: ignore[arg-type]
    if kind == "arrow":
        column = pa.array(exact, type=pa.decimal128(25, 20))
        plain = pa.Table.from_pandas(WOMEN.drop(columns="mg_mmol_l"), preserve_index=False)
        table = plain.append_column("mg_mmol_l", column)
    found = assess_table(ARTEFACT, table)
    side = found["mg_at_or_below_cut_off"]
    assert (side.to_pylist() if kind == "arrow" else list(side)) == [True, False, False]


def test_a_reduced_nomogram_takes_the_rows_that_lack_a_predictor_and_is_named() -> None:
    lacking = WOMEN.assign(p1np_ng_ml=[50.0, np.nan, 40.0])
    found, whole = assess_table(ARTEFACT, lacking, reduced=True), assess_table(ARTEFACT, WOMEN)
    nomogram = ARTEFACT.reduced_for(set(PREDICTORS) - {"p1np_ng_ml"})
    assert nomogram is not None
    assert list(found["nomogram"]) == ["all", nomogram.name, "all"]
    columns = {p.name: WOMEN[p.name].to_numpy(float)[1:2] for p in nomogram.predictors}
    assert found["risk"].iloc[1] == assess(nomogram, columns, np.array([False])).risk[0]
    assert np.isnan(found["points_p1np_ng_ml"].iloc[1])
    assert found["risk"].iloc[[0, 2]].to_list() == whole["risk"].iloc[[0, 2]].to_list()


def test_a_column_that_is_missing_altogether_is_lacked_by_every_row() -> None:
    found = assess_table(ARTEFACT, WOMEN.drop(columns="p1np_ng_ml"), reduced=True)
    assert list(found["nomogram"]) == ["age-bmi-mg-p-ctx"] * 3


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (WOMEN.drop(columns="p_mmol_l"), {}, "the column p_mmol_l is missing"),
        (WOMEN.drop(columns="age_years"), {"reduced": True}, "row 0: no reduced nomogram does without age_years"),
        (WOMEN.assign(p_mmol_l=[1.0, np.nan, 1.0]), {}, "p_mmol_l, row 1: not a number from"),
        (WOMEN.assign(ctx_ng_ml=[0.5, 470.0, 0.3]), {}, "ctx_ng_ml, row 1: not a number from"),
        (WOMEN.assign(ctx_ng_ml=[0.5, np.inf, 0.3]), {"reduced": True}, "ctx_ng_ml, row 1: not a number from"),
        (WOMEN.assign(ctx_ng_ml=["0.5", "low", "0.3"]), {}, "the column ctx_ng_ml holds String, not numbers"),
        (WOMEN.assign(mg_mmol_l=["0.84", "0.85", "0.9"]), {}, "the column mg_mmol_l holds String, not numbers"),
    ],
)
def test_what_cannot_be_used_is_refused(table: Any, options: Any, message: str) -> None:
    with pytest.raises(PredictorError, match=message):
        assess_table(ARTEFACT, table, **options)


def test_nobody_is_an_empty_table() -> None:
    for options in ({}, {"reduced": True}):
        found = assess_table(ARTEFACT, WOMEN.iloc[:0], **options)  # type: ignore[arg-type]
        assert len(found) == 0
        assert "other_side_risk" in found.columns


def test_one_woman_by_decimals_and_by_floats() -> None:
    row = WOMEN.iloc[0]
    exact = assess_woman(ARTEFACT, {name: Decimal(str(row[name])) for name in PREDICTORS})
    assert exact == assess_woman(ARTEFACT, {name: float(row[name]) for name in PREDICTORS})
    table = assess_table(ARTEFACT, WOMEN).iloc[0]
    assert exact == {**table.to_dict()}
    assert assess_woman(ARTEFACT, {**exact_values(), "mg_mmol_l": Decimal("0.95")})["other_side_risk"] is None


def exact_values() -> dict[str, Decimal | float]:
    return {name: Decimal(str(WOMEN.iloc[0][name])) for name in PREDICTORS}


def test_one_woman_whose_values_are_lacking_or_impossible() -> None:
    with pytest.raises(PredictorError, match="the column p_mmol_l is missing"):
        assess_woman(ARTEFACT, {name: value for name, value in exact_values().items() if name != "p_mmol_l"})
    with pytest.raises(PredictorError, match="mg_mmol_l, row 0"):
        assess_woman(ARTEFACT, {**exact_values(), "mg_mmol_l": Decimal("NaN")})


@given(st.decimals(min_value=0, max_value=3, places=14))
def test_a_float_falls_on_the_side_of_its_decimal(value: Decimal) -> None:
    assert flags(np.array([float(value)]))[0] == flag(value)


@pytest.mark.parametrize("value", ["0.845", "0.84500000000001", "0.84499999999999"])
def test_a_float_at_the_cut_off(value: str) -> None:
    assert flags(np.array([float(value)]))[0] == flag(Decimal(value)) == (value != "0.84500000000001")


@pytest.mark.parametrize("width", ["float32", "float16", "Float32"])
@pytest.mark.parametrize("value", [0.845, 0.65])
def test_a_narrow_float_is_the_decimal_it_was_read_from(width: str, value: float) -> None:
    """0.845 as float32 is 0.84500002... in wider bits: it is 0.845 all the same, and at the cut-off."""
    if width == "float16":  # three digits are all it has
        value = round(value, 2) - 0.05
    narrow = WOMEN.assign(mg_mmol_l=pd.array([value] * 3, dtype=width))  # type: ignore[call-overload]
    wide = WOMEN.assign(mg_mmol_l=[value] * 3)
    assert list(assess_table(ARTEFACT, narrow)["mg_at_or_below_cut_off"]) == [True] * 3
    assert np.array_equal(assess_table(ARTEFACT, narrow)["risk"], assess_table(ARTEFACT, wide)["risk"])


def test_flags_of_a_narrow_array() -> None:
    assert list(flags(np.array([0.845, 0.846, np.nan], dtype=np.float32))) == [True, False, False]
