"""A server that answers what a test tells it to: for what no well-behaved server does."""

import contextlib
import json
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


@dataclass
class Request:
    """What was asked."""

    method: str
    path: str
    body: str
    headers: dict[str, str]


@dataclass
class Reply:
    """What is answered; `body` as it is, or as JSON."""

    status: int = 200
    body: Json | bytes = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    cut_short: bool = False  # promise more bytes than are sent
    hang_seconds: float = 0  # before anything is sent
    drip_seconds: float = 0  # before each byte of the body


Script = Callable[[Request], Reply]


@dataclass
class Scripted:
    """A running scripted server, and what it was asked so far."""

    base_url: str
    asked: list[Request]


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever breaks off (a client that does not trust the certificate) is no error of the test's; a script that fails is."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def scripted(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """Serve the script on a free loopback port, by https where `tls` is given."""
    asked: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            request = Request(self.command, self.path, body, dict(self.headers))
            asked.append(request)
            reply = script(request)
            time.sleep(reply.hang_seconds)
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            send = self.send_response_only if "Date" in reply.headers else self.send_response
            send(reply.status)
            headers = {"Content-Type": "application/fhir+json", **reply.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content) + 10 * reply.cut_short))
            self.end_headers()
            with contextlib.suppress(OSError):  # whoever asked may have given up
                for part in [content] if not reply.drip_seconds else (bytes([byte]) for byte in content):
                    time.sleep(reply.drip_seconds)
                    self.wfile.write(part)
            self.close_connection = reply.cut_short

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the names http.server looks for

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = _Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Scripted(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}/fhir", asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def bundle(*resources: Json, following: str = "", total: int | None = None) -> Json:
    """A searchset."""
    found: Json = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in resources]}
    if following:
        found["link"] = [{"relation": "next", "url": following}]
    if total is not None:
        found["total"] = total
    return found


def named(*names: str) -> list[Json]:
    """Observations that have an id and nothing else."""
    return [{"resourceType": "Observation", "id": name} for name in names]
