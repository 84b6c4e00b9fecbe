"""The model rebuilt from what the paper prints: four coefficients borrowed, the rest estimated on a reconstructed cohort.

The recipe. (1) Margins and counts of the cohort from the tables (`margins`). (2) Correlations: a prior for every pair (`priors`),
conditioned on the published odds ratios (`conditioning`). (3) The published log odds ratios as an offset; the intercept and the other
predictors by maximum likelihood beside them (`estimate`). (4) Uncertainty: the six-term information at n = 496 as
it is, plus the spread over draws from the priors under both readings of the paper's Model 2. Nothing is random.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from model.errors import ModelError
from model.evidence import published
from model.predictors import PREDICTORS
from model.reconstruction.conditioning import (
    H4,
    H7,
    Conditioner,
    Published,
    named,
    prior_draws,
    prior_means,
    published_model_2,
)
from model.reconstruction.copula import Cohort, CohortMaker
from model.reconstruction.estimate import (
    FORMS,
    SUBSETS,
    Centres,
    Estimate,
    Form,
    anchored_fit,
    centres,
    design,
    estimate,
    reduced_fit,
)
from model.reconstruction.margins import Magnesium
from model.reconstruction.priors import Pair
from model.stats.logistic import Array, Fit, logistic

# How much each reading of Model 2 counts in the spread: the published standard errors speak for H4, without proving it.
READINGS = {"H4": (H4, 0.8), "H7": (H7, 0.2)}

ALL = "all"  # the model on all six predictors, beside the names of `SUBSETS`

_POINTS_LOG2 = 13
_SPREAD_POINTS_LOG2 = 11
_DRAWS_LOG2 = 6


class Reading(NamedTuple):
    """One reading of Model 2 at its centre: the correlations, the unconstrained fit on its terms, the anchored coefficients (7,)
    with magnesium as its category."""

    correlations: dict[Pair, float]
    terms: tuple[str, ...]
    fit: Fit
    cohort: Cohort
    coefficients: Array


class Reconstruction(NamedTuple):
    """What the recipe yields, under H4.

    `models`: by form of magnesium and then by name (`ALL`, `SUBSETS`); `spread` the same way: mean square deviation
    (1 + k, 1 + k) of the coefficients over the priors and both readings. `free`: the unconstrained six-term regressions.
    """

    readings: dict[str, Reading]
    centres: dict[Form, dict[str, float]]
    models: dict[Form, dict[str, Estimate]]
    spread: dict[Form, dict[str, Array]]
    free: dict[Form, Fit]
    magnesium: tuple[Magnesium, Magnesium]
    published: Published

    @property
    def cohort(self) -> Cohort:
        """The cohort under H4, on which the models are estimated."""
        return self.readings["H4"].cohort

    def design(self, form: Form) -> Array:
        """Ones and the centred predictors of the cohort, (n, 7)."""
        return design(self.cohort, PREDICTORS, self.centres[form], form)


def reconstruct() -> Reconstruction:
    """The whole recipe; some seconds."""
    figures = published()
    target = published_model_2(figures)
    maker = CohortMaker(figures, _POINTS_LOG2)
    # The groups' means do not depend on the correlations, so any cohort gives the centres.
    prior = maker.cohort(named(prior_means()))
    at: dict[Form, dict[str, float]] = {form: centres(prior, form) for form in FORMS}
    readings = {name: _reading(maker, terms, target, at["category"]) for name, (terms, _) in READINGS.items()}
    cohort = readings["H4"].cohort
    return Reconstruction(
        readings=readings,
        centres=at,
        models={form: _models(cohort, target, at[form], form) for form in FORMS},
        spread=_spread(figures, target, at),
        free={form: _free(cohort, at[form], form) for form in FORMS},
        magnesium=maker.magnesium,
        published=target,
    )


def _reading(maker: CohortMaker, terms: tuple[str, ...], target: Published, at: Centres) -> Reading:
    conditioner = Conditioner(maker, terms, target)
    correlations = conditioner.condition(prior_means())
    cohort = maker.cohort(named(correlations))
    fit = conditioner.fit(correlations)
    return Reading(named(correlations), terms, fit, cohort, anchored_fit(cohort, target, at))


def _models(cohort: Cohort, target: Published, at: Centres, form: Form) -> dict[str, Estimate]:
    found = _coefficients(cohort, target, at, form)
    return {name: estimate(cohort, terms_of(name), b, at, form) for name, b in found.items()}


def terms_of(name: str) -> tuple[str, ...]:
    """The predictors of a model by its name."""
    return PREDICTORS if name == ALL else SUBSETS[name]


def _coefficients(cohort: Cohort, target: Published, at: Centres, form: Form) -> dict[str, Array]:
    full = anchored_fit(cohort, target, at, form)
    return {ALL: full, **{name: reduced_fit(cohort, terms, full, at, form) for name, terms in SUBSETS.items()}}


def _free(cohort: Cohort, at: Centres, form: Form) -> Fit:
    return logistic(design(cohort, PREDICTORS, at, form), cohort.osteoporosis, cohort.weights)


Coefficients = dict[tuple[Form, str], Array]


def _spread(figures: Mapping[str, Any], target: Published, at: Mapping[Form, Centres]) -> dict[Form, dict[str, Array]]:
    """Mean square deviation of the coefficients from the central ones, over the priors and both readings."""
    maker = CohortMaker(figures, _SPREAD_POINTS_LOG2)
    central: Coefficients = {}
    total: Coefficients = {}
    for terms, share in READINGS.values():
        conditioner = Conditioner(maker, terms, target)
        central = central or _all(maker, conditioner, prior_means(), target, at)
        draws = list(_drawn(maker, conditioner, target, at))
        for key, middle in central.items():
            away = np.array([found[key] - middle for found in draws])
            total[key] = total.get(key, 0.0) + share * (away.T @ away) / len(away)
    return {form: {name: total[form, name] for name in (ALL, *SUBSETS)} for form in FORMS}


def _drawn(
    maker: CohortMaker, conditioner: Conditioner, target: Published, at: Mapping[Form, Centres]
) -> Iterator[Coefficients]:
    """All models for each draw from the priors that can exist; the others are conditioned away."""
    for draw in prior_draws(_DRAWS_LOG2):
        try:
            yield _all(maker, conditioner, draw, target, at)
        except ModelError:
            continue


def _all(
    maker: CohortMaker, conditioner: Conditioner, draw: Array, target: Published, at: Mapping[Form, Centres]
) -> Coefficients:
    cohort = maker.cohort(named(conditioner.condition(draw)))
    return {(form, name): b for form in FORMS for name, b in _coefficients(cohort, target, at[form], form).items()}
