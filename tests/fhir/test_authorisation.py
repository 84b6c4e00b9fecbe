"""What requests carry, and where secrets come from. The whole job with tokens of an OAuth server: tests/e2e/test_authorisation.py."""

import json
import ssl
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from screener.base.errors import AuthorisationError, ConfigurationError, ServerError
from screener.config.servers import ServerSettings
from screener.fhir import authorisation, keys
from screener.fhir.authorisation import in_version
from screener.fhir.client import Client
from tests.certificates import certificate, https_with
from tests.command import screener
from tests.folders import private_file
from tests.oauth import CLIENT, Guarded, guarded
from tests.scripted import Reply, Request, scripted

SECRET = "s3cret"


def carried(tmp_path: Path, **given: Any) -> str | None:
    """The Authorization header of a request with these settings."""
    with scripted(lambda _: Reply(body=b"{}")) as server:
        with Client(ServerSettings(base_url=server.base_url, **given)) as client:
            client.get("metadata", what="/metadata")
        return server.asked[0].headers.get("Authorization")


def test_a_password_is_sent_with_its_user(tmp_path: Path) -> None:
    expected = "Basic " + b64encode(f"job:{SECRET}".encode()).decode()
    file = private_file(tmp_path / "password", SECRET + "\n")
    assert carried(tmp_path, username="job", password=SECRET) == expected
    assert carried(tmp_path, username="job", password_file=file) == expected
    assert carried(tmp_path, username="job", credential_command=f"cat '{file}'") == expected


def test_a_command_prints_the_token_and_is_asked_again_on_401(tmp_path: Path) -> None:
    script = tmp_path / "vault"
    script.write_text(f"#!/bin/sh\necho x >> {tmp_path}/calls\nwc -l < {tmp_path}/calls | tr -d ' '\n")
    script.chmod(0o700)

    def answer(request: Request) -> Reply:
        return Reply(200 if request.headers["Authorization"] == "Bearer 2" else 401, b"{}")

    with scripted(answer) as server:
        settings = ServerSettings(base_url=server.base_url, credential_command=str(script))
        with Client(settings) as client, client.another() as other:
            assert client.get("Patient/1", what="a patient").status == 200
            assert other.get("Patient/1", what="a patient").status == 200
    assert (tmp_path / "calls").read_text() == "x\nx\n"


@pytest.mark.parametrize("command", ["false", "true", "no-such-program", "'unclosed"])
def test_a_command_that_gives_nothing(command: str) -> None:
    with pytest.raises(ConfigurationError, match="credential_command gave nothing") as caught:
        Client(ServerSettings(base_url="https://fhir.example/fhir", credential_command=command))
    assert command not in str(caught.value)  # it may hold a secret


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"token": "t", "username": "u", "password": "p"}, "give one of"),
        ({"client_id": "c", "private_keys": "k", "token_file": "t"}, "give one of"),
        ({"client_id": "c"}, "needs private_keys"),
        ({"client_id": "c", "private_keys": "k", "credential_command": "cat x"}, "takes private_keys"),
        ({"password": "p"}, "needs username"),
        ({"username": "u"}, "username needs"),
    ],
)
def test_credentials_that_do_not_fit_together(tmp_path: Path, given: dict[str, str], words: str) -> None:
    names = {f"SCREENER_SERVER_{key.upper()}": value for key, value in given.items()}
    ended = screener("config", "show", cwd=tmp_path, expect=2, **names)
    assert words in ended.stderr


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    given = {"USERNAME": "job", "PASSWORD": SECRET, "CREDENTIAL_COMMAND": f"vault --key {SECRET}"}
    shown = screener("config", "show", cwd=tmp_path, **{f"SCREENER_SERVER_{k}": v for k, v in given.items()}).stdout
    assert json.loads(shown)["server"]["username"] == "job"
    assert SECRET not in shown
    for place in ("[server]", "[profile.night.server]"):
        (tmp_path / "screener.toml").write_text(f'{place}\npassword = "{SECRET}"\n')
        refused = screener("config", "show", cwd=tmp_path, expect=2).stderr
        assert "server.password_file" in refused
        assert SECRET not in refused


@pytest.mark.parametrize("name", ["token_file", "password_file", "private_keys"])
def test_a_secret_that_everybody_may_read_is_refused(tmp_path: Path, name: str) -> None:
    file = private_file(tmp_path / "secret", SECRET)
    file.chmod(0o644)
    with_it = {"token_file": {}, "password_file": {"username": "u"}, "private_keys": {"client_id": "c"}}[name]
    with pytest.raises(ConfigurationError, match="secret holds a secret and is open"):
        Client(ServerSettings(base_url="https://fhir.example/fhir", **{name: file}, **with_it))


@pytest.mark.parametrize("name", ["ca_bundle", "client_certificate", "token_file"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Cannot (read|use) .*No such file"):
        Client(ServerSettings(base_url="https://fhir.example/fhir", **{name: tmp_path / "none"}))


@pytest.mark.parametrize(("content", "words"), [(b"\n", "token gave nothing"), (b"\xff\xfe", "not text in UTF-8")])
def test_a_file_without_a_secret(tmp_path: Path, content: bytes, words: str) -> None:
    file = private_file(tmp_path / "token", "")
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=words):
        Client(ServerSettings(base_url="https://fhir.example/fhir", token_file=file))


# Mutual TLS


def test_a_certificate_is_shown_to_the_server_and_the_servers_is_checked(tmp_path: Path) -> None:
    server_pem, ours, others = (certificate(tmp_path, name) for name in ("server", "ours", "others"))
    tls = https_with(server_pem)
    tls.load_verify_locations(ours)
    tls.verify_mode = ssl.CERT_REQUIRED

    def get(base_url: str, **given: Path) -> int:
        with Client(ServerSettings(base_url=base_url, attempts=1, **given)) as client:
            return client.get("Patient/1", what="a patient").status

    with scripted(lambda _: Reply(body=b"{}"), tls) as server:
        assert get(server.base_url, ca_bundle=server_pem, client_certificate=ours) == 200
        assert get(server.base_url, ca_bundle=server_pem, client_certificate=ours, client_key=ours) == 200
        for shown in ({}, {"client_certificate": others}):
            with pytest.raises(ServerError, match=r"Cannot reach|certificate"):
                get(server.base_url, ca_bundle=server_pem, **shown)
        with pytest.raises(ServerError, match="certificate that is not trusted"):
            get(server.base_url, client_certificate=ours)
        with pytest.raises(ConfigurationError, match=r"Cannot use server\.ca_bundle"):
            get(server.base_url, ca_bundle=private_file(tmp_path / "empty.pem", ""))
    assert len(server.asked) == 2


# SMART Backend Services


def own_keys(folder: Path, algorithm: keys.Algorithm = "ES384") -> tuple[Path, dict[str, Any]]:
    held = [keys.new(algorithm)]
    keys.write(folder / "keys.json", held)
    return folder / "keys.json", keys.public(held)


def client_of(front: Guarded, file: Path) -> Client:
    return Client(ServerSettings(base_url=front.base_url, client_id=CLIENT, private_keys=file))


@pytest.mark.parametrize("seconds", [1, 300])
def test_a_token_is_renewed_before_it_expires(tmp_path: Path, seconds: int) -> None:
    """Of one that lasts a second, after three quarters of it: no request is refused."""
    file, public = own_keys(tmp_path)
    with scripted(lambda _: Reply(body=b"{}")) as fhir, guarded(fhir.base_url, public) as front:
        front.token_seconds = seconds
        with client_of(front, file) as client:
            for _ in range(8):
                client.get("Patient/1", what="a patient")
                time.sleep(0.2)
    assert [status for _, status in front.trace] == [200] * 8
    assert (len(front.issued) >= 2) == (seconds == 1)


@pytest.mark.parametrize("minutes", [-9, 9])
def test_a_clock_that_is_wrong_by_minutes(tmp_path: Path, minutes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind: our assertion has expired when it arrives, so we learn the time from the refusal. Ahead: it lasts longer, which this
    server takes."""
    file, public = own_keys(tmp_path)
    wrong = SimpleNamespace(time=lambda: time.time() + 60 * minutes, monotonic=time.monotonic)
    monkeypatch.setattr(authorisation, "time", wrong)
    plain = scripted(lambda _: Reply(body=b"{}"))
    with plain as fhir, guarded(fhir.base_url, public) as front, client_of(front, file) as client:
        assert client.get("Patient/1", what="a patient").status == 200
    assert len(front.issued) == 1


def smart(token: Callable[[Request], Reply], file: Path, discovered: str = "") -> None:
    """Ask a scripted authorisation server for a token."""

    def script(request: Request) -> Reply:
        if request.path.endswith("smart-configuration"):
            return Reply(body={"token_endpoint": discovered})
        return token(request)

    with scripted(script) as server:
        own = {} if discovered else {"token_url": server.base_url.replace("/fhir", "/token")}
        settings = ServerSettings(base_url=server.base_url, client_id=CLIENT, private_keys=file, attempts=1, **own)
        with Client(settings) as client:
            client.get("Patient/1", what="a patient")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(400, {"error": "invalid_scope", "error_description": SECRET}),
        Reply(401, {"error": SECRET}),
        Reply(200, b"<html>log in</html>"),
        Reply(200, {"access_token": ""}),
        Reply(200, {"token_type": "bearer"}),
        Reply(302, headers={"Location": "https://login.example"}),
    ],
)
def test_no_token_is_an_error_without_the_servers_words(tmp_path: Path, reply: Reply) -> None:
    file, _ = own_keys(tmp_path)
    with pytest.raises(AuthorisationError, match=f"gave no token \\({reply.status}") as caught:
        smart(lambda _: reply, file)
    assert SECRET not in str(caught.value)
    assert ("invalid_scope" in str(caught.value)) == (reply.status == 400)


@pytest.mark.parametrize(
    "token", [{}, {"expires_in": "300"}, {"expires_in": None, "scope": None}, {"scope": "", "more": 1}]
)
def test_tokens_as_servers_send_them(tmp_path: Path, token: dict[str, object]) -> None:
    file, _ = own_keys(tmp_path)
    smart(lambda request: Reply(body={"access_token": "t", **token} if request.path == "/token" else {}), file)


@pytest.mark.parametrize("endpoint", ["http://login.example/token", "ftp://login.example/token", "/token"])
def test_a_token_endpoint_without_https_is_not_asked(tmp_path: Path, endpoint: str) -> None:
    file, _ = own_keys(tmp_path)
    with pytest.raises(ServerError, match="not reached by https"):
        smart(lambda _: Reply(500), file, endpoint)


def test_a_storm_at_the_token_endpoint_is_sat_out(tmp_path: Path) -> None:
    file, public = own_keys(tmp_path)
    refusals = iter([503, 429])
    with guarded("http://127.0.0.1:9/fhir", public) as front:

        def script(request: Request) -> Reply:
            status = next(refusals, None) if request.path == "/token" else None
            if status:
                return Reply(status, headers={"Retry-After": "0"})
            return Reply(body={"access_token": "t", "expires_in": 300} if request.path == "/token" else {})

        with scripted(script) as server:
            settings = ServerSettings(
                base_url=server.base_url,
                client_id=CLIENT,
                private_keys=file,
                token_url=server.base_url.replace("/fhir", "/token"),
            )
            with Client(settings) as client:
                assert client.get("Patient/1", what="a patient").status == 200
                assert client.traffic.retries == 2
    assert front.issued == {}


@pytest.mark.parametrize(
    ("supported", "expected"),
    [
        ([], ["system/Patient.rs", "system/RiskAssessment.crus"]),
        (["openid", "system/*.rs"], ["system/Patient.rs", "system/RiskAssessment.crus"]),
        (["system/Patient.read", "system/Patient.rs"], ["system/Patient.rs", "system/RiskAssessment.crus"]),
        (
            ["system/*.read", "system/*.write", "launch"],
            ["system/Patient.read", "system/RiskAssessment.read", "system/RiskAssessment.write"],
        ),
        (["system/*.*"], ["system/Patient.read", "system/RiskAssessment.read", "system/RiskAssessment.write"]),
    ],
)
def test_the_version_of_scopes(supported: list[str], expected: list[str]) -> None:
    assert in_version(["system/Patient.rs", "system/RiskAssessment.crus"], supported) == expected


@pytest.mark.parametrize(
    ("granted", "lacking"),
    [
        ("system/Patient.rs system/RiskAssessment.crus", []),
        ("system/*.cruds", []),
        ("system/Patient.read system/RiskAssessment.read system/RiskAssessment.write", []),
        ("system/Patient.r system/Patient.s system/RiskAssessment.cruds", []),
        ("system/*.rs", ["system/RiskAssessment.crus"]),
        ("system/Patient.r system/RiskAssessment.crus", ["system/Patient.rs"]),
        ("user/*.*", ["system/Patient.rs", "system/RiskAssessment.crus"]),
        ("", []),  # the server does not say (RFC 6749, 5.1: then all)
    ],
)
def test_what_was_not_granted(tmp_path: Path, granted: str, lacking: list[str]) -> None:
    file, _ = own_keys(tmp_path)
    with scripted(lambda _: Reply(body={"access_token": "t", "scope": granted})) as server:
        settings = ServerSettings(
            base_url=server.base_url, client_id=CLIENT, private_keys=file, token_url=server.base_url
        )
        with Client(settings) as client:
            assert client.not_granted(["system/Patient.rs"]) == []
            client.get("Patient/1", what="a patient")
            assert client.not_granted(["system/Patient.rs", "system/RiskAssessment.crus"]) == lacking


# The keys


def test_a_new_key_is_its_owners_only_and_its_public_part_holds_no_secret(tmp_path: Path) -> None:
    for algorithm, kind in (("ES384", "EC"), ("RS384", "RSA")):
        name = f"{algorithm}.json"
        screener("keys", "new", "--algorithm", algorithm, "--out", name, cwd=tmp_path)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        public = json.loads(screener("keys", "public", name, cwd=tmp_path).stdout)["keys"]
        assert [(key["kty"], key["alg"], key["use"]) for key in public] == [(kind, algorithm, "sig")]
        assert not {"d", "p", "q", "dp", "dq", "qi"} & public[0].keys()


def test_a_key_is_not_overwritten(tmp_path: Path) -> None:
    screener("keys", "new", "--out", "keys.json", cwd=tmp_path)
    before = (tmp_path / "keys.json").read_bytes()
    assert "rotate" in screener("keys", "new", "--out", "keys.json", cwd=tmp_path, expect=2).stderr
    assert (tmp_path / "keys.json").read_bytes() == before


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[]", "{}", '{"keys": []}', '{"keys": [{"kty": "EC"}]}', '{"keys": "x"}']
)
def test_a_file_without_keys(tmp_path: Path, text: str) -> None:
    file = private_file(tmp_path / "keys.json", text)
    with pytest.raises(ConfigurationError, match=r"keys\.json (is no JWK Set|holds something else)"):
        keys.read(file)
    keys.write(file, [keys.public([keys.new("ES384")])["keys"][0]])
    with pytest.raises(ConfigurationError, match="something else than private keys"):
        keys.read(file)
