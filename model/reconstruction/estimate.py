"""The coefficients on one cohort: the six-term model beside the published figures, and the reduced ones below it.

`form` says how magnesium enters: as the published category, whose coefficient is borrowed, or as a number, whose coefficient
is estimated on the same cohort. There the category's regression returns the published odds ratio, so the number's is what that ratio
implies.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import numpy as np

from model.odds import inverse_logit
from model.predictors import AGE, BMI, CTX, MG, P1NP, PREDICTORS, P
from model.reconstruction.conditioning import BORROWED, Published
from model.reconstruction.copula import Cohort
from model.stats.logistic import Array, covariance_at, logistic
from model.stats.roc import auc

Form = Literal["category", "continuous"]
FORMS: tuple[Form, ...] = get_args(Form)
Centres = Mapping[str, float]

# What sites meet: bone markers are measured in few patients. Each in the predictors' order.
SUBSETS: dict[str, tuple[str, ...]] = {
    "age-bmi-mg": (AGE, BMI, MG),
    "age-bmi-mg-p": (AGE, BMI, MG, P),
    "age-bmi-mg-p-ctx": (AGE, BMI, MG, P, CTX),
    "age-bmi-mg-p-p1np": (AGE, BMI, MG, P, P1NP),
    "age-bmi-mg-ctx-p1np": (AGE, BMI, MG, CTX, P1NP),
}


class Estimate(NamedTuple):
    """One model: coefficients (1 + k,), the intercept at the centres first; `sampling` (1 + k, 1 + k) is the inverse information at
    n = 496; `expected_auc` on the cohort."""

    terms: tuple[str, ...]
    coefficients: Array
    sampling: Array
    expected_auc: float


def design(cohort: Cohort, terms: tuple[str, ...], centres: Centres, form: Form) -> Array:
    """Ones and the terms less their centres, (n, 1 + k)."""
    columns = [_column(cohort, name, form) - centres[name] for name in terms]
    return np.column_stack([np.ones(len(cohort.weights)), *columns])


def _column(cohort: Cohort, name: str, form: Form) -> Array:
    if name == MG and form == "continuous":
        return cohort.columns[MG]
    return cohort.terms((name,))[0]


def centres(cohort: Cohort, form: Form) -> dict[str, float]:
    """Means of the predictors, to four digits, which read well; of the category, the share of women in it."""
    total = cohort.weights.sum()
    means = {name: float(_column(cohort, name, form) @ cohort.weights / total) for name in PREDICTORS}
    return {name: float(f"{mean:.4g}") for name, mean in means.items()}


def borrowed(form: Form) -> tuple[str, ...]:
    """The predictors whose published coefficient is taken as it is."""
    return tuple(name for name in BORROWED if form == "category" or name != MG)


def anchored_fit(cohort: Cohort, target: Published, at: Centres, form: Form = "category") -> Array:
    """Intercept and the estimated predictors beside the borrowed ones, (7,)."""
    published = dict(zip(BORROWED, (float(b) for b in target.log_odds), strict=True))
    fixed = {name: published[name] for name in borrowed(form)}
    whole = design(cohort, PREDICTORS, at, form)
    column = {name: whole[:, 1 + i] for i, name in enumerate(PREDICTORS)}
    offset = np.sum([fixed[name] * column[name] for name in fixed], axis=0)
    free = [name for name in PREDICTORS if name not in fixed]
    x = np.column_stack([whole[:, 0], *(column[name] for name in free)])
    fit = logistic(x, cohort.osteoporosis, cohort.weights, offset).coefficients
    known = {**fixed, **dict(zip(free, fit[1:], strict=True))}
    return np.array([fit[0], *(known[name] for name in PREDICTORS)])


def reduced_fit(cohort: Cohort, terms: tuple[str, ...], full: Array, at: Centres, form: Form) -> Array:
    """The model on some of the predictors that comes nearest to the full one's risks, (1 + k,).

    Its outcome is the full model's risk and not the cohort's own outcome: so a woman's reduced risk is the mean of the full risk
    over what was not measured in her, and the borrowed coefficients keep their say.
    """
    risk = inverse_logit(design(cohort, PREDICTORS, at, form) @ full)
    return logistic(design(cohort, terms, at, form), risk, cohort.weights).coefficients


def estimate(cohort: Cohort, terms: tuple[str, ...], coefficients: Array, at: Centres, form: Form) -> Estimate:
    """The model with what its cohort says of it."""
    x = design(cohort, terms, at, form)
    linear = x @ coefficients
    return Estimate(
        terms=terms,
        coefficients=coefficients,
        sampling=covariance_at(x, cohort.weights, linear),
        expected_auc=auc(linear, cohort.osteoporosis, cohort.weights),
    )


def shrinkage(cohort: Cohort, at: Centres, form: Form) -> float:
    """The factor that the slopes deserve: 1 - k / likelihood ratio, for k = 6 (van Houwelingen and le Cessie 1990).

    It knows the six coefficients as estimated, not that the cut-off was chosen on the same women: it is an upper bound.
    """
    x, y, weights = design(cohort, PREDICTORS, at, form), cohort.osteoporosis, cohort.weights
    p = inverse_logit(x @ logistic(x, y, weights).coefficients)
    prevalence = float(y @ weights / weights.sum())
    null = np.where(y == 1, np.log(prevalence), np.log(1 - prevalence))
    ratio = 2 * float(weights @ (np.where(y == 1, np.log(p), np.log(1 - p)) - null))
    return 1 - len(PREDICTORS) / ratio


def shrunken(cohort: Cohort, coefficients: Array, factor: float, at: Centres, form: Form) -> Array:
    """Slopes times the factor; the intercept such that the mean risk is the cohort's prevalence again, (7,)."""
    slopes = coefficients[1:] * factor
    x = design(cohort, PREDICTORS, at, form)
    fit = logistic(x[:, :1], cohort.osteoporosis, cohort.weights, x[:, 1:] @ slopes)
    return np.concatenate([fit.coefficients, slopes])
