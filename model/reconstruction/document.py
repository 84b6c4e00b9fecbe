"""The reconstruction as an artefact's document: every number with where it comes from. Layout: `artefacts/artefact.schema.json`."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from model.artefact import DEFAULT, SCHEMA_VERSION
from model.evidence import published
from model.predictors import AGE, BMI, CTX, MG, MG_CUT_OFF_MMOL_L, P1NP, PREDICTORS, UNITS, P
from model.reconstruction.conditioning import BORROWED
from model.reconstruction.margins import MINIMUM_AGE_YEARS
from model.reconstruction.priors import PRIORS
from model.reconstruction.recipe import READINGS, Reading, Reconstruction
from model.stats.logistic import Array
from model.stats.roc import auc

Json = dict[str, Any]

# Fixed for good: nomograms drawn from one artefact must not change their axes with the data. Magnesium's is its category.
_AXES = {AGE: (50.0, 95.0), BMI: (15.0, 40.0), MG: (0.0, 1.0), P: (0.6, 1.8), CTX: (0.0, 2.0), P1NP: (0.0, 250.0)}
# Beyond these no measurement of a living woman lies; they catch 470 pg/mL of beta-CTx given as ng/mL.
_POSSIBLE = {
    AGE: (18.0, 130.0),
    BMI: (7.0, 150.0),
    MG: (0.05, 10.0),
    P: (0.02, 10.0),
    CTX: (0.001, 20.0),
    P1NP: (0.1, 5000.0),
}
_INTERVAL_LEVEL = 0.95
_RECIPE = "maximum likelihood on the reconstructed cohort, with the published log odds ratios as offset"


def document(found: Reconstruction) -> Json:
    """The artefact without its checksum."""
    figures = published()
    spread = np.sqrt(np.diag(found.spread))
    errors = standard_errors(found)
    return {
        "schema_version": SCHEMA_VERSION,
        "id": DEFAULT,
        "version": "1.0.0",
        "title": "Six-predictor nomogram of Shi et al. 2026, magnesium as the published category, reconstructed in part",
        "calibration": "published",
        "source": figures["source"],
        "outcome": "osteoporosis: lowest T-score of -2.5 or less by DXA now",
        "intercept": {
            "value": steady(float(found.coefficients[0]), errors[0]),
            "provenance": _reconstructed(float(spread[0])),
        },
        "predictors": [_predictor(found, name, float(spread[1 + i])) for i, name in enumerate(PREDICTORS)],
        "covariance": _covariance(found),
        "interval_level": _INTERVAL_LEVEL,
        "interval_meaning": "model uncertainty (sampling and reconstruction): no transport, no laboratory error, no claim of coverage",
        "reduced": [],
        "development": _development(found),
    }


def steady(value: float, scale: float) -> float:
    """Rounded to ten digits of its scale (a standard error): what lies below depends on the machine's arithmetic."""
    return round(value, 9 - math.floor(math.log10(scale)))


def standard_errors(found: Reconstruction) -> list[float]:
    """Of the intercept and the coefficients: sampling and reconstruction together, (7,)."""
    return [math.sqrt(variance) for variance in np.diag(found.sampling + found.spread)]


def _covariance(found: Reconstruction) -> list[list[float]]:
    total, errors = found.sampling + found.spread, standard_errors(found)
    symmetric = (total + total.T) / 2
    return [
        [steady(float(x), one * other) for x, other in zip(row, errors, strict=True)]
        for row, one in zip(symmetric, errors, strict=True)
    ]


def _predictor(found: Reconstruction, name: str, spread: float) -> Json:
    low, high = development_range(found, name)
    category = {"cut_off": float(MG_CUT_OFF_MMOL_L)} if name == MG else {}
    i = 1 + PREDICTORS.index(name)
    return {
        "name": name,
        "unit": UNITS[name],
        "form": "category" if name == MG else "continuous",
        **category,
        "centre": found.centres[name],
        "coefficient": steady(float(found.coefficients[i]), standard_errors(found)[i]),
        "provenance": _borrowed(name) if name in BORROWED else _reconstructed(spread),
        "axis": list(_AXES[name]),
        "possible": list(_POSSIBLE[name]),
        "development_range": {"low": low, "high": high, "provenance": _range_provenance(name)},
    }


def _borrowed(name: str) -> Json:
    row = published()["table_3_model_2"][name]
    return {
        "kind": "published, borrowed",
        "table": "Table 3, Model 2",
        "row": row["row"],
        "per": row["per"],
        "odds_ratio": row["odds_ratio"],
        "confidence_95": row["confidence_95"],
    }


def _reconstructed(spread: float) -> Json:
    return {"kind": "reconstructed", "recipe": _RECIPE, "spread": spread}


def development_range(found: Reconstruction, name: str) -> tuple[float, float]:
    """1st and 99th percentile of the reconstructed cohort, to three digits; age begins where the paper's inclusion does."""
    low, high = weighted_quantiles(found.cohort.columns[name], found.cohort.weights, (0.01, 0.99))
    low, high = float(f"{low:.3g}"), float(f"{high:.3g}")
    return (MINIMUM_AGE_YEARS if name == AGE else low), high


def _range_provenance(name: str) -> Json:
    low = "the paper's inclusion, " if name == AGE else "1st and "
    return {"kind": "reconstructed", "recipe": f"{low}99th percentile of the reconstructed cohort"}


def _development(found: Reconstruction) -> Json:
    """What the model was made from, and how well the published figures come back."""
    linear, cohort = found.design @ found.coefficients, found.cohort
    groups = published()["groups"]
    return {
        "women": sum(groups.values()),
        "with_osteoporosis": groups["osteoporosis"],
        "apparent_auc": auc(linear, cohort.osteoporosis, cohort.weights),
        "risk_percentiles": dict(
            zip(("1", "50", "99"), weighted_quantiles(_risk(linear), cohort.weights, (0.01, 0.5, 0.99)), strict=True)
        ),
        "risk_spread": _risk_spread(found, linear),
        "free_six_term_fit": _free(found, linear),
        "readings_of_model_2": [_reading(found, name, reading) for name, reading in found.readings.items()],
        "priors": [{"pair": list(pair), **prior._asdict()} for pair, prior in PRIORS.items()],
        "magnesium_margins": [
            {"mean": mg.mean, "sd": mg.sd, "share_at_or_below_cut_off": mg.share_at_or_below} for mg in found.magnesium
        ],
    }


def _risk_spread(found: Reconstruction, linear: Array) -> Json:
    """What the reconstruction alone does to the risks: its standard deviation, over the women of the cohort."""
    error = np.sqrt(np.sum((found.design @ found.spread) * found.design, axis=1))
    risk, weights = _risk(linear), found.cohort.weights
    spread = error * risk * (1 - risk)
    return {
        "mean": float(spread @ weights / weights.sum()),
        "percentile_99": weighted_quantiles(spread, weights, (0.99,))[0],
    }


def _free(found: Reconstruction, linear: Array) -> Json:
    """The unconstrained six-term regression on the same cohort, and how far its risks lie from the model's."""
    away, weights = np.abs(_risk(linear) - _risk(found.design @ found.free.coefficients)), found.cohort.weights
    names, errors = ("intercept", *PREDICTORS), np.sqrt(np.diag(found.free.covariance)).tolist()
    return {
        "coefficients": dict(zip(names, map(steady, found.free.coefficients.tolist(), errors), strict=True)),
        "standard_errors": dict(zip(names, errors, strict=True)),
        "mean_difference_in_risk": float(away @ weights / weights.sum()),
        "percentile_99_difference_in_risk": weighted_quantiles(away, weights, (0.99,))[0],
    }


def _reading(found: Reconstruction, name: str, reading: Reading) -> Json:
    """H4 or H7: correlations, coefficients, and the raw standard errors against the published ones."""
    errors = np.sqrt(np.diag(reading.fit.covariance))[1 : 1 + len(BORROWED)]
    rows = zip(BORROWED, reading.fit.coefficients[1:], errors, found.published.standard_errors, strict=False)
    return {
        "name": name,
        "terms": list(reading.terms),
        "share_in_spread": READINGS[name][1],
        "fit": {
            term: {"coefficient": float(b), "standard_error": float(e), "ratio_to_published": float(e / printed)}
            for term, b, e, printed in rows
        },
        "anchored_coefficients": list(map(steady, reading.coefficients.tolist(), standard_errors(found))),
        # Six decimals: those near nothing have no stable tenth digit, and no use for one.
        "correlations": [
            {"pair": list(pair), "value": round(value, 6)} for pair, value in reading.correlations.items()
        ],
    }


def _risk(linear: Array) -> Array:
    risk: Array = 1 / (1 + np.exp(-linear))
    return risk


def weighted_quantiles(values: Array, weights: Array, levels: Sequence[float]) -> list[float]:
    """The smallest values at which the weights so far reach each level, (n,) each."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order]) / weights.sum()
    return [float(values[order][np.searchsorted(cumulative, level)]) for level in levels]
