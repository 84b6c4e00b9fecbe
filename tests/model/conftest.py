"""The reconstruction, made once (it takes some seconds), and synthetic sites: women drawn from the model itself, with a known
departure from it.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from model import assess, load_artefact
from model.reconstruction.recipe import Reconstruction, reconstruct

MakeSite = Callable[..., Path]


@pytest.fixture
def make_site(tmp_path: Path) -> MakeSite:
    """A cohort file of a site where the log odds are `intercept` + `slope` times those of the published model, + `ocn` for each ng/mL of
    osteocalcin beyond 19."""

    def make(
        n: int = 2000,
        *,
        intercept: float = 0.0,
        slope: float = 1.0,
        ocn: float = 0.0,
        seed: int = 1,
        name: str = "women.csv",
    ) -> Path:
        rng = np.random.default_rng(seed)
        columns = {
            "age_years": np.clip(rng.normal(64.5, 8.8, n).round(), 50, 95),
            "bmi_kg_m2": np.clip(rng.normal(25.4, 3.6, n).round(1), 14, 45),
            "mg_mmol_l": rng.normal(0.853, 0.06, n).round(2),
            "p_mmol_l": rng.normal(1.13, 0.14, n).round(2),
            "ctx_ng_ml": np.exp(rng.normal(-0.85, 0.5, n)).round(3),
            "p1np_ng_ml": np.exp(rng.normal(3.9, 0.5, n)).round(1),
        }
        linear = assess(load_artefact(), columns, columns["mg_mmol_l"] <= 0.845).linear_predictor
        osteocalcin = np.random.default_rng(seed + 1000).lognormal(2.9, 0.4, n).round(1)
        risk = 1 / (1 + np.exp(-(intercept + slope * linear + ocn * (osteocalcin - 19))))
        frame = pd.DataFrame({**columns, "ocn_ng_ml": osteocalcin})
        frame["osteoporosis"] = (rng.random(n) < risk).astype(int)
        frame["period"] = np.where(np.arange(n) % 2 == 0, "2025Q1", "2025Q2")
        path = tmp_path / name
        frame.to_csv(path, index=False)
        return path

    return make


@pytest.fixture(scope="session")
def made() -> Reconstruction:
    return reconstruct()
