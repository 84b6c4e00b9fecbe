"""What is shipped to be deployed is what its platform takes: each file is given to the platform's own checker, or to its schema.

Nothing is started here but `screener` itself: there is no container runtime, no cluster and no workflow engine.
"""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import click
import pytest
import yaml
from kubernetes_validate import validate

from screener import __version__
from screener.commands.cli import cli
from screener.config.loading import examine
from tests.command import arguments_of, clean_environment
from tests.deployment import render
from tests.fhir_samples import patient
from tests.folders import NOW, export, stay

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent


def check_arguments(words: list[str]) -> None:
    """The command line takes these words; nothing is run."""
    command: click.Command = cli
    while isinstance(command, click.Group):
        with click.Context(command) as context:
            found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found
    command.make_context("screener", words)


# Containers


def test_the_dockerfile_has_no_fault_that_hadolint_knows() -> None:
    ended = subprocess.run(
        [BIN / "hadolint", DEPLOY / "docker" / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "")


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for name in line.split()[:-1]]
    allowed = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert set(copied) == allowed
    assert all((ROOT / name).exists() for name in copied)
    entry, arguments = (
        json.loads(re.search(rf"^{word} (\[.*\])$", text, re.MULTILINE)[1]) for word in ("ENTRYPOINT", "CMD")
    )
    assert entry == ["screener"]
    check_arguments(arguments)
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)


def test_what_an_installation_runs_is_locked_as_the_tests_have_it() -> None:
    locks = [
        dict(re.findall(r"^([\w.-]+)(?:\[\w+\])?==([^\s;]+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements-run.lock", "requirements.lock", "deploy/docker/build.lock")
    ]
    assert locks[0].items() <= locks[1].items()
    assert locks[2].items() <= locks[1].items()
    assert "hatchling" in locks[2]
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text()
    installs = re.findall(r"pip install (.*?)(?: \\)?$", dockerfile, re.MULTILINE)
    assert all("--require-hashes" in one or "--no-deps /tmp/wheel/" in one for one in installs)
    assert {"requests", "pandas", "scikit-learn", "fhir-resources", "jinja2"} <= set(locks[0])
    assert not {"pytest", "pyspark", "mypy", "playwright"} & set(locks[0])


def test_the_compose_file_follows_the_specification() -> None:
    file = DEPLOY / "compose" / "compose.yaml"
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", file]
    subprocess.run(command, check=True, capture_output=True)  # type: ignore[arg-type]
    services = yaml.safe_load(file.read_text())["services"]
    check_arguments(list(services["seed"]["command"]))
    settings = {
        key: str(value) for service in ("seed", "worker") for key, value in services[service]["environment"].items()
    }
    assert examine(environment=settings).problems == []
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert ":" in service["image"] or service["image"] == "screener"
    assert services["worker"]["read_only"] is True


# Kubernetes


def documents(name: str) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all((render.RENDERED / f"{name}.yaml").read_text()) if found]


def test_the_chart_was_rendered_as_it_is_now() -> None:
    """`make chart` renders it with helm, which this machine may not have."""
    for name in render.VARIANTS:
        head = (render.RENDERED / f"{name}.yaml").read_text().splitlines()[0]
        assert head.endswith(render.digest()), f"make chart (needs helm): {name}"


@pytest.mark.parametrize("version", ["1.30", "1.32", "1.34"])
@pytest.mark.parametrize("name", render.VARIANTS)
def test_the_chart_is_what_kubernetes_takes(name: str, version: str) -> None:
    for document in documents(name):
        validate(document, version, strict=True)


@pytest.mark.parametrize("name", render.VARIANTS)
def test_pods_are_hardened_and_call_what_there_is(name: str) -> None:
    pods = []
    for document in documents(name):
        if document["kind"] == "CronJob":
            job = document["spec"]["jobTemplate"]["spec"]
            pods.append(job["template"]["spec"])
            # In this order: a run on a node that is drained ends by SIGTERM, with 1. 4 and 6 are tried again.
            drained, failed = job["podFailurePolicy"]["rules"]
            assert drained == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
            assert (failed["action"], failed["onExitCodes"]["values"]) == ("FailJob", [1, 2, 3, 5, 7])
        elif document["kind"] == "Deployment":
            pods.append(document["spec"]["template"]["spec"])
        elif document["kind"] == "ConfigMap":
            file = Path(document["data"]["screener.toml"])
            assert "token_file" in str(file)
    assert len(pods) == (1 if name == "worker" else 2)
    for pod in pods:
        (container,) = pod["containers"]
        check_arguments(list(container["args"]))
        assert pod["securityContext"]["runAsNonRoot"] is True
        fixed = {"runAsUser", "runAsGroup", "fsGroup"} & pod["securityContext"].keys()
        assert len(fixed) == (0 if name == "openshift" else 3)
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]}


def test_the_settings_of_the_chart_are_in_order(tmp_path: Path) -> None:
    (config,) = (document for document in documents("cronjobs") if document["kind"] == "ConfigMap")
    (tmp_path / "screener.toml").write_text(config["data"]["screener.toml"])
    assert examine(tmp_path / "screener.toml", environment={}).problems == []
    chart = yaml.safe_load((render.CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__


# systemd and cron

UNITS = sorted((DEPLOY / "systemd").iterdir())


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with the command where it is on this machine."""
    for unit in UNITS:
        text = unit.read_text().replace("/opt/screener/bin/screener", str(BIN / "screener"))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def test_systemd_takes_the_units(units: Path) -> None:
    files = sorted(units.iterdir())
    ended = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)
    about_ours = [line for line in ended.stderr.splitlines() if str(units) in line or "screener" in line]
    assert (ended.returncode, about_ours) == (0, [])


@pytest.mark.parametrize("unit", [unit.name for unit in UNITS if unit.suffix == ".service"])
def test_a_service_is_hardened_and_calls_what_there_is(unit: str, units: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", units / unit]  # 2.0 of 10
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # type: ignore[arg-type]
    assert ended.returncode == 0, ended.stdout[-300:]
    text = (DEPLOY / "systemd" / unit).read_text()
    credential = (
        f"Environment=SCREENER_SERVER_TOKEN_FILE=%d/{re.search(r'^LoadCredential=([^:]+):', text, re.MULTILINE)[1]}"
    )
    assert credential in text.splitlines()  # each unit has a folder of its own, and both share one configuration
    call = shlex.split(re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)[1])
    check_arguments([word.replace("${STATE_DIRECTORY}", str(units)) for word in call[1:]])


def test_a_run_under_the_units_restrictions_leaves_metrics_that_others_can_read(tmp_path: Path) -> None:
    """Its mask and its folders, set by hand: there is no systemd here. What holds patients stays closed."""
    text = (DEPLOY / "systemd" / "screener-backfill.service").read_text()
    mask = int(re.search(r"^UMask=(\d+)$", text, re.MULTILINE)[1], 8)
    state, runtime = tmp_path / "state", tmp_path / "run"
    state.mkdir(mode=0o700)
    runtime.mkdir(mode=0o755)
    metrics = re.search(r"^Environment=SCREENER_METRICS_FILE=%t/screener/(.*)$", text, re.MULTILINE)[1]
    environment = {
        **clean_environment(),
        "SCREENER_STATE_URL": f"sqlite:///{state / 'state.sqlite'}",
        "SCREENER_METRICS_FILE": str(runtime / metrics),
        "SCREENER_FOLDER_COMPLETE": "true",
    }
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    asked = ("run", "--backfill", "--from", str(source), "--to", str(state / "out"), "--now", NOW)
    call = [*arguments_of(*asked), "--summary", str(state / "summary.json")]
    ended = subprocess.run(call, env=environment, cwd=tmp_path, umask=mask, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (runtime / metrics).stat().st_mode & 0o777 == 0o644
    assert "screener_last_run_exit_code" in (runtime / metrics).read_text()
    private = [file for file in (*state.iterdir(), *(state / "out").iterdir()) if file.is_file()]
    assert {file.stat().st_mode & 0o077 for file in private} == {0}


def test_the_timers_start_once_a_night_and_once_a_week() -> None:
    for unit in (unit for unit in UNITS if unit.suffix == ".timer"):
        calendar = re.search(r"^OnCalendar=(.*)$", unit.read_text(), re.MULTILINE)[1]
        said = subprocess.run(
            ["systemd-analyze", "calendar", calendar], capture_output=True, text=True, check=True
        ).stdout
        assert "Next elapse" in said
        assert (DEPLOY / "systemd" / f"{unit.stem}.service").exists()


def test_the_lines_of_cron_call_what_there_is() -> None:
    lines = [line for line in (DEPLOY / "screener.cron").read_text().splitlines() if re.match(r"[\d*]", line)]
    assert len(lines) == 2
    for line in lines:
        words = line.split()
        assert words[5:7] == ["screener", "/opt/screener/bin/screener"]
        check_arguments(words[7:])


# Workflow engines: each file with a stand-in for its engine, and a command that ends as a run may.

SUMMARY = {"run_id": "r", "writes": {}, "wrote": True, "error": "", "why_not_written": ""}
ACTIONS = {
    0: "none",
    1: "look",
    2: "fix_configuration",
    3: "look",
    4: "run_again",
    5: "wait",
    6: "run_again",
    7: "decide",
}


class Raised(Exception):
    """What an engine is told."""


def raising(name: str) -> type[Exception]:
    return type(name, (Raised,), {"__init__": lambda self, *_, **__: Exception.__init__(self)})


def passed(*_: Any, **__: Any) -> Any:
    """A decorator with or without arguments that changes nothing."""
    return _[0] if _ and callable(_[0]) else passed


def stand_ins() -> dict[str, ModuleType]:
    def module(name: str, **members: Any) -> ModuleType:
        made = ModuleType(name)
        made.__dict__.update(members)
        return made

    names = ("AirflowException", "AirflowFailException", "AirflowSkipException")
    none = lambda *_, **__: SimpleNamespace()  # noqa: E731
    return {
        "airflow": module("airflow"),
        "airflow.decorators": module("airflow.decorators", dag=lambda **_: lambda _: lambda: None, task=passed),
        "airflow.exceptions": module("airflow.exceptions", **{name: raising(name) for name in names}),
        "dagster": module(
            "dagster",
            Config=SimpleNamespace,
            OpExecutionContext=SimpleNamespace,
            Failure=raising("Failure"),
            RetryRequested=raising("RetryRequested"),
            Definitions=none,
            RunConfig=none,
            ScheduleDefinition=none,
            op=passed,
            job=lambda made: made,
        ),
    }


def loaded(file: str, monkeypatch: pytest.MonkeyPatch, command: Path) -> ModuleType:
    for name, module in stand_ins().items():
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("deployed", DEPLOY / file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    monkeypatch.setattr(made, "SCREENER", str(command))
    return made


@pytest.fixture(params=ACTIONS)
def ended_with(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """An exit code, and a command that writes its summary and ends with it."""
    code = request.param
    summary = json.dumps({**SUMMARY, "exit_code": code, "next_action": ACTIONS[code]})
    command = tmp_path / "screener"
    command.write_text(
        f"#!{shutil.which('sh')}\nfor word; do file=$word; done\necho '{summary}' > \"$file\"\nexit {code}\n"
    )
    command.chmod(0o700)
    yield code, command


def test_airflow_is_told_what_to_do(ended_with: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    code, command = ended_with
    dag = loaded("airflow/screener_dag.py", monkeypatch, command)
    expected = {5: "AirflowSkipException", 4: "AirflowException", 6: "AirflowException"}
    expected |= dict.fromkeys((1, 2, 7), "AirflowFailException")
    if code in expected:
        with pytest.raises(Raised) as raised:
            dag.run("--backfill")
        assert type(raised.value).__name__ == expected[code]
    else:
        assert dag.run("--backfill")["exit_code"] == code


def test_dagster_is_told_what_to_do(ended_with: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    code, command = ended_with
    job = loaded("dagster/screener_job.py", monkeypatch, command)
    said: list[Any] = []
    context = SimpleNamespace(log=SimpleNamespace(info=said.append), add_output_metadata=said.append)
    expected = {4: "RetryRequested", 6: "RetryRequested"} | dict.fromkeys((1, 2, 7), "Failure")
    if code in expected:
        with pytest.raises(Raised) as raised:
            job.screener_run(context, SimpleNamespace(arguments=["--backfill"]))
        assert type(raised.value).__name__ == expected[code]
    else:
        job.screener_run(context, SimpleNamespace(arguments=[]))
        assert len(said) == 1


@pytest.mark.parametrize("file", ["airflow/screener_dag.py", "dagster/screener_job.py"])
def test_the_examples_call_what_there_is(file: str) -> None:
    text = " ".join((DEPLOY / file).read_text().split())
    assert '"--config", CONFIG, "--log-format", "json", "--summary"' in text
    check_arguments(["run", "--backfill", "--config", "x", "--log-format", "json", "--summary", "s.json"])
