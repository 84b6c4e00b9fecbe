"""The RESTful interactions (FHIR R4, http.html), whether asked alone or as an entry of a Bundle."""

import re
import uuid
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from screener.sandbox.definitions import DEFINITIONS
from screener.sandbox.index import checked_references
from screener.sandbox.outcome import Json, Refused, bad_request, operation_outcome, printable
from screener.sandbox.paging import Pages, Snapshot
from screener.sandbox.search import DEFAULT_COUNT, Parameters, parse, run
from screener.sandbox.store import ENCODER, Store, Version

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_ETAG = re.compile(r'(?:W/)?"?([A-Za-z0-9\-.]{1,64})"?')


class Answer(msgspec.Struct, frozen=True):
    """What an interaction comes to. `version` gives ETag, Last-Modified and, for a write, Location; `headers` further ones."""

    status: int
    body: bytes = b""
    version: Version | None = None
    written: bool = False
    headers: dict[str, str] = {}
    media_type: str = ""  # FHIR's JSON


class Interactions:
    """One FHIR base. Every method raises Refused for what it does not do."""

    def __init__(self, store: Store, base_url: str, expiry_seconds: float) -> None:
        self.store, self.base_url = store, base_url
        self.pages = Pages(base_url, expiry_seconds)

    # Reading

    def read(self, kind: str, name: str) -> Answer:
        """http.html#read"""
        version = self.store.latest(known(kind), name)
        return _shown(version)

    def vread(self, kind: str, name: str, number: str) -> Answer:
        """http.html#vread"""
        past = self.store.history(known(kind), name)
        return _shown(next((version for version in past if str(version.number) == number), None))

    def history(self, kind: str, name: str, params: Parameters) -> Answer:
        """http.html#history of one resource, the newest version first; `_count` is understood."""
        past = self.store.history(known(kind), name)
        if not past:
            raise _not_found()
        unknown = [given for given, _ in params if given not in ("_count", "_format", "_pretty")]
        if unknown:
            raise Refused(400, "not-supported", f"History has no parameter {printable(unknown[0])} here")
        count = parse(kind, params, self.base_url).count or DEFAULT_COUNT
        link = f"{self.base_url}/{kind}/{name}/_history"
        return Answer(200, self.pages.first(Snapshot("history", past[::-1]), count, link))

    def search(self, kind: str, params: Parameters) -> Answer:
        """http.html#search"""
        query = parse(known(kind), params, self.base_url)
        found = run(self.store, query)
        if query.count_only:
            return Answer(200, ENCODER.encode({"resourceType": "Bundle", "type": "searchset", "total": len(found)}))
        link = f"{self.base_url}/{kind}?{urlencode(list(params))}"
        return Answer(
            200, self.pages.first(Snapshot("searchset", found, query.elements, query.total), query.count, link)
        )

    def page(self, params: Parameters) -> Answer:
        """The page that a `next` link names (http.html#paging)."""
        return Answer(200, self.pages.following(params))

    # Writing

    def create(self, kind: str, resource: Any, if_none_exist: str | None = None) -> Answer:
        """http.html#create and #ccreate; the server gives the id."""
        content = self._content(kind, resource)
        with self.store.atomic():
            existing = self._only_match(kind, if_none_exist) if if_none_exist is not None else None
            if existing:
                return Answer(200, existing.body, existing, written=True)
            return self._put(kind, str(uuid.uuid4()), content)

    def update(self, kind: str, name: str, resource: Any, if_match: str | None = None) -> Answer:
        """http.html#update and #upsert; If-Match as in http.html#concurrency."""
        content = self._content(kind, resource)
        if content.get("id") != name or not ID.fullmatch(name):
            raise bad_request("The resource has no id, or another one than the URL, or it is no FHIR id")
        with self.store.atomic():
            self._check_match(self.store.latest(kind, name), if_match)
            return self._put(kind, name, content)

    def delete(self, kind: str, name: str, if_match: str | None = None) -> Answer:
        """http.html#delete; what is gone already is no error, and neither is what others still refer to."""
        with self.store.atomic():
            self._check_match(self.store.latest(known(kind), name), if_match)
            version = self.store.delete(kind, name)
            if version is None:
                said = operation_outcome("information", "informational", "There was nothing to delete")
                return Answer(200, ENCODER.encode(said))
            return Answer(204, version=version)

    def _only_match(self, kind: str, criteria: str) -> Version | None:
        """The one resource that the criteria find, None for none. Raises Refused (412) for several, or for no criteria."""
        query = parse(known(kind), parse_qsl(criteria.rpartition("?")[2], keep_blank_values=True), self.base_url)
        found = run(self.store, query) if query.selective else []
        if len(found) > 1 or not query.selective:
            raise Refused(412, "multiple-matches", "The criteria are not selective enough")
        return found[0] if found else None

    def _content(self, kind: str, resource: Any) -> Json:
        """The resource, looked over: an object, of the type that the URL says; own absolute references made relative."""
        if not isinstance(resource, dict):
            raise bad_request("The body is no resource")
        if resource.get("resourceType") != known(kind):
            raise bad_request("The resourceType is not the one of the URL")
        if not isinstance(resource.get("meta", {}), dict):
            raise bad_request("meta is no object")
        found: Json = _relative(resource, f"{self.base_url}/")
        return found

    def _put(self, kind: str, name: str, content: Json) -> Answer:
        with self.store.atomic():
            before = self.store.latest(kind, name)
            version, made = self.store.put(kind, name, content)
            if made:
                self._check(version)
            created = before is None or before.deleted
            return Answer(201 if created else 200, version.body, version, written=True)

    def _check(self, version: Version) -> None:
        """Refuse references to what never was, where R4 has a search parameter for them (as HAPI FHIR does)."""
        for path, target in checked_references(version.resource(), DEFINITIONS[version.kind]):
            if not self.store.known(target):
                raise Refused(400, "not-found", f"{version.kind}.{path} refers to a resource that does not exist")

    def _check_match(self, version: Version | None, if_match: str | None) -> None:
        if if_match is None:
            return
        found = _ETAG.fullmatch(if_match.strip())
        if found is None:
            raise bad_request('If-Match is not of the form W/"version"')
        if version is None or version.deleted or found[1] != str(version.number):
            raise Refused(412, "conflict", "If-Match names another version than the current one")


def known(kind: str) -> str:
    """The type, if the sandbox holds it. Raises Refused (404)."""
    if kind not in DEFINITIONS:
        raise Refused(
            404, "not-supported", f"The sandbox does not hold {printable(kind)}; /metadata lists what it does"
        )
    return kind


def _shown(version: Version | None) -> Answer:
    if version is None:
        raise _not_found()
    if version.deleted:
        raise Refused(410, "deleted", "This resource was deleted")
    return Answer(200, version.body, version)


def _not_found() -> Refused:
    return Refused(404, "not-found", "There is no such resource")


def _relative(value: Any, own: str) -> Any:
    """A copy with each `reference` below our own base made relative."""
    if isinstance(value, list):
        return [_relative(element, own) for element in value]
    if not isinstance(value, dict):
        return value
    return {
        name: held.removeprefix(own) if name == "reference" and isinstance(held, str) else _relative(held, own)
        for name, held in value.items()
    }
