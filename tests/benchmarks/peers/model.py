"""Risk, interval and points of two million women: by the model, by scikit-learn's frames, and the bare product of matrices.

`python model.py NAME` does one of them.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from model import assess, load_artefact
from tests.benchmarks.measure import ITSELF

WOMEN = 2_000_000


def main(name: str) -> None:
    """One way of doing it, on the same women."""
    artefact = load_artefact("shi2026-mg-category")
    draw = np.random.default_rng(1)
    columns = {p.name: draw.uniform(*p.development_range, WOMEN) for p in artefact.predictors}
    flags = columns["mg_mmol_l"] <= 0.845
    matrix = np.column_stack([flags if p.form == "category" else columns[p.name] for p in artefact.predictors])
    if name == "scikit-learn":
        fitted = LogisticRegression()
        fitted.classes_ = np.array([0, 1])
        fitted.coef_ = np.array([[p.coefficient for p in artefact.predictors]])
        fitted.intercept_ = np.array([artefact.intercept])
        frame = pd.DataFrame(matrix)
        fitted.n_features_in_ = frame.shape[1]
        timed(lambda: fitted.predict_proba(frame.to_numpy()))
    elif name == "screener":
        timed(lambda: assess(artefact, columns, flags))
    else:
        slopes = np.array([p.coefficient for p in artefact.predictors])
        timed(lambda: matrix @ slopes)


def timed(work: Callable[[], object]) -> None:
    """Do it twice, and say how long the second time took: memory is then there."""
    work()
    began = time.perf_counter()
    work()
    print(f"{ITSELF}{time.perf_counter() - began:.4f}")


if __name__ == "__main__":
    main(sys.argv[1])
