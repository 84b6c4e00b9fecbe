"""Observed against predicted risk."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from model.report.style import BLUE, GREY, INK, PALE, SINGLE, VERMILION, drawn, new
from model.stats.calibration import Group
from model.stats.logistic import Array


class Curve(NamedTuple):
    """A smoothed curve: predicted (m,) and observed (m,)."""

    name: str
    predicted: Array
    observed: Array


def calibration(
    curves: Sequence[Curve], y: Array, risk: Array, groups: Sequence[Group] = (), notes: Sequence[str] = ()
) -> Figure:
    """Observed against predicted risk in one square panel (89 mm).

    At most two curves; groups (of `hosmer_lemeshow`) with 95 % binomial intervals (Wilson); the distribution of `risk` (n,) by
    outcome `y` (n,), as spikes below; and lines of text in a corner.
    """
    with drawn():
        figure, (panel,) = new(SINGLE, SINGLE)
        panel.plot([0, 1], [0, 1], color=GREY, lw=0.6, ls=(0, (4, 3)), label="Ideal")
        for curve, colour in zip(curves, (BLUE, VERMILION)[: len(curves)], strict=True):
            panel.plot(curve.predicted, curve.observed, color=colour, label=curve.name)
        if groups:
            _groups(panel, groups)
        _spikes(panel, y, risk)
        panel.set(
            xlabel="Predicted risk",
            ylabel="Observed share with osteoporosis",
            xlim=(0, 1),
            ylim=(-0.12, 1.02),
            aspect="equal",
        )
        panel.set_yticks(np.arange(0, 1.01, 0.2))
        panel.legend(loc="upper left", handlelength=1.4)
        for i, line in enumerate(reversed(notes)):
            panel.text(0.98, 0.03 + 0.045 * i, line, ha="right", va="bottom", fontsize=6)
    return figure


def _groups(panel: Axes, groups: Sequence[Group]) -> None:
    x = [group.expected / group.women for group in groups]
    observed = [group.observed / group.women for group in groups]
    limits = [stats.binomtest(group.observed, group.women).proportion_ci(method="wilson") for group in groups]
    low = [max(y - limit.low, 0) for y, limit in zip(observed, limits, strict=True)]
    high = [max(limit.high - y, 0) for y, limit in zip(observed, limits, strict=True)]
    panel.errorbar(
        x, observed, [low, high], fmt="s", ms=2.5, color=INK, ecolor="#9A9A9A", elinewidth=0.6, label="Tenths"
    )


def _spikes(panel: Axes, y: Array, risk: Array) -> None:
    """Women with osteoporosis up, women without down, below the curve."""
    edges = np.linspace(0, 1, 61)
    middles, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    with_it, without = (np.histogram(risk[y == state], edges)[0] for state in (1, 0))
    scale = 0.05 / max(with_it.max(), without.max(), 1)
    panel.bar(middles, with_it * scale, width * 0.8, bottom=-0.06, color="#8C8C8C", lw=0)
    panel.bar(middles, -without * scale, width * 0.8, bottom=-0.06, color=PALE, lw=0)
    panel.axhline(-0.06, color=GREY, lw=0.4)
    for height, side, text in ((-0.055, "bottom", "osteoporosis"), (-0.065, "top", "without")):
        panel.text(0.01, height, text, fontsize=5, color=GREY, va=side)
