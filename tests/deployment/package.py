"""Builds the package, and installs the built file in fresh environments: without extras, from the sdist, and with each extra.

python -m tests.deployment.package [--extra NAME] [--python PYTHON]      needs the package index; writes dist/
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"
_NOW = "2026-01-31T00:00:00Z"


class Installed:
    """The package in an environment of its own, called from a folder that knows nothing of the sources."""

    def __init__(self, file: Path, extra: str, python: str, folder: Path) -> None:
        environment = folder / "environment"
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--python", python, environment], check=True)
        self._bin, self.folder = environment / "bin", folder
        what = f"osteoporosis-screener[{extra}] @ {file.as_uri()}" if extra else str(file)
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", self._bin / "python", what], check=True)

    def screener(self, *arguments: str, expect: Any = 0, **environment: str) -> str:
        """What a command says on both streams."""
        return self._called([self._bin / "screener", *arguments], expect, environment)

    def python(self, *arguments: str) -> str:
        """What Python says."""
        return self._called([self._bin / "python", *arguments], 0, {})

    def _called(self, command: Sequence[str | Path], expect: int, environment: dict[str, str]) -> str:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "JAVA_HOME") if name in os.environ}
        ended = subprocess.run(
            command, cwd=self.folder, env=inherited | environment, capture_output=True, text=True, check=False
        )
        said = ended.stdout + ended.stderr
        assert ended.returncode == expect, f"{command[1:]} ended with {ended.returncode}: {said}"
        return said

    def run(self, to: str, *arguments: str) -> str:
        """A backfill from a folder of 100 synthetic patients to another folder."""
        if not (self.folder / "export").exists():
            population = ("--patients", "100", "--today", "2026-01-31", "--out", "export")
            self.python("-m", "fhir_fixtures.population", *population)
        call = ("run", "--backfill", "--from", "export", "--to", to, "--now", _NOW)
        return self.screener(*call, *arguments, SCREENER_FOLDER_COMPLETE="true")


def works_without_extras(installed: Installed) -> None:
    """The job from folder to folder, the model, and which extra a command lacks."""
    (installed.folder / "model.py").write_text("raise RuntimeError('the wrong model')\n")
    assert "screener, version" in installed.screener("--version")
    installed.run("out")
    assert (installed.folder / "out" / "RiskAssessment.ndjson").stat().st_size
    installed.screener("model", "evidence")
    assert "osteoporosis-screener[sandbox]" in installed.screener("sandbox", "demo", expect=2)
    assert "osteoporosis-screener[serve]" in installed.screener("serve", expect=2)
    assert "osteoporosis-screener[report]" in installed.screener("model", "reproduce", "--out", "r", expect=2)


def works_with_fast(installed: Installed) -> None:
    """The same bytes as without, skipping lines by Hyperscan."""
    installed.python("-c", "import hyperscan")
    installed.run("out")


def works_with_report(installed: Installed) -> None:
    """Figures and Parquet."""
    installed.run("out", "--show-patients", "--export", "list.parquet")
    installed.screener("model", "reproduce", "--out", "reproduction", "--resamples", "10")
    assert list((installed.folder / "reproduction").glob("*.html"))


def works_with_postgresql(installed: Installed) -> None:
    """The driver is there: what is missing is the server."""
    nowhere = "postgresql+psycopg://127.0.0.1:1/screener"
    said = installed.screener("runs", "list", expect=2, SCREENER_STATE_URL=nowhere)
    assert "not installed" not in said, said


def works_with_spark(installed: Installed) -> None:
    """The engine's modules load; the cluster is for the tests."""
    installed.python("-c", "import pyspark, pyarrow, screener.run.spark_engine")


def works_with_sandbox(installed: Installed) -> None:
    """The main job on the embedded server."""
    installed.screener("sandbox", "demo", "--patients", "50")


def works_with_serve(installed: Installed) -> None:
    """The CDS Hooks service is put together."""
    installed.python("-c", "import screener.visit.app, uvicorn")


EXTRAS: dict[str, Callable[[Installed], None]] = {
    "": works_without_extras,
    "fast": works_with_fast,
    "postgresql": works_with_postgresql,
    "report": works_with_report,
    "sandbox": works_with_sandbox,
    "serve": works_with_serve,
    "spark": works_with_spark,
}


def build(dist: Path) -> tuple[Path, Path]:
    """The wheel and the sdist, built from the sources by the locked backend."""
    for old in dist.glob("osteoporosis_screener-*"):
        old.unlink()
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", dist], cwd=ROOT, check=True, capture_output=True, text=True
    )
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    return wheel, sdist


def main() -> None:
    """Build, install, try."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extra", choices=[name for name in EXTRAS if name], help="only this one [all]")
    parser.add_argument("--python", default=sys.executable, help="of the environments [this one]")
    given = parser.parse_args()
    wheel, sdist = build(DIST)
    tries = [(wheel, given.extra)] if given.extra else [(sdist, ""), *((wheel, extra) for extra in EXTRAS)]
    for file, extra in tries:
        with tempfile.TemporaryDirectory() as folder:
            EXTRAS[extra](Installed(file, extra, given.python, Path(folder)))
        print(f"works: {file.name}{f'[{extra}]' if extra else ''}")


if __name__ == "__main__":
    main()
