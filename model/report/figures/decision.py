"""Decision curves."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from model.report.style import GREY, INK, SINGLE, colours, drawn, new
from model.stats.decision import NetBenefit

_LOWEST = -0.05


def decision(models: Mapping[str, NetBenefit]) -> Figure:
    """The net benefit of acting on each model, on everyone, on none. Below -0.05 nothing is drawn; at most six models."""
    with drawn():
        figure, (panel,) = new(SINGLE, SINGLE * 0.85)
        first = next(iter(models.values()))
        panel.plot(first.thresholds, first.everyone, color=GREY, lw=0.9, label="DXA for everyone")
        panel.axhline(0, color=INK, lw=0.9, label="DXA for none")
        for (name, one), colour in zip(models.items(), colours(len(models)), strict=True):
            panel.plot(one.thresholds, one.model, color=colour, label=name)
        top = max(float(one.model.max()) for one in models.values())
        panel.set(
            xlabel="Threshold probability", ylabel="Net benefit per woman", xlim=(0, 1), ylim=(_LOWEST, top * 1.1)
        )
        panel.legend(loc="upper right", handlelength=1.4)
    return figure
