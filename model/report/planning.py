"""The report of `screener plan`: a table and a figure, for those who decide on a threshold."""

from dataclasses import asdict
from pathlib import Path

from model.local.plan import HEADINGS, NOTE, Plan, affordable, cells
from model.report.figures.planning import planning
from model.report.page import Page, Picture, Section, Table, write_page
from model.report.parts import write_results


def write_plan(plan: Plan, title: str, folder: Path) -> Path:
    """`results.json`, `report.html` and the figure; returns the folder."""
    write_results(asdict(plan) | {"rows": [_finite(asdict(row)) for row in plan.rows]}, folder)
    lead = [
        f"{plan.women:,.0f} women a year, of whom {100 * plan.prevalence:.0f} % have osteoporosis. Based on {plan.based_on}.",
        *plan.warnings,
    ]
    if plan.capacity is not None:
        lead.append(affordable(plan))
    table = Table("Women per year by threshold (95 % interval)", HEADINGS, cells(plan), NOTE)
    picture = Picture(
        "planning", planning(plan), "Left: women per year. Right: what it is worth. Bands are 95 % intervals."
    )
    write_page(Page(title, lead, [Section("Thresholds", tables=[table], pictures=[picture])]), folder)
    return folder


def _finite(part: dict[str, object]) -> dict[str, object]:
    """JSON knows no infinity: where nobody is found there are no scans for each found."""
    scans = part["scans_per_found"]
    if isinstance(scans, dict):
        part["scans_per_found"] = {key: None if value == float("inf") else value for key, value in scans.items()}
    return part
