"""A report as one HTML page: text, tables and figures, everything inside the file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from matplotlib.figure import Figure

from model.report.style import save


@dataclass(frozen=True)
class Table:
    """Rows of text below their headings; `note` says how to read it. A folded one shows its title until it is opened."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure, the name of its files, and what it shows."""

    name: str
    figure: Figure
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it, in this order."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    lead: Sequence[str]
    sections: Sequence[Section] = field(default_factory=list)


def write_page(page: Page, folder: Path) -> Path:
    """Write `report.html` and each figure (PNG, SVG) into a folder; returns the page's path."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - an extra

    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for section in page.sections:
        for picture in section.pictures:
            _, svg = save(picture.figure, folder / picture.name)
            drawn[picture.name] = _inline(svg.read_text(encoding="utf-8"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("model.report") / "page.html.j2").read_text(encoding="utf-8"))
    path = folder / "report.html"
    path.write_text(template.render(page=page, drawn=drawn), encoding="utf-8")
    return path


def _inline(svg: str) -> str:
    """The svg element alone: the XML prologue does not belong inside a page."""
    return svg[svg.index("<svg") :]
