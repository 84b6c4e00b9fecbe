"""Answers of several pages: what they hold is fixed when the first page is made."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from urllib.parse import urlencode

import msgspec

from screener.fhir.time import instant_text
from screener.sandbox.outcome import Json, Refused, bad_request
from screener.sandbox.search import DEFAULT_COUNT, MAXIMUM_COUNT, subset
from screener.sandbox.store import ENCODER, Version

_MOST_SNAPSHOTS = 1000  # the oldest goes first

_METHODS = {True: "DELETE", False: "PUT"}


class Snapshot(msgspec.Struct, frozen=True):
    """A search or a history: its versions in order, and how each is to be shown."""

    bundle_type: str  # searchset | history
    versions: Sequence[Version]
    elements: tuple[str, ...] = ()
    total: bool = True


class Pages:
    """Snapshots that a `next` link may still ask for."""

    def __init__(self, base_url: str, expiry_seconds: float) -> None:
        self._base_url, self._expiry_seconds = base_url, expiry_seconds
        self._kept: OrderedDict[str, tuple[float, Snapshot]] = OrderedDict()
        self._lock = threading.Lock()

    def first(self, snapshot: Snapshot, count: int, self_url: str) -> bytes:
        """The first page; the rest is kept under a name of its own where there is any."""
        token = ""
        if len(snapshot.versions) > count:
            token = secrets.token_urlsafe(18)
            with self._lock:
                self._kept[token] = (time.monotonic(), snapshot)
                while len(self._kept) > _MOST_SNAPSHOTS:
                    self._kept.popitem(last=False)
        return self._page(snapshot, token, 0, count, self_url)

    def following(self, params: Sequence[tuple[str, str]]) -> bytes:
        """A page that a `next` link names. Raises Refused: 410 where it has expired, 400 where we did not make it."""
        asked = dict(params)
        token = asked.get("_getpages", "")
        with self._lock:
            made, snapshot = self._kept.get(token, (float("-inf"), None))
        if snapshot is None or time.monotonic() - made > self._expiry_seconds:
            with self._lock:
                self._kept.pop(token, None)
            raise Refused(410, "expired", "These pages have expired: ask the search again")
        numbers = [asked.get("_getpagesoffset", "0"), asked.get("_count", str(DEFAULT_COUNT))]
        if not all(number.isascii() and number.isdigit() and len(number) < 10 for number in numbers):
            raise bad_request("This is no link to a page of a search")
        offset, count = map(int, numbers)
        count = min(max(count, 1), MAXIMUM_COUNT)
        return self._page(snapshot, token, offset, count, self._link(token, offset, count))

    def _page(self, snapshot: Snapshot, token: str, offset: int, count: int, self_url: str) -> bytes:
        shown = snapshot.versions[offset : offset + count]
        links = [{"relation": "self", "url": self_url}]
        if offset + count < len(snapshot.versions):
            links.append({"relation": "next", "url": self._link(token, offset + count, count)})
        bundle: Json = {"resourceType": "Bundle", "type": snapshot.bundle_type}
        if snapshot.total:
            bundle["total"] = len(snapshot.versions)
        bundle["link"] = links
        entry = self._match if snapshot.bundle_type == "searchset" else self._past
        if shown:
            bundle["entry"] = [entry(version, snapshot) for version in shown]
        return ENCODER.encode(bundle)

    def _link(self, token: str, offset: int, count: int) -> str:
        return f"{self._base_url}?{urlencode({'_getpages': token, '_getpagesoffset': offset, '_count': count})}"

    def _match(self, version: Version, snapshot: Snapshot) -> Json:
        resource = subset(version.resource(), snapshot.elements) if snapshot.elements else msgspec.Raw(version.body)
        return {
            "fullUrl": f"{self._base_url}/{version.local_reference}",
            "resource": resource,
            "search": {"mode": "match"},
        }

    def _past(self, version: Version, _: Snapshot) -> Json:
        method = _METHODS[version.deleted]
        status = "204 No Content" if version.deleted else "201 Created" if version.number == 1 else "200 OK"
        entry: Json = {"fullUrl": f"{self._base_url}/{version.local_reference}"}
        if not version.deleted:
            entry["resource"] = msgspec.Raw(version.body)
        entry["request"] = {"method": method, "url": version.local_reference}
        entry["response"] = {
            "status": status,
            "etag": f'W/"{version.number}"',
            "lastModified": instant_text(version.updated),
        }
        return entry
