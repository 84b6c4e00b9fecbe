"""The card follows its artefact. Expected figures are those of the artefact, or worked by hand where a comment says so."""

import ast
import json
import re
from collections.abc import Iterator
from copy import deepcopy
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from model.artefact import SHIPPED, load_artefact, write_artefact
from model.card import card, figures
from model.errors import ModelError
from model.evidence.checks import checks
from model.local.cohort import LocalCohort
from model.local.recalibrate import Identity, recalibrate
from model.predictors import PREDICTORS

Json = dict[str, Any]


def shipped(name: str) -> Json:
    found: Json = json.loads((files("model") / "artefacts" / f"{name}.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Json:
    """A site of 900 women at a prevalence near 30 %, whose outcome hangs on age alone."""
    rng = np.random.default_rng(7)
    at = dict(zip(PREDICTORS, ((68, 8), (26, 3), (0.85, 0.05), (1.1, 0.1), (0.5, 0.15), (55, 12)), strict=True))
    columns = {name: rng.normal(mean, sd, 900) for name, (mean, sd) in at.items()}
    columns["ctx_ng_ml"] = np.maximum(columns["ctx_ng_ml"], 0.05)
    risk = 1 / (1 + np.exp(1 - 0.08 * (columns["age_years"] - 68)))
    y = (rng.random(900) < risk).astype(float)
    cohort = LocalCohort(columns, columns["mg_mmol_l"] <= 0.845, y, {}, {})
    document = recalibrate(cohort, load_artefact(), "slope", Identity("ours", "2.1.0", "Ours"))
    path = tmp_path_factory.mktemp("site") / "ours.json"
    write_artefact(document, path)
    load_artefact(path)
    written: Json = json.loads(path.read_text(encoding="utf-8"))
    return written


def rows_of(text: str, first: str) -> list[list[str]]:
    """Cells of the table rows whose first cell begins with `first`."""
    lines = [[cell.strip() for cell in line.split(" | ")] for line in text.splitlines() if line.startswith("| ")]
    return [cells for cells in lines if cells[0].removeprefix("| ").startswith(first)]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_coefficient_centre_and_provenance_is_in_its_row(name: str) -> None:
    document = shipped(name)
    text = card(document)
    for i, row in enumerate(document["predictors"]):
        cells = rows_of(text, row["name"])[0]
        error = document["covariance"][i + 1][i + 1] ** 0.5
        assert cells[2:5] == [f"{row['centre']:.4g}", f"{row['coefficient']:.6g}", f"{error:.4g}"]
        assert cells[6].startswith(row["provenance"]["kind"])
    for reduced in document["reduced"]:
        assert f"{reduced['expected_auc']:.4g}" in rows_of(text, reduced["name"])[0]
    assert document["checksum"] in text


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        (("predictors", 3, "coefficient"), -1.23456, "-1.23456"),
        (("intercept", "value"), 0.112233, "0.112233"),
        (("expected_auc",), 0.6543, "0.6543"),
        (("predictors", 4, "development_range", "high"), 1.777, "1.777"),
        (("development", "risk_spread", "mean"), 0.0777, "7.8 percentage points"),
        (("development", "readings_of_model_2", 1, "share_in_spread"), 0.2345, "0.2345"),
        # 0.5 * 496 women: odds of 1 at half, so that half at a prevalence of one fifth is one fifth again.
        (("development", "with_osteoporosis"), 248, "a risk of 50 % becomes 20 %"),
        # tanh(1.2 / 4) = 0.2913
        (("predictors", 2, "coefficient"), 1.2, "moves the risk by up to 29 percentage points"),
    ],
)
def test_a_changed_figure_changes_the_card(path: tuple[Any, ...], value: float, shown: str) -> None:
    document = shipped(SHIPPED[0])
    changed = deepcopy(document)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert shown not in card(document)
    assert shown in card(changed)


def test_borrowed_and_reconstructed_terms_are_named() -> None:
    text = card(shipped(SHIPPED[0]))
    borrowed, reconstructed = (
        next(line for line in text.splitlines() if line.startswith(f"- **{kind}**"))
        for kind in ("published, borrowed", "reconstructed")
    )
    assert borrowed.endswith(": age_years, bmi_kg_m2, mg_mmol_l, ctx_ng_ml")
    assert reconstructed.endswith(": intercept, p_mmol_l, p1np_ng_ml")


def test_the_shrunken_model_names_its_factor_and_what_was_shrunken() -> None:
    document = shipped("shi2026-mg-category-shrunken")
    factor = f"{document['development']['shrinkage']:.4g}"
    text = card(document)
    assert f"The slopes of this artefact are multiplied by {factor}." in text
    assert f"shrunken: times {factor}; published, borrowed: Table 3, Model 2, Age" in text


def test_magnesium_as_a_number_has_no_cliff() -> None:
    text = card(shipped("shi2026-mg-continuous"))
    assert "A cliff at the cut-off" not in text
    assert "Magnesium counts as a number here" in text


def test_every_error_of_the_paper_is_listed() -> None:
    text = card(shipped(SHIPPED[0]))
    wrong = [check for check in checks() if check.agrees is False]
    body = text.split("## Where the paper errs")[1].split("\n## ")[0]
    assert len([line for line in body.splitlines() if line.startswith("| ")]) == len(wrong) + 2  # heads and rule


def test_what_a_reader_must_know_has_its_figures() -> None:
    """As evidence by hand: 137/288 and 140/208; (137/288) / (68/208) = 1.455; odds 0.58 of 58.06 % at 20 %: 0.20; 0.80: 0.42."""
    text = card(shipped(SHIPPED[0]))
    for said in (
        "in the paper's women: sensitivity 0.476, specificity 0.673, LR+ 1.46, LR- 0.78",
        "PPV is 0.27 and NPV 0.84",
        "a risk of 58 % becomes 20 % and a risk of 80 % becomes 42 %",
        "up to 16 percentage points",
        "0.845 is the midpoint of two values that a laboratory reports, 0.84 and 0.85",
        "435 women for the nomogram's terms and 507 for those of Model 2; the paper had 496",
        "no risk of fracture",
        "does not replace DXA",
        "published, borrowed: Table 3, Model 2, beta-CTx, odds ratio 2.229 (1.034-4.809)",
        "| 2.2290 (",  # exp(log 2.229), from the coefficient
    ):
        assert said in text


def test_the_largest_jump_is_the_maximum_over_a_grid() -> None:
    x = np.linspace(-10, 10, 200_001)
    jump = 1 / (1 + np.exp(-(x + 0.9))) - 1 / (1 + np.exp(-x))
    assert figures.largest_jump(-0.9) == figures.largest_jump(0.9) == pytest.approx(float(jump.max()), abs=1e-9)


def test_a_cut_off_chosen_on_the_data_flatters_itself() -> None:
    found = figures.of_the_cut_off()
    assert found.shown > found.true + 0.1
    assert found.range_95[0] < 0.845 < found.range_95[1]
    assert found.near[0] < found.near[1] < 0.5
    assert 0.05 < found.flips < 0.15


def test_a_local_artefact_says_local_and_shows_its_data(local: Json) -> None:
    text, made = card(local), local["development"]
    assert "local: adjusted to, or fitted on, one site's women" in text
    assert f"Of the {made['women']} women of the site's cohort, {made['with_osteoporosis']}" in text
    assert f"Digest of the data: {made['data']['digest']}" in text
    assert "- **fitted** (estimated, or moved, on a site's own women): intercept, " + ", ".join(PREDICTORS) in text
    assert f"{made['before']['c']['value']:.3f}" in next(row for row in rows_of(text, "c") if row[0] == "| c")[1]
    assert "Only the intercept and one common factor are the site's." in text
    assert "its risks rank women" not in text
    assert "judgement** too" not in text


@pytest.mark.parametrize("name", SHIPPED)
def test_a_bare_development_is_no_obstacle(name: str, local: Json) -> None:
    for document in (shipped(name), local):
        text = card({**document, "development": {}})
        assert "is not recorded in it" in text
        assert "## Coefficients" in text


def test_what_is_no_artefact_is_refused() -> None:
    with pytest.raises(ModelError, match=r"lacks id, version.*screener model build"):
        card({"predictors": []})


@pytest.mark.parametrize("name", ["card.py", "making.py", "tripod_ai.json", "probast.json"])
def test_no_figure_is_typed_into_the_sentences(name: str) -> None:
    """Decimal numbers and percentages in texts, beside the numbers of PROBAST's questions."""
    text = (files("model.card") / name).read_text(encoding="utf-8")
    strings = list(_strings(json.loads(text)) if name.endswith(".json") else _literals(ast.parse(text)))
    assert len(strings) > 50
    assert [s for s in strings if re.search(r"\d+\.\d+|\d ?%", s) and not re.fullmatch(r"[1-4]\.[1-9]", s)] == []


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    else:
        for part in value.values() if isinstance(value, dict) else value or ():
            yield from _strings(part)


def _literals(tree: ast.AST) -> Iterator[str]:
    """String constants, those of f-strings too, but not their format specifications."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(tree, ast.FormattedValue) and child is tree.format_spec:
            continue
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value
        yield from _literals(child)
