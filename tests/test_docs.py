"""Every command of the README and of docs/ works: those in blocks are run in their order, those in the text are looked up."""

import re
import shlex
from collections.abc import Iterator
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

import click
import pytest
import requests

from fhir_fixtures.population import generate
from screener.clinical.records import Outcome
from screener.commands.cli import cli
from screener.config.servers import ServerSettings
from screener.fhir.client import Client
from screener.sandbox.app import SandboxServer
from screener.sandbox.seeding import seed
from screener.state import State
from tests import faults, reference
from tests.command import screener
from tests.fhir_samples import observation, patient
from tests.folders import private_file

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# `make demo` and `make test` are what CI runs; installing is what brought the tests here.
# The sandbox takes no definitions: tests/conformance loads them into HAPI.
# The sandbox of the tutorial is the server of the tests, whose patients would be taken away by it.
NOT_OURS = (
    *("git ", "make ", "python3 -m venv ", "export PATH=", "screener conformance --load"),
    *("screener sandbox serve", "screener sandbox seed"),
)
SERVER, TOKEN_FILE = "https://fhir.hospital.example/fhir", "/run/secrets/fhir-token"
SANDBOX = "http://127.0.0.1:8080/fhir"
TODAY = date(2026, 1, 31)


def commands(page: Path) -> list[str]:
    """The lines of its blocks that call something, without their comments."""
    found: list[str] = []
    for block in re.findall(r"^```\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        lines = (line.partition(" #")[0].strip() for line in block.splitlines())
        found += [line for line in lines if re.match(r"(?:[A-Z_]+=\S+ )*(?:screener|export|git|make|python3) ", line)]
    return found


SAY_WHAT_WRITING_NEEDS = ("README.md", "tutorial.md", "first-week.md")
WITH_COMMANDS = [page for page in PAGES if any("screener " in line for line in commands(page))]


@pytest.fixture(scope="module")
def hospital() -> Iterator[str]:
    """A server with a synthetic population, most of whom had a DXA, and the patient of the examples."""
    with SandboxServer() as server, Client(ServerSettings(base_url=server.base_url)) as client:
        seed(client, generate(1000, 5, TODAY, dxa_share=0.9), lambda _: None)
        for resource in (patient("4711"), observation("mg", "4711", "mg", "0.80", f"{TODAY}T08:00:00Z")):
            path = f"{server.base_url}/{resource['resourceType']}/{resource['id']}"
            requests.put(path, json=resource, timeout=30).raise_for_status()
        yield server.base_url


def last_run(state_url: str) -> str:
    """The id of the last run that wrote."""
    with State.open(state_url) as state:
        return state.runs(1)[0].start.run_id


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.name)
def test_the_commands_of_a_page_work_in_their_order(page: Path, hospital: str, tmp_path: Path) -> None:
    private_file(tmp_path / "token", "secret")
    environment = {
        "SCREENER_SERVER_BASE_URL": hospital,
        "SCREENER_STATE_URL": f"sqlite:///{tmp_path / 'state.sqlite'}",
        "SCREENER_FOLDER_COMPLETE": "true",
        "SCREENER_BULK_LONGEST_WAIT_SECONDS": "0.3",
    }
    if page.name not in SAY_WHAT_WRITING_NEEDS:
        environment |= {"SCREENER_WRITE": "on", "SCREENER_ACKNOWLEDGE_UNCALIBRATED": "true"}
    if page.name == "folders.md":
        screener("export", "--out", str(tmp_path / "export"), cwd=tmp_path, **environment)
    ran = 0
    for line in commands(page):
        if line.startswith(NOT_OURS):
            continue
        here = line.replace(SERVER, hospital).replace(SANDBOX, hospital).replace(TOKEN_FILE, str(tmp_path / "token"))
        if "RUN-ID" in here:
            here = here.replace("RUN-ID", last_run(environment["SCREENER_STATE_URL"]))
        words = shlex.split(here)
        given = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
        if words[0] == "export":
            environment |= given
            continue
        arguments = words[words.index("screener") + 1 :]
        if arguments == ["export", "--out", "export"]:  # done already, for the commands that read it
            arguments[-1] = "another"
        screener(*arguments, cwd=tmp_path, **{**environment, **given})
        ran += 1
    assert ran


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_text_names_exists(page: Path) -> None:
    """Commands and options between backticks, in text and in tables."""
    for said in re.findall(r"`screener ([a-z][^`]*)`", page.read_text(encoding="utf-8")):
        command: click.Command = cli
        words = said.split()
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            with click.Context(command) as context:
                found = command.get_command(context, words.pop(0))
            assert found is not None, said
            command = found
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= {*known, "--help", "--version"}, said


def test_the_page_of_faults_is_made_from_the_tests() -> None:
    assert (ROOT / "docs/faults.md").read_text(encoding="utf-8") == faults.page()
    assert len(faults.ROWS) + len(faults.EXPORT_ROWS) + len(faults.ELSEWHERE) >= 130


@pytest.mark.parametrize("page", reference.PAGES)
def test_the_reference_is_made_from_the_code(page: str) -> None:
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == reference.PAGES[page](), "python -m tests.reference"


def test_every_reason_of_the_cases_is_in_the_reference() -> None:
    for outcome, reason in reference.reasons_of_the_cases():
        told = reference.REASONS[outcome]
        assert any(fnmatchcase(reason, pattern) for pattern in told), (outcome, reason)
    assert set(reference.REASONS) == {outcome.value for outcome in Outcome}


def test_every_page_is_in_the_navigation_and_on_the_first_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    first = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f": {page.name}\n" in navigation
        assert page.name == "index.md" or f"({page.name})" in first


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/faults.md", "docs/hazards.md"])
def test_the_tests_that_a_page_names_exist(page: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / page).read_text(encoding="utf-8"))
    assert named
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")
