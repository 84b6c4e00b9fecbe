"""The reconstruction as an artefact's document: every number with where it comes from. Layout: `artefacts/artefact.schema.json`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.artefact import DEFAULT, SCHEMA_VERSION
from model.evidence import published
from model.odds import inverse_logit
from model.predictors import AGE, BMI, CTX, MG, MG_CUT_OFF_MMOL_L, P1NP, PREDICTORS, UNITS, P
from model.reconstruction.conditioning import BORROWED
from model.reconstruction.estimate import (
    SUBSETS,
    Estimate,
    Form,
    borrowed,
    reduced_fit,
    shrinkage,
    shrunken,
)
from model.reconstruction.margins import MINIMUM_AGE_YEARS
from model.reconstruction.priors import PRIORS
from model.reconstruction.recipe import ALL, READINGS, Reading, Reconstruction
from model.stats.logistic import Array

Json = dict[str, Any]

# Fixed for good: nomograms drawn from one artefact must not change their axes with the data.
_AXES = {AGE: (50.0, 95.0), BMI: (15.0, 40.0), MG: (0.6, 1.1), P: (0.6, 1.8), CTX: (0.0, 2.0), P1NP: (0.0, 250.0)}
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


@dataclass(frozen=True)
class Variant:
    """One of the artefacts that the recipe makes."""

    id: str
    title: str
    form: Form
    shrunken: bool = False


VARIANTS = {
    "category": Variant(
        DEFAULT,
        "Six-predictor nomogram of Shi et al. 2026, magnesium as the published category, reconstructed in part",
        "category",
    ),
    "continuous": Variant(
        "shi2026-mg-continuous",
        "Six-predictor nomogram of Shi et al. 2026, magnesium as a number, reconstructed in part",
        "continuous",
    ),
    "shrunken": Variant(
        "shi2026-mg-category-shrunken",
        "Six-predictor nomogram of Shi et al. 2026, magnesium as the published category, reconstructed in part, slopes shrunken",
        "category",
        shrunken=True,
    ),
}


def document(found: Reconstruction, variant: Variant) -> Json:
    """The artefact without its checksum."""
    models = _models(found, variant)
    full = models[ALL]
    return {
        "schema_version": SCHEMA_VERSION,
        "id": variant.id,
        "version": "1.0.0",
        "title": variant.title,
        "calibration": "published",
        "source": published()["source"],
        "outcome": "osteoporosis: lowest T-score of -2.5 or less by DXA now",
        "intercept": {
            "value": steady(float(full.coefficients[0]), full.errors[0]),
            "provenance": _reconstructed(full.spread_of(0)),
        },
        "predictors": [_predictor(found, full, name, variant.form) for name in PREDICTORS],
        "covariance": full.covariance,
        "expected_auc": round(full.expected_auc, 4),
        "interval_level": _INTERVAL_LEVEL,
        "interval_meaning": "model uncertainty (sampling and reconstruction): no transport, no laboratory error, no claim of coverage",
        "reduced": [_reduced(name, models[name]) for name in SUBSETS],
        "development": _development(found, full, variant),
    }


@dataclass(frozen=True)
class _Model:
    """A model as it is written. `factor` is 1 unless its slopes are shrunken."""

    estimate: Estimate
    coefficients: Array
    total: Array  # (1 + k, 1 + k) covariance: sampling and reconstruction
    spread: Array
    factor: float = 1.0

    @property
    def errors(self) -> list[float]:
        """Of the intercept and the coefficients: sampling and reconstruction together, (1 + k,)."""
        return [math.sqrt(variance) for variance in np.diag(self.total)]

    @property
    def covariance(self) -> list[list[float]]:
        """Symmetric, rounded to what is the same on any machine."""
        symmetric = (self.total + self.total.T) / 2
        return [
            [steady(float(x), one * other) for x, other in zip(row, self.errors, strict=True)]
            for row, one in zip(symmetric, self.errors, strict=True)
        ]

    @property
    def expected_auc(self) -> float:
        """On the reconstructed cohort; shrinking changes no order."""
        return self.estimate.expected_auc

    def spread_of(self, i: int) -> float:
        """Root mean square deviation of one coefficient over the assumptions."""
        return math.sqrt(self.spread[i, i])


def _models(found: Reconstruction, variant: Variant) -> dict[str, _Model]:
    form = variant.form
    plain = {
        name: _Model(e, e.coefficients, e.sampling + found.spread[form][name], found.spread[form][name])
        for name, e in found.models[form].items()
    }
    return _shrunken(found, plain, form) if variant.shrunken else plain


def _shrunken(found: Reconstruction, plain: Mapping[str, _Model], form: Form) -> dict[str, _Model]:
    """All slopes times one factor; the reduced models follow the shrunken full one."""
    cohort, at = found.cohort, found.centres[form]
    factor = shrinkage(cohort, at, form)
    full = shrunken(cohort, plain[ALL].coefficients, factor, at, form)
    made = {}
    for name, model in plain.items():
        b = full if name == ALL else reduced_fit(cohort, SUBSETS[name], full, at, form)
        scale = np.diag([1.0, *[factor] * (len(b) - 1)])
        made[name] = _Model(model.estimate, b, scale @ model.total @ scale, scale @ model.spread @ scale, factor)
    return made


def steady(value: float, scale: float) -> float:
    """Rounded to ten digits of its scale (a standard error): what lies below depends on the machine's arithmetic."""
    return round(value, 9 - math.floor(math.log10(scale)))


def _predictor(found: Reconstruction, model: _Model, name: str, form: Form) -> Json:
    low, high = development_range(found, name)
    category = name == MG and form == "category"
    i = 1 + PREDICTORS.index(name)
    provenance = _borrowed(name) if name in borrowed(form) else _reconstructed(model.spread_of(i))
    return {
        "name": name,
        "unit": UNITS[name],
        "form": "category" if category else "continuous",
        **({"cut_off": float(MG_CUT_OFF_MMOL_L)} if category else {}),
        "centre": found.centres[form][name],
        "coefficient": steady(float(model.coefficients[i]), model.errors[i]),
        "provenance": provenance if model.factor == 1 else _after_shrinking(provenance, model.factor),
        "axis": [0.0, 1.0] if category else list(_AXES[name]),
        "possible": list(_POSSIBLE[name]),
        "development_range": {"low": low, "high": high, "provenance": _range_provenance(name)},
    }


def _reduced(name: str, model: _Model) -> Json:
    """It shares units, centres, axes and ranges with the full model."""
    recipe = "nearest to the full model's risks on the reconstructed cohort"
    return {
        "name": name,
        "predictors": list(model.estimate.terms),
        "intercept": steady(float(model.coefficients[0]), model.errors[0]),
        "coefficients": [steady(float(b), e) for b, e in zip(model.coefficients[1:], model.errors[1:], strict=True)],
        "covariance": model.covariance,
        "expected_auc": round(model.expected_auc, 4),
        "provenance": {"kind": "reconstructed", "recipe": recipe},
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


def _after_shrinking(provenance: Json, factor: float) -> Json:
    return {"kind": "shrunken", "factor": factor, "of": provenance}


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


PERCENTILES = (1, 20, 40, 50, 60, 80, 99)  # of the risks in the women as rebuilt: fifths, the middle, and the ends


def _development(found: Reconstruction, model: _Model, variant: Variant) -> Json:
    """What the model was made from, and how well the published figures come back."""
    x, weights, groups = found.design(variant.form), found.cohort.weights, published()["groups"]
    linear = x @ model.coefficients
    percentiles = weighted_quantiles(inverse_logit(linear), weights, [n / 100 for n in PERCENTILES])
    return {
        "women": sum(groups.values()),
        "with_osteoporosis": groups["osteoporosis"],
        "shrinkage": model.factor,
        "risk_percentiles": dict(zip(map(str, PERCENTILES), percentiles, strict=True)),
        "risk_spread": _risk_spread(x, model, linear, weights),
        "free_six_term_fit": _free(found, variant.form, linear),
        "readings_of_model_2": [_reading(found, name, reading) for name, reading in found.readings.items()],
        "priors": [{"pair": list(pair), **prior._asdict()} for pair, prior in PRIORS.items()],
        "magnesium_margins": [
            {"mean": mg.mean, "sd": mg.sd, "share_at_or_below_cut_off": mg.share_at_or_below} for mg in found.magnesium
        ],
    }


def _risk_spread(x: Array, model: _Model, linear: Array, weights: Array) -> Json:
    """What the reconstruction alone does to the risks: its standard deviation, over the women of the cohort."""
    error = np.sqrt(np.sum((x @ model.spread) * x, axis=1))
    risk = inverse_logit(linear)
    spread = error * risk * (1 - risk)
    return {
        "mean": float(spread @ weights / weights.sum()),
        "percentile_99": weighted_quantiles(spread, weights, (0.99,))[0],
    }


def _free(found: Reconstruction, form: Form, linear: Array) -> Json:
    """The unconstrained six-term regression on the same cohort, and how far its risks lie from the model's."""
    free, weights = found.free[form], found.cohort.weights
    away = np.abs(inverse_logit(linear) - inverse_logit(found.design(form) @ free.coefficients))
    names, errors = ("intercept", *PREDICTORS), np.sqrt(np.diag(free.covariance)).tolist()
    return {
        "coefficients": dict(zip(names, map(steady, free.coefficients.tolist(), errors), strict=True)),
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
        "anchored_coefficients": list(map(steady, reading.coefficients.tolist(), _anchored_errors(found))),
        # Six decimals: those near nothing have no stable tenth digit, and no use for one.
        "correlations": [
            {"pair": list(pair), "value": round(value, 6)} for pair, value in reading.correlations.items()
        ],
    }


def _anchored_errors(found: Reconstruction) -> list[float]:
    sampling = found.models["category"][ALL].sampling
    return [math.sqrt(x) for x in np.diag(sampling + found.spread["category"][ALL])]


def weighted_quantiles(values: Array, weights: Array, levels: Sequence[float]) -> list[float]:
    """The smallest values at which the weights so far reach each level, (n,) each."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order]) / weights.sum()
    return [float(values[order][np.searchsorted(cumulative, level)]) for level in levels]
