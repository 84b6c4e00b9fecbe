"""`screener explain`: one patient, on a terminal or as JSON."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from screener.commands._options import Common, from_folder_option, now_option, safe, settings_options

if TYPE_CHECKING:
    from rich.console import Console

    from screener.analysis.explain import Explanation, Nomogram

_BAR = 30  # characters for 100 points

EPILOG = """\b
Examples:
  screener explain 4711
  screener explain 4711 --from export --now 2026-01-31T02:00:00Z
  screener explain 4711 --json > 4711.json
"""


@click.command(epilog=EPILOG)
@click.argument("patient")
@from_folder_option
@click.option(
    "--to",
    "to_folder",
    type=click.Path(path_type=Path),
    help="The folder that holds the assessments [with --from: the same].",
)
@click.option("--json", "as_json", is_flag=True, help="For machines: everything, the whole resources included.")
@now_option
@settings_options
def explain(
    common: Common,
    *,
    patient: str,
    from_folder: Path | None,
    to_folder: Path | None,
    as_json: bool,
    now: datetime | None,
) -> None:
    """Explain the outcome of one PATIENT (the logical id). Nothing is written.

    It shows each result that was found, as sent and in the model's unit, whether it is used, and why not; each rule and what it rests
    on; the nomogram's points; the assessments that follow, and how they differ from those that stand. What it prints is patient data.
    """
    from screener.analysis.explain import explain as explain_patient
    from screener.analysis.explain import plain
    from screener.commands.run import check_patient_ids
    from screener.run.opening import site_with_stores
    from screener.run.options import Options

    settings = common.settings()
    check_patient_ids([patient])
    options = Options(dry_run=True, from_folder=from_folder, to_folder=to_folder or from_folder, now=now)
    with site_with_stores(settings, options) as consulted:
        found = explain_patient(patient, consulted)
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(plain(found)), indent=2).decode())
    else:
        _show(found)


def _show(found: "Explanation") -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]Patient/{found.patient}[/] at {found.instant}: [bold]{found.outcome}[/], {found.reason}\n")
    _rules(found, console)
    _measurements(found, console)
    if found.nomogram:
        _nomogram(found.nomogram, console)
    _assessments(found, console)


def _rules(found: "Explanation", console: "Console") -> None:
    console.print("[bold]Rules[/]")
    for rule in found.rules:
        console.print(
            f"  {'[green]met[/]    ' if not rule.reason else '[red]not met[/]'} {rule.rule}{_because(rule.reason)}"
        )
        for line in rule.evidence:
            console.print(f"            {safe(line)}")


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _measurements(found: "Explanation", console: "Console") -> None:
    from rich.table import Table

    from screener.analysis.explain import short

    console.print("\n[bold]Results[/]")
    if not found.measurements:
        console.print("  none of the nomogram's")
        return
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("", "date", "as sent", "value", "what became of it", "Observation"):
        grid.add_column(name, overflow="fold", no_wrap=name != "Observation")
    for row in found.measurements:
        value = f"{row.comparator}{short(row.value)} {row.unit}" if row.value is not None else "-"
        became = f"[red]refused: {row.refused}[/]" if row.refused else _fates(row.fates, found.reason)
        grid.add_row(f"  {row.analyte}", row.date, safe(row.sent), value, became, safe(row.observation))
    console.print(grid)


def _fates(fates: dict[str, str], reason: str) -> str:
    """By method; once where both say the same. What keeps her out whatever her results are stands above, once."""
    if set(fates.values()) == {reason}:
        return "usable"
    if len(set(fates.values())) == 1:
        fate = next(iter(fates.values()))
        return f"[green]{fate}[/]" if fate == "used" else fate
    return "\n".join(f"{method}: {fate}" for method, fate in fates.items())


def _nomogram(nomogram: "Nomogram", console: "Console") -> None:
    console.print(f"\n[bold]Nomogram[/] {nomogram.model} {nomogram.version}")
    for name, points in nomogram.points.items():
        bar = "█" * round(max(points, 0) * _BAR / 100)
        beyond = "  beyond the range of the model's women" if name in nomogram.extrapolated else ""
        console.print(f"  {name:<12} {nomogram.predictors[_SHORT[name]]:>16} {points:7.1f} {bar}{beyond}")
    console.print(f"  {'total':<12} {'':>16} {nomogram.total_points:7.1f}")
    console.print(
        f"  risk {nomogram.risk:.1f} %, model uncertainty {nomogram.risk_low:.1f} to {nomogram.risk_high:.1f} %"
        + (f"; on the other side of the cut-off {nomogram.other_side_risk:.1f} %" if nomogram.other_side_risk else "")
    )


_SHORT = {
    "age_years": "age",
    "bmi_kg_m2": "bmi",
    "mg_mmol_l": "mg",
    "p_mmol_l": "p",
    "ctx_ng_ml": "ctx",
    "p1np_ng_ml": "p1np",
}


def _assessments(found: "Explanation", console: "Console") -> None:
    console.print("\n[bold]Assessments[/]")
    for row in found.assessments:
        made = f"of {row.occasion}" if row.occasion else f"none: {row.reason}"
        console.print(f"  [bold]{row.method}[/] {made}; a run would {_DOES[row.action]}{_because(row.because)}")
        for note in row.caveats:
            console.print(f"            {safe(note)}")


_DOES = {
    "create": "write it",
    "amend": "amend what stands",
    "retract": "take back what stands",
    "unchanged": "leave what stands as it is",
    "stands": "leave what stands",
    "nothing": "do nothing",
}
