"""The three reports: every figure on a page is a computed one, and what differs from the paper says why."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from model import PREDICTORS, load_artefact
from model.evidence import published
from model.evidence.checks import checks
from model.local import paper
from model.local.cohort import read_cohort
from model.local.validate import validate
from model.predictors import MG, OCN
from model.reconstruction.recipe import Reconstruction
from model.report.fitted import write_fitted
from model.report.parts import NAMES, TITLES
from model.report.reproduction import write_reproduction
from model.report.validation import write_validation
from tests.model.report.html import Element, is_for_every_reader, tables

Json = dict[str, Any]
MakeSite = Callable[..., Path]
HOSTILE = """<script>alert("ward 3")</script>"""
RESAMPLES = 15


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Element]:
    folder = tmp_path_factory.mktemp("reproduced")
    write_reproduction(folder, RESAMPLES)
    return folder, is_for_every_reader(folder)


BESIDE = [
    "Table 1, published beside ours",
    "Table 2, published beside ours",
    "Table 3, published beside ours",
    "Figures 1 and 3, as far as the text gives numbers",
]


def test_whatever_differs_from_the_paper_says_why_and_nothing_else_does(reproduced: tuple[Path, Element]) -> None:
    found = tables(reproduced[1])
    differing = 0
    for title in BESIDE:
        assert found[title][0] == ["Figure", "Published", "Synthetic women", "Why they differ"]
        for figure, printed, here, why in found[title][1:]:
            assert bool(why) is (printed != here), figure
            differing += printed != here
    assert differing > 10  # a synthetic sample cannot hit every third decimal: the test has something to judge


def test_every_published_group_area_and_odds_ratio_stands_beside_ours(reproduced: tuple[Path, Element]) -> None:
    found, text = tables(reproduced[1]), published()
    printed = {title: {row[1] for row in found[title][1:]} for title in BESIDE}
    for name in PREDICTORS:
        for group in ("without", "osteoporosis"):
            mean, sd = text["table_1"][name][group]
            assert f"{mean:.2f} ± {sd:.2f}" in printed[BESIDE[0]]
    for row in text["table_2"]["rows"].values():
        if "auc" in row and "threshold" in row:
            assert any(cell.startswith(f"{row['auc']:.3f}") for cell in printed[BESIDE[1]])
    for row in text["table_3_model_2"].values():
        low, high = row["confidence_95"]
        assert any(f"{row['odds_ratio']:.3f}" in cell and f"{low:.3f}" in cell for cell in printed[BESIDE[2]]), high


def test_all_checks_of_the_evidence_are_on_the_page(reproduced: tuple[Path, Element]) -> None:
    found, every = tables(reproduced[1]), checks()
    heads = ["Place", "Row", "Figure", "Published", "Recomputed", "Verdict", "Why"]
    by_table = [rows for title, rows in found.items() if rows[0] == heads and title != "Figures that differ"]
    shown = [(row[0], row[1], row[2]) for rows in by_table for row in rows[1:]]
    assert sorted((c.table, c.row, c.quantity) for c in every) == sorted(shown)
    differing = {(row[0], row[1], row[2]) for row in found["Figures that differ"][1:]}
    assert differing == {(c.table, c.row, c.quantity) for c in every if c.agrees is False}
    assert all(row[6] for row in found["Figures that differ"][1:])


def test_the_women_of_the_page_give_its_numbers_again(reproduced: tuple[Path, Element]) -> None:
    """The file beside the page, read as any site's cohort."""
    folder, _ = reproduced
    women = read_cohort(folder / "women.csv", optional=(OCN,))
    again = paper.run(women, resamples=RESAMPLES)
    results = json.loads((folder / "results.json").read_text())
    assert women.size == published()["cohort"]["women"]
    for name in paper.MODELS:
        ours, theirs = ([row["coefficient"] for row in given["models"][name]["rows"]] for given in (again, results))
        assert ours == pytest.approx(theirs, rel=1e-6)
    assert again["roc"][MG]["auc"]["value"] == pytest.approx(results["roc"][MG]["auc"]["value"], rel=1e-9)


def test_the_coefficients_on_the_page_are_those_of_the_artefacts(
    reproduced: tuple[Path, Element], made: Reconstruction
) -> None:
    found = tables(reproduced[1])
    for form in ("category", "continuous"):
        rows = found[f"Magnesium as {form}"][1:]
        artefact = load_artefact(f"shi2026-mg-{form}")
        shipped = [artefact.intercept, *(p.coefficient for p in artefact.predictors)]
        assert [row[1] for row in rows] == [f"{value:.5f}" for value in shipped]
        assert [row[4] for row in rows] == [f"{value:.5f}" for value in made.free[form].coefficients]


def test_a_report_of_a_fit_shows_the_numbers_of_its_results(make_site: MakeSite, tmp_path: Path) -> None:
    cohort = read_cohort(make_site(500))
    results = paper.run(cohort, resamples=RESAMPLES)
    write_fitted(results, cohort, tmp_path / "out")
    page = is_for_every_reader(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == json.loads(json.dumps(results))
    found = tables(page)
    for name, model in results["models"].items():
        rows = {row[0]: row for row in found[TITLES[name]][1:]}
        assert len(rows) == len(model["rows"]) - 1  # all but the intercept
        for row in model["rows"][1:]:
            assert rows[NAMES[row["name"]]][1] == f"{row['coefficient']:.4f}"
            assert rows[NAMES[row["name"]]][2] == f"{row['odds_ratio']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
    assert f"500 women, {cohort.events} with osteoporosis." in [p.text for p in page.all("p")]
    assert {"figure1_lasso.svg", "roc.svg", "figure3_decision.svg"} <= {f.name for f in (tmp_path / "out").iterdir()}


def test_a_validation_shows_its_estimates_and_a_sites_names_as_words(make_site: MakeSite, tmp_path: Path) -> None:
    file = make_site(900)
    frame = pd.read_csv(file)
    frame["assay"] = np.where(np.arange(len(frame)) % 3 == 0, HOSTILE, "other & <b>")
    frame.to_csv(file, index=False)
    cohort, artefact = read_cohort(file), load_artefact()
    found = validate(cohort, artefact)
    write_validation(found, cohort, artefact, tmp_path / "out")
    page = is_for_every_reader(tmp_path / "out")
    rows = {row[0]: row for row in tables(page)["Estimates with 95 % intervals"][1:]}
    judged = [found["overall"], *found["subgroups"], *found["reduced"]]
    assert len(rows) == len(judged)
    for part in judged:
        shown = rows[part["name"]]
        assert shown[1:3] == [str(part["women"]), str(part["events"])]
        assert shown[3] == f"{part['c']['value']:.3f} ({part['c']['low']:.3f} to {part['c']['high']:.3f})"
        assert shown[7] == f"{part['brier']:.3f}"
    assert sum(HOSTILE in name for name in rows) == 1
    assert all(sentence in [p.text for p in page.all("p")] for sentence in found["verdict"])
