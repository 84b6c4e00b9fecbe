"""`python -m fhir_fixtures.population`: a synthetic population as NDJSON files."""

import argparse
from datetime import UTC, date, datetime
from pathlib import Path

from fhir_fixtures.population import generate, write_ndjson


def main(arguments: list[str] | None = None) -> None:
    """Write the population that the command line asks for."""
    parser = _parser()
    given = parser.parse_args(arguments)
    resources = generate(given.patients, given.seed, given.today, dxa_share=given.dxa_share)
    try:
        written = write_ndjson(given.out, resources, given.lines_per_file, zipped=given.gzip)
    except OSError as error:
        parser.error(f"cannot write to {given.out}: {error.strerror or error}")
    print(f"{written} resources of {given.patients} synthetic patients are in {given.out}")  # noqa: T201 - command line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fhir_fixtures.population",
        description="Write a synthetic population as NDJSON, in the layout of a bulk export.",
        epilog="Example: python -m fhir_fixtures.population --patients 500 --seed 1 --today 2026-01-31 --out export",
    )
    parser.add_argument("--patients", type=_whole_number, default=500, help="how many (default 500)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same patients (default 1)")
    parser.add_argument(
        "--today", type=_day, default=datetime.now(UTC).date(), help="YYYY-MM-DD, results end here (default today)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; it must hold no NDJSON yet")
    parser.add_argument(
        "--lines-per-file", type=_whole_number, default=100_000, help="resources in one file (default 100000)"
    )
    parser.add_argument(
        "--dxa-share", type=_share, default=0.0, help="share of the women of 50 and older with a DXA (default 0)"
    )
    parser.add_argument("--gzip", action="store_true", help="write .ndjson.gz")
    return parser


def _whole_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share: give a number from 0 to 1")
    return share


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day: write it as 2026-01-31") from None


if __name__ == "__main__":
    main()
