"""Versioned resources in memory, indexed for search, kept in an SQLite file where one is named.

Versions are immutable and only ever appended: a search that pages over versions is a snapshot. Every public method may be
called from any thread; `atomic` makes several of them one.
"""

import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec

from screener.base.errors import ConfigurationError
from screener.fhir.time import instant_text
from screener.sandbox.dates import Range
from screener.sandbox.definitions import DEFINITIONS
from screener.sandbox.index import Key, date_ranges, keys
from screener.sandbox.outcome import Json

# Decimals keep the digits they were written with: 0.840 is not 0.84 (FHIR R4, datatypes.html#decimal).
DECODER = msgspec.json.Decoder(float_hook=Decimal)
ENCODER = msgspec.json.Encoder(decimal_format="number")
_SORTED = msgspec.json.Encoder(decimal_format="number", order="deterministic")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OF_THE_SERVER = ("versionId", "lastUpdated")
_APPLICATION_ID = 0x5C4EE4  # marks an SQLite file as ours
_TABLE = """CREATE TABLE IF NOT EXISTS version (
    sequence INTEGER PRIMARY KEY, kind TEXT, id TEXT, number INTEGER, updated_ms INTEGER, body BLOB)"""


class Version(msgspec.Struct, frozen=True):
    """One version of one resource; an empty body is a deletion."""

    kind: str
    id: str
    number: int
    updated_ms: int
    body: bytes
    rank: int  # order of creation among all resources
    keys: frozenset[Key] = frozenset()
    dates: tuple[Range, ...] = ()

    @property
    def deleted(self) -> bool:
        """Whether this version is the deletion."""
        return not self.body

    @property
    def updated(self) -> datetime:
        """`meta.lastUpdated`."""
        return _EPOCH + timedelta(milliseconds=self.updated_ms)

    @property
    def local_reference(self) -> str:
        """`Type/id`."""
        return f"{self.kind}/{self.id}"

    def resource(self) -> Json:
        """A copy of the content."""
        content: Json = DECODER.decode(self.body)
        return content


class _Shelf:
    """The resources of one type."""

    def __init__(self) -> None:
        self.versions: dict[str, list[Version]] = {}
        self.live: dict[str, Version] = {}
        self.by_key: dict[Key, set[str]] = {}

    def append(self, version: Version) -> None:
        self._take_down(version.id)
        self.versions.setdefault(version.id, []).append(version)
        self._put_up(version)

    def pop(self, name: str) -> None:
        self._take_down(name)
        kept = self.versions[name]
        kept.pop()
        if kept:
            self._put_up(kept[-1])
        else:
            del self.versions[name]

    def _put_up(self, version: Version) -> None:
        if not version.deleted:
            self.live[version.id] = version
            for key in version.keys:
                self.by_key.setdefault(key, set()).add(version.id)

    def _take_down(self, name: str) -> None:
        old = self.live.pop(name, None)
        for key in old.keys if old else ():
            self.by_key[key].discard(name)
            if not self.by_key[key]:
                del self.by_key[key]


class Store:
    """All resources. `file` keeps them beyond the life of the process."""

    def __init__(self, file: Path | None = None) -> None:
        self._lock = threading.RLock()
        self._shelves = {kind: _Shelf() for kind in DEFINITIONS}
        self._journal: list[Version] = []  # written within the outermost `atomic`, not yet in the file
        self._depth = 0
        self._sequence = 0
        self._clock_ms = 0
        self._file = _open(file) if file else None
        if self._file:
            self._load(self._file)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file:
                self._file.close()
                self._file = None

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """All that is written within stands or falls together; may be nested. The outermost one reaches the file."""
        with self._lock:
            mark = len(self._journal)
            self._depth += 1
            try:
                yield
                if self._depth == 1:
                    self._save()
            except BaseException:
                self._undo(mark)
                raise
            finally:
                self._depth -= 1

    def latest(self, kind: str, name: str) -> Version | None:
        """The newest version, be it a deletion; None for what never was."""
        with self._lock:
            versions = self._shelves[kind].versions.get(name)
            return versions[-1] if versions else None

    def history(self, kind: str, name: str) -> list[Version]:
        """All versions, the oldest first; empty for what never was."""
        with self._lock:
            return list(self._shelves[kind].versions.get(name, ()))

    def known(self, local_reference: str) -> bool:
        """Whether `Type/id` is or was there."""
        kind, _, name = local_reference.partition("/")
        with self._lock:
            return kind in self._shelves and name in self._shelves[kind].versions

    def select(self, kind: str, all_of: Iterable[Iterable[Key]], ids: Collection[str] | None = None) -> list[Version]:
        """The live resources that have one key of each group in `all_of`, in no particular order."""
        with self._lock:
            shelf = self._shelves[kind]
            found = None if ids is None else {name for name in ids if name in shelf.live}
            for any_of in all_of:
                having: set[str] = set().union(*(shelf.by_key.get(key, ()) for key in any_of))
                found = having if found is None else found & having
            return list(shelf.live.values()) if found is None else [shelf.live[name] for name in found]

    def put(self, kind: str, name: str, resource: Json) -> tuple[Version, bool]:
        """Make this the newest version, with `id` and `meta` set; nothing is made where nothing would change.

        Returns the newest version, and whether it was made now.
        """
        with self.atomic():
            old = self.latest(kind, name)
            content = {"resourceType": kind, "id": name, **resource}
            content["id"] = name
            if old and not old.deleted and _comparable(content) == _comparable(old.resource()):
                return old, False
            return self._append(kind, name, content), True

    def delete(self, kind: str, name: str) -> Version | None:
        """Make a deletion the newest version; None where there is nothing to delete."""
        with self.atomic():
            old = self.latest(kind, name)
            return self._append(kind, name, None) if old and not old.deleted else None

    def _append(self, kind: str, name: str, content: Json | None) -> Version:
        old = self.latest(kind, name)
        number = old.number + 1 if old else 1
        self._clock_ms = max(self._clock_ms, (datetime.now(UTC) - _EPOCH) // timedelta(milliseconds=1))
        rank = old.rank if old else self._sequence + 1
        self._sequence += 1
        if content is None:
            version = Version(kind, name, number, self._clock_ms, b"", rank)
        else:
            meta = {
                "versionId": str(number),
                "lastUpdated": instant_text(_EPOCH + timedelta(milliseconds=self._clock_ms)),
            }
            content["meta"] = {**content.get("meta", {}), **meta}
            body = ENCODER.encode(content)
            version = Version(kind, name, number, self._clock_ms, body, rank, keys(content), date_ranges(content))
        self._shelves[kind].append(version)
        self._journal.append(version)
        return version

    def _undo(self, mark: int) -> None:
        while len(self._journal) > mark:
            version = self._journal.pop()
            self._shelves[version.kind].pop(version.id)

    def _save(self) -> None:
        if self._file and self._journal:
            rows = [(v.kind, v.id, v.number, v.updated_ms, v.body) for v in self._journal]
            with self._file:
                self._file.executemany(
                    "INSERT INTO version (kind, id, number, updated_ms, body) VALUES (?, ?, ?, ?, ?)", rows
                )
        self._journal.clear()

    def _load(self, file: sqlite3.Connection) -> None:
        rows = file.execute("SELECT kind, id, number, updated_ms, body FROM version ORDER BY sequence")
        for kind, name, number, updated_ms, body in rows:
            self._sequence += 1
            self._clock_ms = max(self._clock_ms, updated_ms)
            old = self.latest(kind, name)
            rank = old.rank if old else self._sequence
            content = DECODER.decode(body) if body else None
            found = (keys(content), date_ranges(content)) if content else (frozenset[Key](), ())
            self._shelves[kind].append(Version(kind, name, number, updated_ms, body, rank, *found))


def _comparable(resource: Json) -> bytes:
    """The content without what the server sets; decimals by their digits, for 0.840 is a change of 0.84."""
    meta = {name: value for name, value in resource.get("meta", {}).items() if name not in _OF_THE_SERVER}
    return _SORTED.encode({**resource, "meta": meta})


def _open(file: Path) -> sqlite3.Connection:
    """The database, for this process alone. Raises ConfigurationError where the file is another program's, or in use."""
    try:
        file.touch(mode=0o600)
        connection = sqlite3.connect(file, check_same_thread=False, timeout=1)
        try:
            _prepare(connection, file)
        except BaseException:
            connection.close()
            raise
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(
            f"Cannot use {file} as the sandbox's database ({type(error).__name__})",
            "Name a new file or one that `screener sandbox serve` made, which no other server has open",
        ) from error
    return connection


def _prepare(connection: sqlite3.Connection, file: Path) -> None:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN IMMEDIATE")
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    if tables and mark != _APPLICATION_ID:
        raise ConfigurationError(
            f"{file} is a database of another program", "Name a new file, or one that `screener sandbox serve` made"
        )
    connection.execute(_TABLE)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.commit()
