"""The sandbox over HTTP: an ASGI application, and the two ways to run it.

It knows no authorisation, so it listens on loopback only and answers only requests that were addressed to loopback (a page
in a browser could otherwise reach it by a name of its own that resolves to 127.0.0.1).
"""

import ipaddress
import logging
import socket
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from screener.base.errors import ConfigurationError
from screener.sandbox.bundles import Bundles
from screener.sandbox.capability import statement
from screener.sandbox.export import Exports
from screener.sandbox.interactions import Answer, Interactions
from screener.sandbox.outcome import Refused, bad_request, no_conditional_delete
from screener.sandbox.profiles import Profile
from screener.sandbox.store import DECODER, ENCODER, Store, Version

FHIR_JSON = "application/fhir+json"
PAGE_EXPIRY_SECONDS = 3600.0
_FORM = "application/x-www-form-urlencoded"
_JSON_TYPES = frozenset({"", FHIR_JSON, "application/json", "text/json"})
_START_SECONDS, _STOP_SECONDS = 10.0, 10.0

Endpoint = Callable[[Request], Awaitable[Answer]]

_log = logging.getLogger(__name__)


class Api:
    """One endpoint for each path and method."""

    def __init__(self, store: Store, base_url: str, expiry_seconds: float, like: Profile | None) -> None:
        self._like = like
        self._do = Interactions(store, base_url, expiry_seconds)
        self._bundles = Bundles(self._do)
        self._exports = Exports(store, base_url)
        whole = statement(base_url, datetime.now(UTC))
        self._statement = ENCODER.encode(like.statement(whole) if like else whole)

    async def metadata(self, _: Request) -> Answer:
        return Answer(200, self._statement)

    async def page(self, request: Request) -> Answer:
        params = _query(request)
        if not any(name == "_getpages" for name, _ in params):
            raise bad_request("The base answers Bundles by POST, and links to further pages")
        return self._do.page(params)

    async def bundle(self, request: Request) -> Answer:
        return self._bundles.process(await _body(request), bodies="return=representation" in _prefer(request))

    async def search(self, request: Request) -> Answer:
        kind, params = request.path_params["kind"], _query(request)
        if self._like:
            if len(str(request.url)) > self._like.url_characters:
                raise Refused(414, "too-long", "The URL is too long")
            self._like.check_search(kind, params)
            params = self._like.limited(params)
        return self._do.search(kind, params)

    async def search_by_post(self, request: Request) -> Answer:
        if _media_type(request) != _FORM:
            raise Refused(415, "not-supported", f"_search by POST takes {_FORM}")
        form = parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
        return self._do.search(request.path_params["kind"], [*_query(request), *form])

    async def no_search_by_post(self, _: Request) -> Answer:
        raise Refused(405, "not-supported", "Searches come by GET here")

    async def create(self, request: Request) -> Answer:
        criteria = request.headers.get("If-None-Exist")
        return self._do.create(request.path_params["kind"], await _body(request), criteria)

    async def conditional_delete(self, _: Request) -> Answer:
        raise no_conditional_delete()

    async def read(self, request: Request) -> Answer:
        if self._like:
            self._like.check_type(request.path_params["kind"])
        return self._do.read(**request.path_params)

    async def update(self, request: Request) -> Answer:
        resource = await _body(request)
        return self._do.update(**request.path_params, resource=resource, if_match=request.headers.get("If-Match"))

    async def delete(self, request: Request) -> Answer:
        return self._do.delete(**request.path_params, if_match=request.headers.get("If-Match"))

    async def history(self, request: Request) -> Answer:
        return self._do.history(**request.path_params, params=_query(request))

    async def export(self, request: Request) -> Answer:
        path = request.url.path.removeprefix("/fhir/")
        return self._exports.start(path, _query(request), asynchronous="respond-async" in _prefer(request))

    async def export_status(self, request: Request) -> Answer:
        return self._exports.status(request.path_params["job"])

    async def export_file(self, request: Request) -> Answer:
        return self._exports.file(request.path_params["job"], request.path_params["number"])

    async def discard_export(self, request: Request) -> Answer:
        return self._exports.discard(request.path_params["job"])

    async def vread(self, request: Request) -> Answer:
        return self._do.vread(**request.path_params)


def create_app(
    store: Store, base_url: str, expiry_seconds: float = PAGE_EXPIRY_SECONDS, like: Profile | None = None
) -> Starlette:
    """The ASGI application. `base_url` is what its links begin with: http://127.0.0.1:port/fhir. `like`: a record system whose
    restrictions hold; it is read by GET and writes nothing."""
    api = Api(store, base_url, expiry_seconds, like)
    table: dict[str, dict[str, Endpoint]] = {
        "/fhir": {"GET": api.page, "POST": api.bundle},
        "/fhir/": {"GET": api.page, "POST": api.bundle},
        "/fhir/metadata": {"GET": api.metadata},
        "/fhir/$export": {"GET": api.export},
        "/fhir/Patient/$export": {"GET": api.export},
        "/fhir/$export-poll-status/{job}": {"GET": api.export_status, "DELETE": api.discard_export},
        "/fhir/$export-file/{job}/{number}": {"GET": api.export_file},
        "/fhir/{kind}": {
            "GET": api.search,
            "POST": api.create,
            "DELETE": api.conditional_delete,
        },
        "/fhir/{kind}/_search": {"POST": api.search_by_post},
        "/fhir/{kind}/{name}": {"GET": api.read, "PUT": api.update, "DELETE": api.delete},
        "/fhir/{kind}/{name}/_history": {"GET": api.history},
        "/fhir/{kind}/{name}/_history/{number}": {"GET": api.vread},
        "/{path:path}": {},
    }
    if like:
        reads = {"/fhir", "/fhir/", "/fhir/metadata", "/fhir/{kind}", "/fhir/{kind}/{name}"}
        table = {path: {"GET": by["GET"]} if path in reads else {} for path, by in table.items()}
        table["/fhir/{kind}/_search"] = {"GET": api.no_search_by_post}
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    routes = [Route(path, _endpoint(by_method), methods=methods) for path, by_method in table.items()]
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"], www_redirect=False)
    app = Starlette(routes=routes, middleware=[hosts])
    app.router.redirect_slashes = False
    return app


def _endpoint(by_method: dict[str, Endpoint]) -> Callable[[Request], Awaitable[Response]]:
    """Answers and refusals as HTTP; anything else that goes wrong becomes a 500 without its text."""

    async def respond(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        try:
            endpoint = by_method.get(method) or _no_such_route(by_method)
            return _response(await endpoint(request), request)
        except Refused as refused:
            return _json(refused.status, ENCODER.encode(refused.outcome()))
        except Exception as error:  # noqa: BLE001 - its text may quote a resource: where it happened is said, not what
            _log.error("%s at %s", type(error).__name__, _place(error))
            fault = Refused(500, "exception", "The sandbox failed: please report the request")
            return _json(500, ENCODER.encode(fault.outcome()))

    return respond


def _place(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def _no_such_route(by_method: dict[str, Endpoint]) -> Endpoint:
    if by_method:
        raise Refused(405, "not-supported", "The sandbox does not do this request")
    raise Refused(404, "not-found", "There is nothing here; the FHIR base is /fhir")


def _response(answer: Answer, request: Request) -> Response:
    body = b"" if answer.written and "return=minimal" in _prefer(request) else answer.body
    response = (
        Response(body, answer.status, answer.headers, answer.media_type)
        if answer.media_type
        else _json(answer.status, body)
    )
    response.headers.update(answer.headers)
    version = answer.version
    if version:
        response.headers["ETag"] = f'W/"{version.number}"'
        response.headers["Last-Modified"] = format_datetime(version.updated, usegmt=True)
    if version and answer.written:
        response.headers["Location"] = f"{_base(request)}/{_location(version)}"
    return response


def _location(version: Version) -> str:
    return f"{version.local_reference}/_history/{version.number}"


def _base(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}/fhir"


def _json(status: int, body: bytes) -> Response:
    return Response(body, status, media_type=f"{FHIR_JSON};charset=utf-8" if body else None)


def _query(request: Request) -> list[tuple[str, str]]:
    return parse_qsl(request.url.query, keep_blank_values=True)


def _prefer(request: Request) -> frozenset[str]:
    return frozenset(part.strip() for part in request.headers.get("Prefer", "").replace(";", ",").split(","))


def _media_type(request: Request) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


async def _body(request: Request) -> Any:
    if _media_type(request) not in _JSON_TYPES:
        raise Refused(415, "not-supported", f"Bodies are {FHIR_JSON} here")
    try:
        return DECODER.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise bad_request("The body is not JSON") from None


class SandboxServer:
    """A sandbox in a thread of this process, at any free loopback port; ready when the constructor returns.

    `db` keeps the data in an SQLite file; `like` restricts it as a record system is. Raises ConfigurationError where `host` is not loopback, the port is taken
    or the file cannot be used.
    """

    def __init__(
        self,
        port: int = 0,
        db: Path | None = None,
        *,
        host: str = "127.0.0.1",
        page_expiry_seconds: float = PAGE_EXPIRY_SECONDS,
        like: Profile | None = None,
    ) -> None:
        self._socket = _loopback_socket(host, port)
        self.base_url = _base_url(self._socket)
        try:
            self._store = Store(db)
        except BaseException:
            self._socket.close()
            raise
        self._server = _uvicorn(create_app(self._store, self.base_url, page_expiry_seconds, like))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="sandbox", daemon=True
        )
        self._thread.start()
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                self.stop()
                raise ConfigurationError("The sandbox does not start", "Try another port")
            time.sleep(0.005)

    def stop(self) -> None:
        """Finish what is being answered, and close; may be called again."""
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        self._socket.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(port: int = 8080, db: Path | None = None, host: str = "127.0.0.1", like: Profile | None = None) -> None:
    """Serve until SIGINT or SIGTERM; the FHIR base is written to standard output once it answers."""
    listening = _loopback_socket(host, port)
    try:
        store = Store(db)
        try:
            server = _uvicorn(create_app(store, _base_url(listening), like=like))
            sys.stdout.write(f"FHIR R4 at {_base_url(listening)} (stop with Ctrl-C)\n")
            sys.stdout.flush()
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            sys.stdout.write("Stopped\n")
        finally:
            store.close()
    finally:
        listening.close()


def _loopback_socket(host: str, port: int) -> socket.socket:
    try:
        loopback = host == "localhost" or ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigurationError(
            "The sandbox listens on loopback only, for it knows no authorisation",
            "Use 127.0.0.1; for a server that others can reach, install a real FHIR server",
        )
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it, each answer waits 40 ms for an ACK.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"Port {port} of 127.0.0.1 cannot be used ({error.strerror})", "Choose another one, or 0 for any free one"
        ) from error
    return listening


def _base_url(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}/fhir"


def _uvicorn(app: Starlette) -> uvicorn.Server:
    """Without logs (URLs hold ids), signals of its own making, or protocols that FHIR has no use for."""
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)
