"""An export from beginning to end: kick-off, waiting, fetching by several connections, checking, and resuming."""

import gzip
import os
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
import structlog

from screener.base.errors import (
    AuthorisationError,
    ConfigurationError,
    InputError,
    NotAsPromised,
    PageExpired,
    RequestRefused,
    ServerError,
)
from screener.base.plural import counted
from screener.base.progress import Progress
from screener.clinical.mapping import Mapper
from screener.config.servers import ServerSettings
from screener.config.settings import BulkSettings
from screener.fhir.client import Client
from screener.fhir.connections import Connections
from screener.fhir.time import instant_text, parse_instant
from screener.stores.bulk import journal as journals
from screener.stores.bulk.journal import File, Finished, Journal
from screener.stores.bulk.protocol import ExportRequest, Manifest, Output, Waiting, discard, kick_off, status
from screener.stores.bulk.request import needed

log = structlog.get_logger()

_GZIP = b"\x1f\x8b"


class Exporter:
    """Exports of one server."""

    def __init__(self, server: ServerSettings, bulk: BulkSettings) -> None:
        self._server, self._bulk = server, bulk

    def export(self, request: ExportRequest, folder: Path, progress: Progress, *, restart: bool = False) -> Finished:
        """Fill the folder. Called again after any interruption it goes on where that one was: nothing that is whole is fetched again.

        `restart` gives up an export that is in progress there. Raises ServerError where the export fails or is not whole, InputError
        where the folder holds something else.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with Client(self._server) as client:
            journal = _begun(client, request, folder, restart=restart)
            if not journal.status_url:
                journal.status_url = kick_off(client, request)
                journal.kicked_off = instant_text(client.server_time or datetime.now(UTC))
                journals.save(folder, journal)
            manifest = self._fetched(client, journal, folder, progress)
            whole = _whole(folder, journal, manifest, client.host, self._bulk.errors_allowed)
            journals.finish(folder, whole)
            discard(client, journal.status_url)
        return whole

    def _fetched(self, client: Client, journal: Journal, folder: Path, progress: Progress) -> Manifest:
        """Fetch the files. Addresses that the server no longer takes may have expired since an earlier call: it is asked for fresh
        ones, once (HeliosSoftware/hfs#145)."""
        fresh = journal.manifest is None
        while True:
            if journal.manifest is None:
                journal.manifest = _waited(client, journal.status_url, self._bulk, self._server.clock_tolerance_minutes)
                journals.save(folder, journal)
            manifest = journal.manifest
            try:
                _Fetch(journal, manifest, folder, progress).all(client, self._bulk.connections)
            except NotAsPromised:
                journal.manifest = None  # the next call asks for it again
                journals.forget_files(folder, journal)
                raise
            except (AuthorisationError, RequestRefused, PageExpired):
                if fresh:
                    raise
                fresh = True
                journal.manifest = _waited(client, journal.status_url, self._bulk, self._server.clock_tolerance_minutes)
                if _alike(manifest, journal.manifest):
                    journals.save(folder, journal)
                else:
                    journals.forget_files(folder, journal)
                log.info("export_addresses_renewed", why="the server no longer took those of an earlier call")
            else:
                return manifest

    def once(self, folder: Path, needs: Mapping[str, str], mapper: Mapper) -> Finished:
        """What a run reads: the export that the folder holds from a run that did not come to its end, else a new one."""
        self._check_tag()
        request = needed(needs, self._bulk.level, mapper=mapper)
        held = journals.finished(folder)
        if held is not None and _too_old(held):
            journals.remove(folder)
            held = None
        if held is None:
            return self.export(request, folder, _LoggedProgress())
        if (held.level, held.types, held.since) != (request.level, request.types, request.since):
            raise InputError(f"The folder {folder.name} holds another export", "Name an empty folder")
        log.info("export_taken_up", as_of=held.transaction_time, why="the run before did not come to its end")
        return held

    def changes(self, folder: Path, since: datetime, mapper: Mapper) -> Finished:
        """Export the Observations that changed since an instant, and some minutes before it: results are stamped before they are visible.
        What the folder holds from another night is removed."""
        self._check_tag()
        asked = since - timedelta(minutes=self._server.overlap_minutes)
        request = needed({}, self._bulk.level, types=("Observation",), since=asked, mapper=mapper)
        journals.remove(folder)
        held = journals.load(folder)
        restart = held is not None and held.request != request
        return self.export(request, folder, _LoggedProgress(), restart=restart)

    def _check_tag(self) -> None:
        if self._server.only_tag:
            raise ConfigurationError("An export cannot be narrowed to server.only_tag", "Leave out --bulk, or the tag")


def _too_old(held: Finished) -> bool:
    """Whether the export is more than a day old, too old to write by."""
    return datetime.now(UTC) - parse_instant(held.transaction_time) > timedelta(hours=24)


class _LoggedProgress:
    """Logs the progress, once in ten seconds at most."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._last >= 10:
            self._last = time.monotonic()
            log.info("export_files", done=done, total=total)


def _begun(client: Client, request: ExportRequest, folder: Path, *, restart: bool) -> Journal:
    """The export that the folder is in the middle of, or a new one."""
    held = journals.load(folder)
    if restart:
        if held and held.status_url and client.is_ours(held.status_url):
            discard(client, held.status_url)
        journals.clear(folder)
        held = None
    if held and held.status_url and not client.is_ours(held.status_url):
        journals.clear(folder)  # nobody could go on with it
        held = None
    if held and (held.base_url, held.request) != (client.base_url, request):
        raise InputError(
            f"The folder {folder.name} is in the middle of another export",
            "Name another folder, or give that one up with --restart",
        )
    whole = journals.finished(folder)
    if held is None and whole is not None:
        raise InputError(
            f"The folder {folder.name} holds a whole export already, as of {whole.transaction_time}",
            "Read it with --from, or name an empty folder for a new one",
        )
    if held is None and any(folder.iterdir()):
        raise InputError(
            f"The folder {folder.name} is not empty", "Name an empty folder: two exports in one would be read as one"
        )
    if held is None:
        held = Journal(client.base_url, request)
        journals.save(folder, held)
    return held


def _waited(client: Client, where: str, bulk: BulkSettings, tolerance_minutes: int) -> Manifest:
    """Ask until the export is complete, for every page of its manifest."""
    manifest = _page(client, where, bulk, tolerance_minutes)
    seen = {where}
    while manifest.following:
        if manifest.following in seen:
            raise ServerError(f"{client.host} pages the manifest of the export in a circle", "Ask its vendor")
        seen.add(manifest.following)
        manifest = manifest.and_page(_page(client, manifest.following, bulk, tolerance_minutes))
    return manifest


def _alike(one: Manifest, other: Manifest) -> bool:
    """Whether two manifests name the same files, whatever their addresses are now."""
    return one.transactionTime == other.transactionTime and [
        (place, file.type, file.count) for place, file in _places(one)
    ] == [(place, file.type, file.count) for place, file in _places(other)]


def _page(client: Client, where: str, bulk: BulkSettings, tolerance_minutes: int) -> Manifest:
    give_up = time.monotonic() + bulk.give_up_hours * 3600
    pause = 1.0
    while True:
        found = status(client, where)
        if isinstance(found, Manifest):
            tolerance = timedelta(minutes=tolerance_minutes)
            if parse_instant(found.transactionTime) > datetime.now(UTC) + tolerance:
                raise ServerError(
                    "The export says that it is from the future", "Ask the server's vendor; nothing was written"
                )
            return found
        if time.monotonic() > give_up:
            raise ServerError(
                f"{client.host} has not finished the export within {bulk.give_up_hours:g} h",
                "Call again to go on waiting, or give it up with --restart; a cancelled export may wait for ever",
            )
        pause = _pause(found, pause, bulk.longest_wait_seconds)
        log.info("export_in_progress", server_says=found.progress or "nothing", asking_again_in_seconds=round(pause, 1))
        time.sleep(pause)


def _pause(found: Waiting, last: float, longest: float) -> float:
    """How long to wait: as the server asks, else longer each time, up to the configuration's limit."""
    return min(found.seconds if found.seconds is not None else last * 1.5, longest)


class _Fetch:
    """The files of one manifest, by several connections."""

    def __init__(self, journal: Journal, manifest: Manifest, folder: Path, progress: Progress) -> None:
        self._journal, self._manifest = journal, manifest
        self._folder, self._progress = folder, progress
        self._files = list(_places(manifest))
        self._lock = threading.Lock()

    def all(self, client: Client, at_once: int) -> None:
        """Fetch what is not whole yet, by connections like `client`."""
        missing = [(place, file) for place, file in self._files if place not in self._journal.done]
        self._progress(len(self._journal.done), len(self._files))
        with Connections(client, at_once) as connections:
            connections.map(self._one, missing)

    def _one(self, client: Client, placed: tuple[str, Output]) -> None:
        """Fetch one file to a temporary file, check it, flush it to the disk, rename it, and only then note it in the journal."""
        place, file = placed
        kind, _, number = place.partition("/")
        temporary = self._folder / f".{kind}-{number}.part"
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        what = f"file {int(number) + 1} of the export ({file.type})"
        with os.fdopen(descriptor, "w+b") as stream:
            client.download(file.url, stream, what=what, with_token=self._manifest.requiresAccessToken)
            stream.flush()
            os.fsync(stream.fileno())
            zipped, resources = _checked(cast("BinaryIO", stream), file, what)
            size = stream.tell()
        name = f"{kind}-{file.type}.{int(number):05}.ndjson{'.gz' if zipped else ''}"
        name = name.removeprefix("output-") if kind == "output" else f"{name}.not-read"
        temporary.replace(self._folder / name)
        with self._lock:
            self._journal.done[place] = File(name, resources, size)
            journals.save(self._folder, self._journal)
            self._progress(len(self._journal.done), len(self._files))


def _places(manifest: Manifest) -> Iterator[tuple[str, Output]]:
    """Each file with its place in the manifest. What was deleted and what failed is kept, under names that no run reads."""
    for kind in ("output", "deleted", "error"):
        for number, file in enumerate(getattr(manifest, kind)):
            yield f"{kind}/{number}", file


def _checked(stream: BinaryIO, file: Output, what: str) -> tuple[bool, int]:
    """Whether the file is compressed, and how many resources it holds; the stream is left at its end. ServerError for a file that is
    cut short or holds another number than the manifest says."""
    stream.seek(0)
    zipped = stream.read(2) == _GZIP
    stream.seek(0)
    resources, last = 0, b""
    try:
        for line in cast("BinaryIO", gzip.GzipFile(fileobj=stream)) if zipped else stream:
            if line.strip():
                resources, last = resources + 1, line
        if last:
            msgspec.json.decode(last)
    except (EOFError, gzip.BadGzipFile, zlib.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotAsPromised(
            f"{what[0].upper()}{what[1:]} is cut short or damaged", "Call again: it is fetched again"
        ) from error
    if file.count is not None and resources != file.count:
        raise NotAsPromised(
            f"{what[0].upper()}{what[1:]} holds {counted(resources, 'resource')}, and the manifest says {file.count}",
            "Call again: it is fetched again; if it stays so, ask the server's vendor",
        )
    stream.seek(0, os.SEEK_END)
    return zipped, resources


class _Issue(msgspec.Struct):
    severity: str = "error"


class _Outcome(msgspec.Struct):
    issue: list[_Issue] = []


def _said_in(file: Path) -> tuple[int, int]:
    """How many lines of a file report an error, and how many something else. One that cannot be read, or that says nothing, counts as an
    error. Information and warnings, which some servers put there too (smart-on-fhir/cumulus-etl#169), do not."""
    content = file.read_bytes()
    lines = [
        one for one in (gzip.decompress(content) if ".gz" in file.suffixes else content).splitlines() if one.strip()
    ]
    errors = sum(_is_error(line) for line in lines)
    return errors, len(lines) - errors


def _is_error(line: bytes) -> bool:
    try:
        outcome = msgspec.json.decode(line, type=_Outcome)
    except msgspec.MsgspecError:
        return True
    return not outcome.issue or any(issue.severity not in ("information", "warning") for issue in outcome.issue)


def _whole(folder: Path, journal: Journal, manifest: Manifest, host: str, errors_allowed: int) -> Finished:
    """The export as its folder says it. ServerError where the server reports errors: what it could not export is missing from the files."""
    request = journal.request
    said = [_said_in(folder / file.name) for place, file in journal.done.items() if place.startswith("error/")]
    errors, remarks = sum(one for one, _ in said), sum(one for _, one in said)
    if errors > errors_allowed:
        raise ServerError(
            f"{host} reports {errors} errors in this export: it is not whole",
            "Read the files error-*.not-read in the folder, or allow so many with bulk.errors_allowed",
        )
    if errors or remarks:
        log.warning("export_with_remarks", errors=errors, information_and_warnings=remarks)
    files = tuple(journal.done[place] for place, _ in _places(manifest))
    as_of = _as_of(journal, manifest)
    return Finished(host, as_of, request.level, request.types, request.since, files, errors, remarks)


def _as_of(journal: Journal, manifest: Manifest) -> str:
    """The instant that the export is true for: some servers stamp it when it is done, and what changed meanwhile is not in it
    (torch#914)."""
    instants = [manifest.transactionTime, *([journal.kicked_off] if journal.kicked_off else [])]
    return min(instants, key=parse_instant)
