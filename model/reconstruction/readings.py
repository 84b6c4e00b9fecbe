"""Values read off the paper's Figure 2: the authors' own coefficients, as well as a picture gives them.

The file is a CSV with the columns `axis,value,points`: for a predictor's axis the value in the model's unit and the points above it;
for `risk` the risk as a fraction and the total points above it. Magnesium's values are numbers where its axis is one, or
`at-or-below` and `above` where it shows the category. At least two readings an axis, four on `risk`.

A nomogram is linear: points = a + b value on each axis, logit(risk) = c + d total points. So a coefficient is b d, and what the
readings scatter about the lines is their error, carried into the covariance.
"""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.artefact import Artefact
from model.errors import ModelError
from model.predictors import MG, PREDICTORS
from model.reconstruction.document import VARIANTS, Json, Variant, document
from model.reconstruction.estimate import Form
from model.reconstruction.recipe import Reconstruction
from model.stats.logistic import Array

RISK = "risk"
COLUMNS = ("axis", "value", "points")
_SIDES = {"at-or-below": 1.0, "above": 0.0}
_LEAST = {RISK: 4}  # readings; two make a line on the others


class Readings(NamedTuple):
    """Values and points, each (n,), by axis; `form` of magnesium's axis."""

    axes: Mapping[str, tuple[Array, Array]]
    form: Form


class _Line(NamedTuple):
    """y = intercept + slope x, with the standard error of the slope and of the height at the readings' mean."""

    intercept: float
    slope: float
    slope_error: float
    height_error: float


def load_readings(path: Path) -> Readings:
    """Read and check a file of readings; ModelError names file, line and what to do."""
    rows = _rows(path)
    form: Form = "category" if any(name == MG and value in _SIDES for name, value, _ in rows) else "continuous"
    axes: dict[str, tuple[Array, Array]] = {}
    for name in (*PREDICTORS, RISK):
        pairs = [(_number(path, name, value), points) for axis, value, points in rows if axis == name]
        least = _LEAST.get(name, 2)
        if len({value for value, _ in pairs}) < least:
            raise ModelError(
                f"{path.name} has fewer than {least} different readings on {name}. Read more values off it"
            )
        values, points = (np.array(column) for column in zip(*pairs, strict=True))
        axes[name] = values, points
    if not ((axes[RISK][0] > 0) & (axes[RISK][0] < 1)).all():
        raise ModelError(f"{path.name} has a risk outside 0 to 1. Give risks as fractions, e.g. 0.6")
    return Readings(axes, form)


def _rows(path: Path) -> list[tuple[str, str, float]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ModelError(f"{path.name} must begin with the line {','.join(COLUMNS)}")
            return [_row(path, number, row) for number, row in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ModelError(f"cannot read {path.name} ({type(error).__name__}). Give a CSV file in UTF-8") from error


def _row(path: Path, number: int, row: Mapping[str, str | None]) -> tuple[str, str, float]:
    axis, value, points = ((row[name] or "").strip() for name in COLUMNS)
    if axis not in (*PREDICTORS, RISK):
        raise ModelError(
            f"{path.name}, line {number}: there is no axis {axis!r}. Take {', '.join(PREDICTORS)} or {RISK}"
        )
    return axis, value, _float(points, f"{path.name}, line {number}: the points are no number. Mend the line")


def _number(path: Path, axis: str, value: str) -> float:
    if axis == MG and value in _SIDES:
        return _SIDES[value]
    return _float(
        value, f"{path.name}: {value!r} on {axis} is no number. Mend it, or take one form of magnesium throughout"
    )


def _float(text: str, problem: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise ModelError(problem) from error
    if not np.isfinite(number):
        raise ModelError(problem)
    return number


def example(artefact: Artefact) -> list[tuple[str, str, float]]:
    """Rows of a file of readings as the artefact's own nomogram would give them, to one digit of points."""
    rows = []
    for predictor in artefact.predictors:
        category = predictor.form == "category"
        for value in np.linspace(*predictor.axis, 2 if category else 6).tolist():
            effect = predictor.coefficient * (value - predictor.centre) - predictor.effect[0]
            text = next(side for side, x in _SIDES.items() if x == value) if category else f"{value:.4g}"
            rows.append((predictor.name, text, round(effect * artefact.points_per_logit, 1)))
    for risk in (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9):
        above_none = math.log(risk / (1 - risk)) - artefact.linear_predictor_at_no_points
        rows.append((RISK, f"{risk:g}", round(above_none * artefact.points_per_logit, 1)))
    return rows


def digitised(read: Readings, found: Reconstruction) -> Json:
    """The artefact with the figure's coefficients. Sampling uncertainty, ranges and centres are those of the reconstruction, and
    it has no reduced models: those belong to the reconstruction."""
    form = read.form
    base = document(found, next(v for v in VARIANTS.values() if v.form == form and not v.shrunken))
    values, risks = read.axes[RISK]
    scale = _line(risks, np.log(values / (1 - values)))
    at = found.centres[form]
    lines = {name: _line(*read.axes[name]) for name in PREDICTORS}
    at_centres = sum(line.intercept + line.slope * at[name] for name, line in lines.items())
    variant = Variant("shi2026-digitised", "Six-predictor nomogram of Shi et al. 2026, read off its Figure 2", form)
    provenance = {"kind": "digitised", "recipe": "straight lines through values read off Figure 2"}
    predictors = [
        {**row, "coefficient": lines[row["name"]].slope * scale.slope, "provenance": provenance}
        for row in base["predictors"]
    ]
    return {
        **base,
        "id": variant.id,
        "title": variant.title,
        "intercept": {"value": scale.intercept + scale.slope * at_centres, "provenance": provenance},
        "predictors": predictors,
        "covariance": (_sampling(found, form) + np.diag(_reading_variance(lines, scale))).tolist(),
        "reduced": [],
        "development": {
            "women": base["development"]["women"],
            "with_osteoporosis": base["development"]["with_osteoporosis"],
            "readings": {name: len(points) for name, (_, points) in read.axes.items()},
        },
    }


def _sampling(found: Reconstruction, form: Form) -> Array:
    matrix = found.models[form]["all"].sampling
    symmetric: Array = (matrix + matrix.T) / 2
    return symmetric


def _reading_variance(lines: Mapping[str, _Line], scale: _Line) -> Array:
    """Of the intercept and the coefficients, (7,), by the rule for products; errors of different axes are independent."""
    slopes = [(line.slope * scale.slope_error) ** 2 + (scale.slope * line.slope_error) ** 2 for line in lines.values()]
    heights = sum((scale.slope * line.height_error) ** 2 for line in lines.values()) + scale.height_error**2
    return np.array([heights, *slopes])


def _line(x: Array, y: Array) -> _Line:
    """Least squares. Two readings leave no scatter to judge by: their error counts as nothing."""
    away = x - x.mean()
    spread = float(away @ away)
    slope = float(away @ (y - y.mean())) / spread
    intercept = float(y.mean() - slope * x.mean())
    left = y - intercept - slope * x
    variance = float(left @ left) / (len(x) - 2) if len(x) > 2 else 0.0
    return _Line(intercept, slope, (variance / spread) ** 0.5, (variance / len(x)) ** 0.5)
