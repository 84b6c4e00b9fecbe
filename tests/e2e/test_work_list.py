"""`screener run --export`: every patient of a run as a list to work down, where the caller says that patients may be shown."""

import csv
from pathlib import Path

import pytest
from pyarrow import parquet

from tests.e2e.site import Site

DAY = "2025-11-01"


@pytest.fixture
def ward(sandbox: Site) -> Site:
    """Two women with all results, one without markers, and one who takes alendronate."""
    for woman, mg in (("w1", "0.84"), ("w2", "0.95"), ("w3", "0.80")):
        sandbox.woman(woman)
        sandbox.stay(woman, DAY, mg=mg, markers=woman != "w3")
    sandbox.woman("w4", gender="male")
    sandbox.stay("w4", DAY)
    return sandbox


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_highest_risks_come_first(ward: Site) -> None:
    run = ward.run("--backfill", "--now", "2026-01-31T00:00:00Z", "--show-patients", "--export", "list.csv")
    found = rows(ward.folder / "list.csv")
    assert [row["patient"] for row in found] == [ward.id(name) for name in ("w1", "w2", "w3", "w4")]
    assert [row["outcome"] for row in found] == ["scored", "scored", "flag_only", "not_eligible"]
    assert [row["magnesium_at_or_below_0_845"] for row in found] == ["True", "False", "True", ""]
    assert (found[0]["magnesium_mmol_l"], found[0]["magnesium_date"], found[3]["reason"]) == ("0.84", DAY, "sex_male")
    written = ward.assessments("w1", "nomogram")[0]["prediction"][0]["probabilityDecimal"]
    assert float(found[0]["risk_percent"]) == written
    assert (ward.folder / "list.csv").stat().st_mode & 0o777 == 0o600
    assert run.summary["patients_seen"] == len(found)


def test_flag_and_nomogram_of_different_results_are_listed_as_they_are_written(sandbox: Site) -> None:
    """Her newest magnesium came alone: the flag rests on it, the nomogram on an older one on the other side."""
    sandbox.woman("w1")
    sandbox.stay("w1", "2025-06-01", mg="0.95")
    sandbox.stay("w1", DAY, mg="0.80", markers=False)
    run = sandbox.run("--backfill", "--now", "2026-01-31T00:00:00Z", "--show-patients", "--export", "list.csv")
    (row,) = rows(sandbox.folder / "list.csv")
    assert (row["nomogram_date"], row["magnesium_date"], row["magnesium_mmol_l"]) == ("2025-06-01", DAY, "0.8")
    assert row["magnesium_at_or_below_0_845"] == "True"
    assert run.summary["flagged"] == 1
    (nomogram,) = sandbox.assessments("w1", "nomogram")
    assert float(row["risk_percent"]) == nomogram["prediction"][0]["probabilityDecimal"]
    assert "other_magnesium" in row["caveats"].split("+")


def test_as_parquet_and_of_an_export_by_several_processes(ward: Site) -> None:
    ward.call("export", "--out", "bulk")
    call = (
        "--backfill",
        "--from",
        "bulk",
        "--to",
        "out",
        "--now",
        "2026-01-31T00:00:00Z",
        "--show-patients",
        "--workers",
        "2",
    )
    ward.run(*call, "--export", "list.parquet", SCREENER_FOLDER_COMPLETE="true")
    ward.run(*call, "--export", "list.csv", SCREENER_FOLDER_COMPLETE="true")
    table = parquet.read_table(ward.folder / "list.parquet").to_pylist()
    mine = [row for row in table if row["patient"].endswith(ward.name)]
    assert [row["outcome"] for row in mine] == ["scored", "scored", "flag_only", "not_eligible"]
    first = next(row for row in rows(ward.folder / "list.csv") if row["patient"] == mine[0]["patient"])
    assert (mine[0]["magnesium_at_or_below_0_845"], mine[0]["age_years"]) == (True, int(first["age_years"]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--export", "list.csv"), "add --show-patients"),
        (("--export", "list.xlsx", "--show-patients"), "neither .csv nor .parquet"),
        (("--export", "nowhere/list.csv", "--show-patients"), "there is no folder nowhere"),
    ],
)
def test_a_list_is_written_only_where_it_is_meant(arguments: tuple[str, ...], words: str, ward: Site) -> None:
    said = ward.run("--backfill", "--dry-run", *arguments, expect=2).stderr
    assert words in said
    assert list(ward.folder.glob("*list*")) == []
