"""Batches (FHIR R4, http.html#transaction). The job sends no transactions, so there are none here."""

from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from screener.fhir.time import instant_text
from screener.sandbox.interactions import Answer, Interactions
from screener.sandbox.outcome import Json, Refused, bad_request, no_conditional_delete
from screener.sandbox.store import ENCODER


class _Request(msgspec.Struct):
    """One entry's request, its URL taken apart."""

    method: str
    path: tuple[str, ...]  # Type, id, _history, version: as many as were given
    query: str
    entry: Json

    def header(self, name: str) -> str | None:
        value = self.entry["request"].get(name)
        return value if isinstance(value, str) else None


class Bundles:
    """Carries out Bundles on one FHIR base."""

    def __init__(self, interactions: Interactions) -> None:
        self._do = interactions

    def process(self, bundle: Any, *, bodies: bool) -> Answer:
        """The answering Bundle. `bodies` puts the written resources in it. Raises Refused for what is no batch."""
        if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
            raise bad_request("Only a Bundle can be posted to the base")
        entries = bundle.get("entry", [])
        if bundle.get("type") != "batch" or not isinstance(entries, list):
            raise bad_request("The Bundle is no batch; the sandbox does not carry out transactions")
        with self._do.store.atomic():
            answered = [self._alone(entry, bodies=bodies) for entry in entries]
        return Answer(200, ENCODER.encode({"resourceType": "Bundle", "type": "batch-response", "entry": answered}))

    def _alone(self, entry: Any, *, bodies: bool) -> Json:
        """Each entry stands alone."""
        try:
            with self._do.store.atomic():
                request = self._request(entry)
                return _response(self._dispatch(request), request, bodies=bodies)
        except Refused as refused:
            return {"response": {"status": _status(refused.status), "outcome": refused.outcome()}}

    def _dispatch(self, request: _Request) -> Answer:
        match request.method, request.path:
            case "POST", (kind,):
                return self._do.create(kind, request.entry.get("resource"), request.header("ifNoneExist"))
            case "PUT", (kind, name):
                return self._do.update(kind, name, request.entry.get("resource"), request.header("ifMatch"))
            case "DELETE", (kind, name):
                return self._do.delete(kind, name, request.header("ifMatch"))
            case "DELETE", (_,):
                raise no_conditional_delete()
            case "GET", path:
                return self._get(path, request.query)
        raise Refused(405, "not-supported", "The sandbox does not do this request")

    def _get(self, path: tuple[str, ...], query: str) -> Answer:
        match path:
            case (kind,):
                return self._do.search(kind, parse_qsl(query, keep_blank_values=True))
            case (kind, name):
                return self._do.read(kind, name)
            case (kind, name, "_history", number):
                return self._do.vread(kind, name, number)
        raise Refused(405, "not-supported", "The sandbox does not do this request")

    def _request(self, entry: Any) -> _Request:
        request = entry.get("request") if isinstance(entry, dict) else None
        if not isinstance(request, dict) or not isinstance(request.get("url"), str):
            raise bad_request("An entry has no request with method and url")
        path, _, query = request["url"].removeprefix(self._do.base_url).partition("?")
        return _Request(str(request.get("method")), tuple(path.strip("/").split("/")), query, entry)


def _status(code: int) -> str:
    return f"{code} {HTTPStatus(code).phrase}"


def _response(answer: Answer, request: _Request, *, bodies: bool) -> Json:
    said: Json = {"status": _status(answer.status)}
    version = answer.version
    if version:
        if answer.written:
            said["location"] = f"{version.local_reference}/_history/{version.number}"
        said |= {"etag": f'W/"{version.number}"', "lastModified": instant_text(version.updated)}
    if answer.body and (bodies or request.method == "GET"):
        return {"resource": msgspec.Raw(answer.body), "response": said}
    return {"response": said}
