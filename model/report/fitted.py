"""The report of `screener model fit`: the paper's method on a site's cohort."""

from pathlib import Path
from typing import Any

from model.local.cohort import LocalCohort
from model.report.page import Page, Section, write_page
from model.report.parts import (
    NAMES,
    TITLES,
    calibration_section,
    groups_table,
    lasso_section,
    model_table,
    nomogram_section,
    roc_picture,
    roc_table,
    write_results,
)


def write_fitted(results: dict[str, Any], cohort: LocalCohort, folder: Path) -> Path:
    """`results.json`, `report.html` and the figures; returns the folder."""
    write_results(results, folder)
    lead = [
        f"{cohort.size} women, {cohort.events} with osteoporosis.",
        "The method is that of Shi et al. 2026. Regressions fitted and judged on the same women flatter themselves; the bootstrap says by how much.",
    ]
    lead += [
        f"{TITLES[name]} is left out: it needs {', '.join(NAMES[term] for term in lacking)}."
        for name, lacking in results["models_left_out"].items()
    ]
    sections = [
        Section("Groups", tables=[groups_table(results)]),
        Section("ROC", tables=[roc_table(results)], pictures=[roc_picture(results, cohort)]),
        Section("Regressions", tables=[model_table(results, name) for name in results["models"]]),
        lasso_section(results, cohort),
        nomogram_section(cohort),
        calibration_section(results, cohort),
    ]
    write_page(Page("The published method on this cohort", lead, sections), folder)
    return folder
