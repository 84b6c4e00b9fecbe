"""The report of a run: what it says, what it hides, and how it looks in a browser."""

import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser

from fhir_fixtures.population import generate, write_ndjson
from screener.operations.report.run_report import psi
from tests.browser import accessibility_violations, page_of
from tests.command import screener

Json = dict[str, Any]
COMPLETE = {"SCREENER_FOLDER_COMPLETE": "true"}
CALL = (
    "run",
    "--backfill",
    "--from",
    "export",
    "--to",
    "out",
    "--now",
    "2026-01-31T02:00:00Z",
    "--summary",
    "summary.json",
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which three runs left reports: the first, one in which nothing changed, and one that was stopped."""
    folder = tmp_path_factory.mktemp("report")
    write_ndjson(folder / "export", generate(1500, 3, date(2026, 1, 31), dxa_share=0.4))
    for name in ("first", "again"):
        screener(*CALL, "--report", f"{name}.html", cwd=folder, **COMPLETE)
    for file in (folder / "export").glob("Procedure*"):
        file.unlink()
    screener(*CALL[:-2], "--report", "stopped.html", cwd=folder, expect=2)
    return folder


@pytest.fixture(scope="module")
def summary(ran: Path) -> Json:
    found: Json = json.loads((ran / "summary.json").read_text())
    return found


def text_of(page: Path) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.read_text().partition("</style>")[2]))


def test_it_says_what_the_summary_says(ran: Path, summary: Json) -> None:
    said = text_of(ran / "again.html")
    scored = summary["outcomes"]["scored"]["complete"]
    assert f"complete {5 * round(scored / 5)} " in said
    assert "The run came to its end; nothing had changed" in said
    assert f"unchanged {5 * round(summary['writes']['unchanged'] / 5):,}" in said
    assert summary["run_id"] in said
    assert "0.06485" in said  # a coefficient of the model
    assert said.count("as before") == 6  # every analyte, against the first run
    assert "Against earlier runs" not in text_of(ran / "first.html")


def test_the_counts_add_up(summary: Json) -> None:
    figures = summary["figures"]
    assert sum(figures["risks"].values()) == figures["scored"]
    assert sum(sum(risks.values()) for risks in figures["risks_by_mg"].values()) == figures["scored"]
    flagged = {end: risks for end, risks in figures["risks_by_mg"].items() if float(end) <= 0.845}
    assert 0 < sum(sum(risks.values()) for risks in flagged.values()) <= summary["flagged"]
    for analyte in figures["analytes"].values():
        counts = [sum(analyte[name].values()) for name in ("distribution", "units", "codes")]
        assert counts == [analyte["used"]] * 3
    excluded = {
        r.removeprefix("excluded_"): n for r, n in summary["outcomes"]["not_eligible"].items() if "excluded_" in r
    }
    assert {
        rule: sum(rows.values()) >= excluded[rule] for rule, rows in figures["excluded_by"].items()
    } == dict.fromkeys(excluded, True)
    assert set(summary["stages"]) == {"prepare", "read_and_decide", "write"}
    assert min(summary["stages"].values()) >= 0
    assert sum(summary["stages"].values()) <= summary["seconds"] + 0.002  # each is rounded to a millisecond


def test_no_small_count_and_no_exact_one_is_in_it(ran: Path) -> None:
    """Every count is a multiple of 5, or "<5"."""
    page = (ran / "again.html").read_text()
    tables = re.findall(r"<h3[^>]*>([^<]*)</h3>.*?<table(.*?)</table>", page, re.DOTALL)
    counts = [
        int(number.replace(",", ""))
        for title, table in tables
        if title
        not in (
            "Units",
            "This run against the last ones",
            "Time and traffic",
            "Which model",
            "Excerpt of the model card",
        )
        for number in re.findall(r'<td class="(?:n|s\d)">(\d[\d,]*)(?: \(|<)', table)
    ]
    assert len(counts) > 80
    assert [count for count in counts if count % 5] == []
    assert "&lt;5" in page


def test_nobody_is_in_it(ran: Path) -> None:
    ids = {
        line["id"]
        for line in map(
            json.loads, "".join(file.read_text() for file in (ran / "export").glob("Patient*.ndjson")).splitlines()
        )
    }
    for page in ran.glob("*.html"):
        assert not ids & set(re.findall(r"[\w-]+", page.read_text()))
        assert page.stat().st_mode & 0o077 == 0


def test_a_run_that_was_stopped_says_why(ran: Path) -> None:
    said = text_of(ran / "stopped.html")
    assert "Stopped The run was stopped: The folder export holds no Procedure" in said
    assert "set folder.complete = true" in said


def test_the_ledger_makes_it_again(ran: Path, summary: Json) -> None:
    screener("runs", "report", summary["run_id"][:8], "--out", "later.html", cwd=ran)
    assert text_of(ran / "later.html") == text_of(ran / "again.html")
    stopped = json.loads(screener("runs", "list", "--json", cwd=ran).stdout)[0]["start"]["run_id"]
    assert "no whole summary" in screener("runs", "report", stopped, "--out", "x.html", cwd=ran, expect=2).stderr


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 360])
def test_it_is_accessible_and_fits(browser: Browser, ran: Path, scheme: str, width: int) -> None:
    """In a browser, without any other file: nothing is asked for, and nothing is wider than the window."""
    with page_of(browser, ran / "again.html", viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        assert accessibility_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(13, 17, 23)")


def test_it_prints_in_dark_ink_on_white(browser: Browser, ran: Path) -> None:
    with page_of(browser, ran / "again.html", color_scheme="dark") as page:
        pdf = page.pdf(format="A4", print_background=True)
    assert pdf.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(100, 900), min_size=2))
def test_psi_of_a_distribution_and_itself_is_nothing_and_it_takes_both_ways_alike(counts: dict[str, int]) -> None:
    other = dict(zip(counts, reversed(counts.values()), strict=True))
    if min(sum(counts.values()), sum(other.values())) < 200:
        assert psi(counts, other) is None
    else:
        assert psi(counts, counts) == 0
        there, back = psi(counts, other), psi(other, counts)
        assert there is not None
        assert there == pytest.approx(back)
        assert there >= 0


def test_psi_by_hand() -> None:
    """0.6 and 0.4 against 0.5 and 0.5, with half a result added to each: 0.1 ln(0.6/0.5) - 0.1 ln(0.4/0.5) = 0.0405."""
    assert psi({"a": 60_000, "b": 40_000}, {"a": 50_000, "b": 50_000}) == pytest.approx(0.0405465, abs=1e-5)


@pytest.fixture(autouse=True)
def _no_leftovers(ran: Path) -> Iterator[None]:
    yield
    assert not list(ran.glob(".*.tmp"))
