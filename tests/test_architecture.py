"""The rooms and the one-way doors between them, held by a test; and what may be imported at start."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Lower rooms know nothing of higher ones. A module belongs to the longest name that fits.
LEVELS = {
    "model": 1,
    "model.errors": 0,
    "model.predictors": 0,
    "model.evidence": 0,
    "model.evidence.checks": 2,
    "model.stats": 1,
    "model.reconstruction": 2,
    "model.local": 3,
    "model.report": 3,
    "model.card": 3,
    "model.__main__": 4,
    "screener": 0,
    "screener.errors": 0,
    "screener.stores.patient_order": 0,
    "screener.atomic": 0,
    "screener.clinical": 1,
    "screener.assessment": 1,
    "fhir_fixtures": 1,
    "screener.config.settings": 1,
    "screener.fhir": 2,
    "screener.stores": 2,
    "screener.state": 2,
    "screener.report": 2,
    "screener.sandbox": 2,
    "screener.config.tables": 2,
    "screener.stores.patient_lists": 2,
    "screener.run.pipeline": 3,
    "screener.cohort": 3,
    "screener.bulk": 2,
    "screener.folder": 2,
    "screener.coverage": 3,
    "screener.explain": 3,
    "screener.sandbox.seeding": 3,
    "screener.terminology": 3,
    "screener.conformance": 3,
    "screener.run.setup": 3,
    "screener.run.shards": 3,
    "screener.spark": 3,
    "screener.run.runner": 3,
    "screener.run.schedule": 3,
    "screener.run.preflight": 3,
    "screener.commands": 4,
    "screener.cli": 4,
    "screener.__main__": 4,
}

# The rules must not see the network, the clock, files or the settings.
PURE = ("screener.clinical", "screener.assessment")
IMPURE = ("requests", "sqlalchemy", "time", "os", "pathlib", "socket", "screener.config.settings")


def modules() -> list[tuple[str, Path]]:
    found = []
    for package in ("model", "screener", "fhir_fixtures"):
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return names


def level(name: str) -> int | None:
    fitting = [room for room in LEVELS if name == room or name.startswith(f"{room}.")]
    return LEVELS[max(fitting, key=len)] if fitting else None


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_no_import_goes_up(name: str, path: Path) -> None:
    own = level(name)
    assert own is not None, f"{name} belongs to no room: name its level"
    upward = {other for other in imports(path) if (level(other) or 0) > own}
    assert not upward
    if name.startswith("model"):
        assert not {other for other in imports(path) if other.startswith("screener")}


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_the_rules_are_pure(name: str, path: Path) -> None:
    if name.startswith(PURE):
        assert not {other for other in imports(path) if other.startswith(IMPURE)}


def test_help_and_the_package_load_nothing_heavy() -> None:
    code = (
        "import sys, screener.cli as c\n"
        "for args in (['--help'], ['run', '--help'], ['schedule', '--help'], ['sandbox', 'seed', '--help']):\n"
        "    try: c.cli.main(args)\n"
        "    except SystemExit: pass\n"
        "heavy = {'pandas', 'fhir', 'pydantic', 'sqlalchemy', 'requests', 'numpy', 'sklearn', 'starlette', 'rich'}\n"
        "loaded = sorted(heavy & set(sys.modules))\n"
        "assert not loaded, loaded\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
