"""What the client repeats, what it refuses, and what it says. Retry-After as in RFC 9110, 10.2.3."""

import contextlib
import gzip
import io
import socket
import threading
import time
import tracemalloc
from itertools import count
from pathlib import Path

import certifi
import pytest
import requests
import stamina
import structlog
from pydantic import SecretStr

from screener.base.errors import AuthorisationError, ConfigurationError, NotAuthenticated, ServerError
from screener.config.servers import ServerSettings
from screener.fhir import capability
from screener.fhir.answer import Answer, retry_after
from screener.fhir.client import Client
from screener.fhir.search import search
from tests.folders import private_file
from tests.scripted import Reply, Request, Script, bundle, scripted

CANARY = "CANARY-4711"


@pytest.fixture(autouse=True)
def no_waiting() -> object:
    """Retries happen as always, but at once."""
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


def get(script: Script, **settings: object) -> tuple[bytes, Client]:
    with scripted(script) as server:
        given = ServerSettings.model_validate({"base_url": server.base_url, "attempts": 3, **settings})
        with Client(given) as client:
            return client.get("Patient/1", what="a patient").body, client


def get_often(script: Script, *, times: int, **settings: object) -> None:
    with scripted(script) as server:
        given = ServerSettings.model_validate({"base_url": server.base_url, "attempts": 3, **settings})
        with Client(given) as client:
            for _ in range(times):
                client.get("Patient/1", what="a patient")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_repeated(status: int) -> None:
    number = count()
    body, client = get(lambda _: Reply(status) if next(number) < 2 else Reply(body=b"{}"))
    assert (body, client.traffic.requests, client.traffic.retries) == (b"{}", 3, 2)


def test_a_lasting_failure_ends_with_its_status() -> None:
    with pytest.raises(ServerError, match="kept answering 503 to a patient"):
        get(lambda _: Reply(503))


def test_a_run_that_has_used_up_its_retries_ends_at_the_next_failure() -> None:
    number = count()
    with pytest.raises(ServerError, match="the run has used up its 3 retries"):
        get_often(lambda _: Reply(503) if next(number) % 2 == 0 else Reply(body=b"{}"), times=10, retries_per_run=3)
    assert next(number) == 7  # three failures made good, and one that is not


def test_a_wait_that_the_server_asks_for_is_no_failure() -> None:
    """429 with Retry-After on every second request: a busy server sets the pace."""
    number = count()
    pace = Reply(429, headers={"Retry-After": "0"})
    get_often(lambda _: pace if next(number) % 2 == 0 else Reply(body=b"{}"), times=10, retries_per_run=0)
    assert next(number) == 20


def test_waits_that_the_server_asks_for_have_a_limit() -> None:
    number = count()
    pace = Reply(429, headers={"Retry-After": "0"})
    with pytest.raises(ServerError, match="kept answering 429"):
        get(lambda _: pace if next(number) >= 0 else Reply())
    assert next(number) == 20 + 3  # waits and attempts of one request
    number = count()
    with pytest.raises(ServerError, match="used up its 0 retries"):
        get_often(
            lambda _: pace if next(number) % 2 == 0 else Reply(body=b"{}"),
            times=20,
            retries_per_run=0,
            wait_minutes_per_run=0.1,
        )
    assert next(number) == 13  # six waits, each of which counts for a second at least


def test_retry_is_logged_with_its_cause_number_and_wait() -> None:
    number = count()
    with structlog.testing.capture_logs() as lines:
        get(lambda _: Reply(503, headers={"Retry-After": "0"}) if next(number) < 2 else Reply(body=b"{}"))
    assert [line["attempt"] for line in lines] == ["2 of 3", "3 of 3"]
    for line in lines:
        assert line["why"].endswith(" answered 503 to a patient")
        assert line.keys() == {"event", "log_level", "why", "attempt", "next_in_seconds"}


def test_a_body_cut_short_is_repeated() -> None:
    number = count()
    body, client = get(lambda _: Reply(body=b"{}", cut_short=next(number) == 0))
    assert (body, client.traffic.requests) == (b"{}", 2)


@pytest.mark.parametrize(("status", "words"), [(401, "does not know us"), (403, "does not allow this")])
def test_refusals_are_not_repeated(status: int, words: str) -> None:
    number = count()
    with pytest.raises(AuthorisationError, match=words):
        get(lambda _: Reply(status if next(number) == 0 else 200))


def test_an_outcome_is_told_by_its_codes_and_never_by_its_text() -> None:
    outcome = {"issue": [{"code": "processing", "diagnostics": f"HAPI-1094: {CANARY} not found"}]}
    with pytest.raises(ServerError) as caught:
        get(lambda _: Reply(422, outcome))
    assert "(HAPI-1094, processing)" in str(caught.value)
    assert CANARY not in str(caught.value)


def test_redirects_are_not_followed() -> None:
    with pytest.raises(ServerError, match=r"redirects a patient \(302\)"):
        get(lambda _: Reply(302, headers={"Location": "http://127.0.0.1:9/"}))


def test_the_token_is_sent_as_bearer_and_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    private_file(file, "secret\n")
    with scripted(lambda _: Reply(body=b"{}")) as server:
        with Client(ServerSettings(base_url=server.base_url, token_file=file)) as client:
            client.get("metadata", what="/metadata")
        assert server.asked[0].headers["Authorization"] == "Bearer secret"


def test_nobody_listens() -> None:
    nowhere = Client(ServerSettings(base_url="http://127.0.0.1:9/fhir", attempts=2))
    with nowhere as client, pytest.raises(ServerError, match=r"Cannot reach 127\.0\.0\.1:9"):
        client.get("metadata", what="/metadata")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", "No FHIR server is named"),
        ("fhir.hospital.example/fhir", "is not the address"),
        ("http://fhir.hospital.example/fhir", "plain http"),
        ("https://me:secret@fhir.hospital.example/fhir", "user name or password"),
    ],
)
def test_addresses_that_are_refused(address: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Client(ServerSettings(base_url=address))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "expected"),
    [("7", 7.0), ("9999", 60.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None), ("", None)],
)
def test_retry_after(header: str, expected: float | None) -> None:
    assert (
        retry_after(Answer(429, requests.structures.CaseInsensitiveDict({"Retry-After": header}), b""), 60) == expected
    )


def test_a_rate_is_kept_between_requests_and_nothing_is_saved_up() -> None:
    """Twenty a second: five requests take a fifth of a second at least, also after a pause."""
    with scripted(lambda _: Reply(body=b"{}")) as server:
        settings = ServerSettings(base_url=server.base_url, requests_per_second=20)
        with Client(settings) as client:
            client.get("Patient/1", what="a patient")
            time.sleep(0.2)
            began = time.monotonic()
            for _ in range(5):
                client.get("Patient/1", what="a patient")
    assert time.monotonic() - began >= 4 * 0.05


# What the environment may give


def test_credentials_of_netrc_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """psf/requests#3929: an entry for the host replaces the bearer token."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    sent = []
    for token in ({}, {"token": CANARY}):
        get(lambda request: sent.append(request.headers.get("Authorization")) or Reply(body=b"{}"), **token)
    assert sent == [None, f"Bearer {CANARY}"]


def test_a_ca_bundle_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """psf/requests#4726: it beats the configuration's."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    own_bundle = Path(certifi.where())
    for own, used in ((None, True), (own_bundle, str(own_bundle))):
        with Client(ServerSettings(base_url="https://fhir.example/fhir", ca_bundle=own)) as client:
            found = client._session.merge_environment_settings("https://fhir.example", {}, None, None, None)
            assert found["verify"] == used


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(lambda request: Reply(body=request.path.encode())) as proxy:
        monkeypatch.setenv("http_proxy", proxy.base_url.removesuffix("/fhir"))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with Client(ServerSettings(base_url="http://fhir.example/fhir", allow_http=True, attempts=1)) as client:
            assert client.get("Patient/1", what="a patient").body == b"http://fhir.example/fhir/Patient/1"


# Tokens


@pytest.mark.parametrize("renewed", [True, False])
def test_a_token_file_is_read_again_on_401(tmp_path: Path, renewed: bool) -> None:  # noqa: FBT001
    """drajer-health/eCRNow#235: the file is renewed while the run goes on."""
    file = tmp_path / "token"
    private_file(file, "old")

    def script(request: Request) -> Reply:
        if renewed:
            file.write_text("new\n")
        return Reply(body=b"{}") if request.headers["Authorization"] == "Bearer new" else Reply(401)

    with scripted(script) as server, Client(ServerSettings(base_url=server.base_url, token_file=file)) as client:
        if renewed:
            assert client.get("Patient/1", what="a patient").status == 200
            assert client.get("Patient/2", what="a patient").status == 200
        else:
            with pytest.raises(NotAuthenticated):
                client.get("Patient/1", what="a patient")
        assert len(server.asked) == (3 if renewed else 1)


@pytest.mark.parametrize(
    ("link", "ours"),
    [
        ("https://FHIR.example:443/fhir?page=2", True),
        ("https://fhir.example/other?page=2", True),
        ("https://fhir.example:8443/fhir?page=2", False),
        ("http://fhir.example/fhir?page=2", False),
        ("https://fhir.example.evil/fhir?page=2", False),
        ("https://fhir.example:x/fhir", False),
    ],
)
def test_origins_are_compared_by_scheme_host_and_effective_port(link: str, ours: bool) -> None:  # noqa: FBT001
    with Client(ServerSettings(base_url="https://fhir.example/fhir")) as client:
        if ours:
            assert client._absolute(link) == link
        else:
            with pytest.raises(ServerError, match="another origin"):
                client._absolute(link)


def test_a_download_follows_redirects_and_takes_the_token_only_to_its_own_origin() -> None:
    """cerner/fhir.cerner.com#899: files are answered by 307 to signed storage."""

    def script(request: Request) -> Reply:
        if request.path.endswith("/file"):
            return Reply(307, headers={"Location": "/storage/file?signed=1"})
        if request.path.endswith("/loop"):
            return Reply(307, headers={"Location": "/fhir/loop"})
        if request.path.endswith("/away"):
            return Reply(307, headers={"Location": "http://storage.example/file"})
        return Reply(body=b"line\n")

    with (
        scripted(script) as server,
        Client(ServerSettings(base_url=server.base_url, token=SecretStr(CANARY))) as client,
    ):
        sink = io.BytesIO()
        client.download(f"{server.base_url}/file", sink, what="a file", with_token=True)
        assert sink.getvalue() == b"line\n"
        assert [request.headers.get("Authorization") for request in server.asked] == [f"Bearer {CANARY}"] * 2
        for path, words in (("loop", "again and again"), ("away", "not by https")):
            with pytest.raises(ServerError, match=words):
                client.download(f"{server.base_url}/{path}", io.BytesIO(), what="a file", with_token=True)


@pytest.mark.parametrize("value", ["\u00b2", "soon", "-1", "1e9", "Wed, 99 Foo 2026"])
def test_a_retry_after_that_cannot_be_read_counts_as_absent(value: str) -> None:
    assert retry_after(Answer(503, {"Retry-After": value}, b""), 60) is None


# Answers as they should not be


def test_an_answer_that_is_too_large_is_refused_before_it_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.8 GB out of a small gzip: what counts is the size when decompressed."""
    packed = gzip.compress(b"{" + b" " * (64 << 20) + b"}")
    assert len(packed) < 1 << 20
    began = tracemalloc.start() or tracemalloc.get_traced_memory()[0]
    with pytest.raises(ServerError, match="answered more than 8 MB to a patient"):
        get(lambda _: Reply(body=packed, headers={"Content-Encoding": "gzip"}), answer_megabytes=8)
    peak = tracemalloc.get_traced_memory()[1] - began
    tracemalloc.stop()
    assert peak < 100 << 20
    body, _ = get(lambda _: Reply(body=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}))
    assert body == b"{}"


def test_an_answer_that_drips_in_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                with contextlib.suppress(OSError):
                    while True:
                        connection.sendall(b" ")
                        time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        settings = ServerSettings(base_url=f"http://127.0.0.1:{port}/fhir", attempts=1, answer_seconds=0.3)
        began = time.monotonic()
        late = pytest.raises(ServerError, match=r"had not answered a patient to the end after 0\.3 s")
        with Client(settings) as client, stamina.set_testing(True, attempts=1), late:
            client.get("Patient/1", what="a patient")
        assert time.monotonic() - began < 60  # the body would take 5,000 s


def test_words_of_a_server_that_are_not_fhirs_are_not_repeated() -> None:
    outcome = {"issue": [{"code": CANARY}, {"code": "processing"}]}
    with pytest.raises(ServerError) as caught:
        get(lambda _: Reply(422, outcome))
    assert "(other, processing)" in str(caught.value)
    statements = [{"resourceType": "CapabilityStatement", "fhirVersion": CANARY}, {"resourceType": CANARY}]
    for answer in (bundle({"resourceType": CANARY, "id": "1"}), *statements):
        with scripted(lambda _, answer=answer: Reply(body=answer)) as server:
            settings = ServerSettings(base_url=server.base_url)
            with Client(settings) as client, pytest.raises(ServerError) as caught:
                list(search(client, "Patient", [])) if answer["resourceType"] == "Bundle" else capability.read(client)
        assert CANARY not in str(caught.value)
