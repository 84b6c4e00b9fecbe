"""`python -m tests.benchmarks`: every row of the table, each with its peers and its limit, in turns on the same data."""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from tests.benchmarks import data
from tests.benchmarks.measure import Command, Measured, in_turns

HERE = Path(__file__).parent
PEERS = "tests.benchmarks.peers"
Say = Callable[[str], None]


class Bench:
    """One call: where the data lie, how often everything is measured, and what was found."""

    def __init__(self, folder: Path, rounds: int, say: Say) -> None:
        self.folder, self.rounds, self.say = folder, rounds, say
        self.found: dict[str, dict[str, object]] = {}

    def measure(self, row: str, make: Callable[[Path], Sequence[Command]], **facts: object) -> list[Measured]:
        """One row of the table."""
        measured = in_turns(make, self.rounds, self.say)
        self.found[row] = {
            **facts,
            "measured": {
                one.name: {
                    "median_seconds": round(one.median_seconds, 3),
                    "seconds": [round(second, 3) for second in one.seconds],
                    "peak_mb": round(one.peak_mb),
                }
                for one in measured
            },
        }
        return measured

    def data(self, name: str, patients: int, others: int = 0) -> tuple[Path, int]:
        """An export to measure with, and how many Observations it holds."""
        folder = self.folder / name
        self.say(f"writing an export of {patients} women ({name})")
        lines, _ = data.export(folder, patients, others_per_result=others)
        return folder, lines


def screener(name: str, source: Path, scratch: Path, *more: str, workers: int | None = None) -> Command:
    """Our own run from folder to folder, the start of the program included."""
    environment = {
        **os.environ,
        "SCREENER_FOLDER_COMPLETE": "true",
        "SCREENER_FOLDER_ONE_EXPORT": "true",
        "SCREENER_FOLDER_TEMPORARY": str(scratch),
        "SCREENER_STATE_URL": f"sqlite:///{scratch / 'state.sqlite'}",
    }
    out = str(scratch / f"out-{name.replace(' ', '-')}")
    spread = ["--workers", str(workers)] if workers else []
    run = ["-m", "screener", "run", "--backfill", "--now", data.NOW, "--from", str(source), "--to", out]
    return Command(name, [*run, *spread, *more], environment)


def peer(name: str, module: str, source: Path, *more: str) -> Command:
    """Somebody else's way of doing it."""
    return Command(name, ["-m", f"{PEERS}.{module}", str(source), *more])


def offline(bench: Bench, patients: int) -> None:
    """Everything relevant, every woman scored."""
    source, lines = bench.data("relevant", patients)

    def commands(scratch: Path) -> list[Command]:
        return [
            screener("screener", source, scratch),
            screener("screener, one process", source, scratch, workers=1),
            screener("screener on Spark", source, scratch, "--engine", "spark"),
            peer("decoding only, one process", "decode", source),
            peer("DuckDB, the whole job", "duckdb_job", source, str(scratch / "duck")),
            peer("DuckDB, bare selection", "duckdb_job", source, "-", "select"),
            peer("Polars, bare selection", "polars_job", source),
            peer("PySpark, bare selection", "pyspark_job", source),
            peer("fhir.resources + pandas", "script", source, str(scratch / "script")),
        ]

    bench.measure("offline", commands, observations=lines, patients=patients)


def mix(bench: Bench, patients: int) -> None:
    """As real exports are: most Observations do not concern us."""
    for percent, others in ((5, 19), (1, 99)):
        source, lines = bench.data(f"mix-{percent}", max(patients * 5 // (others + 1), 50), others)

        def commands(scratch: Path, source: Path = source) -> list[Command]:
            return [
                screener("screener", source, scratch),
                screener("screener, one process", source, scratch, workers=1),
                peer("decoding only, one process", "decode", source),
                peer("DuckDB, the whole job", "duckdb_job", source, str(scratch / "duck")),
            ]

        bench.measure(f"mix, {percent} % relevant", commands, observations=lines)


def growth(bench: Bench, largest: int) -> None:
    """The same job from ten thousand patients on."""
    rounds, bench.rounds = bench.rounds, 1
    patients = 10_000
    while patients <= largest:
        source, lines = bench.data(f"growth-{patients}", patients)
        bench.measure(
            f"growth, {patients} patients",
            lambda scratch, source=source: [screener("screener", source, scratch)],
            observations=lines,
            patients=patients,
        )
        for file in source.iterdir():
            file.unlink()
        patients *= 10
    bench.rounds = rounds


def online(bench: Bench, name: str, patients: int) -> None:
    """A night, and writing back, beside bare loops of the same requests."""
    from tests.benchmarks.online import measure  # noqa: PLC0415 - requests, and a server

    for row, found in measure(name, patients, bench.rounds, bench.say).items():
        bench.found[row] = {
            **found["facts"],
            "measured": {
                way: {
                    "median_seconds": round(statistics.median(times), 3),
                    "seconds": [round(second, 3) for second in times],
                    "peak_mb": round(found.get("peak_mb", {}).get(way, 0)),
                }
                for way, times in found["seconds"].items()
            },
        }


def model(bench: Bench) -> None:
    """Risk, interval and points of two million women."""
    names = ("screener", "scikit-learn", "matrix product")
    bench.measure("model", lambda _: [Command(name, ["-m", f"{PEERS}.model", name]) for name in names], women=2_000_000)


def start_up(bench: Bench) -> None:
    """How long one waits for help, and for the smallest run."""
    source, _ = bench.data("smallest", 24)
    packages = "import sqlalchemy, pydantic, requests, stamina, numpy, structlog, msgspec, click"
    bench.measure(
        "start of a run, 24 women",
        lambda scratch: [
            screener("screener", source, scratch),
            screener("screener, two processes allowed", source, scratch, workers=2),
            Command("importing its packages, no more", ["-c", packages]),
        ],
    )
    bench.measure(
        "start-up",
        lambda _: [
            Command("screener --help", ["-m", "screener", "--help"]),
            Command("screener run --help", ["-m", "screener", "run", "--help"]),
            Command("python -c pass", ["-c", "pass"]),
        ],
    )


@click.command()
@click.option("--rounds", default=5, show_default=True, help="How often each is measured, in turns.")
@click.option("--patients", default=20_000, show_default=True, help="Women in the export that is all relevant.")
@click.option("--largest", default=1_000_000, show_default=True, help="Patients at the end of the growth row.")
@click.option("--hapi-patients", default=5000, show_default=True, help="Patients on the real HAPI FHIR.")
@click.option("--only", multiple=True, help="Only these rows: offline, mix, growth, online, hapi, model, start-up.")
@click.option(
    "--data", "folder", type=click.Path(path_type=Path), help="Where the exports are written [a temporary folder]."
)
def main(
    rounds: int, patients: int, largest: int, hapi_patients: int, only: tuple[str, ...], folder: Path | None
) -> None:
    """Measure, and write results.json and the table of README.md beside this program."""
    rows: dict[str, Callable[[Bench], None]] = {
        "offline": lambda bench: offline(bench, patients),
        "mix": lambda bench: mix(bench, patients),
        "growth": lambda bench: growth(bench, largest),
        "online": lambda bench: online(bench, "sandbox", 5000),
        "hapi": lambda bench: online(bench, "HAPI FHIR on PostgreSQL", hapi_patients),
        "model": model,
        "start-up": start_up,
    }
    file = HERE / "results.json"
    results = json.loads(file.read_text()) if file.exists() else {"rows": {}}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        bench = Bench(Path(scratch), rounds, lambda text: click.echo(text, err=True))
        for name, row in rows.items():
            if not only or name in only:
                row(bench)
                results["rows"].update(bench.found)
                results["machine"] = machine()
                file.write_text(json.dumps(results, indent=1) + "\n")
    from tests.benchmarks.table import write  # noqa: PLC0415

    write(results, HERE)


def machine() -> dict[str, object]:
    """What it was measured on, as far as it matters to ratios."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": platform.system(),
        "measured": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    main()
