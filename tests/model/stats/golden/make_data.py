"""Makes data.csv: 300 synthetic women, rounded as a laboratory rounds, so with ties. Run: python make_data.py"""

import csv
from pathlib import Path

import numpy as np

NAMES = ("age_years", "bmi_kg_m2", "mg_mmol_l", "p_mmol_l", "ctx_ng_ml", "p1np_ng_ml", "ocn_ng_ml", "osteoporosis")


def main() -> None:
    """Write the file beside this script."""
    rng = np.random.default_rng(496)
    n = 300
    age = np.maximum(50, rng.normal(64.5, 8.8, n)).round()
    bmi = rng.normal(25.4, 3.6, n).round(1)
    mg = rng.normal(0.853, 0.06, n).round(2)
    p = rng.normal(1.13, 0.14, n).round(2)
    turnover = rng.normal(size=n)
    ctx = np.exp(-0.85 + 0.35 * turnover + 0.35 * rng.normal(size=n)).round(3)
    p1np = np.exp(3.9 + 0.35 * turnover + 0.35 * rng.normal(size=n)).round(1)
    ocn = np.exp(2.85 + 0.25 * turnover + 0.3 * rng.normal(size=n)).round(1)
    linear = 0.35 + 0.065 * (age - 64.5) - 0.11 * (bmi - 25.4) - 6 * (mg - 0.853) - 1.3 * (p - 1.13) + 0.8 * (ctx - 0.5)
    outcome = (rng.random(n) < 1 / (1 + np.exp(-linear))).astype(int)
    columns = (age.astype(int), bmi, mg, p, ctx, p1np, ocn, outcome)
    with (Path(__file__).parent / "data.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(NAMES)
        writer.writerows(zip(*(column.tolist() for column in columns), strict=True))


if __name__ == "__main__":
    main()
