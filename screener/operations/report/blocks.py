"""What a report is made of: tables, tables with bars, and a grid of counts. The template knows nothing else."""

from collections.abc import Sequence
from typing import ClassVar

import msgspec


class Bar(msgspec.Struct, frozen=True):
    """One row: its label, its figure in words, and how long the bar is (0 to 100 % of the longest)."""

    label: str
    text: str
    percent: float


class Bars(msgspec.Struct, frozen=True):
    """A table of which each row has a bar."""

    kind: ClassVar[str] = "bars"
    caption: str
    headings: tuple[str, str]
    rows: Sequence[Bar]
    note: str = ""


class Table(msgspec.Struct, frozen=True):
    """A table of text; the last `numbers` columns are figures."""

    kind: ClassVar[str] = "table"
    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int = 1
    note: str = ""


class Cell(msgspec.Struct, frozen=True):
    """A count in words, and its shade (0 to 4)."""

    text: str
    shade: int


class Grid(msgspec.Struct, frozen=True):
    """Counts by two scales. After the row `line_below` a line is drawn."""

    kind: ClassVar[str] = "grid"
    caption: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    line_below: int
    note: str = ""


class Section(msgspec.Struct, frozen=True):
    """A heading, what to know, and the blocks below it."""

    title: str
    lead: str
    blocks: Sequence[Bars | Table | Grid]


class Report(msgspec.Struct, frozen=True):
    """The whole page. `status` is "ok", "look" or "stop"; `facts` are name and value."""

    title: str
    status: str
    headline: str
    remedy: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    least: int
