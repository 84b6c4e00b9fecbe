"""Correlations that the published odds ratios allow: the priors, conditioned on Table 3's Model 2 coming back.

An unconstrained regression on the reconstructed cohort must return the four published log odds ratios. Which regression, the paper
leaves open: the four terms it prints (H4), or all seven it names (H7). The log odds ratios are all but linear in the
correlations, so a draw from the priors is moved onto the published figures as one conditions a normal distribution on a
linear observation (Matheron's rule), with the four steps solved for exactly.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, special, stats

from model.errors import ModelError
from model.predictors import AGE, BMI, CTX, MG, OCN, P1NP, P
from model.reconstruction.copula import CohortMaker, is_proper
from model.reconstruction.priors import PAIRS, PRIORS, Pair
from model.stats.logistic import Array, Fit, logistic

BORROWED = (MG, CTX, AGE, BMI)
H4 = BORROWED
H7 = (*BORROWED, P, P1NP, OCN)

_STEP = 1e-3  # of a correlation, for the derivative
_AGREEMENT = 1e-9  # of the log odds ratios, in published standard errors: far beyond the printed digits


class Published(NamedTuple):
    """Log odds ratios and their standard errors, in the order of `BORROWED`; each shape (4,)."""

    log_odds: Array
    standard_errors: Array


def published_model_2(figures: Mapping[str, Any]) -> Published:
    """From Table 3: the logarithm of the printed odds ratio, and the standard error behind its printed interval."""
    rows = [figures["table_3_model_2"][name] for name in BORROWED]
    limits = np.array([row["confidence_95"] for row in rows])
    width = 2 * float(special.ndtri(0.975))
    return Published(
        log_odds=np.log([row["odds_ratio"] for row in rows]),
        standard_errors=np.log(limits[:, 1] / limits[:, 0]) / width,
    )


class Conditioner:
    """Moves correlations from the priors to where the regression on `terms` returns the published log odds ratios."""

    def __init__(self, maker: CohortMaker, terms: Sequence[str], published: Published) -> None:
        self._maker, self._terms, self._published = maker, tuple(terms), published
        variances = np.array([prior.sd**2 for prior in PRIORS.values()])
        jacobian = self._jacobian(prior_means())
        cross = variances[:, None] * jacobian.T
        # One column a published figure: which way, and how far, all correlations move to raise it by one.
        self._directions = cross @ np.linalg.inv(jacobian @ cross)

    def fit(self, correlations: Array) -> Fit:
        """The unconstrained regression on the cohort with these correlations (21,); ModelError where they cannot exist."""
        if not is_proper(named(correlations)):
            raise ModelError("these correlations cannot exist together; draw others")
        cohort = self._maker.cohort(named(correlations))
        centres = {name: cohort.mean(name) for name in self._terms}
        return logistic(cohort.design(self._terms, centres), cohort.osteoporosis, cohort.weights)

    def condition(self, correlations: Array) -> Array:
        """The correlations (21,) nearest to the given ones, by the priors' measure, that return the published figures."""

        def missed(steps: Array) -> Array:
            return (self._borrowed(correlations + self._directions @ steps) - target) / errors

        target, errors = self._published
        solution = optimize.root(missed, target - self._borrowed(correlations), tol=1e-13)
        if np.max(np.abs(missed(solution.x))) > _AGREEMENT:
            raise ModelError("no correlations near these return the published odds ratios; draw others")
        found: Array = correlations + self._directions @ solution.x
        return found

    def _borrowed(self, correlations: Array) -> Array:
        return self.fit(correlations).coefficients[1 : 1 + len(BORROWED)]

    def _jacobian(self, at: Array) -> Array:
        """Derivative of the four log odds ratios (4, 21) by the correlations."""
        steps = np.eye(len(PAIRS)) * _STEP
        return np.column_stack([(self._borrowed(at + h) - self._borrowed(at - h)) / (2 * _STEP) for h in steps])


def prior_means() -> Array:
    """(21,) in the order of `PAIRS`."""
    return np.array([prior.mean for prior in PRIORS.values()])


def prior_draws(log2: int) -> Array:
    """2 ** log2 draws from the priors, (n, 21): a quasi-random sequence, the same every time."""
    n = 2**log2
    middles = stats.qmc.Sobol(len(PAIRS), scramble=False).random_base2(log2) + 0.5 / n
    sds = np.array([prior.sd for prior in PRIORS.values()])
    draws: Array = prior_means() + sds * special.ndtri(middles)
    return draws


def named(correlations: Array) -> dict[Pair, float]:
    """By pair."""
    return dict(zip(PAIRS, (float(value) for value in correlations), strict=True))
