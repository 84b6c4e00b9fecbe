"""The test server itself: that it is a real one, and that it starts and ends as the tests rely on."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests.hapi import launcher


@pytest.mark.hapi
def test_it_is_hapi_r4_with_bulk_export(hapi: str) -> None:
    statement = requests.get(f"{hapi}/metadata", timeout=60).json()
    assert statement["fhirVersion"] == "4.0.1"
    assert statement["software"]["version"] == "8.8.0"
    started = requests.get(
        f"{hapi}/$export?_type=Device", headers={"Prefer": "respond-async", "Cache-Control": "no-cache"}, timeout=60
    )
    assert started.status_code == 202
    until = time.monotonic() + 30
    while (answer := requests.get(started.headers["Content-Location"], timeout=60)).status_code == 202:
        assert time.monotonic() < until, "the export takes too long"
        time.sleep(0.2)
    assert answer.status_code == 200


def test_a_build_is_done_once() -> None:
    first = launcher.prepare()
    jar = Path(first.class_path.split(":")[0])
    built_at = jar.stat().st_mtime_ns
    assert launcher.prepare() == first
    assert jar.stat().st_mtime_ns == built_at


@pytest.mark.hapi
def test_the_server_ends_with_its_parent() -> None:
    code = "import sys; sys.path.insert(0, '.'); from tests.hapi.launcher import main; main(['serve'])"
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=launcher.HERE.parents[1]
    )
    assert parent.stdout is not None
    base_url = parent.stdout.readline().strip()
    assert requests.get(f"{base_url}/Patient?_summary=count", timeout=60).status_code == 200
    parent.kill()
    parent.wait(10)
    parent.stdout.close()
    until = time.monotonic() + 30
    while _answers(base_url):
        assert time.monotonic() < until, "the server outlives its parent"
        time.sleep(0.2)


def _answers(base_url: str) -> bool:
    try:
        requests.get(f"{base_url}/Patient?_summary=count", timeout=5)
    except requests.ConnectionError:
        return False
    return True


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert launcher.missing_tools()[:2] == ["java", "mvn"]
    with pytest.raises(launcher.HapiUnavailable, match="apt-get install openjdk-17-jdk-headless maven"):
        launcher.prepare()
