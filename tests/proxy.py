"""A front of a real FHIR server that may do wrong to any request: a test says to which, and what."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs

import requests

from tests.scripted import Reply, Request, Scripted, scripted

_PASSED_ON = ("Prefer", "If-Match", "If-None-Exist", "If-None-Match", "Content-Type", "Accept")
_PASSED_BACK = ("Content-Type", "Location", "ETag", "Last-Modified", "Date", "Content-Location", "Retry-After")

Ask = Callable[[], Reply]  # passes the request on, and returns the answer
Fault = Callable[[Request, Ask], Reply]  # what the front answers instead


def kind_of(request: Request) -> str:
    """The resource type that a request is about, "" for a batch."""
    return request.path.removeprefix("/fhir").partition("?")[0].strip("/").partition("/")[0]


def parameters_of(request: Request) -> dict[str, list[str]]:
    """The search parameters, from URL and body."""
    form = request.body if request.path.partition("?")[0].endswith("/_search") else ""
    return parse_qs(f"{request.path.partition('?')[2]}&{form}")


NOTHING_FOUND = Reply(body={"resourceType": "Bundle", "type": "searchset", "total": 0})


@contextmanager
def faulty(behind: Callable[[], str], fault: Fault, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """The front, on a free loopback port, by https where `tls` is given. It has addresses of its own in all that it answers; `behind` says what it stands before."""
    here = ""
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=8))

    def answer(request: Request) -> Reply:
        there = behind()

        def ask() -> Reply:
            headers = {name: value for name, value in request.headers.items() if name in _PASSED_ON}
            found = session.request(
                request.method,
                f"{there}{request.path.removeprefix('/fhir')}",
                data=request.body.replace(here, there).encode(),
                headers=headers,
                timeout=60,
            )
            back = {name: found.headers[name].replace(there, here) for name in _PASSED_BACK if name in found.headers}
            return Reply(found.status_code, found.text.replace(there, here).encode(), back)

        return fault(request, ask)

    with scripted(answer, tls) as front:
        here = front.base_url
        yield front
