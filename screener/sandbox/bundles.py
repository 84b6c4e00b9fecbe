"""Batches and transactions (FHIR R4, http.html#transaction)."""

import uuid
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from screener.fhir.time import instant_text
from screener.sandbox.interactions import ID, Answer, Interactions
from screener.sandbox.outcome import Json, Refused, bad_request, no_conditional_delete
from screener.sandbox.store import ENCODER

# The order in which a transaction is carried out (http.html#trules).
_ORDER = ("DELETE", "POST", "PUT", "GET")


class _Request(msgspec.Struct):
    """One entry's request, its URL taken apart."""

    method: str
    path: tuple[str, ...]  # Type, id, _history, version: as many as were given
    query: str
    entry: Json
    new_id: str = ""  # of a transaction's POST
    existing: Answer | None = None  # of a transaction's conditional POST that found one

    @property
    def kind(self) -> str:
        return self.path[0]

    def header(self, name: str) -> str | None:
        value = self.entry["request"].get(name)
        return value if isinstance(value, str) else None


class Bundles:
    """Carries out Bundles on one FHIR base."""

    def __init__(self, interactions: Interactions) -> None:
        self._do = interactions

    def process(self, bundle: Any, *, bodies: bool) -> Answer:
        """The answering Bundle. `bodies` puts the written resources in it. Raises Refused where a transaction fails."""
        if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
            raise bad_request("Only a Bundle can be posted to the base")
        kind, entries = bundle.get("type"), bundle.get("entry", [])
        if kind not in ("batch", "transaction") or not isinstance(entries, list):
            raise bad_request("The Bundle is neither a batch nor a transaction")
        with self._do.store.atomic():
            answered = (
                self._batch(entries, bodies=bodies) if kind == "batch" else self._transaction(entries, bodies=bodies)
            )
        return Answer(200, ENCODER.encode({"resourceType": "Bundle", "type": f"{kind}-response", "entry": answered}))

    def _batch(self, entries: list[Any], *, bodies: bool) -> list[Json]:
        """Each entry stands alone, in the order given."""
        return [self._alone(entry, bodies=bodies) for entry in entries]

    def _alone(self, entry: Any, *, bodies: bool) -> Json:
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
            case "PUT", (kind,) if request.query:
                resource = request.entry.get("resource")
                return self._do.conditional_update(kind, request.query, resource, request.header("ifMatch"))
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

    def _transaction(self, entries: list[Any], *, bodies: bool) -> list[Json]:
        """All entries or none; raised within `atomic`, a refusal takes back what was written before it."""
        requests = [self._request(entry) for entry in entries]
        _refuse_overlap(requests)
        answers: dict[int, Answer] = {}
        with self._do.deferred_checks():
            for method in _ORDER:
                if method == "POST":  # after the deletions, before anything is written
                    self._resolve(requests)
                for place, request in enumerate(requests):
                    if request.method == method and method != "GET":
                        answers[place] = self._carry_out(request)
        for place, request in enumerate(requests):
            if place not in answers:
                answers[place] = self._dispatch(request)
        return [_response(answers[place], request, bodies=bodies) for place, request in enumerate(requests)]

    def _carry_out(self, request: _Request) -> Answer:
        if request.existing is not None:
            return request.existing
        if request.method == "POST":
            content = self._do.content(request.kind, request.entry.get("resource"))
            return self._do.put_new(request.kind, request.new_id, content)
        return self._dispatch(request)

    def _resolve(self, requests: list[_Request]) -> None:
        """Give each created resource its id, and put it in place of its urn:uuid in all references."""
        names: dict[str, str] = {}
        for request in requests:
            target = self._identity(request)
            full_url = request.entry.get("fullUrl")
            if target and isinstance(full_url, str) and full_url.startswith("urn:"):
                names[full_url] = target
        for request in requests:
            if "resource" in request.entry:
                request.entry = {**request.entry, "resource": _renamed(request.entry["resource"], names)}

    def _identity(self, request: _Request) -> str:
        """`Type/id` of what a POST or PUT entry will be."""
        if request.method == "POST" and len(request.path) == 1:
            criteria = request.header("ifNoneExist")
            found = self._do.only_match(request.kind, criteria) if criteria is not None else None
            if found:
                request.existing = Answer(200, found.body, found, written=True)
            request.new_id = found.id if found else str(uuid.uuid4())
            return f"{request.kind}/{request.new_id}"
        if request.method == "PUT" and len(request.path) == 2:
            return "/".join(request.path)
        if request.method == "PUT" and len(request.path) == 1:
            return self._conditional_identity(request)
        return ""

    def _conditional_identity(self, request: _Request) -> str:
        found = self._do.only_match(request.kind, request.query)
        resource = request.entry.get("resource")
        if not isinstance(resource, dict):
            raise bad_request("An entry has no resource")
        if found is None and "id" not in resource:  # so that others can refer to it before it is there
            request.entry = {**request.entry, "resource": {**resource, "id": str(uuid.uuid4())}}
        name = found.id if found else str(request.entry["resource"]["id"])
        return f"{request.kind}/{name}" if ID.fullmatch(name) else ""


def _refuse_overlap(requests: list[_Request]) -> None:
    """http.html#trules: a transaction in which two entries are about one resource fails."""
    writes = [request for request in requests if request.method in ("PUT", "DELETE")]
    about = [(request.path, request.query) for request in writes]
    about += [((r.kind,), c) for r in requests if r.method == "POST" and (c := r.header("ifNoneExist")) is not None]
    if len(set(about)) < len(about):
        raise bad_request("Two entries of the transaction are about the same resource")


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(element, names) for element in value]
    if not isinstance(value, dict):
        return value
    return {
        name: names.get(held, held) if name == "reference" and isinstance(held, str) else _renamed(held, names)
        for name, held in value.items()
    }


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
