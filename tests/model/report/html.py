"""A report's page as a reader meets it: parsed by the standard library's parser, not searched by pattern."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

_VOID = {"meta", "br", "hr", "img", "link", "input"}


@dataclass
class Element:
    """An element with its attributes, its words and what it contains."""

    tag: str
    attributes: dict[str, str]
    children: list["Element"] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def all(self, tag: str) -> list["Element"]:
        """Every such element below, in the page's order."""
        found = []
        for child in self.children:
            found += [child] if child.tag == tag else []
            found += child.all(tag)
        return found

    @property
    def text(self) -> str:
        """Its own words (all of ours stand in leaves)."""
        return "".join(self.words).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].words.append(data)


def read_page(path: Path) -> Element:
    """The page; fails where its elements are not closed in order."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert [element.tag for element in reader.open] == [""]
    return reader.open[0]


def tables(page: Element) -> dict[str, list[list[str]]]:
    """By caption: the headings, then the rows."""
    found = {}
    for table in page.all("table"):
        (caption,) = table.all("caption")
        rows = [[cell.text for cell in row.children] for row in table.all("tr")]
        assert len({len(row) for row in rows}) == 1, caption.text
        found[caption.text] = rows
    return found


def is_for_every_reader(folder: Path) -> Element:
    """What every report promises, checked on one: nothing from outside, every figure told in words and left as files."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = read_page(folder / "report.html")
    (root,) = page.all("html")
    assert root.attributes["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert page.all("title")[0].text
    for tag in ("script", "link", "img", "iframe", "object"):
        assert page.all(tag) == []
    for element in page.all("svg") + page.all("use") + page.all("a") + page.all("image"):
        for name in ("href", "xlink:href", "src"):
            assert element.attributes.get(name, "#").startswith(("#", "data:"))
    assert "url(http" not in text
    assert "@import" not in text
    for figure in page.all("figure"):
        (caption,) = figure.all("figcaption")
        assert len(figure.all("svg")) == 1
        assert figure.attributes["role"] == "img"
        assert figure.attributes["aria-label"] == caption.text != ""
    assert len(list(folder.glob("*.png"))) == len(list(folder.glob("*.svg"))) == len(page.all("figure"))
    for file in folder.glob("*.png"):
        assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert file.with_suffix(".svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")
    for head in page.all("th"):
        assert head.attributes == {"scope": "col"}
    return page
