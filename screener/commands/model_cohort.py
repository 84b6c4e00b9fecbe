"""`screener model cohort`: a validation cohort from the site's own records."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from screener.base.plural import counted
from screener.commands._options import (
    Common,
    Instant,
    from_folder_option,
    least_count_option,
    only_tag_option,
    settings_options,
)
from screener.commands.run import progress_bar

if TYPE_CHECKING:
    from screener.analysis.cohort.report import Made

EPILOG = """\b
Examples:
  screener model cohort --out women.csv
  screener model cohort --out women.parquet --label either --max-gap-days 180
  screener model cohort --out women.csv --from export --with-unlabelled
"""


@click.command(epilog=EPILOG)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write: .csv or .parquet."
)
@from_folder_option
@click.option(
    "--label",
    "kind",
    type=click.Choice(["t-score", "diagnosis", "either"]),
    default="t-score",
    show_default=True,
    help="What makes a case: a lowest T-score of -2.5 or less, a diagnosis, or either.",
)
@click.option(
    "--max-gap-days",
    type=click.IntRange(0, 36_500),
    default=365,
    show_default=True,
    help="Days between magnesium and DXA or diagnosis, before or after.",
)
@click.option("--with-unlabelled", is_flag=True, help="Write the women without a label, too.")
@least_count_option("Figures that rest on fewer women are not shown.")
@click.option(
    "--as-of",
    type=click.Choice(["occasion", "run"]),
    default="occasion",
    show_default=True,
    help="Exclude by what had begun by the magnesium result, or by all that is known today.",
)
@click.option("--now", type=Instant(), help="The pull's instant, for reproducible cohorts [the server's clock].")
@only_tag_option
@settings_options
def cohort(
    common: Common,
    *,
    out: Path,
    from_folder: Path | None,
    kind: str,
    max_gap_days: int,
    with_unlabelled: bool,
    least_count: int,
    as_of: Literal["occasion", "run"],
    now: datetime | None,
    only_tag: str | None,
) -> None:
    """Pull a validation cohort: the women whom the job assesses, with their values and labels, without identifiers.

    Beside OUT come OUT.json (what the columns mean, who was left out and why) and OUT.comparison.csv: the women with a label
    beside those without, for who is sent to DXA is not chosen at random. Nothing is written to the source.

    By default a woman is judged by the exclusions of her result's day: judged by today's, those who were treated because of their
    DXA would be missing.
    """
    from screener.analysis.cohort.files import check_writable
    from screener.analysis.cohort.report import CohortRequest, make
    from screener.clinical.labels import LabelKind, LabelRule
    from screener.config.tables import label_tables
    from screener.run.opening import site_to_read

    settings = common.settings(only_tag=only_tag)
    request = CohortRequest(
        out=out,
        rule=LabelRule(LabelKind(kind), max_gap_days),
        as_of=as_of,
        with_unlabelled=with_unlabelled,
        least_count=least_count,
        now=now,
    )
    check_writable(out)
    with site_to_read(settings, from_folder, further=True) as (site, opened), progress_bar(common) as progress:
        made = make(site, opened, label_tables(settings.cohort), request, progress)
    _show(made, common.log_format)


def _show(made: "Made", log_format: str) -> None:
    """The counts and the comparison on standard output; one JSON line with --log-format json."""
    from screener.analysis.cohort.comparison import HEADER

    if log_format == "json":
        import json

        compared = [dict(zip(HEADER, row, strict=True)) for row in made.compared]
        click.echo(json.dumps({"counts": made.counts, "comparison": compared}))
        return
    for line in _counts(made.counts):
        click.echo(line)
    click.echo("\nWomen with a label beside those without; difference in standard deviations")
    for line in _table(made.compared):
        click.echo(line)
    click.echo(f"\nWritten: {', '.join(file.name for file in made.files)}")


def _counts(counts: dict[str, Any]) -> list[str]:
    first = (
        f"{counted(counts['patients_seen'], 'patient')}, {counted(counts['women_in_cohort'], 'woman', 'women')} in the cohort: "
        f"{counts['osteoporosis']} with osteoporosis, {counts['no_osteoporosis']} without, "
        f"{counts['without_label']} without a label"
    )
    lines = [first]
    for outcome, reasons in counts["left_out"].items():
        lines += [f"  left out: {outcome}, {reason}: {count}" for reason, count in reasons.items()]
    for kind, reasons in counts["label_resources_refused"].items():
        lines += [f"  not used: {kind}, {reason}: {count}" for reason, count in reasons.items()]
    return lines


def _table(compared: Any) -> list[str]:
    heads = ("predictor", "n", "missing", "mean", "SD", "n", "missing", "mean", "SD", "difference")
    widths = [max(len(row[place]) for row in (heads, *compared)) for place in range(len(heads))]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (heads, *compared)
    ]
