"""Odds ratios beside one another: published, refitted, free, anchored."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from model.report.style import CYCLE, DOUBLE, GREY, drawn, new


class Odds(NamedTuple):
    """An odds ratio with its 95 % interval, for the change that the row names."""

    value: float
    low: float
    high: float


def forest(rows: Sequence[str], series: Mapping[str, Mapping[str, Odds]]) -> Figure:
    """One row a term, one colour a series; a term that a series lacks is left empty."""
    with drawn():
        figure, (panel,) = new(DOUBLE * 0.7, 0.16 * len(rows) * (len(series) + 1) + 0.6)
        step = 0.8 / len(series)
        for k, (name, found) in enumerate(series.items()):
            places = [i + (k - (len(series) - 1) / 2) * step for i, row in enumerate(rows) if row in found]
            odds = [found[row] for row in rows if row in found]
            values = np.array([one.value for one in odds])
            widths = [values - [one.low for one in odds], [one.high for one in odds] - values]
            panel.errorbar(values, places, xerr=widths, fmt="o", ms=3.5, color=CYCLE[k], elinewidth=1, label=name)
        panel.axvline(1, color=GREY, lw=0.6, ls=(0, (4, 3)))
        panel.set_xscale("log")
        ticks = [x for x in (0.1, 0.2, 0.5, 1, 2, 5, 10) if panel.get_xlim()[0] <= x <= panel.get_xlim()[1]]
        panel.set_xticks(ticks, [f"{x:g}" for x in ticks])
        panel.minorticks_off()
        panel.set_yticks(range(len(rows)), rows)
        panel.tick_params(axis="y", length=0)
        panel.set_ylim(len(rows) - 0.45, -0.55)
        panel.set_xlabel("Odds ratio (95 % interval)")
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
