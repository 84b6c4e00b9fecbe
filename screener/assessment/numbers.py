"""Which number an assessment shows first.

A model that was recalibrated to the site's women gives the site's own number. So does the published model where the site says how many
of its women have osteoporosis; the published number then stands second. Where neither is known no number is a woman's own chance: her
rank among women like those of the study comes first, and the published number is named as such.
"""

from decimal import Decimal

import msgspec

from model import PAPER_PREVALENCE, Artefact, at_prevalence
from screener.clinical.records import Scores


class Numbers(msgspec.Struct, frozen=True):
    """Risk and interval to be shown first, as fractions; `other_side` the risk on the other side of the magnesium cut-off, None unless the
    result lies near it. `published` is the published model's risk and interval where another is first. `fifth` is her rank, 1 for the
    lowest fifth and 5 for the highest, where no number is her own chance; else 0. `prevalence` is the site's, in per cent.
    """

    risk: float
    low: float
    high: float
    other_side: float | None = None
    published: tuple[float, float, float] | None = None
    fifth: int = 0
    prevalence: Decimal | None = None


def numbers(scores: Scores, artefact: Artefact, prevalence: Decimal | None) -> Numbers:
    """The numbers of a woman. `prevalence`: of osteoporosis among the site's own women, in per cent, where it says so."""
    printed = (scores.risk, scores.risk_low, scores.risk_high)
    if artefact.calibration == "local":
        return Numbers(*printed, scores.other_side_risk)
    if prevalence is None:
        return Numbers(*printed, scores.other_side_risk, fifth=artefact.fifth_of(scores.risk))
    there = float(prevalence) / 100
    risk, low, high = (at_prevalence(one, PAPER_PREVALENCE, there) for one in printed)
    other = scores.other_side_risk
    moved = None if other is None else at_prevalence(other, PAPER_PREVALENCE, there)
    return Numbers(risk, low, high, moved, published=printed, prevalence=prevalence)
