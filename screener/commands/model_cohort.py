"""`screener model cohort`: a validation cohort from the site's own records."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from screener.commands._options import settings_options, start_logging
from screener.commands.run import Instant, progress_bar

if TYPE_CHECKING:
    from screener.cohort.report import Made

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
@click.option(
    "--from", "from_folder", type=click.Path(path_type=Path), help="Read this folder of NDJSON, not the server."
)
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
@click.option(
    "--least-count",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="Figures that rest on fewer women are not shown.",
)
@click.option(
    "--as-of",
    type=click.Choice(["occasion", "run"]),
    default="occasion",
    show_default=True,
    help="Exclude by what had begun by the magnesium result, or by all that is known today.",
)
@click.option("--now", type=Instant(), help="The pull's instant, for reproducible cohorts [the server's clock].")
@click.option("--only-tag", metavar="SYSTEM|CODE", help="Only patients and resources that carry this tag.")
@settings_options
def cohort(config_file: Path | None, profile: str | None, log_format: str, verbose: bool, **given: Any) -> None:
    """Pull a validation cohort: the women whom the job assesses, with their values and labels, without identifiers.

    Beside OUT come OUT.json (what the columns mean, who was left out and why) and OUT.comparison.csv: the women with a label
    beside those without, for who is sent to DXA is not chosen at random. Nothing is written to the source.

    By default a woman is judged by the exclusions of her result's day: judged by today's, those who were treated because of their
    DXA would be missing.
    """
    from screener.clinical.labels import LabelKind, LabelRule
    from screener.cohort.report import Request, make
    from screener.config.settings import load

    start_logging(log_format, verbose=verbose)
    settings = load(config_file, profile, {"server": {"only_tag": given["only_tag"]}} if given["only_tag"] else {})
    request = Request(
        out=given["out"],
        rule=LabelRule(LabelKind(given["kind"]), given["max_gap_days"]),
        as_of=given["as_of"],
        with_unlabelled=given["with_unlabelled"],
        least_count=given["least_count"],
        from_folder=given["from_folder"],
        now=given["now"],
    )
    with progress_bar(log_format) as progress:
        made = make(settings, request, progress)
    _show(made, log_format)


def _show(made: "Made", log_format: str) -> None:
    """The books and the comparison on standard output; one JSON line with --log-format json."""
    from screener.cohort.comparison import HEADER

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
        f"{counts['patients_seen']} patients, {counts['women_in_cohort']} women in the cohort: "
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
