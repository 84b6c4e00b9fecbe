"""Readings of the nomogram's picture: what our own nomogram draws is read back."""

import csv
from pathlib import Path

import numpy as np
import pytest

from model import ModelError, assess, load_artefact
from model.artefact import write_artefact
from model.reconstruction.readings import COLUMNS, digitised, example, load_readings
from model.reconstruction.recipe import Reconstruction
from tests.command import screener

WOMAN = {
    "age_years": 70.0,
    "bmi_kg_m2": 24.0,
    "mg_mmol_l": 0.84,
    "p_mmol_l": 1.1,
    "ctx_ng_ml": 0.5,
    "p1np_ng_ml": 60.0,
}
Row = tuple[str, str, float]


def written(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return path


@pytest.mark.parametrize("name", ["shi2026-mg-category", "shi2026-mg-continuous"])
def test_our_own_nomogram_is_read_back(tmp_path: Path, made: Reconstruction, name: str) -> None:
    artefact = load_artefact(name)
    readings = load_readings(written(tmp_path / "figure.csv", example(artefact)))
    write_artefact(digitised(readings, made), tmp_path / "digitised.json")
    found = load_artefact(tmp_path / "digitised.json")
    assert (found.id, found.reduced) == ("shi2026-digitised", ())
    assert {p.provenance["kind"] for p in found.predictors} == {"digitised"}
    assert [p.form for p in found.predictors] == [p.form for p in artefact.predictors]
    for ours, theirs in zip(found.predictors, artefact.predictors, strict=True):
        assert ours.coefficient == pytest.approx(theirs.coefficient, rel=0.02, abs=2e-4)
    columns, side = {name: np.array([value]) for name, value in WOMAN.items()}, np.array([True])
    assert float(assess(found, columns, side).risk[0]) == pytest.approx(
        float(assess(artefact, columns, side).risk[0]), abs=0.002
    )


def test_the_example_that_is_written_can_be_read(tmp_path: Path) -> None:
    out = tmp_path / "figure.csv"
    screener("model", "readings", "--out", str(out), cwd=tmp_path)
    assert load_readings(out).form == "category"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [("height", "1", 2.0), *rows], r"figure.csv, line 2: there is no axis 'height'"),
        (lambda rows: [row for row in rows if row[0] != "age_years"], "fewer than 2 different readings on age_years"),
        (lambda rows: [row for row in rows if row[0] != "risk"], "fewer than 4 different readings on risk"),
        (lambda rows: [*rows, ("risk", "60", 3.0)], "risk outside 0 to 1. Give risks as fractions"),
        (lambda rows: [*rows, ("p_mmol_l", "much", 3.0)], "'much' on p_mmol_l is no number"),
        (lambda rows: [*rows, ("p_mmol_l", "1", float("nan"))], "the points are no number"),
    ],
)
def test_readings_that_cannot_be_used_are_named(tmp_path: Path, change: object, message: str) -> None:
    rows = change(example(load_artefact()))  # type: ignore[operator]
    with pytest.raises(ModelError, match=message):
        load_readings(written(tmp_path / "figure.csv", rows))


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "figure.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ModelError, match="must begin with the line axis,value,points"):
        load_readings(path)
