"""How well risks tell women with osteoporosis from those without: C, Dxy, R2, Brier."""

from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

from model.stats.checked import outcome, risks
from model.stats.logistic import Array
from model.stats.roc import auc


class Performance(NamedTuple):
    """`c` and `dxy` = 2 c - 1 are exact: rms 6.5's `lrm` bins the predictions to 0.002 first. The R2s compare the log likelihood with
    that of the prevalence alone, as `lrm` does for the model that it fitted."""

    n: int
    events: int
    c: float
    dxy: float
    r2_nagelkerke: float
    r2_cox_snell: float
    brier: float
    log_likelihood: float


def performance(y: Array, p: Array) -> Performance:
    """Outcome (n,) of 0 and 1, risks (n,) between 0 and 1."""
    p = risks(p)
    y = outcome(y, p)
    n, prevalence = len(y), float(y.mean())
    fitted = float(np.sum(np.where(y == 1, np.log(p), np.log1p(-p))))
    null = n * (prevalence * np.log(prevalence) + (1 - prevalence) * np.log(1 - prevalence))
    cox_snell = 1 - float(np.exp(2 * (null - fitted) / n))
    c = auc(p, y, np.ones(n))
    return Performance(
        n=n,
        events=int(y.sum()),
        c=c,
        dxy=2 * c - 1,
        r2_nagelkerke=cox_snell / (1 - float(np.exp(2 * null / n))),
        r2_cox_snell=cox_snell,
        brier=brier(y, p),
        log_likelihood=fitted,
    )


class LikelihoodRatio(NamedTuple):
    """The model chi-square: twice the log likelihood gained over the prevalence alone."""

    statistic: float
    df: int
    p_value: float


def likelihood_ratio(y: Array, p: Array, terms: int) -> LikelihoodRatio:
    """Of a regression with so many terms beside the intercept, from outcome (n,) and its own fitted risks (n,): `lrm`'s "Model L.R."."""
    found = performance(y, p)
    prevalence = found.events / found.n
    null = found.n * (prevalence * np.log(prevalence) + (1 - prevalence) * np.log(1 - prevalence))
    statistic = 2 * (found.log_likelihood - float(null))
    return LikelihoodRatio(statistic, terms, float(chi2.sf(statistic, terms)))


def brier(y: Array, p: Array) -> float:
    """Mean squared distance of the risk from the outcome."""
    return float(np.mean((outcome(y, p) - p) ** 2))
