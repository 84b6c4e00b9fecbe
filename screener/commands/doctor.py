"""`screener doctor`: whether an installation is ready, one thing after the other."""

import json
from typing import TYPE_CHECKING

import click

from screener.commands._options import Common, settings_options

if TYPE_CHECKING:
    from screener.operations.doctor.findings import Finding

EPILOG = """\b
Examples:
  screener doctor                 reads only
  screener doctor --write         also writes a Device and a RiskAssessment without a patient, and deletes them again
  screener doctor --json > doctor.json
Green is in order; yellow works, but look; red would stop a run. Exit code: 0 without red, else that of the run.
"""
_COLOURS = {"green": "green", "yellow": "yellow", "red": "red"}
_SIGNS = {"green": "ok", "yellow": "look", "red": "STOP"}


@click.command(epilog=EPILOG)
@click.option("--write", is_flag=True, help="Prove write access by a test that is taken back.")
@click.option("--folders", is_flag=True, help="The job works from folder to folder: look at no server.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options
def doctor(common: Common, *, write: bool, folders: bool, as_json: bool) -> None:
    """Look at all that a run needs: this machine, the configuration, the server, what it grants and offers, the schedule.

    Without --write nothing is written anywhere. A few patients are read to see that the searches work; none is shown.
    """
    import msgspec

    from screener.operations.doctor.examination import examine

    found = common.examined("error")  # what is wrong is said by the findings
    findings = examine(found, _unsaid if as_json else _say, write=write, folders_only=folders)
    if as_json:
        click.echo(
            json.dumps({"exit_code": findings.exit_code, "findings": msgspec.to_builtins(findings.all)}, indent=2)
        )
    if findings.exit_code:
        click.get_current_context().exit(findings.exit_code)


def _unsaid(finding: "Finding") -> None:
    """JSON comes at the end, as a whole."""


def _say(finding: "Finding") -> None:
    """One finding in at most 80 columns, unless a word is longer."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=4)
    grid.add_column(width=13)
    grid.add_column()
    said = Text(finding.found)
    if finding.remedy:
        said.append(f"\n{finding.remedy}", style="bold" if finding.level == "red" else "dim")
    grid.add_row(Text(_SIGNS[finding.level], style=_COLOURS[finding.level]), finding.check, said)
    console.print(grid, width=min(console.width, 100))
