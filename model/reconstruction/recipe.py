"""The model rebuilt from what the paper prints: four coefficients borrowed, the rest estimated on a reconstructed cohort.

The recipe. (1) Margins and counts of the cohort from the tables (`model.reconstruction.margins`). (2) Correlations: a prior for every pair
(`model.reconstruction.priors`), conditioned on the published odds ratios (`model.reconstruction.conditioning`). (3) The four published log odds ratios as an offset;
intercept, phosphate and P1NP by maximum likelihood beside them. (4) Uncertainty: the six-term information at n = 496 as
it is, plus the spread over draws from the priors under both readings of the paper's Model 2. Nothing is random.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from model.errors import ModelError
from model.evidence import published
from model.predictors import P1NP, PREDICTORS, P
from model.reconstruction.conditioning import (
    BORROWED,
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
from model.reconstruction.margins import Magnesium
from model.reconstruction.priors import Pair
from model.stats.logistic import Array, Fit, covariance_at, logistic

ESTIMATED = (P, P1NP)

# How much each reading of Model 2 counts in the spread: the published standard errors speak for H4, without proving it.
READINGS = {"H4": (H4, 0.8), "H7": (H7, 0.2)}

_POINTS_LOG2 = 13
_SPREAD_POINTS_LOG2 = 11
_DRAWS_LOG2 = 6


class Reading(NamedTuple):
    """One reading of Model 2 at its centre: the correlations, the unconstrained fit on its terms, the anchored coefficients (7,)."""

    correlations: dict[Pair, float]
    terms: tuple[str, ...]
    fit: Fit
    cohort: Cohort
    coefficients: Array


class Reconstruction(NamedTuple):
    """What the recipe yields. Coefficients (7,): the intercept at the centres, then the predictors in their order.

    `sampling` and `spread` (7, 7) add up to the model's covariance; `free` is the unconstrained six-term regression.
    """

    readings: dict[str, Reading]
    centres: dict[str, float]
    sampling: Array
    spread: Array
    free: Fit
    magnesium: tuple[Magnesium, Magnesium]
    published: Published

    @property
    def cohort(self) -> Cohort:
        """The cohort under H4, on which the model is estimated."""
        return self.readings["H4"].cohort

    @property
    def coefficients(self) -> Array:
        """The model's (7,)."""
        return self.readings["H4"].coefficients

    @property
    def design(self) -> Array:
        """Ones and the centred predictors of the cohort, (n, 7)."""
        return self.cohort.design(PREDICTORS, self.centres)


def reconstruct() -> Reconstruction:
    """The whole recipe; some seconds."""
    figures = published()
    target = published_model_2(figures)
    maker = CohortMaker(figures, _POINTS_LOG2)
    # The groups' means do not depend on the correlations, so any cohort gives the centres. Four digits read well.
    centres = _centres(maker.cohort(named(prior_means())))
    readings = {name: _reading(maker, terms, target, centres) for name, (terms, _) in READINGS.items()}
    main = readings["H4"]
    design = main.cohort.design(PREDICTORS, centres)
    return Reconstruction(
        readings=readings,
        centres=centres,
        sampling=covariance_at(design, main.cohort.weights, design @ main.coefficients),
        spread=_spread(figures, target, centres),
        free=logistic(design, main.cohort.osteoporosis, main.cohort.weights),
        magnesium=maker.magnesium,
        published=target,
    )


def anchored_fit(cohort: Cohort, target: Published, centres: Mapping[str, float]) -> Array:
    """Intercept and the estimated predictors beside the published ones, (7,)."""
    fixed = dict(zip(BORROWED, (float(b) for b in target.log_odds), strict=True))
    design = cohort.design(PREDICTORS, centres)
    column = {name: design[:, 1 + i] for i, name in enumerate(PREDICTORS)}
    offset = np.sum([fixed[name] * column[name] for name in BORROWED], axis=0)
    x = np.column_stack([design[:, 0], *(column[name] for name in ESTIMATED)])
    fit = logistic(x, cohort.osteoporosis, cohort.weights, offset).coefficients
    known = {**fixed, **dict(zip(ESTIMATED, fit[1:], strict=True))}
    return np.array([fit[0], *(known[name] for name in PREDICTORS)])


def _reading(maker: CohortMaker, terms: tuple[str, ...], target: Published, centres: Mapping[str, float]) -> Reading:
    conditioner = Conditioner(maker, terms, target)
    correlations = conditioner.condition(prior_means())
    cohort = maker.cohort(named(correlations))
    fit = conditioner.fit(correlations)
    return Reading(named(correlations), terms, fit, cohort, anchored_fit(cohort, target, centres))


def _centres(cohort: Cohort) -> dict[str, float]:
    return {name: float(f"{cohort.mean(name):.4g}") for name in PREDICTORS}


def _spread(figures: Mapping[str, Any], target: Published, centres: Mapping[str, float]) -> Array:
    """Mean square deviation (7, 7) of the coefficients from the central ones, over the priors and both readings."""
    maker = CohortMaker(figures, _SPREAD_POINTS_LOG2)
    central: Array | None = None
    total = np.zeros((len(PREDICTORS) + 1,) * 2)
    for terms, share in READINGS.values():
        conditioner = Conditioner(maker, terms, target)
        if central is None:
            central = anchored_fit(maker.cohort(named(conditioner.condition(prior_means()))), target, centres)
        away = np.array([b - central for b in _drawn(maker, conditioner, target, centres)])
        total += share * (away.T @ away) / len(away)
    return total


def _drawn(
    maker: CohortMaker, conditioner: Conditioner, target: Published, centres: Mapping[str, float]
) -> list[Array]:
    """Anchored coefficients (7,) for each draw from the priors that can exist; the others are conditioned away."""
    fits = []
    for draw in prior_draws(_DRAWS_LOG2):
        try:
            correlations = conditioner.condition(draw)
        except ModelError:
            continue
        fits.append(anchored_fit(maker.cohort(named(correlations)), target, centres))
    return fits
