"""What only the sandbox has: where it listens, for how long pages stay, and what it keeps in its file."""

import socket
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from screener.errors import ConfigurationError
from screener.sandbox import app
from screener.sandbox.app import SandboxServer, serve

JSON_TYPE = {"Content-Type": "application/fhir+json"}


def put(base_url: str, name: str, **fields: object) -> requests.Response:
    body = {"resourceType": "Patient", "id": name, **fields}
    answer = requests.put(f"{base_url}/Patient/{name}", json=body, timeout=10)
    assert answer.status_code in (200, 201)
    return answer


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.0.2.1", "hospital.example", "::"])
def test_it_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(ConfigurationError, match="loopback only"):
        SandboxServer(host=host)
    with pytest.raises(ConfigurationError, match="loopback only"):
        serve(0, host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_both_names_of_loopback_work(host: str) -> None:
    with SandboxServer(host=host) as server:
        port = server.base_url.split(":")[2]
        assert requests.get(f"http://{host}:{port.partition('/')[0]}/fhir/metadata", timeout=10).status_code == 200


def test_a_request_that_was_addressed_elsewhere_is_refused(sandbox: SandboxServer) -> None:
    """A page in a browser may reach 127.0.0.1 by a host name of its own; the Host header gives it away."""
    answer = requests.get(f"{sandbox.base_url}/metadata", headers={"Host": "attacker.example"}, timeout=10)
    assert answer.status_code == 400


def test_a_taken_port_is_named(sandbox: SandboxServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"Port {port} of 127.0.0.1"):
            SandboxServer(port)


def test_after_stop_nothing_answers() -> None:
    server = SandboxServer()
    base_url = server.base_url
    put(base_url, "a")
    server.stop()
    server.stop()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{base_url}/Patient/a", timeout=10)


def test_expired_pages_are_410() -> None:
    with SandboxServer(page_expiry_seconds=0.0) as server:
        for name in "abc":
            put(server.base_url, name)
        first = requests.get(f"{server.base_url}/Patient", params={"_count": "2"}, timeout=10).json()
        following = next(link["url"] for link in first["link"] if link["relation"] == "next")
        answer = requests.get(following, timeout=10)
        assert answer.status_code == 410
        assert answer.json()["issue"][0]["code"] == "expired"


def test_a_later_page_shows_the_versions_of_the_first_moment(sandbox: SandboxServer) -> None:
    for name in "abc":
        put(sandbox.base_url, name, active=True)
    first = requests.get(f"{sandbox.base_url}/Patient", params={"_count": "2"}, timeout=10).json()
    put(sandbox.base_url, "c", active=False)
    following = next(link["url"] for link in first["link"] if link["relation"] == "next")
    (entry,) = requests.get(following, timeout=10).json()["entry"]
    assert (entry["resource"]["id"], entry["resource"]["active"]) == ("c", True)


def test_count_is_capped(sandbox: SandboxServer) -> None:
    entries = [
        {
            "resource": {"resourceType": "Patient", "id": f"p{number}"},
            "request": {"method": "PUT", "url": f"Patient/p{number}"},
        }
        for number in range(1001)
    ]
    body = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    assert requests.post(sandbox.base_url, json=body, headers=JSON_TYPE, timeout=30).status_code == 200
    bundle = requests.get(f"{sandbox.base_url}/Patient", params={"_count": "5000"}, timeout=10).json()
    assert (bundle["total"], len(bundle["entry"])) == (1001, 1000)
    assert len(requests.get(f"{sandbox.base_url}/Patient", timeout=10).json()["entry"]) == 20


def test_a_file_keeps_everything_over_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.sqlite"
    decimal = b'{"resourceType": "Observation", "id": "o", "status": "final", "valueQuantity": {"value": 0.840}}'
    with SandboxServer(db=file) as server:
        put(server.base_url, "kept")
        put(server.base_url, "kept", active=True)
        put(server.base_url, "gone")
        requests.delete(f"{server.base_url}/Patient/gone", timeout=10)
        requests.put(f"{server.base_url}/Observation/o", data=decimal, headers=JSON_TYPE, timeout=10)
        before = requests.get(f"{server.base_url}/Patient/kept", timeout=10).json()
    with SandboxServer(db=file) as server:
        base_url = server.base_url
        assert requests.get(f"{base_url}/Patient/kept", timeout=10).json() == before
        assert requests.get(f"{base_url}/Patient/kept/_history", timeout=10).json()["total"] == 2
        assert requests.get(f"{base_url}/Patient/gone", timeout=10).status_code == 410
        assert '"value":0.840' in requests.get(f"{base_url}/Observation/o", timeout=10).text
        found = requests.get(f"{base_url}/Patient", params={"_lastUpdated": "ge2020"}, timeout=10).json()
        assert [entry["resource"]["id"] for entry in found["entry"]] == ["kept"]
        assert put(base_url, "kept", active=False).headers["ETag"] == 'W/"3"'


def test_a_failed_transaction_is_not_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.sqlite"
    orphan = {"resourceType": "Observation", "id": "o", "status": "final", "subject": {"reference": "Patient/nobody"}}
    entries = [
        {"resource": {"resourceType": "Patient", "id": "a"}, "request": {"method": "PUT", "url": "Patient/a"}},
        {"resource": orphan, "request": {"method": "PUT", "url": "Observation/o"}},
    ]
    with SandboxServer(db=file) as server:
        body = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        assert requests.post(server.base_url, json=body, timeout=10).status_code == 400
        put(server.base_url, "b")
    with SandboxServer(db=file) as server:
        assert requests.get(f"{server.base_url}/Patient/a", timeout=10).status_code == 404
        assert requests.get(f"{server.base_url}/Patient/b", timeout=10).status_code == 200


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

    monkeypatch.setattr(app.Interactions, "read", fails)
    answer = requests.get(f"{sandbox.base_url}/Patient/a", timeout=10)
    assert answer.status_code == 500
    assert "CANARY" not in answer.text + caplog.text
    assert "RuntimeError at test_server.py:" in caplog.text
