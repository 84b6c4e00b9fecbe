"""The whole job with SMART Backend Services before the server: tokens of a second, revoked tokens, scopes that are not granted."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from screener.sandbox.app import SandboxServer
from tests.command import screener
from tests.e2e.site import Site, writes
from tests.oauth import Guarded, guarded

DAY, LATER = "2025-11-01", "2025-12-01"
READ_BY_DEFAULT = {
    "Condition",
    "DiagnosticReport",
    "Medication",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationRequest",
    "MedicationStatement",
    "Observation",
    "Patient",
    "Procedure",
    "Specimen",
}

Put = Callable[[Site], AbstractContextManager[Guarded]]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    screener("keys", "new", "--out", "keys.json", cwd=folder)
    return folder / "keys.json"


@pytest.fixture
def front(keys: Path) -> Put:
    """Puts a front before the server of a site: the job then goes through it, the test itself does not."""

    @contextmanager
    def put(site: Site) -> Iterator[Guarded]:
        public = json.loads(screener("keys", "public", str(keys), cwd=keys.parent).stdout)
        with guarded(site.base_url, public) as running:
            site.environment |= running.settings(keys)
            yield running

    return put


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Site]:
    """A server of this test's own, with one woman."""
    with SandboxServer() as server:
        site = Site(server.base_url, tmp_path)
        site.woman("w1")
        site.stay("w1", DAY)
        yield site


def test_a_night_with_tokens_that_last_a_second(site: Site, front: Put) -> None:
    """In front of HAPI FHIR, too."""
    site.woman("w1")
    site.stay("w1", DAY)
    with front(site) as server:
        server.token_seconds = 1
        assert site.run("--backfill").summary["writes"] == writes(created=2)
        site.stay("w1", LATER)
        assert site.run("--backfill").summary["writes"] == writes(amended=2)
    assert len(site.assessments("w1")) == 2
    assert {status for _, status in server.trace} <= {200, 201, 401}
    assert len(server.issued) >= 2


def test_a_token_revoked_before_any_request_is_asked_for_again(small: Site, front: Put) -> None:
    """Searching, reading and writing alike: each request in turn is refused once, and nothing is lost or written twice."""
    with front(small) as server:
        small.run("--backfill")  # the first run creates the Device, too
        server.trace.clear()
        small.run("--backfill", "--restart")
        count = len(server.trace)
        for number in range(1, count):
            server.trace.clear()
            server.revoke_before = number
            small.run("--backfill", "--restart")
            assert [status for _, status in server.trace].count(401) == 1, number
    assert count >= 10
    assert len(small.assessments("w1")) == 2


def test_the_trace_in_the_documentation_is_what_goes_over_the_wire(small: Site, front: Put) -> None:
    with front(small) as server:
        server.revoke_before = 8
        small.run("--backfill")
        assert len(server.scopes_asked) == 2
        trace = [f"{re.sub('/[0-9a-f-]{36}$', '/{id}', asked)} {status}" for asked, status in server.trace]
    page = (Path(__file__).parents[2] / "docs/servers.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```text\n(GET metadata.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert [line.rstrip() for line in trace] == shown.splitlines()


def test_an_export_goes_on_with_another_token(small: Site, front: Put) -> None:
    """Kick-off, polling, and each file."""
    small.environment["SCREENER_BULK_LONGEST_WAIT_SECONDS"] = "0.1"
    with front(small) as server:
        small.call("export", "--out", "whole")
        whole = {file.name: file.read_bytes() for file in (small.folder / "whole").glob("*.ndjson")}
        asked = [name for name, _ in server.trace]
        for number in range(1, len(asked)):
            server.trace.clear()
            server.revoke_before = number
            small.call("export", "--out", f"export-{number}")
            found = (small.folder / f"export-{number}").glob("*.ndjson")
            assert {file.name: file.read_bytes() for file in found} == whole
    assert any("$export" in name for name in asked)
    assert len(whole) >= 2


# Scopes: no more than the call needs, and all that it needs


def asked_by(server: Guarded) -> dict[str, str]:
    """The letters of each resource type in the last request for a token."""
    scopes = [scope.removeprefix("system/").rpartition(".") for scope in server.scopes_asked[-1].split()]
    return {kind: letters for kind, _, letters in scopes}


def test_scopes_follow_from_what_the_call_does(small: Site, front: Put) -> None:
    small.environment["SCREENER_EXCLUSIONS_PROCEDURE"] = "off"
    reading = dict.fromkeys(READ_BY_DEFAULT - {"Procedure"}, "rs")
    with front(small) as server:
        small.call("coverage")
        assert asked_by(server) == reading
        small.run("--backfill", "--dry-run")
        assert asked_by(server) == reading | {"Device": "rs", "RiskAssessment": "rs"}
        small.run("--backfill", "--restart")
        assert asked_by(server) == reading | {"Device": "crus", "RiskAssessment": "crus"}
        small.run("--backfill", "--to", "out")
        assert asked_by(server) == reading
        small.run("--backfill", "--restart", SCREENER_SERVER_SCOPES="system/*.cruds")
        assert asked_by(server) == {"*": "cruds"}


def test_a_server_of_smart_v1_is_asked_in_its_terms(small: Site, front: Put) -> None:
    with front(small) as server:
        server.scopes_supported = ("system/*.read", "system/*.write")
        small.run("--backfill", "--dry-run")
    assert "system/Observation.read" in server.scopes_asked[-1].split()
    assert ".rs" not in server.scopes_asked[-1]


@pytest.mark.parametrize("scope", ["system/MedicationRequest.rs", "system/RiskAssessment.crus"])
def test_a_scope_that_is_not_granted_is_named_before_anything_is_read(small: Site, front: Put, scope: str) -> None:
    with front(small) as server:
        server.withheld = (scope,)
        ended = small.run("--backfill", expect=4)
    assert f"did not grant {scope}" in ended.stderr
    assert [name for name, _ in server.trace] == ["GET metadata"]
    assert small.assessments("w1") == []


def test_an_optional_scope_that_is_not_granted_is_done_without(small: Site, front: Put) -> None:
    small.environment["SCREENER_EXCLUSIONS_MEDICATION_STATEMENT"] = "optional"
    with front(small) as server:
        server.withheld = ("system/MedicationStatement.rs",)
        ended = small.run("--backfill")
    assert ended.summary["writes"] == writes(created=2)
    assert list(ended.summary["exclusions_not_checked"]) == ["MedicationStatement"]


# What is refused


def test_keys_that_the_server_does_not_know(small: Site, front: Put) -> None:
    with front(small) as server:
        screener("keys", "new", "--out", "other.json", cwd=small.folder)
        ended = small.run("--backfill", expect=4, SCREENER_SERVER_PRIVATE_KEYS="other.json")
    assert "gave no token (400, invalid_client)" in ended.stderr
    assert "screener keys public" in ended.stderr
    assert server.trace == []


def test_rotation_leaves_no_night_without_a_key(small: Site, front: Put, tmp_path: Path) -> None:
    """A new key, registered beside the old one; then the old one is forgotten."""
    screener("keys", "new", "--algorithm", "RS384", "--out", "own.json", cwd=tmp_path)

    def public() -> Any:
        return json.loads(screener("keys", "public", "own.json", cwd=tmp_path).stdout)

    own = {"SCREENER_SERVER_PRIVATE_KEYS": str(tmp_path / "own.json")}
    with front(small) as server:
        server.keys = public()
        small.run("--backfill", **own)
        screener("keys", "rotate", "own.json", cwd=tmp_path)
        server.keys = public()
        assert [key["alg"] for key in server.keys["keys"]] == ["ES384", "RS384"]
        small.run("--backfill", "--restart", **own)
        screener("keys", "rotate", "own.json", "--forget-old", cwd=tmp_path)
        server.keys = public()
        assert [key["alg"] for key in server.keys["keys"]] == ["ES384"]
        small.run("--backfill", "--restart", **own)


def test_no_secret_is_ever_said(small: Site, front: Put, keys: Path) -> None:
    with front(small) as server:
        server.revoke_before = 5
        ended = small.run("--backfill", "-v")
        shown = small.call("config", "show")
    said = ended.stdout + ended.stderr + shown.stdout + json.dumps(ended.summary)
    secrets = [*server.issued, *(key["d"] for key in json.loads(keys.read_text())["keys"])]
    assert "token_granted" in said
    assert [secret for secret in secrets if secret in said] == []
    assert "eyJ" not in said  # how every JWT begins
