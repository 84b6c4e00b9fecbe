"""Two models of the same women: where they disagree, and how risk depends on magnesium in each."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.artefact import Nomogram
from model.nomogram import assess
from model.predictors import MG, MG_CUT_OFF_MMOL_L
from model.report.style import BLUE, DOUBLE, GREY, PALE, VERMILION, drawn, new, panel_letters
from model.stats.logistic import Array

_MG = np.round(np.arange(0.70, 1.0001, 0.005), 3)


def agreement(first: Array, second: Array, category: Nomogram, continuous: Nomogram) -> Figure:
    """Risks (n,) of the same women by the category and by the number. A: one against the other. B: their differences. C: risk along
    magnesium with all else at the centres."""
    with drawn():
        figure, (against, differences, along) = new(DOUBLE, DOUBLE * 0.34, 3)
        against.plot([0, 1], [0, 1], color=GREY, lw=0.6, ls=(0, (4, 3)))
        against.plot(first, second, "o", color=BLUE, ms=1.6, alpha=0.5, mew=0)
        against.set(
            xlabel="Risk, magnesium as category",
            ylabel="Risk, magnesium as number",
            xlim=(0, 1),
            ylim=(0, 1),
            aspect="equal",
        )
        _differences(differences, second - first)
        _along(along, category, continuous)
        panel_letters([against, differences, along])
    return figure


def _differences(panel: Axes, points: Array) -> None:
    values = 100 * points
    panel.hist(values, bins=list(range(-20, 21)), color=BLUE, lw=0)
    panel.axvspan(-5, 5, color=PALE, alpha=0.5, lw=0, zorder=0)
    share = float(np.mean(np.abs(values) > 5))
    panel.text(
        0.98,
        0.97,
        f"more than 5 points apart:\n{share:.0%} of women",
        transform=panel.transAxes,
        ha="right",
        va="top",
        fontsize=6,
    )
    panel.set(xlabel="Difference (percentage points)", ylabel="Women", ylim=(0, panel.get_ylim()[1] * 1.2))


def _along(panel: Axes, category: Nomogram, continuous: Nomogram) -> None:
    side = float(MG_CUT_OFF_MMOL_L) >= _MG
    for name, drawing, colour in (("category", category, VERMILION), ("number", continuous, BLUE)):
        columns = {p.name: np.full(len(_MG), p.centre) for p in drawing.predictors}
        columns[MG] = _MG
        risk = assess(drawing, columns, side).risk
        for part in (side, ~side) if drawing.has_category else (side | ~side,):
            panel.plot(_MG[part], risk[part], color=colour, label=name if part[0] else None)
    panel.axvline(float(MG_CUT_OFF_MMOL_L), color=GREY, lw=0.6, ls=(0, (1, 1.5)))
    panel.set(xlabel="Magnesium (mmol/L)", ylabel="Risk, all else at the mean", ylim=(0.2, 0.9))
    panel.legend(loc="upper right", handlelength=1.4)
