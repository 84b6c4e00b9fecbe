"""A cohort file: what is used, what is left out, what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from model import ModelError
from model.local.cohort import read_cohort

MakeSite = Callable[..., Path]


def test_csv_and_parquet_are_the_same(make_site: MakeSite, tmp_path: Path) -> None:
    path = make_site(50)
    pd.read_csv(path).to_parquet(tmp_path / "women.parquet")
    csv, parquet = read_cohort(path), read_cohort(tmp_path / "women.parquet")
    assert csv.columns["p_mmol_l"].tolist() == parquet.columns["p_mmol_l"].tolist()
    assert csv.osteoporosis.tolist() == parquet.osteoporosis.tolist()
    assert sorted(set(csv.groups["period"].tolist())) == ["2025Q1", "2025Q2"]


def test_rows_with_an_empty_cell_are_left_out_and_counted(make_site: MakeSite) -> None:
    frame = pd.read_csv(make_site(50))
    frame.loc[[3, 7], "p_mmol_l"] = None
    frame.loc[7, "osteoporosis"] = None
    path = make_site(50)
    frame.to_csv(path, index=False)
    found = read_cohort(path)
    assert (found.size, dict(found.left_out)) == (48, {"p_mmol_l": 2, "osteoporosis": 1})


def test_the_cut_off_is_taken_from_the_file_where_it_says_so(make_site: MakeSite) -> None:
    frame = pd.read_csv(make_site(50))
    frame["mg_mmol_l"] = 0.845
    path = make_site(50)
    frame.to_csv(path, index=False)
    assert read_cohort(path).mg_at_or_below.all()
    frame["mg_at_or_below_cut_off"] = False
    frame.to_csv(path, index=False)
    assert not read_cohort(path).mg_at_or_below.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns=["ctx_ng_ml", "osteoporosis"]), "lacks the columns ctx_ng_ml, osteoporosis"),
        (
            lambda f: f.assign(ctx_ng_ml=[470.0, *f["ctx_ng_ml"][1:]]),
            "line 2: ctx_ng_ml lies outside .* Check the unit",
        ),
        (lambda f: f.assign(bmi_kg_m2=[*f["bmi_kg_m2"][:-1], -25.0]), "line 51: bmi_kg_m2 lies outside"),
        (lambda f: f.assign(p_mmol_l=["high", *f["p_mmol_l"][1:]]), "line 2: p_mmol_l is no number"),
        (lambda f: f.assign(p_mmol_l=["inf", *f["p_mmol_l"][1:]]), "line 2: p_mmol_l is no number"),
        (lambda f: f.assign(osteoporosis=[2, *f["osteoporosis"][1:]]), "line 2: osteoporosis is neither 0 nor 1"),
        (lambda f: f.assign(osteoporosis=1), "of 50 whole rows 50 have osteoporosis"),
        (lambda f: f.head(0), "of 0 whole rows 0 have osteoporosis"),
    ],
)
def test_what_cannot_be_used_is_named_without_its_value(make_site: MakeSite, change: Any, message: str) -> None:
    path = make_site(50)
    change(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(ModelError, match=message) as refused:
        read_cohort(path)
    assert "470" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", b"\xff\xfe\x00\x01"), ("a.csv", b""), ("a.parquet", b"no"), ("none.csv", None)]
)
def test_another_file_is_refused(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=name):
        read_cohort(tmp_path / name)
