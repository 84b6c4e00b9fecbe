"""How every figure looks, and how it is saved: the same bytes for the same data."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.errors import ModelError

MM = 1 / 25.4
SINGLE, DOUBLE = 89 * MM, 183 * MM  # a journal's column widths, in inches

# Okabe and Ito: told apart by colour-blind readers, and in grey.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
INK, GREY, PALE = "#222222", "#767676", "#D9D9D9"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "svg.hashsalt": "screener",
    "svg.fonttype": "path",
    "figure.dpi": 150,
}


@contextmanager
def drawn() -> Iterator[None]:
    """The house style while a figure is drawn or saved; what the caller's own settings are does not matter."""
    with mpl.rc_context():
        mpl.rcdefaults()
        for name, value in _RC.items():
            mpl.rcParams[name] = value
        yield


def new(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure, in inches, with panels side by side."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, [figure.add_subplot(1, columns, i + 1) for i in range(columns)]


def colours(count: int) -> tuple[str, ...]:
    """So many colours that differ for every reader; ModelError beyond six."""
    if count > len(CYCLE):
        raise ModelError(f"{count} series are too many for one figure; draw at most {len(CYCLE)}, or several figures")
    return CYCLE[:count]


def panel_letters(axes: list[Axes]) -> None:
    """A, B, ... above the panels."""
    for letter, panel in zip("ABCDEF", axes, strict=False):
        panel.set_title(letter)


def save(figure: Figure, path: Path) -> list[Path]:
    """`path` without its suffix, once as PNG (300 dpi) and once as SVG; the same figure gives the same bytes."""
    files = [path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")]
    with drawn():
        figure.savefig(files[0], dpi=300, metadata={"Software": None})
        figure.savefig(files[1], metadata={"Date": None, "Creator": None})
    return files
