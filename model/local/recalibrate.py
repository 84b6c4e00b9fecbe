"""The model moved onto a site's own women: intercept, intercept and slope, or all coefficients fitted again.

What is estimated here has its uncertainty from here; what is kept has the artefact's. Predictors are centred at the site's means, where
the data say most about the intercept. The reduced nomograms are moved the same way, each by its own risks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from model.artefact import SCHEMA_VERSION, Artefact, Nomogram, Predictor
from model.errors import ModelError
from model.local.cohort import LocalCohort, digest
from model.local.validate import judge, plain
from model.odds import inverse_logit
from model.predictors import FURTHER, MG_CUT_OFF_MMOL_L, PREDICTORS
from model.stats.logistic import Array, logistic
from model.stats.performance import performance
from model.stats.sample_size import development

Json = dict[str, Any]
Method = Literal["intercept", "slope", "refit"]

_FOLDS = 10
_PENALTIES = np.logspace(-2, 4, 25)  # of the squared standardised coefficients, strongest last
_LEAST_EVENTS = {"intercept": 20, "slope": 50, "refit": 100}  # in the smaller class: below them the update is noise


@dataclass(frozen=True)
class Identity:
    """The name of a site's artefact."""

    id: str
    version: str
    title: str


class _Moved(NamedTuple):
    """Coefficients (1 + k,) and covariance (1 + k, 1 + k) at the site's centres."""

    centres: Array
    coefficients: Array
    covariance: Array


def recalibrate(
    cohort: LocalCohort,
    artefact: Artefact,
    method: Method,
    identity: Identity,
    *,
    further: Sequence[str] = (),
    seed: int = 1,
    accept_signs: bool = False,
) -> Json:
    """The document of a site's artefact, without its checksum. `further`: predictors that a refit adds to the artefact's (`FURTHER`); the
    nomogram without them becomes a reduced one. `seed` deals women to folds where a penalty is chosen (refit).

    ModelError where there are too few women for the method, for further predictors without a refit, and where a refit turns the sign
    of a predictor against the model that it began with, its 95 % interval without 0, unless `accept_signs` says that it is meant.
    """
    published = artefact
    if further:
        artefact = _widened(artefact, method, further, cohort)
    smaller = min(cohort.events, cohort.size - cohort.events)
    if smaller < _LEAST_EVENTS[method]:
        raise ModelError(
            f"{smaller} women in the smaller class are too few for the method {method}: {_LEAST_EVENTS[method]} are needed. "
            "Take a simpler method, or gather more women"
        )
    moved = {nomogram.name: _move(cohort, nomogram, method, seed) for nomogram in (artefact, *artefact.reduced)}
    provenance = _provenance(method, artefact)
    full = moved[artefact.name]
    if not accept_signs:
        _refuse_turned_signs(published, full)
    return {
        "schema_version": SCHEMA_VERSION,
        "id": identity.id,
        "version": identity.version,
        "title": identity.title,
        "calibration": "local",
        "source": f"{artefact.id} {artefact.version}, recalibrated",
        "outcome": "osteoporosis: lowest T-score of -2.5 or less by DXA now",
        "intercept": {"value": float(full.coefficients[0]), "provenance": provenance},
        "predictors": [_row(p, full, i, provenance) for i, p in enumerate(artefact.predictors)],
        "covariance": _symmetric(full.covariance),
        "expected_auc": _auc(cohort, artefact, full),
        "interval_level": artefact.interval_level,
        "interval_meaning": _INTERVAL[method],
        "reduced": [_reduced(cohort, nomogram, moved[nomogram.name], provenance) for nomogram in artefact.reduced],
        "development": _development(cohort, published, artefact, method, full),
    }


def _refuse_turned_signs(published: Artefact, moved: _Moved) -> None:
    errors = np.sqrt(np.diag(moved.covariance))[1:]
    turned = [
        predictor.name
        for i, predictor in enumerate(published.predictors)
        if predictor.coefficient * moved.coefficients[1 + i] < 0 and abs(moved.coefficients[1 + i]) > 1.96 * errors[i]
    ]
    if turned:
        raise ModelError(
            f"in these women {' and '.join(turned)} {'point' if len(turned) > 1 else 'points'} the other way than in the paper, by more "
            "than chance. Check the column's unit and coding, the outcome, and who was sent to DXA. If it is so, say --accept signs"
        )


def _widened(artefact: Artefact, method: Method, further: Sequence[str], cohort: LocalCohort) -> Artefact:
    """The artefact with further predictors whose coefficients are still to be fitted."""
    if method != "refit":
        raise ModelError("a further predictor has no coefficient yet. Take --method refit, which fits all of them")
    unknown = [name for name in further if name not in FURTHER or name in artefact.further]
    if unknown:
        raise ModelError(f"{', '.join(unknown)} cannot be added. Those that can: {', '.join(FURTHER)}")
    ordered = [name for name in FURTHER if name in {*artefact.further, *further}]
    known = {predictor.name: predictor for predictor in artefact.predictors}
    added = {name: _new(name, cohort.columns[name]) for name in further}
    predictors = (*artefact.predictors[: len(PREDICTORS)], *((known | added)[name] for name in ordered))
    without = Nomogram(
        name=f"without-{'-'.join(name.partition('_')[0] for name in further)}",
        intercept=artefact.intercept,
        intercept_provenance=artefact.intercept_provenance,
        predictors=artefact.predictors,
        covariance=artefact.covariance,
        interval_level=artefact.interval_level,
        expected_auc=artefact.expected_auc,
    )
    return replace(artefact, predictors=predictors, reduced=(without, *artefact.reduced))


def _new(name: str, column: Array) -> Predictor:
    """Its range is that of the site's women, from the 1st to the 99th percentile: no woman's own value."""
    low, high = (float(f"{end:.3g}") for end in np.quantile(column, (0.01, 0.99)))
    if not low < high:
        raise ModelError(f"{name} is the same in all women. It cannot be fitted")
    said = {"kind": "fitted", "recipe": "1st to 99th percentile of the site's women"}
    row = FURTHER[name]
    return Predictor(name, row.unit, "continuous", 0.0, 0.0, row.axis, (low, high), row.possible, said, said)


_INTERVAL = {
    "refit": "model uncertainty (the site's sampling): no laboratory error",
    **dict.fromkeys(
        ("intercept", "slope"),
        "model uncertainty (the site's sampling, and the published slopes' variance, which is kept): no laboratory error; wider than "
        "need be where the published slopes hold at the site (simulated: it covers 99.9 % of true risks); where they do not, what it "
        "covers is not known",
    ),
}


def _move(cohort: LocalCohort, nomogram: Nomogram, method: Method, seed: int) -> _Moved:
    columns = _columns(cohort, nomogram)
    centres = np.array([float(f"{column.mean():.4g}") for column in columns])
    x = np.column_stack([column - centre for column, centre in zip(columns, centres, strict=True)])
    if method == "refit":
        return _refit(x, cohort.osteoporosis, centres, seed)
    slopes = np.array([p.coefficient for p in nomogram.predictors])
    kept = nomogram.covariance[1:, 1:]
    linear = x @ slopes
    return (_by_intercept if method == "intercept" else _by_slope)(linear, cohort.osteoporosis, centres, slopes, kept)


def _columns(cohort: LocalCohort, nomogram: Nomogram) -> list[Array]:
    return [
        cohort.mg_at_or_below.astype(np.float64) if p.form == "category" else cohort.columns[p.name]
        for p in nomogram.predictors
    ]


def _by_intercept(linear: Array, y: Array, centres: Array, slopes: Array, kept: Array) -> _Moved:
    fit = logistic(np.ones((len(y), 1)), y, np.ones(len(y)), linear)
    covariance = np.zeros((1 + len(slopes),) * 2)
    covariance[0, 0], covariance[1:, 1:] = fit.covariance[0, 0], kept
    return _Moved(centres, np.concatenate([fit.coefficients, slopes]), covariance)


def _by_slope(linear: Array, y: Array, centres: Array, slopes: Array, kept: Array) -> _Moved:
    """logit = a + b (linear predictor at the centres): slopes times b."""
    fit = logistic(np.column_stack([np.ones(len(y)), linear]), y, np.ones(len(y)))
    a, b = fit.coefficients
    if b <= 0:
        raise ModelError("the model ranks these women the wrong way round (slope below 0). Check units and outcome")
    covariance = np.zeros((1 + len(slopes),) * 2)
    covariance[0, 0] = fit.covariance[0, 0]
    covariance[0, 1:] = covariance[1:, 0] = fit.covariance[0, 1] * slopes
    covariance[1:, 1:] = b**2 * kept + fit.covariance[1, 1] * np.outer(slopes, slopes)
    return _Moved(centres, np.concatenate([[a], b * slopes]), covariance)


def _refit(x: Array, y: Array, centres: Array, seed: int) -> _Moved:
    """Ridge regression, its penalty chosen by ten-fold cross-validation of the deviance; covariance by the penalised information."""
    scale = x.std(axis=0)
    if not scale.all():
        raise ModelError("a predictor is the same in all women. It cannot be fitted")
    standardised = (x - x.mean(axis=0)) / scale
    penalty = _chosen_penalty(standardised, y, seed)
    b = _ridge(standardised, y, penalty)
    p = inverse_logit(b[0] + standardised @ b[1:])
    design = np.column_stack([np.ones(len(y)), standardised])
    information = (design * (p * (1 - p))[:, None]).T @ design + penalty * np.diag([0.0, *np.ones(len(scale))])
    back = np.diag([1.0, *(1 / scale)])
    back[0, 1:] = -x.mean(axis=0) / scale
    return _Moved(centres, back @ b, back @ np.linalg.inv(information) @ back.T)


def _chosen_penalty(x: Array, y: Array, seed: int) -> float:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - heavy, and only for a refit
    from sklearn.model_selection import StratifiedKFold, cross_val_score  # noqa: PLC0415

    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    scores = [
        cross_val_score(
            LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-8, max_iter=1000),
            x,
            y,
            cv=folds,
            scoring="neg_log_loss",
        ).mean()
        for penalty in _PENALTIES
    ]
    return float(_PENALTIES[int(np.argmax(scores))])


def _ridge(x: Array, y: Array, penalty: float) -> Array:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    found = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(x, y)
    return np.concatenate([found.intercept_, found.coef_[0]])


def _row(predictor: Predictor, moved: _Moved, i: int, provenance: Json) -> Json:
    category = predictor.form == "category"
    low, high = predictor.development_range
    return {
        "name": predictor.name,
        "unit": predictor.unit,
        "form": predictor.form,
        **({"cut_off": float(MG_CUT_OFF_MMOL_L)} if category else {}),
        "centre": float(moved.centres[i]),
        "coefficient": float(moved.coefficients[1 + i]),
        "provenance": provenance,
        "axis": list(predictor.axis),
        "possible": list(predictor.possible),
        "development_range": {"low": low, "high": high, "provenance": dict(predictor.range_provenance)},
    }


def _reduced(cohort: LocalCohort, nomogram: Nomogram, moved: _Moved, provenance: Json) -> Json:
    return {
        "name": nomogram.name,
        "predictors": [p.name for p in nomogram.predictors],
        # At the site's means, which are the full nomogram's centres too.
        "intercept": float(moved.coefficients[0]),
        "coefficients": moved.coefficients[1:].tolist(),
        "covariance": _symmetric(moved.covariance),
        "expected_auc": _auc(cohort, nomogram, moved),
        "provenance": provenance,
    }


def _auc(cohort: LocalCohort, nomogram: Nomogram, moved: _Moved) -> float:
    """Apparent, on the site's women; at least 0.5, as a refit always is."""
    risk = _risk(cohort, nomogram, moved)
    return max(round(performance(cohort.osteoporosis, risk).c, 4), 0.5)


def _risk(cohort: LocalCohort, nomogram: Nomogram, moved: _Moved) -> Array:
    linear = np.full(cohort.size, moved.coefficients[0])
    for column, centre, b in zip(_columns(cohort, nomogram), moved.centres, moved.coefficients[1:], strict=True):
        linear += b * (column - centre)
    return inverse_logit(linear)


def _symmetric(matrix: Array) -> list[list[float]]:
    rows: list[list[float]] = ((matrix + matrix.T) / 2).tolist()
    return rows


def _provenance(method: Method, artefact: Artefact) -> Json:
    how = {
        "intercept": "intercept estimated on the site's women, coefficients kept",
        "slope": "intercept and one common slope estimated on the site's women",
        "refit": "ridge regression on the site's women, penalty by cross-validation",
    }[method]
    return {"kind": "fitted", "recipe": f"{how}; from {artefact.id} {artefact.version}"}


def _development(cohort: LocalCohort, published: Artefact, artefact: Artefact, method: Method, moved: _Moved) -> Json:
    """The data in summary (no woman can be told from it), the model before and after, and whether there were enough women.
    `published`: the artefact without what is added."""
    y = cohort.osteoporosis
    before, after = cohort.assess(published).risk, _risk(cohort, artefact, moved)
    return {
        "women": cohort.size,
        "with_osteoporosis": cohort.events,
        "method": method,
        "from": {"id": artefact.id, "version": artefact.version, "checksum": artefact.checksum},
        "data": {
            "digest": digest(cohort),
            "predictors": {name: _summary(cohort.columns[name]) for name in _names(artefact)},
        },
        "before": plain(judge("before", y, before)),
        "after_apparent": plain(judge("after", y, after)),
        "women_needed": _needed(cohort, method, after, len(artefact.predictors)),
    }


def _names(artefact: Artefact) -> list[str]:
    return [p.name for p in artefact.predictors]


def _summary(column: Array) -> dict[str, float]:
    return {"mean": float(f"{column.mean():.4g}"), "sd": float(f"{column.std(ddof=1):.4g}")}


def _needed(cohort: LocalCohort, method: Method, risk: Array, coefficients: int) -> Json:
    """Riley's development criteria, for as many coefficients as the method estimates."""
    terms = {"intercept": 0, "slope": 1, "refit": coefficients}[method]
    if not terms:
        return {"criteria": "none: one intercept is estimated", "enough": True}
    found = performance(cohort.osteoporosis, risk)
    r2 = min(max(found.r2_cox_snell, 0.01), 0.89)
    needed = development(terms=terms, prevalence=cohort.events / cohort.size, r2_cox_snell=r2)
    return {"criteria": "Riley et al. 2020", **needed._asdict(), "all": needed.n, "enough": needed.n <= cohort.size}
