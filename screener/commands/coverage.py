"""`screener coverage`: what a source holds, before anything is installed."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from screener.base.small_counts import said
from screener.commands._options import (
    Common,
    from_folder_option,
    least_count_option,
    now_option,
    only_tag_option,
    safe,
    settings_options,
)
from screener.commands.run import progress_bar

if TYPE_CHECKING:
    from rich.console import Console

    from screener.analysis.coverage.report import Coverage
    from screener.analysis.coverage.tally import CodeSeen, SystemSeen

_CODES_SHOWN = 25

EPILOG = """\b
Examples:
  screener coverage
  screener coverage --from export
  screener coverage --tables site      writes site/codes.csv and site/units.csv, to be checked and then named in the
                                       configuration as codes.codes and codes.units
  screener coverage --json > coverage.json
"""


@click.command(epilog=EPILOG)
@from_folder_option
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    metavar="N",
    help="Look at all codes of so many women of the age, and as many with magnesium [500; of a folder all, which 0 means].",
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Judge at most N of the patients with magnesium."
)
@least_count_option(
    "Counts that are smaller, and texts of fewer patients, are not shown; others are rounded to a multiple of it. 1: all as they are."
)
@click.option(
    "--tables", type=click.Path(path_type=Path, file_okay=False), help="Write the tables to complete to this folder."
)
@click.option("--json", "as_json", is_flag=True, help="For machines: everything.")
@now_option
@only_tag_option
@settings_options
def coverage(
    common: Common,
    *,
    from_folder: Path | None,
    sample: int | None,
    limit: int | None,
    least_count: int,
    tables: Path | None,
    as_json: bool,
    now: datetime | None,
    only_tag: str | None,
) -> None:
    """Say what the source holds of what the nomogram needs. Nothing is written to it, and no patient is named.

    It counts the women who have each result where the job would look for it, and those who would be scored or flagged, or would lack
    something. It lists the codes and units that are seen, suggests what unmapped ones may be, and says which values are refused and why.
    """
    from screener.analysis.coverage.files import write_tables
    from screener.analysis.coverage.report import CoverageRequest, cover
    from screener.run.opening import site_to_read

    settings = common.settings(only_tag=only_tag)
    usual = 0 if from_folder else 500
    request = CoverageRequest(
        sample=usual if sample is None else sample,
        limit=limit or 0,
        least_count=least_count,
        now=now,
    )
    with site_to_read(settings, from_folder, survey=True) as (site, opened), progress_bar(common) as progress:
        found = cover(site, opened, request, progress)
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        _show(found)
    if tables:
        files = write_tables(found, site.tables.units, tables)
        click.echo(f"Written, to be checked: {', '.join(str(file) for file in files)}", err=True)


def _show(found: "Coverage") -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    say = _Counts(found.suppressed_below)
    least = found.suppressed_below
    said = f"; counts below {least} are not shown, others are rounded to multiples of {least}" if least > 1 else ""
    console.print(f"[bold]Who[/] at {found.instant}{said}\n")
    _grid(
        console,
        [
            ("women of the age", say(found.women_of_the_age)),
            ("patients with a magnesium result in the lookback", say(found.patients_with_magnesium)),
            ("  of them judged", say(found.patients_looked_at)),
            ("  eligible, with usable magnesium", say(found.women_eligible_with_magnesium)),
            *((f"    with {row.analyte} where the nomogram looks", say(row.women)) for row in found.analytes),
            ("  at or below 0.845 mmol/L", say(found.flagged)),
        ],
    )
    console.print("\n[bold]What would come of it[/]")
    _grid(
        console, [(f"{o}, {reason}", say(n)) for o, reasons in found.outcomes.items() for reason, n in reasons.items()]
    )
    if found.excluded_by:
        console.print("\n[bold]Patients excluded today, by row of the list[/]")
        rows = [(f"{rule}, {row}", say(n)) for rule, counts in found.excluded_by.items() for row, n in counts.items()]
        _grid(console, rows)
    if found.caveats_by:
        console.print("\n[bold]Caveats of patients today, by row of the list[/]")
        rows = [(f"{rule}, {row}", say(n)) for rule, counts in found.caveats_by.items() for row, n in counts.items()]
        _grid(console, rows)
    if found.refused:
        console.print("\n[bold]Results refused[/]")
        _grid(
            console,
            [(f"{a}, {reason}", say(n)) for a, reasons in found.refused.items() for reason, n in reasons.items()],
        )
    for kind, why in found.exclusions_not_checked.items():
        console.print(f"Exclusions not checked: {kind} ({safe(why)})", style="yellow")
    if found.not_offered:
        console.print(f"Not offered by the source, and not asked for: {', '.join(found.not_offered)}")
    console.print(f"\n[bold]Codes and units[/] of {say(found.women_sampled)} {_patients(found.women_sampled)}")
    _codes(console, found.mapped_codes, say)
    suggested = [seen for seen in found.unmapped_codes if seen.suggestion]
    if suggested:
        console.print("\n[bold]Codes that nobody mapped, and what they may be by name: to be checked[/]")
        _codes(console, suggested[:_CODES_SHOWN], say)
    others = len(found.unmapped_codes) - len(suggested[:_CODES_SHOWN])
    if found.excluding:
        console.print("\n[bold]Diagnoses, procedures and medicines, compared with the exclusion list[/]")
        console.print(f"  {'':<24}  {'all':>7}  {'met':>7}  {'suspected':>9}  code system")
    for seen in found.excluding:
        _stated(console, seen, say)
    console.print(f"\nOther codes, not the nomogram's by their names: {others} (--json lists them)")


def _stated(console: "Console", seen: "SystemSeen", say: "_Counts") -> None:
    said = safe(seen.system) or "in words only"
    if seen.system == "reference":
        said = "Medication resources that cannot be read"
    blind = (
        ""
        if seen.listed or seen.system == "reference"
        else "  [yellow]no code of it is on the list: excludes nobody[/]"
    )
    counts = f"{say(seen.resources):>7}  {say(seen.met):>7}  {say(seen.suspected):>9}"
    console.print(f"  {seen.resource:<24}  {counts}  {said}{blind}")
    for code in seen.unmet[:_CODES_SHOWN]:
        points_to = f"  [yellow]reads like {', '.join(code.suspected)}[/]" if code.suspected else ""
        named = " ".join(part for part in (safe(code.code), safe(code.text)) if part)
        console.print(f"      {say(code.resources):>7} on no list: {named}{points_to}")


class _Counts:
    """Says counts, and "<5" for those that are suppressed."""

    def __init__(self, least: int) -> None:
        self._least = least

    def __call__(self, count: int | None) -> str:
        return said(count, self._least)


def _patients(count: int | None) -> str:
    return "patient" if count == 1 else "patients"


def _grid(console: "Console", rows: list[tuple[str, str]]) -> None:
    width = max((len(name) for name, _ in rows), default=0)
    for name, count in rows:
        console.print(f"  {safe(name):<{width}}  {count:>9}")


def _codes(console: "Console", codes: "list[CodeSeen]", say: _Counts) -> None:
    for seen in codes:
        what = seen.analyte
        if seen.suggestion:
            what = f"{seen.suggestion.analyte.value}?{f' ({seen.suggestion.reason})' if seen.suggestion.reason else ''}"
        console.print(f"  [bold]{what}[/]  {safe(seen.code)}  {safe(seen.text)}  {say(seen.results)} results")
        for unit in seen.units:
            refused = "".join(f", {say(n)} {reason}" for reason, n in unit.refused.items())
            middle = f", median {unit.median:.4g}" if unit.median is not None else ""
            suspicion = f"  [yellow]{safe(unit.suspicion)}[/]" if unit.suspicion else ""
            console.print(f"      {safe(unit.unit) or 'no unit':<12} {say(unit.results)}{refused}{middle}{suspicion}")
