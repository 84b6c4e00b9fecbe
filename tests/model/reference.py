"""A second implementation of the nomogram, in decimal arithmetic, written from the artefact's layout and not from the code."""

import json
from decimal import Decimal, localcontext
from importlib.resources import files
from typing import Any, NamedTuple

NAMES = ("age_years", "bmi_kg_m2", "mg_mmol_l", "p_mmol_l", "ctx_ng_ml", "p1np_ng_ml")
# Standard normal quantile at 0.975 (OEIS A220510).
Z_975 = Decimal("1.95996398454005423552459443052055152795555007786954839847695264")


class Expected(NamedTuple):
    """What the artefact says of one woman."""

    risk: Decimal
    risk_low: Decimal
    risk_high: Decimal
    linear_predictor: Decimal
    points: dict[str, Decimal]


def shipped() -> dict[str, Any]:
    """The shipped artefact, its numbers as decimals."""
    text = (files("model") / "artefacts" / "shi2026-mg-category.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text, parse_float=Decimal)
    return loaded


def reduced_document(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A reduced model as if it were a whole one."""
    (row,) = (row for row in document["reduced"] if row["name"] == name)
    known = {predictor["name"]: predictor for predictor in document["predictors"]}
    chosen = zip(row["predictors"], row["coefficients"], strict=True)
    return {
        "intercept": {"value": row["intercept"]},
        "covariance": row["covariance"],
        "predictors": [{**known[predictor], "coefficient": value} for predictor, value in chosen],
    }


def expected(document: dict[str, Any], values: dict[str, Decimal], *, at_or_below: bool) -> Expected:
    """Risk, interval, linear predictor and points of one woman to 50 digits."""
    with localcontext(prec=50):
        used = {**values, "mg_mmol_l": Decimal(int(at_or_below))}
        rows = document["predictors"]
        away = [used[row["name"]] - row["centre"] for row in rows]
        linear = document["intercept"]["value"] + sum(row["coefficient"] * x for row, x in zip(rows, away, strict=True))
        x = [Decimal(1), *away]
        size = range(len(x))
        variance = sum(x[i] * document["covariance"][i][j] * x[j] for i in size for j in size)
        half = Z_975 * variance.sqrt()
        return Expected(_risk(linear), _risk(linear - half), _risk(linear + half), linear, _points(rows, used))


def _risk(linear: Decimal) -> Decimal:
    return 1 / (1 + (-linear).exp())


def _points(rows: list[dict[str, Any]], used: dict[str, Decimal]) -> dict[str, Decimal]:
    widest = max(abs(row["coefficient"] * (row["axis"][1] - row["axis"][0])) for row in rows)
    points = {}
    for row in rows:
        # The axis's end of least effect is the lower one where risk rises with the value, else the upper one.
        least = row["axis"][0] if row["coefficient"] > 0 else row["axis"][1]
        points[row["name"]] = 100 * row["coefficient"] * (used[row["name"]] - least) / widest
    return points
