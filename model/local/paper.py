"""The paper's whole method on any cohort: groups, ROC, models 1 and 2, six-term models, LASSO, bootstrap.

Every number at full precision and as plain values, so that it can be written to JSON and drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from model.artefact import Nomogram, Predictor, load_artefact
from model.local.cohort import LocalCohort
from model.local.validate import THRESHOLDS
from model.odds import inverse_logit
from model.predictors import AGE, BMI, CTX, MG, OCN, P1NP, PREDICTORS, P
from model.stats.calibration import hosmer_lemeshow
from model.stats.decision import net_benefit
from model.stats.groups import TTest, chi_square, odds_ratio, t_test
from model.stats.lasso import CrossValidation, cross_validate, make_folds
from model.stats.logistic import Array, Fit, WaldRow, logistic, wald
from model.stats.performance import likelihood_ratio, performance
from model.stats.resampling import calibrate, validate
from model.stats.roc import curve, delong, delong_test, youden

Json = dict[str, Any]

CATEGORY = "mg_at_or_below_cut_off"
VARIABLES = (AGE, BMI, MG, P, CTX, P1NP, OCN)
FOLDS = 10

# The terms of each regression. Model 2 has two readings: all seven terms that the text names, or the four that are printed.
MODELS: dict[str, tuple[str, ...]] = {
    "model_1": (CATEGORY,),
    "model_2_all_seven": (CATEGORY, P, OCN, CTX, P1NP, AGE, BMI),
    "model_2_four_printed": (CATEGORY, CTX, AGE, BMI),
    "six_terms_category": (AGE, BMI, CATEGORY, P, CTX, P1NP),
    "six_terms_continuous": PREDICTORS,
}
SIX = ("six_terms_category", "six_terms_continuous")


def run(cohort: LocalCohort, *, resamples: int = 2000, seed: int = 1) -> Json:
    """All results. `seed` deals women to folds and draws the resamples. ModelError where a step has no answer (too few women, one
    class only, separation)."""
    return {
        "women": cohort.size,
        "with_osteoporosis": cohort.events,
        "rows_left_out_by_empty_column": dict(cohort.left_out),
        "columns_not_used": dict(cohort.not_used),
        "models_left_out": {name: _lacking(cohort, terms) for name, terms in MODELS.items() if _lacking(cohort, terms)},
        "groups": {name: _group(cohort, name) for name in VARIABLES if name in cohort.columns},
        "category": _category(cohort),
        "roc": _roc(cohort),
        "models": {name: _model(cohort, terms) for name, terms in _available(cohort).items()},
        "lasso": _lasso(cohort, seed),
        "bootstrap": {name: _bootstrap(cohort, MODELS[name], resamples, seed) for name in SIX},
        "resamples": resamples,
        "seed": seed,
    }


def columns(cohort: LocalCohort, terms: Sequence[str]) -> Array:
    """The terms as columns, (n, k), without a column of ones."""
    flag = cohort.mg_at_or_below.astype(np.float64)
    return np.column_stack([flag if term == CATEGORY else cohort.columns[term] for term in terms])


def fit(cohort: LocalCohort, terms: Sequence[str]) -> Fit:
    """The regression of the outcome on the terms, the intercept first."""
    x = np.column_stack([np.ones(cohort.size), columns(cohort, terms)])
    return logistic(x, cohort.osteoporosis, np.ones(cohort.size))


def risks(cohort: LocalCohort, terms: Sequence[str], found: Fit) -> Array:
    """What the regression says of its own women, (n,)."""
    linear = found.coefficients[0] + columns(cohort, terms) @ found.coefficients[1:]
    return inverse_logit(linear)


def nomogram(cohort: LocalCohort, terms: Sequence[str], found: Fit) -> Nomogram:
    """A six-term regression as a nomogram on the axes of the published artefacts, centred at the cohort's means."""
    category = CATEGORY in terms
    shipped = load_artefact("shi2026-mg-category" if category else "shi2026-mg-continuous")
    x = columns(cohort, terms)
    centres = x.mean(axis=0)
    provenance = {"kind": "fitted", "recipe": "maximum likelihood on the cohort"}
    shift = np.eye(1 + len(terms))
    shift[0, 1:] = centres
    return Nomogram(
        name="all",
        intercept=float(found.coefficients[0] + centres @ found.coefficients[1:]),
        intercept_provenance=provenance,
        predictors=tuple(
            replace(p, centre=float(c), coefficient=float(b), provenance=provenance)
            for p, c, b in zip(shipped.predictors, centres, found.coefficients[1:], strict=True)
        ),
        covariance=shift @ found.covariance @ shift.T,
        interval_level=shipped.interval_level,
        expected_auc=None,
    )


def cross_validated_lasso(cohort: LocalCohort, seed: int) -> CrossValidation:
    """LASSO of the six candidates, magnesium as a number, with ten folds."""
    folds = make_folds(cohort.size, FOLDS, seed)
    return cross_validate(columns(cohort, PREDICTORS), cohort.osteoporosis, folds)


def _available(cohort: LocalCohort) -> dict[str, tuple[str, ...]]:
    return {name: terms for name, terms in MODELS.items() if not _lacking(cohort, terms)}


def _lacking(cohort: LocalCohort, terms: Sequence[str]) -> list[str]:
    """The terms of a regression that the cohort has no column for."""
    return [term for term in terms if term != CATEGORY and term not in cohort.columns]


def _group(cohort: LocalCohort, name: str) -> Json:
    """As Table 1 compares them: women with osteoporosis less women without."""
    column, case = cohort.columns[name], cohort.osteoporosis == 1
    tests = t_test(column[case], column[~case])
    return {
        "without": _moments(column[~case]),
        "osteoporosis": _moments(column[case]),
        "pooled": _test(tests.pooled),
        "welch": _test(tests.welch),
    }


def _moments(column: Array) -> dict[str, float]:
    return {"n": len(column), "mean": float(column.mean()), "sd": float(column.std(ddof=1))}


def _test(test: TTest) -> Json:
    return test._asdict()


def _category(cohort: LocalCohort) -> Json:
    """The 2 x 2 table of the published cut-off."""
    case, low = cohort.osteoporosis == 1, cohort.mg_at_or_below
    table = np.array([[np.sum(side & state) for state in (case, ~case)] for side in (low, ~low)], dtype=np.float64)
    return {
        "cut_off_mmol_l": 0.845,
        "at_or_below": {"osteoporosis": int(table[0, 0]), "without": int(table[0, 1])},
        "above": {"osteoporosis": int(table[1, 0]), "without": int(table[1, 1])},
        "sensitivity": float(table[0, 0] / table[:, 0].sum()),
        "specificity": float(table[1, 1] / table[:, 1].sum()),
        "odds_ratio": odds_ratio(table)._asdict(),
        "chi_square": chi_square(table)._asdict(),
    }


def _roc(cohort: LocalCohort) -> Json:
    """Of Mg and P: a low value speaks for osteoporosis, and the direction is fixed so."""
    y = cohort.osteoporosis
    found = {
        name: {
            "direction": "low values speak for osteoporosis",
            "auc": delong(cohort.columns[name], y, direction=">")._asdict(),
            "cut_offs": [cut._asdict() for cut in youden(curve(cohort.columns[name], y, direction=">"))],
        }
        for name in (MG, P)
    }
    paired = delong_test((cohort.columns[MG], ">"), (cohort.columns[P], ">"), y)
    return {**found, "mg_less_p": paired._asdict()}


def _model(cohort: LocalCohort, terms: tuple[str, ...]) -> Json:
    found = fit(cohort, terms)
    risk = risks(cohort, terms, found)
    result: Json = {
        "terms": list(terms),
        "rows": [_wald_row(row) for row in wald(found, ("intercept", *terms))],
        "performance": performance(cohort.osteoporosis, risk)._asdict(),
        "likelihood_ratio": likelihood_ratio(cohort.osteoporosis, risk, len(terms))._asdict(),
    }
    if len(terms) == len(PREDICTORS):
        test = hosmer_lemeshow(cohort.osteoporosis, risk, fitted=True)
        result["hosmer_lemeshow"] = {"statistic": test.statistic, "df": test.df, "p_value": test.p_value}
        result["nomogram"] = _points(nomogram(cohort, terms, found))
        benefit = net_benefit(cohort.osteoporosis, risk, THRESHOLDS)
        result["decision_curve"] = {name: column.tolist() for name, column in benefit._asdict().items()}
    return result


def _wald_row(row: WaldRow) -> Json:
    return row._asdict()


def _points(drawn: Nomogram) -> Json:
    """Points at the two ends of each axis, and what makes a risk of the total."""
    return {
        "points": {p.name: _ends(p, drawn.points_per_logit) for p in drawn.predictors},
        "points_per_logit": drawn.points_per_logit,
        "linear_predictor_at_no_points": drawn.linear_predictor_at_no_points,
    }


def _ends(predictor: Predictor, points_per_logit: float) -> Json:
    low, high = predictor.axis
    slope, least = predictor.coefficient * points_per_logit, predictor.effect[0] * points_per_logit
    at = {end: slope * (end - predictor.centre) - least for end in (low, high)}
    return {"axis": [low, high], "points": [at[low], at[high]]}


def _lasso(cohort: LocalCohort, seed: int) -> Json:
    found = cross_validated_lasso(cohort, seed)
    return {
        "candidates": list(PREDICTORS),
        "lambda": found.path.lambdas.tolist(),
        "mean_deviance": found.mean_deviance.tolist(),
        "standard_error": found.standard_error.tolist(),
        "lambda_min": _at(found, found.index_min),
        "lambda_1se": _at(found, found.index_1se),
    }


def _at(found: CrossValidation, i: int) -> Json:
    coefficients: Mapping[str, float] = dict(zip(PREDICTORS, found.path.coefficients[i].tolist(), strict=True))
    return {
        "lambda": float(found.path.lambdas[i]),
        "intercept": float(found.path.intercepts[i]),
        "coefficients": coefficients,
        "selected": [name for name, b in coefficients.items() if b != 0],
    }


def _bootstrap(cohort: LocalCohort, terms: tuple[str, ...], resamples: int, seed: int) -> Json:
    x, y = columns(cohort, terms), cohort.osteoporosis
    curves = calibrate(x, y, resamples, seed)
    return {
        "measures": {name: row._asdict() for name, row in validate(x, y, resamples, seed).items()},
        "calibration": {
            "predicted": curves.grid.tolist(),
            "apparent": curves.apparent.tolist(),
            "corrected": curves.corrected.tolist(),
            "mean_absolute_error": curves.mean_absolute_error,
        },
    }
