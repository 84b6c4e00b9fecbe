"""What only the sandbox has: where it listens, for how long pages stay, and what it keeps in its file."""

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from screener.base.errors import ConfigurationError
from screener.sandbox import app
from screener.sandbox.app import SandboxServer

JSON_TYPE = {"Content-Type": "application/fhir+json"}


def put(base_url: str, name: str, **fields: object) -> requests.Response:
    body = {"resourceType": "Patient", "id": name, **fields}
    answer = requests.put(f"{base_url}/Patient/{name}", json=body, timeout=10)
    assert answer.status_code in (200, 201)
    return answer


def test_its_file_is_for_its_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.sqlite"
    with SandboxServer(db=file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_in_use_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.sqlite"
    with SandboxServer(db=file), pytest.raises(ConfigurationError, match="Cannot use"):
        SandboxServer(db=file)


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.sqlite"
    with sqlite3.connect(file) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.close()
    with pytest.raises(ConfigurationError, match="another program"):
        SandboxServer(db=file)


@pytest.mark.parametrize("content", [b"no database at all, but a text that is long enough" * 20])
def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="Cannot use"):
        SandboxServer(db=file)
    assert file.read_bytes() == content


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Cannot use"):
        SandboxServer(db=tmp_path / "missing" / "sandbox.sqlite")


def test_serve_says_where_it_is_and_ends_by_a_signal(tmp_path: Path) -> None:
    program = f"from screener.sandbox.app import serve; serve(0, __import__('pathlib').Path({str(tmp_path / 'a')!r}))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().split()[3]
        assert requests.get(f"{base_url}/metadata", timeout=10).json()["fhirVersion"] == "4.0.1"
        put(base_url, "kept")
        process.terminate()
        process.wait(10)
    with SandboxServer(db=tmp_path / "a") as server:
        assert requests.get(f"{server.base_url}/Patient/kept", timeout=10).status_code == 200


def test_a_fault_of_its_own_says_nothing_of_the_resource(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("CANARY")

    monkeypatch.setattr(app.Interactions, "read", fails)  # type: ignore[attr-defined]
    answer = requests.get(f"{sandbox.base_url}/Patient/a", timeout=10)
    assert answer.status_code == 500
    assert "CANARY" not in answer.text + caplog.text
    assert "RuntimeError at test_server.py:" in caplog.text
