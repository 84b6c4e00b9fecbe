"""Half-open connections are closed, bodies that never end are given up, and the service answers others meanwhile."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import requests
import structlog
import uvicorn

from screener.visit import connections
from screener.visit.app import create_app


class _NoCards:
    """A service with nothing to say."""

    def discovery(self) -> dict[str, list[str]]:
        return {"services": []}

    def cards(self, _: object) -> list[object]:
        return []


@pytest.fixture
def address(unused_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    app = create_app(_NoCards(), None, 0.5)  # type: ignore[arg-type]
    config = uvicorn.Config(app, port=unused_port, log_config=None, http=connections.ImpatientProtocol)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield "127.0.0.1", unused_port
    server.should_exit = True
    thread.join(10)


def is_closed(one: socket.socket) -> bool:
    one.settimeout(30)
    try:
        return not one.recv(65536) or not one.recv(65536)
    except ConnectionError:
        return True


def test_half_open_connections_are_closed_and_others_answered(address: tuple[str, int]) -> None:
    with ExitStack() as stack:
        half = [stack.enter_context(socket.create_connection(address)) for _ in range(100)]
        for number, one in enumerate(half):
            one.sendall((b"", b"GET /live HT", b"GET /live HTTP/1.1\r\nHost: x\r\nX-Slow: ")[number % 3])
        assert requests.get(f"http://{address[0]}:{address[1]}/live", timeout=30).text == "live\n"
        assert all(is_closed(one) for one in half)


def test_a_second_request_on_a_connection_has_to_come_whole_too(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as one:
        one.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
        said = b""
        while b"live\n" not in said:
            said += one.recv(65536)
        one.sendall(b"GET /li")
        assert is_closed(one)


def test_a_body_that_never_ends_is_given_up(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as one:
        one.sendall(b"POST /cds-services/osteoporosis-screening HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n{")
        one.settimeout(30)
        assert b" 504 " in one.recv(65536)


def test_a_client_that_goes_away_is_no_error_of_ours(address: tuple[str, int]) -> None:
    with structlog.testing.capture_logs() as said:
        one = socket.create_connection(address)
        one.sendall(b"POST /cds-services/osteoporosis-screening HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n{")
        time.sleep(0.1)
        one.close()
        until = time.monotonic() + 30
        while not said and time.monotonic() < until:
            time.sleep(0.02)
    assert [(line["event"], line["log_level"]) for line in said] == [("call_given_up", "info")]
