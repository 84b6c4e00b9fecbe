"""`screener model ...` as a user runs it: what it prints and leaves behind, and one clear message for each thing that is wrong."""

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from model import SHIPPED, load_artefact
from model.artefact import checksum
from model.evidence.checks import checks
from model.local.cohort import read_cohort
from model.local.validate import validate
from model.predictors import FURTHER, OCN
from screener.base.errors import ScreenerError
from screener.commands.cli import cli

MakeSite = Callable[..., Path]
ARTEFACTS = files("model") / "artefacts"


def screener(*arguments: str | Path) -> Result:
    """Runs in this process; what would be printed as an error is in `exception`."""
    return CliRunner().invoke(cli, ["model", *map(str, arguments)])


def refused(*arguments: str | Path) -> str:
    """The message with which the command line would leave, with the exit code for a wrong input."""
    result = screener(*arguments)
    error = result.exception
    if isinstance(error, SystemExit):  # click's own message about an option
        assert error.code == 2
        return result.output
    assert isinstance(error, ScreenerError), error
    assert error.exit_code == 2
    return str(error)


def done(*arguments: str | Path) -> str:
    result = screener(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.mark.parametrize(
    "command",
    ["evidence", "build", "readings", "reproduce", "card", "cohort", "validate", "recalibrate", "fit"],
)
def test_every_help_has_an_example(command: str) -> None:
    assert f"screener model {command}" in done(command, "--help").partition("Usage:")[2].partition("\n")[2]


def test_evidence_prints_what_differs_and_with_all_everything() -> None:
    found = checks()
    short, whole = done("evidence"), done("evidence", "--all")
    differing = [check for check in found if check.agrees is False]
    assert all(check.quantity in short for check in differing)
    assert len(whole.splitlines()) > len(short.splitlines()) + sum(check.agrees is True for check in found) / 2
    assert str(len(found)) in short


def test_readings_of_our_own_nomogram_give_our_own_coefficients(tmp_path: Path) -> None:
    done("readings", "--out", tmp_path / "figure2.csv")
    done("build", "--nomogram-readings", tmp_path / "figure2.csv", "--out", tmp_path / "digitised.json")
    ours, digitised = load_artefact(), load_artefact(tmp_path / "digitised.json")
    for one, other in zip(ours.predictors, digitised.predictors, strict=True):
        assert other.provenance["kind"] == "digitised"
        assert other.coefficient == pytest.approx(one.coefficient, rel=0.02, abs=2e-4)


def test_validate_prints_the_estimates_and_leaves_them_with_figures(make_site: MakeSite, tmp_path: Path) -> None:
    file = make_site(1500, intercept=-1.0)
    printed = done("validate", "--cohort", file, "--out", tmp_path / "out")
    found = validate(read_cohort(file), load_artefact())
    c = found["overall"]["c"]
    assert f"{c['value']:.3f} ({c['low']:.3f} to {c['high']:.3f})" in printed
    assert all(f"- {sentence}" in printed for sentence in found["verdict"])
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == json.loads(json.dumps(found))
    assert {"calibration.png", "calibration.svg", "decision.svg", "roc.svg", "report.html"} <= names(tmp_path / "out")


@pytest.mark.parametrize("method", ["intercept", "slope", "refit"])
def test_recalibrate_writes_an_artefact_that_fits_the_site(make_site: MakeSite, tmp_path: Path, method: str) -> None:
    file, out = make_site(1500, intercept=-1.0), tmp_path / "site.json"
    arguments = ("--cohort", file, "--method", method, "--id", "site-x", "--version", "2.1.0", "--out", out)
    printed = done("recalibrate", *arguments)
    assert "site-x 2.1.0 written to" in printed
    site = load_artefact(out)
    assert (site.id, site.version, site.calibration) == ("site-x", "2.1.0", "local")
    overall = validate(read_cohort(file), site)["overall"]
    assert overall["calibration_in_the_large"]["value"] == pytest.approx(0, abs=1e-6)
    first = out.read_bytes()
    done("recalibrate", *arguments)
    assert out.read_bytes() == first


def test_a_model_with_a_further_predictor_goes_through_every_command(make_site: MakeSite, tmp_path: Path) -> None:
    cohort, own, page = make_site(1500, ocn=0.08), tmp_path / "own.json", tmp_path / "page.html"
    done("recalibrate", "--cohort", cohort, "--method", "refit", "--add", OCN, "--id", "site-x", "--out", own)
    assert load_artefact(own).title.endswith("recalibrated (refit, with ocn_ng_ml added)")
    assert "made from these very women" in refused("validate", "--cohort", cohort, "--artefact", own)
    apparent = done("validate", "--cohort", cohort, "--artefact", own, "--accept", "same-women")
    assert "without-ocn" in apparent
    assert "| ocn_ng_ml | ng/mL |" in done("card", "--artefact", own)
    done("page", "--artefact", own, "--out", page)
    assert "Osteocalcin" in page.read_text("utf-8")
    done("page", "--out", page)
    assert "Osteocalcin" not in page.read_text("utf-8")
    refused_words = refused("recalibrate", "--cohort", cohort, "--add", OCN, "--id", "x", "--out", tmp_path / "x.json")
    assert "Take --method refit" in refused_words
    group: Any = cli.get_command(click.Context(cli), "model")
    (added,) = (option for option in group.commands["recalibrate"].params if option.name == "further")
    assert tuple(added.type.choices) == tuple(FURTHER)


def test_fit_leaves_every_number_at_full_precision(make_site: MakeSite, tmp_path: Path) -> None:
    printed = done("fit", "--cohort", make_site(400), "--out", tmp_path / "out", "--resamples", "20")
    assert "400 women" in printed
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["resamples"] == 20
    assert "model_2_all_seven" in results["models"]
    ratio = results["models"]["six_terms_category"]["likelihood_ratio"]
    assert (ratio["df"], ratio["statistic"] > 0) == (6, True)
    coefficient = results["models"]["six_terms_category"]["rows"][1]["coefficient"]
    assert len(repr(coefficient).replace("-", "").replace(".", "").lstrip("0")) >= 15
    assert {"report.html", "figure1_lasso.svg", "figure3_decision.png"} <= names(tmp_path / "out")


def test_card_of_a_sites_artefact(make_site: MakeSite, tmp_path: Path) -> None:
    out = tmp_path / "site.json"
    done("recalibrate", "--cohort", make_site(1500), "--id", "site-x", "--out", out)
    text = done("card", "--artefact", out)
    assert "| identifier | site-x, version 1.0.0 |" in text
    assert load_artefact(out).checksum in text


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


# What is most likely a mistake, and may be meant


@pytest.mark.parametrize(
    ("column", "by", "words"),
    [
        ("mg_mmol_l", 2.4305, "In mg/dL it would fit"),
        ("p_mmol_l", 3.0973762, "In mg/dL it would fit"),
        ("ctx_ng_ml", 0.05, "Check the unit"),
        ("p1np_ng_ml", 0.1, "Check the unit"),
        ("bmi_kg_m2", 0.6, "Check the unit"),
    ],
)
def test_a_predictor_in_another_unit_stops(make_site: MakeSite, column: str, by: float, words: str) -> None:
    file = make_site(400)
    table = pd.read_csv(file)
    table[column] *= by
    table.to_csv(file, index=False)
    for command in (("validate",), ("recalibrate", "--id", "x", "--out", file.parent / "x.json")):
        said = refused(*command, "--cohort", file)
        assert f"the median of {column} is" in said
        assert words in said
        assert "--accept units" in said
    if column == "mg_mmol_l":
        assert "400 women" in done("validate", "--cohort", file, "--accept", "units")


def test_a_predictor_that_turns_against_the_paper_stops(make_site: MakeSite, tmp_path: Path) -> None:
    file = make_site(3000, name="turned.csv")
    table = pd.read_csv(file)
    table["age_years"] = (2 * 64.5 - table["age_years"]).clip(50, 95).round()
    table.to_csv(file, index=False)
    call = ("recalibrate", "--cohort", file, "--method", "refit", "--id", "x", "--out", tmp_path / "x.json")
    assert "in these women age_years points the other way than in the paper" in refused(*call)
    assert "written to" in done(*call, "--accept", "signs")


# What is wrong with a cohort


def change(column: str, value: str, line: int = 3) -> Callable[[Path], None]:
    def edit(file: Path) -> None:
        lines = file.read_text().splitlines()
        cells = lines[line - 1].split(",")
        cells[lines[0].split(",").index(column)] = value
        lines[line - 1] = ",".join(cells)
        file.write_text("\n".join(lines) + "\n")

    return edit


def without(column: str) -> Callable[[Path], None]:
    def edit(file: Path) -> None:
        rows = [line.split(",") for line in file.read_text().splitlines()]
        place = rows[0].index(column)
        file.write_text("\n".join(",".join(row[:place] + row[place + 1 :]) for row in rows) + "\n")

    return edit


def one_class(file: Path) -> None:
    lines = file.read_text().splitlines()
    place = lines[0].split(",").index("osteoporosis")
    rows = [line.split(",") for line in lines[1:]]
    kept = [",".join([*row[:place], "1", *row[place + 1 :]]) for row in rows]
    file.write_text("\n".join([lines[0], *kept]) + "\n")


WRONG = [
    (without("ctx_ng_ml"), "women.csv lacks the columns ctx_ng_ml"),
    (change("ctx_ng_ml", "470"), "women.csv, line 3: ctx_ng_ml lies outside 0.001 to"),
    (change("mg_mmol_l", "-0.8", 5), "women.csv, line 5: mg_mmol_l lies outside"),
    (change("p_mmol_l", "inf"), "women.csv, line 3: p_mmol_l is no number"),
    (change("age_years", "old"), "women.csv, line 3: age_years is no number"),
    (change("osteoporosis", "2"), "women.csv, line 3: osteoporosis is neither 0 nor 1"),
    (one_class, "of 300 whole rows 300 have osteoporosis"),
    (lambda file: file.write_bytes(b"\xff\xfe\x00\x01"), "women.csv is no CSV file in UTF-8"),
]


@pytest.mark.parametrize(("damage", "message"), WRONG, ids=[message for _, message in WRONG])
@pytest.mark.parametrize("command", ["validate", "recalibrate", "fit"])
def test_a_wrong_cohort_is_named_and_nothing_is_written(
    make_site: MakeSite, tmp_path: Path, command: str, damage: Callable[[Path], Any], message: str
) -> None:
    file = make_site(300)
    damage(file)
    more = ("--id", "x") if command == "recalibrate" else ()
    before = names(tmp_path)
    said = refused(command, "--cohort", file, "--out", tmp_path / "out", *more)
    assert message in said
    assert "470" not in said  # no value of a woman's
    assert names(tmp_path) == before


# What is wrong with an artefact


def altered(document: dict[str, Any]) -> None:
    document["intercept"]["value"] += 0.1


def newer(document: dict[str, Any]) -> None:
    document["schema_version"] += 1
    document["checksum"] = checksum(document)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (altered, "does not match its checksum: it was altered"),
        (newer, "newer than 1, which this version reads. Update screener"),
        (None, "is not whole JSON: cut short"),
    ],
)
@pytest.mark.parametrize("command", ["validate", "recalibrate", "card"])
def test_a_wrong_artefact_is_refused(
    make_site: MakeSite, tmp_path: Path, command: str, edit: Callable[[dict[str, Any]], None] | None, message: str
) -> None:
    text = (ARTEFACTS / f"{SHIPPED[0]}.json").read_text(encoding="utf-8")
    document = json.loads(text)
    if edit:
        edit(document)
    (tmp_path / "wrong.json").write_text(json.dumps(document) if edit else text[: len(text) // 2])
    cohort = () if command == "card" else ("--cohort", make_site(300))
    more = ("--id", "x") if command == "recalibrate" else ()
    out = tmp_path / "out"
    assert message in refused(command, *cohort, "--artefact", tmp_path / "wrong.json", "--out", out, *more)
    assert not out.exists()


@pytest.mark.parametrize("command", ["build", "readings", "card"])
def test_a_folder_that_is_not_there_is_said_before_the_work(tmp_path: Path, command: str) -> None:
    assert "there is no folder missing to write file into" in refused(command, "--out", tmp_path / "missing" / "file")


def test_a_site_needs_a_folder_that_is_there(make_site: MakeSite, tmp_path: Path) -> None:
    out = tmp_path / "missing" / "site.json"
    assert "there is no folder missing" in refused("recalibrate", "--cohort", make_site(300), "--id", "x", "--out", out)
