"""`screener runs`: the ledger of runs: which there were, what one did, and how two differ."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from screener.base.errors import ConfigurationError
from screener.commands._options import Common, FileToWrite, settings_options

if TYPE_CHECKING:
    from screener.run.summary import Summary
    from screener.state import RunRow, State

EPILOG = """\b
Examples:
  screener runs list                     the last twenty
  screener runs show 0b6f                one of them; the first letters of its id are enough
  screener runs report 0b6f --out run.html
  screener runs diff 0b6f 93ac           what the second counted otherwise than the first
"""
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
# What `show` and `diff` tell of a summary, each a table of counts.
_COUNTED = ("outcomes", "writes", "write_reasons", "refusals", "caveats")
_HASHES = {
    "model_id": "model",
    "artefact_hash": "model file",
    "code_map_hash": "codes, units and value sets",
    "policy_hash": "policy, exclusions, only_tag",
    "software_version": "screener",
    "source": "source",
    "destination": "destination",
    "mode": "mode",
}


@click.group(epilog=EPILOG)
def runs() -> None:
    """The ledger: which runs there were, what one did, and how two differ. Counts only, never a patient."""


@runs.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="The last so many.")
@_json
@settings_options
def list_(common: Common, *, limit: int, as_json: bool) -> None:
    """List the last runs, the newest first.

    \b
    Example:  screener runs list --limit 5
    """
    from rich.console import Console
    from rich.table import Table

    with _state(common.settings().state.url) as state:
        rows = state.runs(limit)
    if as_json:
        click.echo(json.dumps([_plain(row) for row in rows], indent=2))
        return
    if not rows:
        click.echo("There has been no run yet.")
        return
    grid = Table(box=None, padding=(0, 1, 0, 0))  # all columns in 80 characters
    for name in ("run", "began", "mode", "ended"):
        grid.add_column(name, no_wrap=True)
    for name in ("patients", "created", "amended", "retracted"):
        grid.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        summary = row.summary or {}
        writes = _counts(summary.get("writes"))
        patients = summary.get("patients_seen", "")
        ended = f"exit {row.exit_code}" if row.exit_code is not None else row.status
        began = row.start.started[:16].replace("T", " ")
        wrote = (str(writes.get(name, "")) for name in ("created", "amended", "retracted"))
        grid.add_row(row.start.run_id[:8], began, row.start.mode, ended, str(patients), *wrote)
    Console(highlight=False, width=80).print(grid)


@runs.command()
@click.argument("run")
@_json
@settings_options
def show(common: Common, *, run: str, as_json: bool) -> None:
    """Show one run: by what it judged, what it counted, what became of each kind of change.

    \b
    Example:  screener runs show 0b6f
    """
    with _state(common.settings().state.url) as state:
        row = one_run(state, run)
    if as_json:
        click.echo(json.dumps(_plain(row), indent=2))
        return
    start, summary = row.start, row.summary or {}
    _line("run", start.run_id)
    _line("began", start.started)
    _line("ended", f"{row.ended}, exit code {row.exit_code}" if row.ended else row.status)
    for field, name in _HASHES.items():
        _line(name, str(getattr(start, field)))
    if "error" in summary:
        _line("stopped by", str(summary["error"]))
    for exceeded in _entries(summary.get("limits_exceeded")):
        _line(f"limit {exceeded['limit']}", str(exceeded["words"]))
    for path, count in _flat({name: summary.get(name) or {} for name in _COUNTED}):
        _line(path, str(count))


@runs.command()
@click.argument("run")
@click.option("--out", type=FileToWrite(), required=True, metavar="FILE", help="HTML file to write.")
@settings_options
def report(common: Common, *, run: str, out: Path) -> None:
    """Write the report of a run, for people: one page of HTML, with counts only.

    \b
    Example:  screener runs report 0b6f --out run.html
    """
    from screener.operations.after_run import FollowUp, report_of
    from screener.operations.report.page import write
    from screener.run.history import history

    settings = common.settings()
    with _state(settings.state.url) as state:
        row = one_run(state, run)
        earlier = history(state, row.start).runs
    write(report_of(FollowUp.of(settings), _whole(row), earlier), out)
    click.echo(f"Written: {out}")


@runs.command()
@click.argument("run")
@click.option("--out", type=FileToWrite(), required=True, metavar="FILE", help="JSON file to write.")
@settings_options
def measure(common: Common, *, run: str, out: Path) -> None:
    """Write the counts of a run as a FHIR MeasureReport: small ones left out, the others rounded.

    \b
    Example:  screener runs measure 0b6f --out measure-report.json
    """
    from screener.assessment.identity import Canonical
    from screener.operations.report.measure_report import measure_report

    settings = common.settings()
    with _state(settings.state.url) as state:
        row = one_run(state, run)
    found = measure_report(
        _whole(row), str(row.ended), Canonical(settings.output.canonical), settings.report.least_count
    )
    out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    click.echo(f"Written: {out}")


@runs.command()
@click.argument("first")
@click.argument("second")
@_json
@settings_options
def diff(common: Common, *, first: str, second: str, as_json: bool) -> None:
    """Show what the SECOND run counted otherwise than the FIRST, by reason, and what each judged by.

    \b
    Example:  screener runs diff 0b6f 93ac
    """
    from rich.console import Console
    from rich.table import Table

    with _state(common.settings().state.url) as state:
        before, after = one_run(state, first), one_run(state, second)
    judged = {
        name: (str(getattr(before.start, field)), str(getattr(after.start, field)))
        for field, name in _HASHES.items()
        if getattr(before.start, field) != getattr(after.start, field)
    }
    one, other = (
        dict(_flat({name: (row.summary or {}).get(name) or {} for name in _COUNTED})) for row in (before, after)
    )
    counted = {
        path: (one.get(path, 0), other.get(path, 0))
        for path in sorted({*one, *other})
        if one.get(path, 0) != other.get(path, 0)
    }
    if as_json:
        click.echo(json.dumps({"judged_by": judged, "counted": counted}, indent=2))
        return
    for name, (was, is_now) in judged.items():
        _line(name, f"{was} -> {is_now}")
    if not counted:
        click.echo("Both counted the same.")
        return
    grid = Table(width=79)
    grid.add_column("what")
    for name in (before.start.run_id[:8], after.start.run_id[:8], "change"):
        grid.add_column(name, justify="right", no_wrap=True)
    for path, (was_count, is_count) in counted.items():
        grid.add_row(path, str(was_count), str(is_count), f"{is_count - was_count:+d}")
    Console(highlight=False).print(grid)


def _state(url: str) -> "State":
    from screener.state import State

    return State.open(url, make=False)


def one_run(state: "State", name: str) -> "RunRow":
    """The run whose id begins so. ConfigurationError where there is none, or more than one."""
    found = state.runs_named(name)
    if len(found) != 1:
        raise ConfigurationError(
            f"{'No run' if not found else 'More than one run'} has an id that begins with {name}",
            "`screener runs list` shows them",
        )
    return found[0]


def _whole(row: "RunRow") -> "Summary":
    """The summary of a run. ConfigurationError where the ledger has none that is whole."""
    import msgspec

    from screener.operations.report.run_report import of_ledger

    try:
        return of_ledger(row.summary or {})
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"The ledger has no whole summary of run {row.start.run_id[:8]}",
            "It was stopped, or made by an older release; `screener runs show` has what there is",
        ) from error


def _plain(row: "RunRow") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(row)


def _line(name: str, value: str) -> None:
    click.echo(f"{name:34} {value}")


def _counts(found: object) -> Mapping[str, int]:
    return found if isinstance(found, Mapping) else {}


def _entries(found: object) -> list[Mapping[str, object]]:
    return list(found) if isinstance(found, list | tuple) else []


def _flat(part: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, int]]:
    """Each count with its path, e.g. `outcomes: scored: complete`."""
    for name, value in part.items():
        path = f"{above}: {name}" if above else name
        if isinstance(value, Mapping):
            yield from _flat(value, path)
        elif isinstance(value, int) and value:
            yield path, value
