"""Risk, interval and points of two million women: by the model, by scikit-learn's frames, and the bare product of matrices.

`python model.py NAME` does one of them.
"""

import sys

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from model import assess, load_artefact

WOMEN = 2_000_000


def main(name: str) -> None:
    """One way of doing it, on the same women."""
    artefact = load_artefact("shi2026-mg-category")
    draw = np.random.default_rng(1)
    columns = {p.name: draw.uniform(*p.development_range, WOMEN) for p in artefact.predictors}
    flags = columns["mg_mmol_l"] <= 0.845
    if name == "screener":
        assess(artefact, columns, flags)
        return
    matrix = np.column_stack([flags if p.form == "category" else columns[p.name] for p in artefact.predictors])
    if name == "scikit-learn":
        fitted = LogisticRegression()
        fitted.classes_ = np.array([0, 1])
        fitted.coef_ = np.array([[p.coefficient for p in artefact.predictors]])
        fitted.intercept_ = np.array([artefact.intercept])
        fitted.predict_proba(pd.DataFrame(matrix).to_numpy())
    else:
        matrix @ np.array([p.coefficient for p in artefact.predictors])


if __name__ == "__main__":
    main(sys.argv[1])
