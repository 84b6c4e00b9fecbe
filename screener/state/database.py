"""The database of the state: SQLite or PostgreSQL. Its errors become messages that say what to do."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Double,
    Engine,
    Table,
    cast,
    create_engine,
    event,
    func,
    inspect,
    literal,
    make_url,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from screener.base.errors import StateError, leaves_no_room, missing_package_error
from screener.state import tables

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

_BUSY_TIMEOUT_SECONDS = 15.0
_BEGIN = "screener_begin"  # execution option: how a transaction on SQLite begins
_CREATION_LOCK = 0x5C5EE7E5  # any number, as long as every release asks for the same one
_URL_REMEDY = (
    "Set SCREENER_STATE_URL to sqlite:///FILE (sqlite:////FILE for an absolute path) or to "
    "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
)
_REBUILD = "point SCREENER_STATE_URL to a new place and run a backfill: the state is rebuilt from the server"
_NOT_THERE = "If runs have been made, name the state that they used (state.url, SCREENER_STATE_URL); the first `screener run --backfill` makes one"
_ROOM = "Make room, look at the disk, and run again"
_RIGHTS = "The user that runs the job must be able to read and write the file and the folder that it lies in"
# By the name of SQLite's primary result code (https://www.sqlite.org/rescode.html).
_SQLITE_ERRORS = {
    "BUSY": ("is locked by another program", "End that program (a database browser, a backup) and run again"),
    "LOCKED": ("is locked by another program", "End that program (a database browser, a backup) and run again"),
    "NOTADB": ("is not a SQLite database", f"It is left as it is; {_REBUILD}"),
    "CORRUPT": ("is damaged", f"Move it aside, or {_REBUILD}"),
    "CANTOPEN": ("cannot be opened", _RIGHTS),
    "READONLY": ("cannot be written", _RIGHTS),
    "PERM": ("cannot be opened", _RIGHTS),
    "FULL": ("cannot be written: the disk is full", _ROOM),
    "IOERR": ("cannot be written: the disk is full or reports an error", _ROOM),
}
# By SQLSTATE (PostgreSQL, appendix A).
_POSTGRESQL_REMEDIES = {
    "42501": "Grant the user CREATE on the schema, or read and write on its screener_ tables",
    "55P03": "Another session holds a lock on the screener_ tables: end it and run again",
}


def _later_than(version: int) -> range:
    return range(version + 1, tables.SCHEMA_VERSION + 1)


class Database:
    """Transactions on the state's database. Threads may share it; a forked child must open its own."""

    def __init__(self, engine: Engine, place: str) -> None:
        self._engine = engine
        self._place = place
        self.is_sqlite = engine.dialect.name == "sqlite"

    @classmethod
    def open(cls, url: str, *, make: bool = True) -> Self:
        """Open the database; unless `make` is false, make it and its tables if there are none. Raises StateError."""
        parsed = _parse(url)
        if not make and not is_there(url):
            raise StateError(f"There is no state at {place_of(url)}: no run has been made with it yet", _NOT_THERE)
        if parsed.get_backend_name() == "sqlite":
            database = cls(*_sqlite_engine(parsed))
        else:
            database = cls(*_postgresql_engine(parsed))
        try:
            database._ensure_schema()
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def in_memory(cls) -> Self:
        """An empty database that is kept nowhere."""
        engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        event.listen(engine, "connect", _on_sqlite_connect)
        event.listen(engine, "begin", _on_sqlite_begin)
        database = cls(engine, "The state in memory")
        database._ensure_schema()
        return database

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: on SQLite it waits for nobody."""
        with self._told(), self._engine.connect() as connection:
            yield connection.execution_options(**{_BEGIN: "BEGIN"})

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes: all of it, or nothing if the block raises."""
        with self._told(), self._engine.begin() as connection:
            if not self.is_sqlite:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_BUSY_TIMEOUT_SECONDS}s'")
            yield connection

    def now(self) -> ColumnElement[float]:
        """Seconds since 1970: by the server's clock on PostgreSQL, whose users may sit on several machines."""
        if self.is_sqlite:
            return literal(time.time(), Double)
        return cast(func.extract("epoch", func.clock_timestamp()), Double)

    def _ensure_schema(self) -> None:
        with self.read() as connection:
            version = _version(connection)
        if version is None:
            version = self._create_schema()
        if version < tables.SCHEMA_VERSION and all(n in tables.ADDED for n in _later_than(version)):
            version = self._upgrade()
        if version != tables.SCHEMA_VERSION:
            raise self._version_error(version)

    def _version_error(self, version: int) -> StateError:
        older = version < tables.SCHEMA_VERSION
        versions = f"(schema version {version}; this release works with {tables.SCHEMA_VERSION})"
        what = f"{self._place} was made by {'an older' if older else 'a newer'} release {versions}"
        return StateError(what, f"Use the release that made it, or {_REBUILD}")

    def _create_schema(self) -> int:
        if self.is_sqlite:
            self._use_wal()
        with self.write() as connection:
            if not self.is_sqlite:
                connection.execute(select(func.pg_advisory_xact_lock(_CREATION_LOCK)))
            version = _version(connection)
            if version is not None:  # another process was quicker
                return version
            if self.is_sqlite and inspect(connection).get_table_names():
                raise StateError(
                    f"{self._place} is the database of another program", f"It is left as it is; {_REBUILD}"
                )
            tables.metadata.create_all(connection)
            connection.execute(tables.schema.insert().values(version=tables.SCHEMA_VERSION))
        return tables.SCHEMA_VERSION

    def _upgrade(self) -> int:
        """Add the tables that later releases brought; nothing that is there is altered."""
        with self.write() as connection:
            if not self.is_sqlite:
                connection.execute(select(func.pg_advisory_xact_lock(_CREATION_LOCK)))
            for version in _later_than(_version(connection) or 0):
                tables.metadata.create_all(connection, tables=tables.ADDED[version])
            connection.execute(tables.schema.update().values(version=tables.SCHEMA_VERSION))
        return tables.SCHEMA_VERSION

    def _use_wal(self) -> None:
        """Write-ahead log: readers and the writer do not wait for each other. It stays set in the file.

        Where the file system cannot do it, SQLite keeps its rollback journal, which is slower and as safe.
        """
        deadline = time.monotonic() + _BUSY_TIMEOUT_SECONDS
        while True:
            try:
                with self._engine.connect() as connection:
                    connection.execution_options(**{_BEGIN: None})  # the mode cannot change within a transaction
                    if not inspect(connection).get_table_names():  # else made by someone else, or not ours to change
                        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                    return
            except DBAPIError as error:
                # SQLite does not wait by itself for this change of mode when two processes make the file at once
                if _sqlite_code(error) != "BUSY" or time.monotonic() > deadline:
                    raise self._state_error(error) from error
                time.sleep(0.02)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise self._state_error(error) from error

    def _state_error(self, error: SQLAlchemyError) -> StateError:
        if not isinstance(error, DBAPIError):
            return StateError(f"{self._place} cannot be used: {type(error).__name__}", _URL_REMEDY)
        reason = _first_line(error)
        if self.is_sqlite:
            what, remedy = _SQLITE_ERRORS.get(_sqlite_code(error), (f"cannot be used: {reason}", _RIGHTS))
            return StateError(f"{self._place} {what}", remedy)
        remedy = _POSTGRESQL_REMEDIES.get(
            getattr(error.orig, "sqlstate", None) or "",
            "Check that PostgreSQL answers there, and host, database, user and password in SCREENER_STATE_URL",
        )
        return StateError(f"{self._place} cannot be used: {reason}", remedy)


def insert_into(connection: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that knows ON CONFLICT, which both databases have and standard SQL has not."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - 30 ms that a run on SQLite does not need

    return postgresql.insert(table)


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table(tables.schema.name):
        return None
    return connection.execute(select(func.max(tables.schema.c.version))).scalar_one_or_none() or 0


def is_there(url: str) -> bool:
    """Whether there is a state to open. StateError for a URL that cannot be read, and for a server that cannot be reached."""
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return Path(parsed.database or "").expanduser().is_file()
    database = Database(*_postgresql_engine(parsed))
    try:
        with database.read() as connection:
            return _version(connection) is not None
    finally:
        database.close()


def place_of(url: str) -> str:
    """Where a state is, for people: the path of a file, or the database and its host; no user and no password."""
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return str(Path(parsed.database or "").expanduser().absolute())
    return f"{parsed.database or ''} on {parsed.host or 'the local socket'}"


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        # the text is not repeated: it may hold a password
        raise StateError("The state's URL cannot be read", _URL_REMEDY) from None
    if parsed.drivername in {"postgres", "postgresql"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "postgresql+psycopg"}:
        raise StateError(f"The state cannot be kept in {parsed.drivername}", _URL_REMEDY)
    return parsed


def _sqlite_engine(url: URL) -> tuple[Engine, str]:
    name = url.database or ""
    if not name or name == ":memory:" or name.startswith("file:"):
        raise StateError("The state's URL names no file of its own", _URL_REMEDY)
    path = Path(name).expanduser().absolute()
    _make_file(path)
    seconds = {} if "timeout" in url.query else {"timeout": _BUSY_TIMEOUT_SECONDS}
    engine = create_engine(url.set(database=str(path)), connect_args=seconds, hide_parameters=True)
    event.listen(engine, "connect", _on_sqlite_connect)
    event.listen(engine, "begin", _on_sqlite_begin)
    return engine, f"The state database {path}"


def _make_file(path: Path) -> None:
    """Make the file with mode 0600 before SQLite would make it with the umask's; its WAL files take the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except (FileNotFoundError, NotADirectoryError):
        raise StateError(
            f"The state database {path} cannot be made: there is no folder {path.parent}",
            "Make the folder, or mend the path in SCREENER_STATE_URL (state.url)",
        ) from None
    except FileExistsError:
        if path.is_file():
            return
        raise StateError(f"The state database {path} is not a file", _URL_REMEDY) from None
    except OSError as error:
        remedy = _ROOM if leaves_no_room(error) else _RIGHTS
        raise StateError(f"The state database {path} cannot be made: {error.strerror}", remedy) from error


def _on_sqlite_connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where Python's driver guesses
    connection.execute("PRAGMA foreign_keys=ON")


def _on_sqlite_begin(connection: Connection) -> None:
    # A writer takes its lock at once: a reader that became a writer half-way would be refused, whatever the timeout.
    begin = connection.get_execution_options().get(_BEGIN, "BEGIN IMMEDIATE")
    if begin is not None:
        connection.exec_driver_sql(begin)


def _postgresql_engine(url: URL) -> tuple[Engine, str]:
    place = f"The state database {place_of(url.render_as_string(hide_password=False))}"
    try:
        engine = create_engine(
            url,
            connect_args={} if "connect_timeout" in url.query else {"connect_timeout": 10},
            pool_pre_ping=True,  # a restarted server costs a new connection, not a run
            hide_parameters=True,
        )
    except ModuleNotFoundError as error:
        raise missing_package_error(error.name or "psycopg", "postgresql") from error
    return engine, place


def _sqlite_code(error: DBAPIError) -> str:
    """BUSY for SQLITE_BUSY, SQLITE_BUSY_SNAPSHOT and so on."""
    return (getattr(error.orig, "sqlite_errorname", "") + "__").split("_")[1]


def _first_line(error: DBAPIError) -> str:
    """The driver's headline; the lines after it may repeat values."""
    return (str(error.orig).splitlines() or [type(error.orig).__name__])[0]
