"""A front of the sandbox that answers as Medplum does, where Medplum differs from the sandbox and from HAPI FHIR.

Versions are UUIDs. A batch that asks for `return=minimal` gets an empty body. Search results have no total. Each resource carries
`meta` elements of the server's own, its elements come in another order, and its numbers went through JavaScript (6.50 comes back as 6.5).
"""

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import requests

from screener.sandbox.app import SandboxServer
from tests.scripted import Json, Reply, Request, Scripted, scripted

_ETAG = re.compile(r'W/"([^"]+)"')
_HISTORY = re.compile(r"/_history/([^/]+)$")
_PASSED_ON = ("Prefer", "If-Match", "If-None-Exist", "Content-Type", "Accept")


@contextmanager
def medplum_like() -> Iterator[Scripted]:
    """The server, on a free loopback port."""
    with SandboxServer() as behind:
        front = _Front(behind.base_url)
        with scripted(front.answer) as server:
            front.base_url = server.base_url
            yield server


class _Front:
    def __init__(self, behind: str) -> None:
        self._behind = behind
        self.base_url = ""
        self._numbers: dict[str, str] = {}  # the sandbox's version by our UUID

    def answer(self, request: Request) -> Reply:
        headers = {name: value for name, value in request.headers.items() if name in _PASSED_ON}
        minimal = headers.pop("Prefer", "") == "return=minimal"
        if "If-Match" in headers:
            headers["If-Match"] = self._numbered(headers["If-Match"])
        body = request.body.replace(self.base_url, self._behind)
        if '"type":"batch"' in body:
            body = json.dumps(self._with_numbers(json.loads(body, parse_float=_float)))
        path = request.path.removeprefix("/fhir")
        found = requests.request(
            request.method, f"{self._behind}{path}", data=body.encode(), headers=headers, timeout=30
        )
        text = found.text.replace(self._behind, self.base_url)
        content = self._dressed(json.loads(text, parse_float=_float)) if text else None
        empty = content is None or (minimal and request.path.rstrip("/") == "/fhir")
        location = {"Location": found.headers["Location"]} if "Location" in found.headers else {}
        return Reply(found.status_code, b"" if empty else json.dumps(content).encode(), location)

    def _with_numbers(self, bundle: Json) -> Json:
        for entry in bundle["entry"]:
            match = entry["request"].get("ifMatch")
            if match:
                entry["request"]["ifMatch"] = self._numbered(match)
        return bundle

    def _numbered(self, etag: str) -> str:
        return _ETAG.sub(lambda found: f'W/"{self._numbers.get(found[1], "0")}"', etag)

    def _named(self, version: str) -> str:
        name = str(uuid.uuid5(uuid.NAMESPACE_URL, version))
        self._numbers[name] = version
        return name

    def _dressed(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._dressed(part) for part in value]
        if not isinstance(value, dict):
            return value
        value = {name: self._dressed(value[name]) for name in sorted(value) if name != "total"}
        meta = value.get("meta")
        if isinstance(meta, dict) and "versionId" in meta:
            value["meta"] = {"project": str(uuid.NAMESPACE_DNS), **meta, "versionId": self._named(meta["versionId"])}
        if isinstance(value.get("etag"), str):
            value["etag"] = _ETAG.sub(lambda found: f'W/"{self._named(found[1])}"', value["etag"])
        if isinstance(value.get("location"), str):
            value["location"] = _HISTORY.sub(lambda found: f"/_history/{self._named(found[1])}", value["location"])
        return value


def _float(text: str) -> float | int:
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else float(text)
