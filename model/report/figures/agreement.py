"""Two models of the same women: where they disagree, and how risk depends on magnesium in each."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.artefact import Nomogram
from model.errors import ModelError
from model.nomogram import assess
from model.predictors import MG, MG_CUT_OFF_MMOL_L
from model.report.style import BLUE, DOUBLE, GREY, PALE, VERMILION, drawn, new, panel_letters
from model.stats.logistic import Array

_MG = np.round(np.arange(0.70, 1.0001, 0.005), 3)
_CUT = float(MG_CUT_OFF_MMOL_L)
_MANY = 2000  # women, beyond whom points would cover one another
_FAR = 5  # percentage points: differences up to here are shaded


def agreement(
    first: Array, second: Array, category: Nomogram, continuous: Nomogram, weights: Array | None = None
) -> Figure:
    """Two models' risks of the same women, and what magnesium does in each (183 mm wide).

    `first`, `second` (n,): risks as fractions by the category and by the number; `weights` (n,): how many women each row stands
    for, one without. A: one against the other (of many rows, hexagons, darker for more women). B: their differences.
    C: risk along magnesium with all else at the centres. ModelError where the shapes differ.
    """
    if first.shape != second.shape or (weights is not None and weights.shape != first.shape):
        raise ModelError("risks or weights differ in their number; give both models' risks of the same women")
    given = np.ones(len(first)) if weights is None else weights
    with drawn():
        figure, (against, differences, along) = new(DOUBLE, DOUBLE * 0.34, 3)
        _against(against, first, second, given)
        _differences(differences, 100 * (second - first), given)
        _along(along, category, continuous)
        panel_letters([against, differences, along])
    return figure


def _against(panel: Axes, first: Array, second: Array, weights: Array) -> None:
    if len(first) > _MANY:
        panel.hexbin(
            first,
            second,
            C=weights,
            reduce_C_function=np.sum,
            bins="log",
            gridsize=50,
            extent=(0, 1, 0, 1),
            cmap="Blues",
            linewidths=0,
        )
    else:
        panel.plot(first, second, "o", color=BLUE, ms=1.6, alpha=0.5, mew=0)
    panel.plot([0, 1], [0, 1], color=GREY, lw=0.6, ls=(0, (4, 3)))
    panel.set(xlabel="Risk, magnesium as category", ylabel="Risk, magnesium as number", xlim=(0, 1), ylim=(0, 1))
    panel.set_aspect("equal")


def _differences(panel: Axes, points: Array, weights: Array) -> None:
    """Their distribution in steps of one percentage point, none left out."""
    far = float(np.ceil(max(np.abs(points).max(), 2 * _FAR)))
    shares = 100 * weights / weights.sum()
    panel.axvspan(-_FAR, _FAR, color=PALE, alpha=0.5, lw=0, zorder=0)
    panel.hist(points, bins=list(np.arange(-far, far + 1)), weights=shares, color=BLUE, lw=0)
    apart = float(shares[np.abs(points) > _FAR].sum())
    text = f"{apart:.0f} % of women\nmore than {_FAR}\npoints apart"
    panel.text(0.02, 0.98, text, transform=panel.transAxes, va="top", fontsize=6)
    panel.set(xlabel="Number less category (percentage points)", ylabel="Women (%)", xlim=(-far, far))


def _along(panel: Axes, category: Nomogram, continuous: Nomogram) -> None:
    """The cut-off lies at the category's end: that line is drawn up to it, and the other from it."""
    for name, drawing, colour in (("category", category, VERMILION), ("number", continuous, BLUE)):
        for part in _parts(drawing):
            columns = {p.name: np.full(len(part), p.centre) for p in drawing.predictors}
            columns[MG] = part
            low = np.full(len(part), part[0] < _CUT)
            panel.plot(part, assess(drawing, columns, low).risk, color=colour, label=name if low[0] else None)
    panel.axvline(_CUT, color=GREY, lw=0.6, ls=(0, (1, 1.5)))
    panel.text(_CUT + 0.004, 0.02, f"{MG_CUT_OFF_MMOL_L}", transform=panel.get_xaxis_transform(), fontsize=6)
    panel.set(xlabel="Magnesium (mmol/L)", ylabel="Risk, all else at the mean")
    panel.margins(y=0.15)
    panel.legend(loc="upper right", handlelength=1.4)


def _parts(drawing: Nomogram) -> list[Array]:
    """Magnesium's values, in two pieces where its category jumps."""
    if not drawing.has_category:
        return [_MG]
    return [np.append(_MG[_MG < _CUT], _CUT), np.append(_CUT, _MG[_MG > _CUT])]
