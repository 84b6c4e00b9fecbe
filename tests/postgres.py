"""A private PostgreSQL for the tests: a cluster of its own in a temporary folder, on loopback, gone afterwards."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

PASSWORD = secrets.token_hex(8)
_DEADLINE_SECONDS = 30
# Nothing in here outlives the test session, so nothing needs to reach the disk.
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_wal_size=256MB", "shared_buffers=128MB")


@dataclass(frozen=True)
class Cluster:
    """A running server. Its user `screener` may do everything; the password is PASSWORD."""

    port: int

    def make_schema(self, name: str) -> str:
        """Make an empty schema (much cheaper than a database); give the URL of a state that lives in it."""
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        dsn = f"postgresql+psycopg://screener:{PASSWORD}@127.0.0.1:{self.port}/postgres"
        return f"{dsn}?options=-csearch_path%3D{name}"

    def make_database(self, name: str) -> str:
        """Make an empty database; give its JDBC URL."""
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"jdbc:postgresql://127.0.0.1:{self.port}/{name}?user=screener&password={PASSWORD}"

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        """A connection of the tests' own."""
        parts = {"host": "127.0.0.1", "port": self.port, "user": "screener", "password": PASSWORD}
        return psycopg.connect(dbname="postgres", autocommit=True, **parts)  # type: ignore[arg-type]


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Start a server on a free port; stop it and remove its folder at the end."""
    programs = find_programs()
    user = _server_user()
    folder = Path(tempfile.mkdtemp(prefix="screener-postgres-"))
    if user is not None:
        shutil.chown(folder, user)
    try:
        _init(programs, folder, user)
        port = _free_port()
        with _serve(programs, folder, port, user):
            yield Cluster(port)
    finally:
        shutil.rmtree(folder)


def find_programs() -> Path:
    """The folder with initdb and postgres. Raises RuntimeError that says what to install."""
    on_path = shutil.which("initdb")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # Debian keeps them off the path
    places += sorted(Path("/usr").glob("pgsql-*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise RuntimeError(
        "The tests need a PostgreSQL server's programs (initdb, postgres), and there are none. "
        "Install them (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; "
        "macOS: brew install postgresql) and run again. No server needs to be running"
    )


def _server_user() -> str | None:
    """PostgreSQL refuses to run as root; anyone else runs it as himself."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _init(programs: Path, folder: Path, user: str | None) -> None:
    password_file = folder / "password"
    password_file.write_text(PASSWORD, encoding="ascii")
    command = [programs / "initdb", "--pgdata", folder / "data", "--username=screener", f"--pwfile={password_file}"]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    done = subprocess.run(command, user=user, cwd=folder, capture_output=True, text=True, check=False)  # type: ignore[arg-type]
    if done.returncode != 0:
        raise RuntimeError(f"initdb failed: {done.stderr}")


@contextmanager
def _serve(programs: Path, folder: Path, port: int, user: str | None) -> Iterator[None]:
    settings = (*_FAST, "listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=")
    command: Sequence[str | Path] = [programs / "postgres", "-D", folder / "data"]
    command = [*command, *(part for setting in settings for part in ("-c", setting))]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, user=user, cwd=folder, stdout=log, stderr=log)
    try:
        _wait(server, Cluster(port), folder / "log")
        yield
    finally:
        server.send_signal(signal.SIGINT)  # the "fast shutdown", which does not wait for sessions
        server.wait(timeout=_DEADLINE_SECONDS)


def _wait(server: "subprocess.Popen[bytes]", running: Cluster, log: Path) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while True:
        try:
            running.connect().close()
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text(errors='replace')}") from error
            time.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
