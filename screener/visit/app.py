"""The service over HTTP: discovery, the hook, feedback, and whether it lives."""

import time

import anyio
import structlog
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from screener.base.errors import as_screener_error
from screener.visit.clients import Clients
from screener.visit.hooks import SERVICE_ID, Refused, answer, read_call
from screener.visit.service import Service

log = structlog.get_logger()

_LARGEST_BODY = 16_000_000  # bytes: of a prefetch with thousands of results


def create_app(service: Service, clients: Clients | None, seconds: float) -> Starlette:
    """The application. `clients`: who may call, None for everybody (on this machine only); `seconds`: a call takes no longer."""

    async def discovery(_: Request) -> Response:
        return JSONResponse(service.discovery())

    async def hook(request: Request) -> Response:
        began = time.monotonic()
        try:
            if clients is not None:
                clients.check(request.headers.get("Authorization", ""))
            with anyio.fail_after(seconds):
                body = await _body(request)
            with anyio.fail_after(seconds):
                cards = await run_sync(lambda: service.cards(read_call(body)), abandon_on_cancel=True)
        except Refused as refused:
            return _refused(refused)
        except TimeoutError:
            return _refused(Refused(504, f"There is no answer within {seconds:g} s"))
        except ClientDisconnect:
            log.info("call_given_up", why="the client closed the connection")
            return Response(status_code=499)  # nobody reads it
        except Exception as error:  # noqa: BLE001 - a traceback may quote patient data
            said = as_screener_error(error)
            log.error("call_failed", error=said.what)
            return _refused(Refused(500, "The service met an error of its own; its log has more"))
        log.info("call_answered", cards=len(cards), milliseconds=round(1000 * (time.monotonic() - began)))
        return Response(answer(cards), media_type="application/json")

    async def feedback(request: Request) -> Response:
        try:
            if clients is not None:
                clients.check(request.headers.get("Authorization", ""))
        except Refused as refused:
            return _refused(refused)
        log.info("feedback")  # its contents may be about a patient
        return JSONResponse({})

    async def live(_: Request) -> Response:
        return Response("live\n")

    routes = [
        Route("/cds-services", discovery),
        Route(f"/cds-services/{SERVICE_ID}", hook, methods=["POST"]),
        Route(f"/cds-services/{SERVICE_ID}/feedback", feedback, methods=["POST"]),
        Route("/live", live),
    ]
    # The specification asks for it: clients may call from a browser.
    cross_origin = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["GET", "POST"], allow_headers=["*"])
    return Starlette(routes=routes, middleware=[cross_origin])


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > _LARGEST_BODY:
            raise Refused(413, f"The call is larger than {_LARGEST_BODY // 1_000_000} MB")
        parts.append(part)
    return b"".join(parts)


def _refused(refused: Refused) -> Response:
    log.warning("call_refused", status=refused.status, why=refused.words)
    headers = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else {}
    return JSONResponse({"error": refused.words}, status_code=refused.status, headers=headers)
