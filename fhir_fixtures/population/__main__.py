"""`python -m fhir_fixtures.population`: a synthetic population as NDJSON files."""

import argparse
from datetime import UTC, date, datetime
from pathlib import Path

from fhir_fixtures.population import generate, write_ndjson


def main() -> None:
    """Write the population that the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m fhir_fixtures.population",
        description="Write a synthetic population as NDJSON, in the layout of a bulk export.",
        epilog="Example: python -m fhir_fixtures.population --patients 500 --out export",
    )
    parser.add_argument("--patients", type=int, default=500, help="how many (default 500)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same patients (default 1)")
    parser.add_argument("--today", type=date.fromisoformat, default=datetime.now(UTC).date(), help="results end here")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--gzip", action="store_true", help="write .ndjson.gz")
    given = parser.parse_args()
    written = write_ndjson(given.out, generate(given.patients, given.seed, given.today), zipped=given.gzip)
    print(f"{written} resources of {given.patients} synthetic patients are in {given.out}")  # noqa: T201 - command line


if __name__ == "__main__":
    main()
