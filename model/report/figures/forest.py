"""Odds ratios beside one another: published, refitted, free, anchored."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.report.style import DOUBLE, GREY, PALE, colours, drawn, new

_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_LINE = 0.135  # inches for each odds ratio
_LEGEND_COLUMNS = 2
_SPREAD = 0.8  # of a row's height, for its series


class Odds(NamedTuple):
    """An odds ratio with its 95 % interval, for the change that the row names."""

    value: float
    low: float
    high: float


def forest(rows: Sequence[str], series: Mapping[str, Mapping[str, Odds]]) -> Figure:
    """One row a term, one colour a series, on a log axis, with the figures in print beside it (183 mm wide).

    A term that a series lacks is left out; at most six series.
    """
    with drawn():
        figure, (panel,) = new(
            DOUBLE, _LINE * len(rows) * (len(series) + 0.6) + 0.6 + 0.15 * math.ceil(len(series) / _LEGEND_COLUMNS)
        )
        for k, ((name, found), colour) in enumerate(zip(series.items(), colours(len(series)), strict=True)):
            step = (k - (len(series) - 1) / 2) * _SPREAD / len(series)
            places = {i + step: found[row] for i, row in enumerate(rows) if row in found}
            _points(panel, places, name, colour)
        panel.axvline(1, color=GREY, lw=0.6, ls=(0, (4, 3)), zorder=1)
        _rows(panel, rows)
        _scale(panel)
        panel.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=_LEGEND_COLUMNS, borderaxespad=0.3)
    return figure


def _points(panel: Axes, places: Mapping[float, Odds], name: str, colour: str) -> None:
    """One series: points with intervals, and the same in figures at the right."""
    values = np.array([odds.value for odds in places.values()])
    lows, highs = (np.array([getattr(odds, end) for odds in places.values()]) for end in ("low", "high"))
    panel.errorbar(
        values,
        list(places),
        xerr=[values - lows, highs - values],
        fmt="o",
        ms=3,
        color=colour,
        elinewidth=1,
        label=name,
    )
    for place, odds in places.items():
        text = f"{odds.value:.3f} ({odds.low:.3f} to {odds.high:.3f})"
        panel.text(1.02, place, text, transform=panel.get_yaxis_transform(), color=colour, va="center", fontsize=6)


def _rows(panel: Axes, rows: Sequence[str]) -> None:
    """Names at the left, every second row on a pale band that goes on below the figures."""
    panel.set_yticks(range(len(rows)), rows)
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    for i in range(0, len(rows), 2):
        panel.axhspan(i - 0.5, i + 0.5, xmax=1.26, color=PALE, alpha=0.35, lw=0, zorder=0, clip_on=False)


def _scale(panel: Axes) -> None:
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    ticks = [x for x in _TICKS if low <= x <= high]
    panel.set_xticks(ticks, [f"{x:g}" for x in ticks])
    panel.minorticks_off()
    panel.set_xlabel("Odds ratio (95 % interval)")
