"""The report of `screener model validate`: an artefact on a site's own women."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model.artefact import Artefact
from model.local.cohort import LocalCohort
from model.report.figures.calibration import Curve, calibration
from model.report.figures.decision import decision
from model.report.figures.roc import Drawn, roc
from model.report.page import Page, Picture, Section, Table, write_page
from model.report.parts import interval, number, write_results
from model.stats.calibration import hosmer_lemeshow, smoothed
from model.stats.decision import NetBenefit
from model.stats.roc import curve, delong

Json = Mapping[str, Any]


def write_validation(found: dict[str, Any], cohort: LocalCohort, artefact: Artefact, folder: Path) -> Path:
    """`results.json`, `report.html` and the figures; returns the folder."""
    write_results(found, folder)
    lead = [
        f"{artefact.id} {artefact.version} on {cohort.size} women, {cohort.events} with osteoporosis.",
        *found["verdict"],
    ]
    rows = [found["overall"], *found["subgroups"], *found["reduced"]]
    needed = found["sample_size"]["needed"]
    size = Table(
        "Women needed (Riley et al. 2021)",
        ("For", "Women"),
        [[name.replace("_", " "), str(count)] for name, count in needed.items()],
        f"Given: {cohort.size}. For intervals of width 0.2 (observed / expected, slope) and 0.1 (C).",
    )
    sections = [
        Section("Performance", tables=[_performance(rows), size]),
        Section("Figures", pictures=_pictures(found, cohort, artefact)),
    ]
    write_page(Page(f"Validation of {artefact.id} {artefact.version}", lead, sections), folder)
    return folder


def _performance(rows: list[Json]) -> Table:
    estimates = ("c", "observed_expected", "calibration_in_the_large", "calibration_slope")
    cells = [
        [
            row["name"],
            str(row["women"]),
            str(row["events"]),
            *(interval(row[name]) for name in estimates),
            number(row["brier"]),
        ]
        for row in rows
    ]
    heads = ("Group", "Women", "Osteoporosis", "C", "Observed / expected", "In the large", "Slope", "Brier")
    return Table(
        "Estimates with 95 % intervals", heads, cells, "Subgroups with fewer than ten women in a class are left out."
    )


def _pictures(found: Json, cohort: LocalCohort, artefact: Artefact) -> list[Picture]:
    y, risk = cohort.osteoporosis, cohort.assess(artefact).risk
    low, high = np.quantile(risk, (0.01, 0.99)).tolist()
    grid = np.linspace(low, high, 50)
    at, observed = smoothed(y, risk, grid)
    overall = found["overall"]
    notes = [
        f"slope {overall['calibration_slope']['value']:.2f}",
        f"observed / expected {overall['observed_expected']['value']:.2f}",
    ]
    figure = calibration(
        [Curve("Smoothed", at, observed)], y, risk, hosmer_lemeshow(y, risk, fitted=False).groups, notes
    )
    benefit = NetBenefit(*(np.array(found["decision_curve"][name]) for name in NetBenefit._fields))
    line = Drawn("Model", curve(risk, y, direction="<"), delong(risk, y, direction="<"))
    return [
        Picture(
            "calibration",
            figure,
            "Observed against predicted risk; squares are tenths of the women, with 95 % intervals.",
        ),
        Picture(
            "decision",
            decision({"Model": benefit}),
            (
                f"Decision curve: on these women, {100 * found['with_osteoporosis'] / found['women']:.0f} % of whom have osteoporosis."
            ),
        ),
        Picture("roc", roc([line]), "ROC curve of the risk."),
    ]
