"""The rooms and what each may import, held by a test; and what may be imported at start."""

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter

import pytest

from tests.rooms import ARROWS, MODULES, ROOT, arrows, imports, picture

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


def test_arrows_between_rooms_are_those_of_the_table() -> None:
    """A new arrow is a line of the table, and one that is gone leaves it: python -m tests.rooms --arrows."""
    assert arrows() == ARROWS


def test_imports_between_rooms_go_one_way() -> None:
    """Nothing that a room imports may import it, at however many removes."""
    TopologicalSorter(ARROWS).prepare()


def test_one_module_calls_the_clinical_judge() -> None:
    """Every command goes by `run/deciding.py`, which obeys objections and suppressions; a Rules record is made by the site alone."""
    judges = {"screener.clinical.judge", "screener.clinical.as_of_occasion"}
    called = {"judge", "judge_as_of_occasion"}
    found = set()
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in judges and called & {a.name for a in node.names}:
                found.add(name)
    assert found == {"screener.run.deciding", "screener.clinical.as_of_occasion"}
    making = {name for name, path in MODULES.items() if re.search(r"(?<!\w)Rules\(", path.read_text(encoding="utf-8"))}
    assert making == {"screener.run.site", "screener.assessment.reconcile"}


def test_few_functions_see_all_settings() -> None:
    """The whole configuration is for `config`, and for what opens the site and its stores; below that each piece gets its section."""
    seeing = Counter(
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        if argument.annotation is not None and ast.unparse(argument.annotation).strip("'") == "Settings"
    )
    assert seeing.total() <= 25, seeing


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
        "import screener.commands.cli as c\n"
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
