"""What is assumed of each pair of variables before the published figures are asked: 21 correlations, none of them published.

Each is a correlation of normal scores (ranks), the same in both groups: a mean, an SD, and why. The reasons give direction and size
at most: the spread over these priors is part of the model's uncertainty, and conditioning on the published odds ratios
(`model.reconstruction.recipe`) moves them where the paper knows better.
"""

from typing import NamedTuple

from model.predictors import AGE, BMI, CTX, MG, OCN, P1NP, P

Pair = tuple[str, str]


class Prior(NamedTuple):
    """A normal prior on one correlation."""

    mean: float
    sd: float
    why: str


_WEAK = "no strong relation is known in this age group; either sign is possible"

PRIORS: dict[Pair, Prior] = {
    (AGE, BMI): Prior(0.05, 0.10, "weight changes little between 60 and 75 while height is lost"),
    (AGE, MG): Prior(0.0, 0.10, _WEAK),
    (AGE, P): Prior(0.0, 0.10, _WEAK),
    (AGE, CTX): Prior(
        0.0, 0.10, "turnover falls in the years after menopause and rises again late; together near nothing"
    ),
    (AGE, P1NP): Prior(-0.05, 0.10, "as for beta-CTx; formation falls a little more with age"),
    (AGE, OCN): Prior(0.0, 0.10, "as for beta-CTx; reduced renal clearance adds a little with age"),
    (BMI, MG): Prior(0.0, 0.10, "diabetes lowers magnesium, diet raises it"),
    (BMI, P): Prior(-0.05, 0.10, "phosphate is slightly lower in obesity"),
    (BMI, CTX): Prior(0.0, 0.10, "resorption is a little lower in obesity, but the two groups divide that already"),
    (BMI, P1NP): Prior(0.0, 0.10, "as for beta-CTx"),
    (BMI, OCN): Prior(-0.05, 0.10, "osteocalcin is a little lower in obesity and diabetes"),
    (MG, P): Prior(0.10, 0.10, "both depend on renal clearance and intake"),
    (MG, CTX): Prior(0.0, 0.10, _WEAK),
    (MG, P1NP): Prior(0.0, 0.10, _WEAK),
    (MG, OCN): Prior(0.0, 0.10, _WEAK),
    (P, CTX): Prior(0.10, 0.10, "resorption releases phosphate"),
    (P, P1NP): Prior(0.05, 0.10, "turnover as a whole releases phosphate; weaker than for resorption itself"),
    (P, OCN): Prior(0.05, 0.10, "as for P1NP"),
    (CTX, P1NP): Prior(0.60, 0.06, "resorption and formation are coupled; both markers rise and fall together"),
    (CTX, OCN): Prior(0.60, 0.06, "as for P1NP; both are cleared by the kidney as well"),
    (P1NP, OCN): Prior(0.60, 0.06, "both are made by the osteoblast"),
}
PAIRS = tuple(PRIORS)
