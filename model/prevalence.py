"""Risks at another prevalence of osteoporosis."""

# Shi et al. 2026, Table 1: 288 of the 496 women from whom the model was made had osteoporosis.
PAPER_PREVALENCE = 288 / 496


def at_prevalence(risk: float, own: float, other: float) -> float:
    """A risk moved from a population of prevalence `own` to one of prevalence `other`, all as fractions from 0 to 1.

    Bayes' rule on the odds: the predictors are taken to separate women with and without osteoporosis alike in both. 0 and 1 stay.
    """
    with_it, without = risk * other / own, (1 - risk) * (1 - other) / (1 - own)
    return with_it / (with_it + without)
