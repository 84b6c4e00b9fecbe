"""The receiver operating characteristic curve."""

import numpy as np

from model.stats.logistic import Array


def auc(score: Array, y: Array, weights: Array) -> float:
    """Area under the ROC curve, ties counted half: the chance that a case scores above a non-case."""
    order = np.argsort(score, kind="stable")
    score, y, weights = score[order], y[order], weights[order]
    edges = np.flatnonzero(np.diff(score)) + 1
    starts = np.concatenate([[0], edges])
    cases = np.add.reduceat(weights * y, starts)
    others = np.add.reduceat(weights * (1 - y), starts)
    below = np.cumsum(others) - others
    return float(np.sum(cases * (below + others / 2)) / (cases.sum() * others.sum()))
