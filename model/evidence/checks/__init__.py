"""The paper recomputed: every printed figure that others of its figures determine, published against recomputed.

`checks()` takes what `model.evidence.published` holds and nothing else of the paper; what comes from elsewhere (the assays' ranges, the
criteria of sample size) is named where it stands. Heavier than the data (scipy), so nothing imports it at start.
"""

from model.evidence import published
from model.evidence.checks.comparisons import table_1, table_4, tables_1_and_4
from model.evidence.checks.curves import section_3_2_curves, table_2
from model.evidence.checks.inference import other_populations, section_3_3, section_3_4
from model.evidence.checks.regressions import model_1, model_2, section_3_2_regressions
from model.evidence.checks.rendering import render
from model.evidence.checks.result import Check, Interval
from model.evidence.checks.units import section_2_3

__all__ = ["Check", "Interval", "checks", "render"]

_PARTS = (
    section_2_3,
    table_1,
    table_2,
    model_1,
    model_2,
    table_4,
    tables_1_and_4,
    section_3_2_curves,
    section_3_2_regressions,
    section_3_3,
    section_3_4,
    other_populations,
)


def checks() -> list[Check]:
    """Every check, in the paper's order of tables and then of sections; the same list every time, in about a second."""
    figures = published()
    return [check for part in _PARTS for check in part(figures)]
