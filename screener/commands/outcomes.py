"""`screener outcomes`: what became of the women who were assessed."""

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
    settings_options,
)
from screener.commands.run import progress_bar

if TYPE_CHECKING:
    from screener.analysis.cohort.outcomes import Outcomes, QuarterShown

EPILOG = """\b
Examples:
  screener outcomes
  screener outcomes --quarters 12 --within-days 180
  screener outcomes --out followed.csv     the women with a DXA, for `screener model validate --cohort followed.csv`
"""


@click.command(epilog=EPILOG)
@from_folder_option
@click.option(
    "--quarters",
    type=click.IntRange(1, 40),
    default=8,
    show_default=True,
    help="So many quarters that are over for long enough.",
)
@click.option(
    "--within-days",
    type=click.IntRange(1, 3650),
    default=365,
    show_default=True,
    help="DXA counts so long after the magnesium result.",
)
@least_count_option("Smaller counts are not shown, others are rounded.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the women with a DXA, as `screener model cohort` does.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@now_option
@only_tag_option
@settings_options
def outcomes(
    common: Common,
    *,
    from_folder: Path | None,
    quarters: int,
    within_days: int,
    least_count: int,
    out: Path | None,
    as_json: bool,
    now: datetime | None,
    only_tag: str | None,
) -> None:
    """Say quarter by quarter how many women were assessed, how many of them had a DXA afterwards, what it showed, and how that agrees with
    the risks: the site's own calibration over time.

    It holds for the women who were sent to DXA, who are not chosen at random. Nothing is written to the source.
    """
    from screener.analysis.cohort.files import check_writable
    from screener.analysis.cohort.outcomes import OutcomesRequest
    from screener.analysis.cohort.outcomes import outcomes as follow
    from screener.config.tables import label_tables
    from screener.run.opening import site_to_read

    settings = common.settings(only_tag=only_tag)
    if out is not None:
        check_writable(out)
    request = OutcomesRequest(quarters, within_days, least_count, out, now)
    with site_to_read(settings, from_folder, further=True) as (site, opened), progress_bar(common) as progress:
        found = follow(site, opened, label_tables(settings.cohort), request, progress)
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        _show(found)
    if out:
        click.echo(f"Written: {out}", err=True)


def _show(found: "Outcomes") -> None:
    from rich.console import Console
    from rich.table import Table

    least = found.suppressed_below
    grid = Table(box=None, padding=(0, 1, 0, 0))
    heads = ("quarter", "assessed", "scored", "flagged", "DXA", "osteop.", "T-score", "risk", "seen", "seen/expected")
    for name in heads:
        grid.add_column(name, justify="left" if name == "quarter" else "right", no_wrap=True)
    for row in (*found.quarters, found.together):
        grid.add_row(row.quarter, *_cells(row, least))
    console = Console(highlight=False, width=100)
    console.print(grid)
    if found.failed != 0:
        console.print(
            f"Patients whose records break a rule, in no quarter: {said(found.failed, least)}", style="yellow"
        )
    console.print(
        f"DXA on or within {found.within_days} days after the magnesium result. risk: mean printed risk of those scored and sent to DXA; seen: "
        "those of them with osteoporosis; seen/expected with its 95 % interval: 1 is calibrated.",
    )


def _cells(row: "QuarterShown", least: int) -> list[str]:
    counts = [said(one, least) for one in (row.assessed, row.scored, row.flagged, row.with_dxa, row.osteoporosis)]
    percents = ["" if one is None else f"{one:.0f} %" for one in (row.mean_risk_percent, row.observed_percent)]
    ratio = row.observed_expected
    agreement = "" if ratio is None else f"{ratio[0]:.2f} ({ratio[1]:.2f}, {ratio[2]:.2f})"
    return [*counts, "" if row.mean_t_score is None else f"{row.mean_t_score:.1f}", *percents, agreement]
