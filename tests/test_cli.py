"""The command line: help that answers at once, and one clear message for each thing that can be wrong."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from fhir_fixtures.population import generate, write_ndjson
from screener.base.errors import as_screener_error
from screener.sandbox.app import SandboxServer
from tests import command
from tests.command import Ended, arguments_of, clean_environment
from tests.fhir_samples import observation, patient
from tests.folders import export
from tests.scripted import Reply, Request, Script, bundle, scripted

CANARY = "CANARY-4711"


def screener(tmp_path: Path, *arguments: str, **environment: str) -> Ended:
    state = {"SCREENER_STATE_URL": f"sqlite:///{tmp_path / 'state.sqlite'}", "SCREENER_SERVER_ATTEMPTS": "1"}
    return command.screener(*arguments, cwd=tmp_path, expect=None, **{**state, **environment})


@pytest.mark.parametrize(
    "words",
    [
        "",
        "run",
        "schedule",
        "coverage",
        "explain",
        "export",
        "runs",
        "runs list",
        "runs show",
        "runs diff",
        "retract",
        "suppressions",
        "suppressions list",
        "suppressions lift",
        "purge",
        "keys",
        "keys new",
        "keys public",
        "keys rotate",
        "codes expand",
        "conformance",
        "model",
        *(f"model {name}" for name in ("evidence", "build", "readings", "reproduce", "card", "cohort", "validate")),
        "model recalibrate",
        "model fit",
        "config",
        "config show",
        "config check",
        "sandbox",
        "sandbox serve",
        "sandbox seed",
        "sandbox clean",
        "sandbox demo",
    ],
)
def test_every_help_teaches_with_an_example(words: str, tmp_path: Path) -> None:
    ended = screener(tmp_path, *words.split(), "--help")
    assert ended.exit_code == 0
    assert "screener" in ended.stdout.partition("Usage:")[2].partition("\n")[2], "no example"


def test_config_show_and_check(tmp_path: Path) -> None:
    shown = screener(tmp_path, "config", "show", SCREENER_SERVER_TOKEN=CANARY)
    assert json.loads(shown.stdout)["server"]["token"] == "(set)"
    assert CANARY not in shown.stdout
    here = {"SCREENER_SERVER_BASE_URL": "https://fhir.example/fhir"}
    assert screener(tmp_path, "config", "check", **here).stdout == "The configuration is in order.\n"
    wrong = screener(
        tmp_path,
        "config",
        "check",
        SCREENER_MODEL="missing.json",
        SCREENER_SCHEDULE_TIMEZONE="Mars",
    )
    assert wrong.exit_code == 2
    assert all(key in wrong.stderr for key in ("model", "schedule")), wrong.stderr
    unspoken = screener(tmp_path, "run", "--backfill", SCREENER_OUTPUT_LANGUAGE="xx", SCREENER_MODEL=CANARY)
    assert unspoken.exit_code == 2
    assert "output.language" in unspoken.stderr
    assert "choose one of: de, en" in unspoken.stderr


METADATA = {
    "resourceType": "CapabilityStatement",
    "fhirVersion": "4.0.1",
    "rest": [
        {
            "mode": "server",
            "interaction": [{"code": "batch"}],
            "resource": [
                {"type": kind, "interaction": [{"code": c} for c in ("search-type", "create", "update")]}
                for kind in (
                    "Patient",
                    "Observation",
                    "Condition",
                    "MedicationRequest",
                    "MedicationStatement",
                    "MedicationAdministration",
                    "Procedure",
                    "RiskAssessment",
                )
            ],
        }
    ],
}


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (Reply(401, {"issue": [{"code": "login", "diagnostics": CANARY}]}), 4, "does not know us (401)"),
        (Reply(403, {"issue": [{"code": "forbidden", "diagnostics": CANARY}]}), 4, "does not allow this (403)"),
        (Reply(404), 4, "Check that server.base_url is the FHIR base"),
        (Reply(body=f"<html>{CANARY}</html>".encode()), 4, "HTML"),
        (Reply(body={"resourceType": "Patient"}), 4, "no CapabilityStatement"),
        (Reply(body={"resourceType": "CapabilityStatement", "fhirVersion": "5.0.0"}), 4, "needs FHIR R4"),
        (
            Reply(body={"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"}),
            4,
            "does not offer: search of Condition",
        ),
        (Reply(503), 4, "kept answering 503"),
    ],
    ids=["401", "403", "wrong path", "html", "no statement", "R5", "lacks types", "503"],
)
def test_a_server_that_cannot_be_used(reply: Reply, code: int, words: str, tmp_path: Path) -> None:
    with scripted(lambda _: reply) as server:
        ended = screener(tmp_path, "run", "--backfill", SCREENER_SERVER_BASE_URL=server.base_url)
    assert (ended.exit_code, words in ended.stderr) == (code, True), ended.stderr
    assert "Traceback" not in ended.stderr
    assert CANARY not in ended.stdout + ended.stderr


def peak_bytes(tmp_path: Path, base_url: str, said: str) -> int:
    """The peak memory of a run that a server's answer stops."""
    settings = {
        "SCREENER_SERVER_BASE_URL": base_url,
        "SCREENER_SERVER_ATTEMPTS": "1",
        "SCREENER_SERVER_ANSWER_MEGABYTES": "32",
    }
    started = subprocess.Popen(
        command.arguments_of("run", "--backfill"),
        env={**clean_environment(), **settings, "SCREENER_STATE_URL": f"sqlite:///{tmp_path / 'state.sqlite'}"},
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert started.stderr is not None
    told = started.stderr.read()
    _, status, used = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    started.stderr.close()
    assert (started.returncode, said in told) == (4, True), told
    return used.ru_maxrss << 10


def test_an_answer_beyond_the_limit_costs_no_more_memory_than_the_limit(tmp_path: Path) -> None:
    endless = b'{"resourceType": "Bundle", "x": "' + b"x" * (256 << 20)

    def script(request: Request) -> Reply:
        return Reply(body=METADATA) if "metadata" in request.path else Reply(body=endless)

    with scripted(lambda _: Reply(404)) as server:
        usual = peak_bytes(tmp_path, server.base_url, "404")
    with scripted(script) as server:
        assert peak_bytes(tmp_path, server.base_url, "answered more than 32 MB") - usual < 64e6


def test_an_unreachable_server(tmp_path: Path) -> None:
    ended = screener(tmp_path, "run", "--backfill", SCREENER_SERVER_BASE_URL="http://127.0.0.1:9/fhir")
    assert (ended.exit_code, "Cannot reach 127.0.0.1:9" in ended.stderr) == (4, True), ended.stderr


def answering(result: dict[str, object], person: dict[str, object]) -> Script:
    """A server that answers every search with the same two resources, whatever was asked."""

    def script(request: Request) -> Reply:
        if "metadata" in request.path:
            return Reply(body=METADATA)
        kind = request.path.removeprefix("/fhir/").partition("/")[0].partition("?")[0]
        found = {"Observation": [result], "Patient": [person]}.get(kind, [])
        return Reply(body=bundle(*found))

    return script


def test_a_server_that_ignores_a_parameter_in_silence_is_noticed(tmp_path: Path) -> None:
    result = observation("o1", CANARY, "mg", "0.8", "2026-01-01T08:00:00Z")
    with scripted(answering(result, patient(f"other-{CANARY}"))) as server:
        ended = screener(tmp_path, "run", "--backfill", SCREENER_SERVER_BASE_URL=server.base_url)
    assert (ended.exit_code, "ignores the search parameter _id" in ended.stderr) == (4, True), ended.stderr
    assert CANARY not in ended.stdout + ended.stderr


def forbidding_conditions(request: Request) -> Reply:
    """A server with one woman and her magnesium, on which Conditions may not be read."""
    if "metadata" in request.path:
        return Reply(body=METADATA)
    kind = request.path.removeprefix("/fhir/").partition("/")[0].partition("?")[0]
    if kind == "Condition":
        return Reply(403, {"issue": [{"code": "forbidden"}]})
    found = {
        "Patient": [patient("p1")],
        "Observation": [observation("o1", "p1", "mg", "0.84", "2026-01-01T08:00:00Z")],
    }.get(kind, [])
    return Reply(body=bundle(*found))


@pytest.mark.parametrize(("need", "code"), [("required", 4), ("optional", 0), ("off", 0)])
def test_an_excluding_type_that_may_not_be_read(need: str, code: int, tmp_path: Path) -> None:
    with scripted(forbidding_conditions) as server:
        ended = screener(
            tmp_path,
            "run",
            "--backfill",
            "--now",
            "2026-01-31T02:00:00Z",
            "--log-format",
            "json",
            SCREENER_SERVER_BASE_URL=server.base_url,
            SCREENER_EXCLUSIONS_CONDITION=need,
        )
    assert ended.exit_code == code, ended.stderr
    if code:
        assert "exclusions.condition is required" in ended.stderr
    else:
        summary = json.loads(ended.stdout)
        assert summary["exclusions_not_checked"].keys() == {"Condition"}
        assert summary["writes"]["created"] == 1
        asked_for_conditions = [request for request in server.asked if "Condition" in request.path]
        assert bool(asked_for_conditions) == (need == "optional")


@pytest.mark.parametrize(("status", "code"), [(403, 0), (404, 0), (401, 4), (500, 4)])
def test_a_type_that_is_read_if_offered(status: int, code: int, tmp_path: Path) -> None:
    """A refusal of the type means that it is not offered; an expired token or a broken server means nothing of the kind."""
    offered = [
        *METADATA["rest"][0]["resource"],
        {"type": "MedicationDispense", "interaction": [{"code": "search-type"}]},
    ]
    statement = {**METADATA, "rest": [{**METADATA["rest"][0], "resource": offered}]}  # type: ignore[dict-item]

    def answer(request: Request) -> Reply:
        if "metadata" in request.path:
            return Reply(body=statement)
        if "MedicationDispense" in request.path:
            return Reply(status, {"issue": [{"code": "forbidden"}]})
        return forbidding_conditions(request) if "/Condition" not in request.path else Reply(body=bundle())

    with scripted(answer) as server:
        ended = screener(
            tmp_path,
            *("run", "--backfill", "--now", "2026-01-31T02:00:00Z", "--log-format", "json"),
            SCREENER_SERVER_BASE_URL=server.base_url,
        )
    assert ended.exit_code == code, ended.stderr
    assert any("MedicationDispense" in request.path for request in server.asked)
    if not code:
        assert json.loads(ended.stdout)["exclusions_not_checked"] == {}


def test_writing_the_published_model_needs_an_acknowledgement(tmp_path: Path) -> None:
    with scripted(lambda _: Reply(body=METADATA)) as server:
        ended = screener(tmp_path, "run", "--backfill", SCREENER_SERVER_BASE_URL=server.base_url, SCREENER_WRITE="on")
    assert (ended.exit_code, "acknowledge_uncalibrated" in ended.stderr) == (2, True), ended.stderr


def test_a_model_with_a_wrong_checksum(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[1] / "model" / "artefacts" / "shi2026-mg-category.json"
    (tmp_path / "m.json").write_text(shipped.read_text().replace('"value": 0.3', '"value": 0.4', 1))
    ended = screener(tmp_path, "run", "--backfill", "--from", "x", "--to", "y", SCREENER_MODEL="m.json")
    assert (ended.exit_code, "m.json does not match its checksum" in ended.stderr) == (2, True), ended.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--since", "yesterday"], "is no ISO 8601 instant"),
        (["run", "--now", "2026-01-31T02:00:00"], "has no time zone"),
        (["run", "--patient", "Patient/1"], "logical id of a Patient"),
        (["run", "--backfill", "--patient", "1"], "--backfill means everyone"),
        (["run", "--backfill", "--summary", "nowhere/s.json"], "folder for s.json does not exist"),
        (["run", "--backfill"], "No FHIR server is named"),
        (["run", "--only-tag", "x", "--backfill"], "server.only_tag"),
        (["rnu"], "No such command"),
    ],
)
def test_usage_errors(arguments: list[str], words: str, tmp_path: Path) -> None:
    ended = screener(tmp_path, *arguments)
    assert (ended.exit_code, words in ended.stderr) == (2, True), ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("minutes", "words"), [(45, "45 minutes ahead of"), (-60 * 24 * 365, "minutes behind"), (5, "")]
)
def test_a_server_whose_clock_is_off_stops_the_run(minutes: int, words: str, tmp_path: Path) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes, seconds=20), usegmt=True)
    with scripted(
        lambda request: Reply(body=METADATA if "metadata" in request.path else bundle(), headers={"Date": date})
    ) as server:
        address = {"SCREENER_SERVER_BASE_URL": server.base_url}
        ended = screener(tmp_path, "run", "--backfill", "--dry-run", **address)
        assert (ended.exit_code, words in ended.stderr) == (4 if words else 0, True), ended.stderr
        if words:
            assert len(server.asked) == 1
            allowed = {"SCREENER_SERVER_CLOCK_TOLERANCE_MINUTES": "60"}
            assert screener(tmp_path, "run", "--backfill", "--dry-run", **address, **allowed).exit_code == (
                0 if minutes == 45 else 4
            )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--log-format", "json"], "No FHIR server is named"),
        (["run", "--log-format=json", "--nope"], "No such option"),
        (["model", "validate", "missing.csv", "--log-format", "json"], ""),
    ],
)
def test_errors_are_json_where_the_log_is(arguments: list[str], words: str, tmp_path: Path) -> None:
    ended = screener(tmp_path, *arguments)
    assert ended.exit_code == 2
    said = json.loads(ended.stderr)
    assert (said["level"], said["exit_code"]) == ("error", 2)
    assert words in said["error"]


@pytest.mark.parametrize("named", [["--summary", "s.json"], ["--summary=s.json"]])
def test_options_that_cannot_be_read_have_a_summary(named: list[str], tmp_path: Path) -> None:
    ended = screener(tmp_path, "run", "--limit", "none", *named, "--log-format", "json")
    printed, written = json.loads(ended.stdout), json.loads((tmp_path / "s.json").read_text())
    assert printed == written
    assert (written["exit_code"], written["next_action"], written["wrote"]) == (2, "fix_configuration", False)
    assert "--limit" in written["error"]
    assert screener(tmp_path, "runs", "list", "--limit", "none", "--log-format", "json").stdout == ""


def test_an_error_breaks_between_words(tmp_path: Path) -> None:
    narrow = {"TERM": "xterm", "COLUMNS": "40", "NO_COLOR": "1"}
    ended = subprocess.run(
        ["script", "-qec", f"{sys.executable} -m screener run", "/dev/null"],
        env={**command.clean_environment(), **narrow},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = ended.stdout.splitlines()
    assert lines[0] == "Error: No FHIR server is named. Set"
    assert " ".join(" ".join(lines).split()).endswith("https://fhir.hospital.example/fhir")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_a_shell(shell: str, tmp_path: Path) -> None:
    assert "_SCREENER_COMPLETE" in screener(tmp_path, "completion", shell).stdout


def test_completion_knows_commands_and_options(tmp_path: Path) -> None:
    asked = {"_SCREENER_COMPLETE": "bash_complete", "COMP_WORDS": "screener ru", "COMP_CWORD": "1"}
    found = command.screener_process(cwd=tmp_path, expect=None, **asked).stdout.split()
    assert {"plain,run", "plain,runs"} <= set(found)


def test_no_colour_where_none_is_wanted(tmp_path: Path) -> None:
    """On a terminal: `script` gives the command one."""
    call = f"{sys.executable} -m screener run"
    for wanted, environment in ((True, {}), (False, {"NO_COLOR": "1"})):
        ended = subprocess.run(
            ["script", "-qec", call, "/dev/null"],
            env={**command.clean_environment(), "TERM": "xterm-256color", **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert "No FHIR server is named" in ended.stdout
        assert ("\x1b[31m" in ended.stdout) is wanted


def test_quiet_says_only_what_went_wrong(tmp_path: Path) -> None:
    write_ndjson(tmp_path / "export", generate(30, 3, date(2026, 1, 31)))
    call = ["run", "--backfill", "--from", "export", "--to", "out", "--now", "2026-01-31T02:00:00Z"]
    complete = {"SCREENER_FOLDER_COMPLETE": "true"}
    said = screener(tmp_path, *call, "--quiet", **complete)
    assert (said.exit_code, said.stdout, said.stderr) == (0, "", "")
    assert "No FHIR server" in screener(tmp_path, "run", "-q").stderr
    assert "exclude each other" in screener(tmp_path, "run", "-q", "-v").stderr


def test_rare_reasons_are_one_row_unless_asked_for(tmp_path: Path) -> None:
    write_ndjson(tmp_path / "export", generate(400, 3, date(2026, 1, 31)))
    call = ["run", "--backfill", "--from", "export", "--to", "out", "--now", "2026-01-31T02:00:00Z"]
    folded, whole = (
        screener(tmp_path, *call, *more, SCREENER_FOLDER_COMPLETE="true").stdout for more in ([], ["--dry-run", "-v"])
    )
    assert "rarer reasons (-v lists them)" in folded
    assert "rarer reasons" not in whole
    assert len(whole.splitlines()) > len(folded.splitlines())
    assert max(map(len, (folded + whole).splitlines())) <= 80
    sums = [sum(int(number) for number in re.findall(r"(\d+) │$", text, re.MULTILINE)) for text in (folded, whole)]
    assert sums[0] == sums[1]


def test_a_nightly_run_and_a_dry_one_make_no_state(tmp_path: Path) -> None:
    """A typing error in state.url would else leave an empty state, and say only that there was no full run."""
    write_ndjson(tmp_path / "export", generate(5, 3, date(2026, 1, 31)))
    typo = {"SCREENER_STATE_URL": f"sqlite:///{tmp_path}/stat.sqlite", "SCREENER_FOLDER_COMPLETE": "true"}
    call = ["run", "--backfill", "--from", "export", "--to", "out"]
    assert screener(tmp_path, *call, "--dry-run", **typo).exit_code == 0
    with SandboxServer() as server:
        there = {**typo, "SCREENER_SERVER_BASE_URL": server.base_url, "SCREENER_ACKNOWLEDGE_UNCALIBRATED": "true"}
        dry, night = (screener(tmp_path, "run", **there, SCREENER_WRITE=write) for write in ("off", "on"))
    assert (dry.exit_code, night.exit_code) == (2, 2)
    assert f"no full run yet, as far as the state at {tmp_path}/stat.sqlite knows" in dry.stderr
    assert f"There is no state at {tmp_path}/stat.sqlite" in night.stderr
    assert not list(tmp_path.glob("stat*"))
    nowhere = screener(tmp_path, *call, **{**typo, "SCREENER_STATE_URL": f"sqlite:///{tmp_path}/etx/state.sqlite"})
    assert (nowhere.exit_code, (tmp_path / "etx").exists()) == (2, False)
    assert f"there is no folder {tmp_path}/etx" in nowhere.stderr


def test_a_package_that_is_not_installed_is_named_with_its_extra() -> None:
    said = as_screener_error(ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib.figure"))
    assert str(said) == (
        "This needs the package matplotlib.figure, which is not installed. Install it: pip install 'osteoporosis-screener[report]'"
    )
    assert "an error of its own" in str(as_screener_error(ModuleNotFoundError("x", name="x")))


@pytest.mark.parametrize("how", ["module", "entry point"])
def test_a_file_of_the_working_folder_takes_the_place_of_no_package(tmp_path: Path, how: str) -> None:
    for name in ("model", "requests", "pandas", "click"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the working folder was imported')")
    source = export(tmp_path / "export", [patient(f"p{n}") for n in range(3)])
    started = arguments_of() if how == "module" else [str(Path(sys.executable).with_name("screener"))]
    call = [*started, "run", "--backfill", "--from", str(source), "--to", "out", "--workers", "2"]
    environment = {**clean_environment(), "SCREENER_FOLDER_COMPLETE": "true"}
    ended = subprocess.run(
        call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (ended.returncode, "working folder" in ended.stdout + ended.stderr) == (0, False), ended.stderr
