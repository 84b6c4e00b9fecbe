"""The nomogram, drawn as R's `plot(rms::nomogram(...))` draws it: points, one axis a predictor, total points, risk."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from model.artefact import Nomogram, Predictor
from model.predictors import AGE, BMI, CTX, MG, MG_CUT_OFF_MMOL_L, P1NP, P
from model.report.style import BLUE, DOUBLE, GREY, INK, VERMILION, drawn, new

LABELS = {
    AGE: "Age (years)",
    BMI: "BMI (kg/m²)",
    MG: "Magnesium (mmol/L)",
    P: "Phosphate (mmol/L)",
    CTX: "β-CTx (ng/mL)",
    P1NP: "P1NP (ng/mL)",
}
RISKS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
_TICKS = 8  # about so many on an axis
_LEFT, _RIGHT = 0.25, 0.975  # of the width: names stand left of the axes
_TICK = 0.13  # of the distance between two axes
_CLOSE = 0.034  # of the figure's width: labels nearer than this would touch


class Tick(NamedTuple):
    """A mark on an axis: `at` is where it stands, in points of that axis's own scale."""

    text: str
    at: float


class Scale(NamedTuple):
    """One line of the nomogram, drawn from `ends[0]` to `ends[1]`; `full` are the points at the right end of the drawing."""

    name: str
    ticks: Sequence[Tick]
    ends: tuple[float, float]
    full: float
    fine: Sequence[float] = ()


def nomogram(drawing: Nomogram, example: Mapping[str, float] | None = None, title: str = "") -> Figure:
    """Draw a nomogram of any of the predictors, on the axes that it fixes. `example` (values by predictor) is drawn as a reading."""
    scales = [_points(), *(predictor_scale(p, drawing.points_per_logit) for p in drawing.predictors), *_totals(drawing)]
    with drawn():
        figure, (panel,) = new(DOUBLE, 0.42 * (len(scales) + 1))
        figure.set_layout_engine("none")
        panel.set_position((0, 0, 1, 1))
        panel.set(xlim=(0, 1), ylim=(-0.6, len(scales) - (0.2 if title else 0.4)))
        panel.axis("off")
        for row, scale in enumerate(reversed(scales)):
            _draw(panel, scale, row)
        if example:
            _read(panel, drawing, scales, example)
        if title:
            panel.text(0.012, len(scales) - 0.35, title, weight="bold", size=8, va="center")
    return figure


def predictor_scale(predictor: Predictor, points_per_logit: float) -> Scale:
    """A predictor's axis: its values where their points are, 100 points being the whole width."""

    def at(value: float) -> float:
        return (predictor.coefficient * (value - predictor.centre) - predictor.effect[0]) * points_per_logit

    if predictor.form == "category":
        ticks = [Tick(f"> {MG_CUT_OFF_MMOL_L}", at(0.0)), Tick(f"≤ {MG_CUT_OFF_MMOL_L}", at(1.0))]
    else:
        ticks = [Tick(f"{value:g}", at(value)) for value in pretty(*predictor.axis)]
    ends = sorted(at(end) for end in predictor.axis)
    return Scale(LABELS[predictor.name], ticks, (ends[0], ends[1]), 100.0)


def pretty(low: float, high: float) -> list[float]:
    """Round values inside an axis, at steps of 1, 2, 2.5 or 5 times a power of ten."""
    values = MaxNLocator(nbins=_TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [round(float(value), 10) for value in values if low - 1e-9 <= value <= high + 1e-9]


def _points() -> Scale:
    return Scale("Points", [Tick(f"{x}", x) for x in range(0, 101, 10)], (0.0, 100.0), 100.0, [*range(0, 101, 2)])


def _totals(drawing: Nomogram) -> list[Scale]:
    """Total points from none to what all axes give together, and the risks that they mean."""
    top = sum(high - low for low, high in (p.effect for p in drawing.predictors)) * drawing.points_per_logit
    values = pretty(0, top)
    fine = np.arange(0, top + 1e-9, (values[1] - values[0]) / 5).tolist()
    at = {risk: float(np.log(risk / (1 - risk)) - drawing.linear_predictor_at_no_points) for risk in RISKS}
    risks = [Tick(f"{risk:g}", x * drawing.points_per_logit) for risk, x in at.items()]
    inside = [tick for tick in risks if 0 <= tick.at <= top]
    return [
        Scale("Total points", [Tick(f"{x:g}", x) for x in values], (0.0, top), top, fine),
        Scale("Risk of osteoporosis", inside, (inside[0].at, inside[-1].at), top),
    ]


def _x(scale: Scale, at: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * at / scale.full


def _draw(panel: Axes, scale: Scale, row: int) -> None:
    panel.text(0.012, row, scale.name, va="center", ha="left", size=7)
    panel.plot([_x(scale, at) for at in scale.ends], [row, row], color=INK, lw=0.7, solid_capstyle="butt")
    for at in scale.fine:
        panel.plot([_x(scale, at)] * 2, [row, row + _TICK * 0.55], color=GREY, lw=0.4)
    ordered = sorted(scale.ticks, key=lambda tick: tick.at)
    places = [_x(scale, tick.at) for tick in ordered]
    for tick, x, side in zip(ordered, places, sides(places), strict=True):
        way = -1 if side == "below" else 1
        panel.plot([x, x], [row, row + way * _TICK], color=INK, lw=0.6)
        if side:
            _label(panel, (x, row + way * (_TICK + 0.05)), tick.text, side)


def _label(panel: Axes, at: tuple[float, float], text: str, side: str) -> None:
    aligned = {"left": "right", "right": "left"}.get(side, "center")
    white = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}
    panel.text(*at, text, ha=aligned, va="top" if side == "below" else "bottom", size=6, bbox=white)


def sides(places: Sequence[float]) -> list[str]:
    """Where the labels of ticks at rising places stand, so that none touch: above; else every second one below; else
    only the first and the last, leaning away from each other ("left", "right"), and no label ("") between them."""
    gaps = np.diff(places)
    if not gaps.size or gaps.min() >= _CLOSE:
        return ["above"] * len(places)
    if len(places) > 2 and np.min(np.array(places[2:]) - np.array(places[:-2])) >= _CLOSE:
        return ["above" if i % 2 == 0 else "below" for i in range(len(places))]
    return ["left", *[""] * (len(places) - 2), "right"]


def _read(panel: Axes, drawing: Nomogram, scales: Sequence[Scale], example: Mapping[str, float]) -> None:
    """A woman's values up to the points, and their sum down to the risk."""
    top, total = len(scales) - 1, 0.0
    for i, (predictor, scale) in enumerate(zip(drawing.predictors, scales[1:-2], strict=True), start=1):
        given = example[predictor.name]
        value = float(given <= float(MG_CUT_OFF_MMOL_L)) if predictor.form == "category" else given
        at = (predictor.coefficient * (value - predictor.centre) - predictor.effect[0]) * drawing.points_per_logit
        total += at
        panel.plot([_x(scale, at)] * 2, [top - i, top], color=BLUE, lw=0.5, ls=(0, (4, 2)), zorder=0)
        panel.plot([_x(scale, at)], [top - i], "o", color=BLUE, ms=3)
    x = _x(scales[-2], total)
    panel.plot([x, x], [0, 1], color=VERMILION, lw=0.8)
    panel.plot([x, x], [0, 1], "o", color=VERMILION, ms=3)
    risk = 1 / (1 + np.exp(-(drawing.linear_predictor_at_no_points + total / drawing.points_per_logit)))
    panel.text(
        x + 0.008,
        0.5,
        f"{total:.0f} points: {risk:.0%}",
        color=VERMILION,
        va="center",
        size=6.5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4},
    )


def reading_bars(points: Mapping[str, float]) -> Figure:
    """A woman's points by predictor, the largest first, as horizontal bars."""
    rows = sorted(points.items(), key=lambda row: row[1])
    with drawn():
        figure, (panel,) = new(DOUBLE / 2, 0.25 * len(rows) + 0.45)
        panel.barh([LABELS[name] for name, _ in rows], [value for _, value in rows], color=BLUE, height=0.6)
        panel.bar_label(panel.containers[0], fmt="%.0f", padding=2, fontsize=6.5)  # type: ignore[arg-type]
        panel.set(xlabel="Points", xlim=(0, max(105, max(points.values()) * 1.1)))
        panel.tick_params(axis="y", length=0)
    return figure
