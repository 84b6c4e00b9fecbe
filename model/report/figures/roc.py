"""ROC curves, with their areas and cut-offs."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from model.report.style import GREY, SINGLE, colours, drawn, new
from model.stats.roc import Auc, CutOff, RocCurve

# Offsets of a label from its cut-off in points, and which side of it is there.
_SIDES = ((4, -9, "left"), (-4, 4, "right"), (4, 4, "left"), (-4, -9, "right"))


class Drawn(NamedTuple):
    """One curve: `cut` is marked where it is given."""

    name: str
    curve: RocCurve
    area: Auc
    cut: CutOff | None = None
    cut_label: str = ""


def roc(curves: Sequence[Drawn]) -> Figure:
    """Several curves in one square panel (89 mm), their areas with intervals in the legend, the cut-offs marked; at most six."""
    with drawn():
        figure, (panel,) = new(SINGLE, SINGLE)
        marks: list[Annotation] = []
        drawn_curves: list[Line2D] = []
        panel.plot([0, 1], [0, 1], color=GREY, lw=0.6, ls=(0, (4, 3)))
        for one, colour in zip(curves, colours(len(curves)), strict=True):
            area = one.area
            label = f"{one.name}: AUC {area.value:.3f} ({area.low:.3f} to {area.high:.3f})"
            drawn_curves += panel.plot(1 - one.curve.specificity, one.curve.sensitivity, color=colour, label=label)
            if one.cut is not None:
                x, y = 1 - one.cut.specificity, one.cut.sensitivity
                panel.plot([x], [y], "o", color=colour, ms=4, zorder=3)
                marks.append(_label(panel, one.cut_label, (x, y), colour))
        panel.set(
            xlabel="1 - specificity", ylabel="Sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal"
        )
        panel.legend(loc="lower right", bbox_to_anchor=(1, 0.02), handlelength=1.4)
        figure.draw_without_rendering()  # what stands where is known from here on
        for mark in marks:
            _clear_of_curves(mark, drawn_curves, marks)
    return figure


def _label(panel: Axes, text: str, at: tuple[float, float], colour: str) -> Annotation:
    mark = panel.annotate(text, at, (0, 0), textcoords="offset points", fontsize=6, color=colour, zorder=4)
    mark.set_path_effects([withStroke(linewidth=2, foreground="white")])  # where there is no free place
    return mark


def _clear_of_curves(mark: Annotation, lines: Sequence[Line2D], marks: Sequence[Annotation]) -> None:
    """Put the label on the side of its cut-off where it covers no curve and no other label; below, on the right, where all are taken."""
    others = [other.get_window_extent() for other in marks if other is not mark]
    for x, y, aligned in (*_SIDES, _SIDES[0]):
        mark.set(position=(x, y), horizontalalignment=aligned)
        box = mark.get_window_extent()
        if not any(_crosses(line, box) for line in lines) and not box.count_overlaps(others):
            return


def _crosses(line: Line2D, box: Bbox) -> bool:
    return bool(line.get_transform().transform_path(line.get_path()).intersects_bbox(box, filled=False))
