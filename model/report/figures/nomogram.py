"""The nomogram, drawn as R's `plot(rms::nomogram(...))` draws it: points, one axis a predictor, total points, risk."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.artefact import Nomogram, Predictor
from model.errors import ModelError
from model.odds import inverse_logit
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
RARE = (
    0.0001,
    0.001,
    0.005,
    0.01,
    *RISKS,
    0.99,
    0.995,
    0.999,
    0.9999,
)  # where fewer than two of the others are reached
_INTERVALS = 8  # about so many between the ticks of an axis
_ROUNDING = 1e-6  # of a step: 0.6 / 0.2 is not quite 3
_LEFT, _RIGHT = 0.25, 0.975  # of the width: names stand left of the axes
_TICK = 0.13  # of the distance between two axes
_ROOM = 0.8  # of the width: right of it a text stands left of its place
_WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}
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
    """Draw a nomogram of any of the predictors, on the axes that it fixes (183 mm wide).

    `example` (values by predictor, in their units, magnesium in mmol/L in either form) is drawn as a reading: up to the
    points, and from their sum down to the risk. ModelError where it lacks a predictor or leaves an axis.
    """
    scales = [_points(), *(predictor_scale(p, drawing.points_per_logit) for p in drawing.predictors), *_totals(drawing)]
    with drawn():
        figure, (panel,) = new(DOUBLE, 0.42 * (len(scales) + 1))
        figure.set_layout_engine("none")
        panel.set_position((0, 0, 1, 1))
        panel.set(xlim=(0, 1), ylim=(-0.6, len(scales) - (0.05 if title else 0.4)))
        panel.axis("off")
        read_at = _x(scales[-2], _total(drawing, example)) if example else None
        for row, scale in enumerate(reversed(scales)):
            _draw(panel, scale, row, read_at if row == 0 else None)
        if example:
            _read(panel, drawing, scales, example)
        if title:
            panel.text(0.012, len(scales) - 0.3, title, weight="bold", size=8, va="center")
    return figure


def predictor_scale(predictor: Predictor, points_per_logit: float) -> Scale:
    """A predictor's axis: its values where their points are, 100 points being the whole width."""

    if predictor.form == "category":
        values = {f"> {MG_CUT_OFF_MMOL_L}": 0.0, f"≤ {MG_CUT_OFF_MMOL_L}": 1.0}
    else:
        values = {f"{value:g}": value for value in pretty(*predictor.axis)}
    ticks = [Tick(text, _points_at(predictor, value, points_per_logit)) for text, value in values.items()]
    low, high = sorted(_points_at(predictor, end, points_per_logit) for end in predictor.axis)
    return Scale(LABELS[predictor.name], ticks, (low, high), 100.0)


def _points_at(predictor: Predictor, value: float, points_per_logit: float) -> float:
    return (predictor.coefficient * (value - predictor.centre) - predictor.effect[0]) * points_per_logit


def pretty(low: float, high: float) -> list[float]:
    """Round values inside an axis, at steps of 1, 2 or 5 times a power of ten as R's pretty() takes them.

    A step that marks both ends of the axis is preferred, then the one nearest to eight intervals.
    """
    size = 10.0 ** np.floor(np.log10((high - low) / _INTERVALS))
    steps = [step * size for step in (1.0, 2.0, 5.0, 10.0)]
    fitting = [step for step in steps if 4 <= (high - low) / step <= 12 + _ROUNDING and _marks_ends(low, high, step)]
    step = min(fitting or steps, key=lambda step: abs((high - low) / step - _INTERVALS))
    first, last = math.ceil(low / step - _ROUNDING), math.floor(high / step + _ROUNDING)
    return [round(float(i * step), 10) for i in range(first, last + 1)]


def _marks_ends(low: float, high: float, step: float) -> bool:
    return all(abs(end / step - round(end / step)) < _ROUNDING for end in (low, high))


def _points() -> Scale:
    return Scale("Points", [Tick(f"{x}", x) for x in range(0, 101, 10)], (0.0, 100.0), 100.0, [*range(0, 101, 2)])


def _totals(drawing: Nomogram) -> list[Scale]:
    """Total points from none to what all axes give together, and the risks that they mean."""
    top = sum(high - low for low, high in (p.effect for p in drawing.predictors)) * drawing.points_per_logit
    values = pretty(0, top)
    fine = np.arange(0, top + 1e-9, (values[1] - values[0]) / 5).tolist()
    return [Scale("Total points", [Tick(f"{x:g}", x) for x in values], (0.0, top), top, fine), _risks(drawing, top)]


def _risks(drawing: Nomogram, top: float) -> Scale:
    """The risks that 0 to `top` points can mean; the whole line without ticks where that is less than two round ones."""
    for risks in (RISKS, RARE):
        logits = [float(np.log(risk / (1 - risk))) for risk in risks]
        places = [(logit - drawing.linear_predictor_at_no_points) * drawing.points_per_logit for logit in logits]
        ticks = [Tick(f"{risk:g}", at) for risk, at in zip(risks, places, strict=True) if 0 <= at <= top]
        if len(ticks) > 1:
            return Scale("Risk of osteoporosis", ticks, (ticks[0].at, ticks[-1].at), top)
    return Scale("Risk of osteoporosis", ticks, (0.0, top), top)


def _x(scale: Scale, at: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * at / scale.full


def _total(drawing: Nomogram, example: Mapping[str, float]) -> float:
    """The example's points on all axes."""
    return sum(_points_at(p, _given(p, example), drawing.points_per_logit) for p in drawing.predictors)


def _draw(panel: Axes, scale: Scale, row: int, read_at: float | None = None) -> None:
    """One line. `read_at` is where a reading comes down on it: no label then stands above the line there."""
    panel.text(0.012, row, scale.name, va="center", ha="left", size=7)
    panel.plot([_x(scale, at) for at in scale.ends], [row, row], color=INK, lw=0.7, solid_capstyle="butt")
    panel.vlines([_x(scale, at) for at in scale.fine], row, row + _TICK * 0.55, color=GREY, lw=0.4)
    ordered = sorted(scale.ticks, key=lambda tick: tick.at)
    places = [_x(scale, tick.at) for tick in ordered]
    for tick, x, side in zip(ordered, places, _clear_of(read_at, places, sides(places)), strict=True):
        if not side:  # ticks that touch say nothing
            continue
        way = -1 if side == "below" else 1
        panel.plot([x, x], [row, row + way * _TICK], color=INK, lw=0.6)
        _label(panel, (x, row + way * (_TICK + 0.05)), tick.text, side)


def _label(panel: Axes, at: tuple[float, float], text: str, side: str) -> None:
    aligned = {"left": "right", "right": "left"}.get(side, "center")
    panel.text(*at, text, ha=aligned, va="top" if side == "below" else "bottom", size=6, bbox=_WHITE)


def sides(places: Sequence[float]) -> list[str]:
    """Where the labels of ticks at rising places stand, so that none touch: above; else every second one below; else
    only the first and the last, leaning away from each other ("left", "right"), and no label ("") between them."""
    gaps = np.diff(places)
    if not gaps.size or gaps.min() >= _CLOSE:
        return ["above"] * len(places)
    if len(places) > 2 and np.min(np.array(places[2:]) - np.array(places[:-2])) >= _CLOSE:
        return ["above" if i % 2 == 0 else "below" for i in range(len(places))]
    return ["left", *[""] * (len(places) - 2), "right"]


def _clear_of(read_at: float | None, places: Sequence[float], given: list[str]) -> list[str]:
    """The sides of labels, above and below exchanged where a reading would come down on one that stands above."""
    if read_at is None or not {"above", "below"} >= set(given):
        return given
    near = [side for x, side in zip(places, given, strict=True) if abs(x - read_at) < _CLOSE]
    if "above" not in near:
        return given
    return ["below" if side == "above" else "above" for side in given]


def _read(panel: Axes, drawing: Nomogram, scales: Sequence[Scale], example: Mapping[str, float]) -> None:
    """A woman's values up to the points, and their sum down to the risk."""
    top, total = len(scales) - 1, 0.0
    for i, (predictor, scale) in enumerate(zip(drawing.predictors, scales[1:-2], strict=True), start=1):
        at = _points_at(predictor, _given(predictor, example), drawing.points_per_logit)
        total += at
        panel.plot([_x(scale, at)] * 2, [top - i, top], color=BLUE, lw=0.5, ls=(0, (4, 2)), zorder=0)
        panel.plot([_x(scale, at)], [top - i], "o", color=BLUE, ms=3)
    x = _x(scales[-2], total)
    panel.plot([x, x], [0, 1], "o-", color=VERMILION, lw=0.8, ms=3)
    (risk,) = inverse_logit(np.array([drawing.linear_predictor_at_no_points + total / drawing.points_per_logit]))
    _say(panel, x, f"{total:.0f} points: risk {risk:.2f}")


def _say(panel: Axes, x: float, text: str) -> None:
    """Beside the line from total points to risk, on the side where there is room."""
    offset, aligned = (0.008, "left") if x < _ROOM else (-0.008, "right")
    panel.text(x + offset, 0.56, text, color=VERMILION, va="center", ha=aligned, size=6.5, bbox=_WHITE)


def _given(predictor: Predictor, example: Mapping[str, float]) -> float:
    """The example's value as the predictor counts it: a category as 0 or 1."""
    if predictor.name not in example:
        raise ModelError(f"the example of the nomogram lacks {predictor.name}; give all of its predictors")
    value = float(example[predictor.name])
    if predictor.form == "category" and np.isfinite(value):
        return float(value <= float(MG_CUT_OFF_MMOL_L))
    low, high = predictor.axis
    if not low <= value <= high:
        raise ModelError(
            f"the example's {predictor.name} lies outside its axis, {low:g} to {high:g} {predictor.unit}; draw another"
        )
    return value
