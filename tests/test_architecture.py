"""The rooms and what each may import, held by a test; and what may be imported at start."""

import ast
import json
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.rooms import ROOMS, picture

ROOT = Path(__file__).parents[1]

# The rules must not see the network, the clock, files or the settings.
PURE = ("screener.clinical", "screener.assessment")
IMPURE = (
    "requests",
    "sqlalchemy",
    "time",
    "os",
    "pathlib",
    "socket",
    "screener.config",
    "screener.fhir",
    "screener.run",
)


def modules() -> list[tuple[str, Path]]:
    found = []
    for package in ("model", "screener", "fhir_fixtures"):
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def room_of(module: str) -> str:
    """The first two names of a module; of fhir_fixtures, which is one room, the first."""
    parts = module.split(".")
    return parts[0] if parts[0] == "fhir_fixtures" else ".".join(parts[:2])


MODULES = dict(modules())


def imports(path: Path) -> set[str]:
    """The modules that a file names, at its top or inside a function; of a name in a module the module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return found


def arrows() -> set[tuple[str, str]]:
    """Which room imports which, as the code has it."""
    found = set()
    for module, path in MODULES.items():
        ours = {other for other in imports(path) if other.split(".")[0] in ("model", "screener", "fhir_fixtures")}
        found |= {(room_of(module), room_of(other)) for other in ours}
    return {(one, other) for one, other in found if one != other}


def test_every_room_imports_only_what_is_named_for_it() -> None:
    allowed = {(room, other) for room, others in ROOMS.items() for other in others}
    assert sorted(arrows() - allowed) == []
    assert {room_of(module) for module in MODULES} == ROOMS.keys()


def test_imports_between_rooms_go_one_way() -> None:
    """Nothing that a room may import may import it, at however many removes."""
    TopologicalSorter({room: set(others) - {room} for room, others in ROOMS.items()}).prepare()


def test_the_picture_in_the_documentation_is_today_s() -> None:
    drawn = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    assert drawn == picture(), "python -m tests.rooms > docs/architecture.svg"


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith(PURE)])
def test_the_rules_are_pure(module: str) -> None:
    assert {other for other in imports(MODULES[module]) if other.startswith(IMPURE)} == set()


def test_help_answers_at_once() -> None:
    """By what it loads, which is the same on every machine: no package but click, and less than 250 modules (228 in November 2026)."""
    code = (
        "import contextlib, io, sys\n"
        "before = set(sys.modules)\n"
        "import screener.cli as c\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    for args in ([], ['run'], ['schedule'], ['sandbox', 'seed'], ['model', 'fit'], ['serve'], ['doctor']):\n"
        "        try: c.cli.main([*args, '--help'])\n"
        "        except SystemExit: pass\n"
        "loaded = set(sys.modules) - before\n"
        "print(len(loaded), *sorted({name.partition('.')[0] for name in loaded} - sys.stdlib_module_names))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    count, *packages = ended.stdout.split()
    assert packages == ["click", "screener"]
    assert int(count) < 250


def test_nothing_read_can_become_code() -> None:
    """No module that makes objects or code of what it reads, and no call that does."""
    makers = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}
    found = [name for name, path in MODULES.items() if makers & imports(path)]
    for name, path in MODULES.items():
        calls = (
            node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
        )
        called = {called.id for called in calls if isinstance(called, ast.Name)}
        found += [name] if called & {"eval", "exec", "compile", "__import__"} else []
    assert found == []


def test_the_bill_of_materials_names_what_an_installation_runs() -> None:
    """Each package with the hashes of the lock, and none that is for developing only."""
    locked = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    subprocess.run(["make", "-s", "-o", "setup", "sbom"], cwd=ROOT, check=True, capture_output=True, timeout=120)
    bill = json.loads((ROOT / "build/sbom.cdx.json").read_text(encoding="utf-8"))
    named = {part["name"]: part for part in bill["components"]}
    assert {"requests", "msgspec", "joserfc", "scikit-learn", "fhir-resources"} <= named.keys()
    assert named.keys().isdisjoint({"pytest", "flask", "authlib", "pyspark"})
    for name, part in named.items():
        assert (name, part["version"]) in locked
        hashes = [entry["hashes"] for entry in part["externalReferences"] if entry["type"] == "distribution"]
        assert hashes
