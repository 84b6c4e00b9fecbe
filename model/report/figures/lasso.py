"""LASSO: coefficients along the penalty, and the cross-validated deviance that chooses it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.report.style import DOUBLE, GREY, INK, VERMILION, colours, drawn, new, panel_letters
from model.stats.lasso import CrossValidation
from model.stats.logistic import Array


def lasso(found: CrossValidation, names: Sequence[str], sds: Array) -> Figure:
    """A: coefficients, each per standard deviation (k,) of its predictor, so that they compare. B: the choice of the penalty."""
    with drawn():
        figure, (path, choice) = new(DOUBLE, DOUBLE * 0.42, 2)
        _path(path, found, names, sds)
        _choice(choice, found)
        panel_letters([path, choice])
    return figure


def _path(panel: Axes, found: CrossValidation, names: Sequence[str], sds: Array) -> None:
    logs = np.log(found.path.lambdas)
    scaled = found.path.coefficients * sds
    colour_of = colours(len(names))
    for column, colour in zip(scaled.T, colour_of, strict=True):
        panel.plot(logs, column, color=colour)
    heights = _apart(scaled[-1], 0.055 * float(np.ptp(scaled)))
    for name, height, colour in zip(names, heights, colour_of, strict=True):
        panel.annotate(
            name, (logs[-1], height), (3, 0), textcoords="offset points", color=colour, fontsize=6, va="center"
        )
    panel.axhline(0, color=GREY, lw=0.5)
    panel.set(xlabel="log(λ), from the strongest penalty to the weakest", ylabel="Coefficient per SD")
    panel.set_xlim(logs[-1] - 0.02 * np.ptp(logs), logs[0] + 0.02 * np.ptp(logs))
    panel.invert_xaxis()
    _counts(panel, found)


def _choice(panel: Axes, found: CrossValidation) -> None:
    logs = np.log(found.path.lambdas)
    panel.errorbar(
        logs,
        found.mean_deviance,
        found.standard_error,
        fmt="o",
        ms=2,
        color=VERMILION,
        ecolor="#C9C9C9",
        elinewidth=0.7,
    )
    # The two names stand on different sides, so that they do not touch where the lines are near.
    for i, name, side in ((found.index_min, "λ min", "left"), (found.index_1se, "λ 1se", "right")):
        panel.axvline(logs[i], color=INK, lw=0.7, ls=(0, (1, 1.5)))
        offset = 3 if side == "left" else -3
        panel.annotate(
            name,
            (logs[i], 1.0),
            (offset, -4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=6,
            ha=side,
            va="top",
        )
    panel.set(
        xlabel="log(λ), from the strongest penalty to the weakest",
        ylabel="Binomial deviance (ten-fold cross-validation)",
    )
    panel.invert_xaxis()
    _counts(panel, found)


def _counts(panel: Axes, found: CrossValidation) -> None:
    """How many coefficients are not zero, above the panel."""
    logs = np.log(found.path.lambdas)
    shown = np.linspace(0, len(logs) - 1, 7).round().astype(int)
    top = panel.secondary_xaxis("top")
    top.set_xticks(logs[shown], [str(np.count_nonzero(found.path.coefficients[i])) for i in shown])
    top.tick_params(length=2, labelsize=6)
    top.set_xlabel("Predictors kept", fontsize=6)
    top.spines["top"].set_visible(False)


def _apart(heights: Array, least: float) -> Array:
    """The same heights in the same order, at least `least` apart, neighbours that were nearer moved up and down alike."""
    order = np.argsort(heights)
    groups: list[list[float]] = []  # of labels that touch: their own heights
    for height in heights[order]:
        groups.append([float(height)])
        while len(groups) > 1 and _bottom(groups[-1], least) - _top(groups[-2], least) < least:
            last = groups.pop()
            groups[-1] += last
    moved = heights.astype(float).copy()
    moved[order] = [_bottom(group, least) + i * least for group in groups for i in range(len(group))]
    return moved


def _bottom(group: Sequence[float], least: float) -> float:
    return float(np.mean(group)) - least * (len(group) - 1) / 2


def _top(group: Sequence[float], least: float) -> float:
    return float(np.mean(group)) + least * (len(group) - 1) / 2
