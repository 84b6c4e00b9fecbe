"""Bulk Data Access on the sandbox: kick-off, status, files, deletion (hl7.org/fhir/uv/bulkdata, export).

An export is a snapshot taken at its kick-off. Its first status request is answered 202, the next ones with the manifest, so that
clients have something to poll.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import msgspec

from screener.base.batches import batches
from screener.fhir.time import instant_text
from screener.sandbox.definitions import DEFINITIONS
from screener.sandbox.interactions import Answer
from screener.sandbox.outcome import Refused, bad_request, printable
from screener.sandbox.search import Parameters, parse, run
from screener.sandbox.store import ENCODER, Store, Version

NDJSON = "application/fhir+ndjson"
LINES_PER_FILE = 1000
_FORMATS = frozenset({NDJSON, "application/ndjson", "ndjson"})
_OF_PATIENTS = frozenset(DEFINITIONS) - {"Device", "Group", "Medication"}


class _File(msgspec.Struct, frozen=True):
    kind: str
    lines: Sequence[Version]


class _Job(msgspec.Struct):
    request: str
    transaction_time: str
    files: list[_File]
    asked: int = 0


class Exports:
    """The exports of one FHIR base, held until they are deleted."""

    def __init__(self, store: Store, base_url: str) -> None:
        self._store, self._base_url = store, base_url
        self._jobs: dict[str, _Job] = {}

    def start(self, path: str, params: Parameters, *, asynchronous: bool) -> Answer:
        """Take the snapshot; the answer says where its status is. `path` is that of the kick-off below the base."""
        if not asynchronous:
            raise bad_request("An export is asked for with Prefer: respond-async")
        asked = dict(params)
        if asked.get("_outputFormat", NDJSON) not in _FORMATS:
            raise bad_request(f"Exports are {NDJSON}")
        unknown = asked.keys() - {"_outputFormat", "_type", "_since", "_typeFilter"}
        if unknown:
            raise bad_request(f"An export has no parameter {printable(min(unknown))} here")
        kinds = [kind for kind in asked.get("_type", "").split(",") if kind]
        if not DEFINITIONS.keys() >= set(kinds):
            raise bad_request(f"_type names what is not held here: {printable(','.join(kinds))}")
        allowed = _OF_PATIENTS if path.startswith("Patient/") else DEFINITIONS
        filters = [value for name, value in params if name == "_typeFilter"]
        files = [
            _File(kind, lines)
            for kind in kinds or sorted(allowed)
            if kind in allowed
            for lines in batches(self._found(kind, asked.get("_since", ""), filters), LINES_PER_FILE)
        ]
        name = str(uuid.uuid4())
        now = instant_text(datetime.now(UTC))
        self._jobs[name] = _Job(f"{self._base_url}/{path}", now, files)
        return Answer(202, headers={"Content-Location": f"{self._base_url}/$export-poll-status/{name}"})

    def _found(self, kind: str, since: str, filters: Sequence[str]) -> list[Version]:
        """All of a type, or what one of its filters finds."""
        of_kind = [value.partition("?")[2] for value in filters if value.partition("?")[0] == kind]
        newer = [("_lastUpdated", f"ge{since}")] if since else []
        found: dict[str, Version] = {}
        for query in of_kind or [""]:
            params = [*parse_qsl(query, keep_blank_values=True), *newer]
            found.update({v.id: v for v in run(self._store, parse(kind, params, self._base_url))})
        return sorted(found.values(), key=lambda version: version.rank)

    def status(self, name: str) -> Answer:
        """202 the first time, then the manifest."""
        job = self._job(name)
        job.asked += 1
        if job.asked == 1:
            return Answer(202, headers={"Retry-After": "1", "X-Progress": "snapshot taken"})
        output = [
            {"type": file.kind, "url": f"{self._base_url}/$export-file/{name}/{number}", "count": len(file.lines)}
            for number, file in enumerate(job.files)
        ]
        manifest = {
            "transactionTime": job.transaction_time,
            "request": job.request,
            "requiresAccessToken": False,
            "output": output,
            "error": [],
        }
        return Answer(200, ENCODER.encode(manifest), media_type="application/json")

    def file(self, name: str, number: str) -> Answer:
        """The lines of one file."""
        files = self._job(name).files
        if not number.isdecimal() or int(number) >= len(files):
            raise Refused(404, "not-found", "The export has no such file")
        body = b"".join(version.body + b"\n" for version in files[int(number)].lines)
        return Answer(200, body, media_type=NDJSON)

    def discard(self, name: str) -> Answer:
        """Forget the export."""
        self._job(name)
        del self._jobs[name]
        return Answer(202)

    def _job(self, name: str) -> _Job:
        if name not in self._jobs:
            raise Refused(404, "not-found", "There is no such export, or it was deleted")
        return self._jobs[name]
