"""What a threshold costs and finds, and what it is worth."""

import numpy as np
from matplotlib.figure import Figure

from model.local.plan import Plan, Range
from model.report.style import BLUE, DOUBLE, GREY, INK, ORANGE, VERMILION, drawn, new


def planning(plan: Plan) -> Figure:
    """Left: women per year sent to DXA, found and missed, by threshold, with their 95 % intervals and the capacity. Right: the net
    benefit per 1,000 women, against sending everyone and none."""
    at = 100 * np.array([row.threshold for row in plan.rows])

    def band(panel, ranges: list[Range], colour: str, label: str) -> None:  # type: ignore[no-untyped-def]
        panel.plot(at, [one.value for one in ranges], color=colour, label=label)
        panel.fill_between(at, [one.low for one in ranges], [one.high for one in ranges], color=colour, alpha=0.2, lw=0)

    with drawn():
        figure, (counts, worth) = new(DOUBLE, DOUBLE * 0.42, columns=2)
        band(counts, [row.sent for row in plan.rows], BLUE, "sent to DXA")
        band(counts, [row.found for row in plan.rows], ORANGE, "osteoporosis found")
        band(counts, [row.missed for row in plan.rows], VERMILION, "osteoporosis missed")
        if plan.capacity is not None:
            counts.axhline(plan.capacity, color=INK, lw=0.8, ls="--", label="capacity")
        counts.set(xlabel="Threshold: printed risk (%)", ylabel="Women per year", ylim=(0, None))
        counts.legend(loc="upper right", handlelength=1.4)
        band(worth, [row.net_benefit for row in plan.rows], BLUE, "DXA by the threshold")
        worth.plot(at, [row.net_benefit_all for row in plan.rows], color=GREY, lw=0.9, label="DXA for everyone")
        worth.axhline(0, color=INK, lw=0.9, label="DXA for none")
        top = max(row.net_benefit.high for row in plan.rows)
        worth.set(
            xlabel="Threshold: printed risk (%)",
            ylabel="Net benefit per 1,000 women",
            ylim=(-0.15 * max(top, 1), 1.15 * max(top, 1)),
        )
        worth.legend(loc="upper right", handlelength=1.4)
    return figure
