"""ROC curves, with their areas and cut-offs."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from model.report.style import GREY, SINGLE, colours, drawn, new
from model.stats.roc import Auc, CutOff, RocCurve


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
        panel.plot([0, 1], [0, 1], color=GREY, lw=0.6, ls=(0, (4, 3)))
        for one, colour in zip(curves, colours(len(curves)), strict=True):
            area = one.area
            label = f"{one.name}: AUC {area.value:.3f} ({area.low:.3f} to {area.high:.3f})"
            panel.plot(1 - one.curve.specificity, one.curve.sensitivity, color=colour, label=label)
            if one.cut is not None:
                x, y = 1 - one.cut.specificity, one.cut.sensitivity
                panel.plot([x], [y], "o", color=colour, ms=4, zorder=3)
                mark = panel.annotate(
                    one.cut_label, (x, y), (4, -9), textcoords="offset points", fontsize=6, color=colour, zorder=4
                )
                mark.set_path_effects([withStroke(linewidth=2, foreground="white")])  # curves may pass below it
        panel.set(
            xlabel="1 - specificity", ylabel="Sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal"
        )
        panel.legend(loc="lower right", bbox_to_anchor=(1, 0.02), handlelength=1.4)
    return figure
