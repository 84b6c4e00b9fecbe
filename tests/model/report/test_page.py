"""The page itself: what is put in comes out as words, and the same page is the same bytes."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from model.report.figures.roc import Drawn, roc
from model.report.page import Page, Picture, Section, Table, write_page
from model.stats.roc import curve, delong
from tests.model.report.html import is_for_every_reader, read_page, tables

HOSTILE = """</h1><script>alert("1")</script> & 'x' <b onclick="y">"""


def a_figure() -> Figure:
    y, x = np.array([0, 0, 1, 1, 0, 1]), np.array([0.1, 0.4, 0.35, 0.8, 0.2, 0.9])
    return roc([Drawn("x", curve(x, y, direction="<"), delong(x, y, direction="<"))])


def a_page(words: str) -> Page:
    table = Table(words, [words, "n"], [[words, "1"], ["", "2"]], words)
    folded = Table("folded", ["a"], [["1"], ["2"], ["3"]], folded=True)
    return Page(words, [words], [Section(words, [words], [table, folded], [Picture("one", a_figure(), words)])])


@pytest.mark.parametrize("words", [HOSTILE, "β-CTx ≤ 0.845 mmol/L, 25 kg/m²", "{{ page.title }} {% raw %}"])
def test_every_word_comes_out_as_a_word(tmp_path: Path, words: str) -> None:
    write_page(a_page(words), tmp_path)
    page = is_for_every_reader(tmp_path)
    places = [page.all(tag)[0].text for tag in ("title", "h1", "h2", "caption", "th", "td", "figcaption")]
    assert places == [words] * 7
    assert [p.text for p in page.all("p")] == [words] * 3  # the lead, a paragraph, the table's note
    assert page.all("b") == []


def test_a_folded_table_says_how_much_it_hides(tmp_path: Path) -> None:
    write_page(a_page("words"), tmp_path)
    page = read_page(tmp_path / "report.html")
    (details,) = page.all("details")
    assert details.all("summary")[0].text == "folded (3)"
    assert [caption.text for caption in details.all("caption")] == ["folded"]
    assert tables(page) == {
        "words": [["words", "n"], ["words", "1"], ["", "2"]],
        "folded": [["a"], ["1"], ["2"], ["3"]],
    }


def test_the_same_page_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_page(a_page("words"), tmp_path / name)
    first, second = ({file.name: file.read_bytes() for file in (tmp_path / n).iterdir()} for n in ("a", "b"))
    assert first.keys() == {"report.html", "one.png", "one.svg"}
    assert first == second
