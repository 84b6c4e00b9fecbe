"""Puts a model, and the units in which its predictors may be typed, into the page."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from statistics import NormalDist
from typing import Any

from model.artefact import Artefact, Nomogram
from model.predictors import MG_CUT_OFF_MMOL_L


@dataclass(frozen=True)
class Unit:
    """A unit as it is shown; value x numerator / denominator is in the model's unit. Both are decimals as text."""

    label: str
    numerator: str
    denominator: str


@dataclass(frozen=True)
class Field:
    """What is typed: a predictor, or weight and height, from which the body mass index follows.

    `low`, `high` and `step` are the slider's, in the first unit; `least` and `most` bound what can be a measurement, in the model's unit.
    """

    name: str
    label: str
    units: Sequence[Unit]
    low: float
    high: float
    step: float
    least: float
    most: float


def nomogram_page(artefact: Artefact, fields: Sequence[Field], imprecision_mmol_l: str) -> str:
    """The page. `imprecision_mmol_l`: a magnesium so near the cut-off is said to be near it."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only this function needs it

    data = {
        "id": artefact.id,
        "version": artefact.version,
        "checksum": artefact.checksum,
        "calibration": artefact.calibration,
        "cutOff": str(MG_CUT_OFF_MMOL_L),
        "imprecision": imprecision_mmol_l,
        "whole": _nomogram(artefact),
        "reduced": [_nomogram(nomogram) for nomogram in artefact.reduced],
        "fields": [asdict(field) for field in fields],
    }
    script, style = _text("nomogram.js"), _text("page.css")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(_text("page.html.j2")).render(
        artefact=artefact,
        fields=fields,
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
        script=script,
        style=style,
        script_hash=_hash(script),
        style_hash=_hash(style),
    )
    return page.lstrip() + "\n"


def _nomogram(nomogram: Nomogram) -> dict[str, Any]:
    return {
        "name": nomogram.name,
        "intercept": nomogram.intercept,
        "z": NormalDist().inv_cdf(0.5 + nomogram.interval_level / 2),
        "level": nomogram.interval_level,
        "pointsPerLogit": nomogram.points_per_logit,
        "covariance": nomogram.covariance.tolist(),
        "predictors": [
            {
                "name": p.name,
                "unit": p.unit,
                "form": p.form,
                "centre": p.centre,
                "coefficient": p.coefficient,
                "leastEffect": p.effect[0],
                "development": p.development_range,
                "possible": p.possible,
            }
            for p in nomogram.predictors
        ],
    }


def _text(name: str) -> str:
    return (files("model.page") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a Content-Security-Policy names an inline script or style that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
