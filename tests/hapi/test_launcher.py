"""The test server itself: that it is a real one, and that it starts and ends as the tests rely on."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import tools
from tests.hapi import launcher

IDENTIFIER_SYSTEM = "https://example.org/tests/hapi/identifier"
EXPORT_SECONDS = 30


def _tagged(kind: str, tag: str, **fields: Any) -> dict[str, Any]:
    system, code = tag.split("|")
    return {"resourceType": kind, "meta": {"tag": [{"system": system, "code": code}]}, **fields}


def _patient(base_url: str, tag: str) -> str:
    """The reference of a new Patient."""
    created = requests.post(f"{base_url}/Patient", json=_tagged("Patient", tag), timeout=60)
    assert created.status_code == 201
    return f"Patient/{created.json()['id']}"


def _exported(base_url: str, tag: str) -> requests.Response:
    """The answer that ends an export of the Patients with a tag."""
    started = requests.get(
        f"{base_url}/$export",
        params={"_type": "Patient", "_typeFilter": f"Patient?_tag={tag}"},
        headers={"Prefer": "respond-async"},
        timeout=60,
    )
    assert started.status_code == 202
    until = time.monotonic() + EXPORT_SECONDS
    while (answer := requests.get(started.headers["Content-Location"], timeout=60)).status_code == 202:
        assert time.monotonic() < until, "the export takes too long"
        time.sleep(0.2)
    return answer


# What it is


@pytest.mark.hapi
def test_it_is_hapi_r4_with_assessments_and_export(hapi: str) -> None:
    statement = requests.get(f"{hapi}/metadata", timeout=60).json()
    assert statement["fhirVersion"] == "4.0.1"
    assert statement["software"]["version"] == "8.8.0"
    (rest,) = statement["rest"]
    assert {"Observation", "RiskAssessment"} <= {resource["type"] for resource in rest["resource"]}
    assert "export" in {operation["name"] for operation in rest["operation"]}


@pytest.mark.hapi
def test_a_conditional_create_makes_one_resource(hapi: str, hapi_tag: str) -> None:
    value = hapi_tag.partition("|")[2]
    assessment = _tagged(
        "RiskAssessment",
        hapi_tag,
        status="final",
        identifier=[{"system": IDENTIFIER_SYSTEM, "value": value}],
        subject={"reference": _patient(hapi, hapi_tag)},
    )
    request = {"method": "POST", "url": "RiskAssessment", "ifNoneExist": f"identifier={IDENTIFIER_SYSTEM}|{value}"}
    batch = {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": assessment, "request": request}]}
    answers = [requests.post(hapi, json=batch, timeout=60).json()["entry"][0]["response"] for _ in range(2)]
    assert [answer["status"] for answer in answers] == ["201 Created", "200 OK"]
    assert answers[0]["location"] == answers[1]["location"]
    found = requests.get(f"{hapi}/RiskAssessment", params={"_tag": hapi_tag, "_summary": "count"}, timeout=60)
    assert found.json()["total"] == 1


@pytest.mark.hapi
def test_an_export_ends_within_seconds(hapi: str, hapi_tag: str) -> None:
    reference = _patient(hapi, hapi_tag)
    answer = _exported(hapi, hapi_tag)
    assert answer.status_code == 200
    (file,) = answer.json()["output"]
    assert file["type"] == "Patient"
    lines = requests.get(file["url"], headers={"Accept": "application/fhir+ndjson"}, timeout=60).text.splitlines()
    assert len(lines) == 1
    assert reference.removeprefix("Patient/") in lines[0]


# How it ends


@pytest.mark.hapi
def test_a_second_server_shares_nothing_and_ends_with_its_parent(hapi: str, hapi_tag: str, tmp_path: Path) -> None:
    _patient(hapi, hapi_tag)
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.hapi.launcher", "serve"],
        env={**os.environ, "TMPDIR": str(tmp_path)},  # what is killed cleans nothing up
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    base_url = parent.stdout.readline().strip()
    assert base_url != hapi
    assert requests.get(f"{base_url}/Patient?_summary=count", timeout=60).json()["total"] == 0
    parent.kill()
    parent.wait(10)
    parent.stdout.close()
    until = time.monotonic() + 120
    while _answers(base_url):
        assert time.monotonic() < until, "the server outlives its parent"
        time.sleep(0.2)


def _answers(base_url: str) -> bool:
    try:
        requests.get(f"{base_url}/Patient?_summary=count", timeout=5)
    except requests.ConnectionError:
        return False
    return True


@pytest.mark.hapi
def test_a_server_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    nothing = launcher.Built(class_path=str(tmp_path), archive=tmp_path / "none.jsa")
    server = launcher.HapiServer(tmp_path / "hapi.log", built=nothing)
    with pytest.raises(launcher.HapiUnavailable, match=r"exit code 1(?s:.*)main class HapiServer"):
        server.start()
    server.stop()  # a second time: nothing happens


# How it is built


@pytest.mark.hapi
def test_a_build_is_done_once() -> None:
    first = launcher.prepare()
    files = [Path(first.class_path.split(os.pathsep)[0]), first.archive]
    built_at = [file.stat().st_mtime_ns for file in files]
    assert launcher.prepare() == first
    assert [file.stat().st_mtime_ns for file in files] == built_at


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """An empty cache, where a build only writes down that it was asked for and makes a class path of one library."""
    made: list[Path] = []

    def build(folder: Path, done: Path) -> None:
        made.append(folder)
        library = folder / "library.jar"
        library.touch()
        done.write_text(str(library), encoding="utf-8")

    monkeypatch.setenv("HAPI_TEST_CACHE", str(tmp_path))
    monkeypatch.setattr(launcher, "_build", build)
    monkeypatch.setattr(launcher, "_require_tools", lambda: None)
    return made


def test_half_a_build_is_built_again(builds: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as interrupted, pytest.raises(KeyboardInterrupt):
        interrupted.setattr(launcher, "_build", _interrupted_build)
        launcher.prepare()
    launcher.prepare()
    launcher.prepare()
    assert len(builds) == 1


def _interrupted_build(folder: Path, done: Path) -> None:
    (folder / "libraries.txt").touch()
    done.with_suffix(".half").touch()
    raise KeyboardInterrupt


def test_a_build_whose_libraries_are_gone_is_built_again(builds: list[Path]) -> None:
    Path(launcher.prepare().class_path).unlink()
    launcher.prepare()
    assert len(builds) == 2


def test_other_sources_are_another_build(builds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher.prepare()
    for name in launcher.SOURCES:
        (tmp_path / name).write_text("changed", encoding="utf-8")
    monkeypatch.setattr(launcher, "SERVER", tmp_path)
    launcher.prepare()
    assert len(set(builds)) == 2


# What it needs


def _java(folder: Path, version: str) -> None:
    """Programs that pass for a Java of that version with its compiler."""
    for name in ("java", "javac", "jar"):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2020-01-01' >&2\n", encoding="utf-8")
        program.chmod(0o755)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert tools.missing_tools()[:2] == ["java", "mvn"]
    with pytest.raises(launcher.HapiUnavailable, match="apt-get install openjdk-17-jdk-headless maven"):
        launcher.prepare()


def test_a_java_that_is_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _java(tmp_path, "11.0.22")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(launcher.HapiUnavailable, match=r"there is Java 11(?s:.*)openjdk-17-jdk-headless"):
        launcher.prepare()


@pytest.mark.parametrize(("said", "major"), [("17.0.15", 17), ("1.8.0_402", 8), ("25", 25)])
def test_versions_of_java(said: str, major: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _java(tmp_path, said)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tools.java_version() == major


def test_without_root_the_tools_are_named_and_nothing_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(tools.ToolsMissing, match="Install openjdk-17-jdk-headless and maven"):
        tools.ensure_tools()
