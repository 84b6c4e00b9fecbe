"""Opening: what is made, with which rights, and what is said when it cannot be used."""

import os
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import update

from screener.base.errors import ConfigurationError, ExitCode, StateError
from screener.state import State, tables
from tests import postgres
from tests.state.racing import open_together

NIGHT = "2026-01-31T02:00:00Z"


def opening_fails(url: str) -> str:
    with pytest.raises(StateError) as caught, State.open(url):
        pass
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that any user can reach, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


@contextmanager
def not_root() -> Iterator[None]:
    """Root may read and write everything: so it becomes somebody else meanwhile. Other users stay who they are."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_the_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    before = os.umask(0)
    try:
        with State.open(f"sqlite:///{folder}/state.db") as state:
            state.move_watermark("a#1", NIGHT)
            modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    finally:
        os.umask(before)

    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}


def test_path_may_be_relative_or_below_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    State.open("sqlite:///relative.db").close()
    State.open("sqlite:///~/below.db").close()
    assert (tmp_path / "relative.db").is_file()
    assert (tmp_path / "home/below.db").is_file()


def test_foreign_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    text = b"patient,mg\n" * 100
    path.write_bytes(text)
    message = opening_fails(f"sqlite:///{path}")
    assert message.startswith(f"The state database {path} is not a SQLite database. It is left as it is; ")
    assert path.read_bytes() == text


def test_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    content = path.read_bytes()
    assert f"{path} is the database of another program" in opening_fails(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_truncated_database_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    State.open(sqlite_url).close()
    path = tmp_path / "state.db"
    path.write_bytes(path.read_bytes()[:5000])
    assert f"{path} is damaged. Move it aside" in opening_fails(sqlite_url)


def test_locked_database_is_told(sqlite_url: str, tmp_path: Path) -> None:
    State.open(sqlite_url).close()
    connection = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    with State.open(f"{sqlite_url}?timeout=0.1") as state:
        assert state.watermark("a#1") is None  # reading waits for nobody
        with pytest.raises(StateError, match=r"is locked by another program\. End that program"):
            state.move_watermark("a#1", NIGHT)
    connection.close()


def test_folder_that_may_not_be_written_is_told(public_folder: Path) -> None:
    public_folder.chmod(0o555)
    path = public_folder / "state.db"
    with not_root():
        message = opening_fails(f"sqlite:///{path}")
    assert message.startswith(
        f"The state database {path} cannot be made: Permission denied. The user that runs the job"
    )


@pytest.mark.parametrize("folder_mode", [0o755, 0o555])
def test_file_that_may_not_be_read_is_told(public_folder: Path, folder_mode: int) -> None:
    path = public_folder / "state.db"
    State.open(f"sqlite:///{path}").close()
    path.chmod(0o000)
    public_folder.chmod(folder_mode)
    with not_root():
        message = opening_fails(f"sqlite:///{path}")
    assert message.startswith(f"The state database {path} cannot be opened. The user that runs the job must be able")


def test_file_that_may_only_be_read_is_told_at_the_first_write(public_folder: Path) -> None:
    path = public_folder / "state.db"
    State.open(f"sqlite:///{path}").close()
    path.chmod(0o444)
    state = State.open(f"sqlite:///{path}")
    with not_root(), State.open(f"sqlite:///{path}") as reader:
        assert reader.watermark("a#1") is None
        with pytest.raises(StateError, match=r"cannot be written\. The user that runs the job must be able"):
            reader.move_watermark("a#1", NIGHT)
    state.close()


def test_folder_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    assert f"{tmp_path} is not a file" in opening_fails(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_no_folder_is_made_for_it(folder: str, tmp_path: Path) -> None:
    """Its name may be a typing error."""
    (tmp_path / "file").touch()
    assert f"there is no folder {tmp_path}/{folder}" in opening_fails(f"sqlite:///{tmp_path}/{folder}/state.db")
    assert not (tmp_path / "missing").exists()


def test_a_state_to_read_is_made_nowhere(tmp_path: Path, postgresql_url: str) -> None:
    for url in (f"sqlite:///{tmp_path}/state.db", postgresql_url):
        assert not State.is_there(url)
        with State.to_read(url) as state:
            assert state.runs() == []
        with pytest.raises(StateError, match="There is no state at"):
            State.open(url, make=False)
        assert not State.is_there(url)
    State.open(postgresql_url).close()
    assert State.is_there(postgresql_url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:state?mode=memory&uri=true"])
def test_database_without_a_file_is_refused(url: str) -> None:
    assert "names no file of its own. Set SCREENER_STATE_URL to sqlite:///FILE" in opening_fails(url)


def test_other_databases_are_refused() -> None:
    assert opening_fails("mysql://me:secret@host/db").startswith("The state cannot be kept in mysql. Set SCREENER_")


def test_unreadable_url_is_not_repeated() -> None:
    message = opening_fails("secret")
    assert message.startswith("The state's URL cannot be read. Set SCREENER_STATE_URL")
    assert "secret" not in message


@pytest.mark.parametrize(("version", "age"), [(1, "an older"), (4, "a newer")])
def test_other_schema_versions_say_what_to_do(url: str, version: int, age: str) -> None:
    with State.open(url) as state, state._database.write() as connection:
        connection.execute(update(tables.schema).values(version=version))
    message = opening_fails(url)
    assert f" was made by {age} release (schema version {version}; this release works with 3). Use the" in message
    assert "point SCREENER_STATE_URL to a new place and run a backfill" in message


def test_the_state_of_the_release_before_is_taken_over(url: str) -> None:
    with State.open(url) as state:
        state.move_watermark("scope", "2026-01-31T02:00:00Z")
        with state._database.write() as connection:
            tables.suppressions.drop(connection)
            connection.execute(update(tables.schema).values(version=2))
    with State.open(url) as state:
        assert state.watermark("scope") == "2026-01-31T02:00:00Z"
        state.suppress("server", "run", "r1", "2026-01-31T02:00:00Z")
        assert [row.name for row in state.suppressions("server")] == ["r1"]


def test_processes_may_make_the_same_sqlite_file_at_once(tmp_path: Path) -> None:
    assert open_together([f"sqlite:///{tmp_path}/{number}.db" for number in range(40)]) == 4 * 40


def test_processes_may_make_the_same_postgresql_tables_at_once(postgres_cluster: postgres.Cluster) -> None:
    assert open_together([postgres_cluster.make_schema(f"race{number}") for number in range(3)]) == 4 * 3


def test_threads_and_connections_share_it(url: str) -> None:
    """Two states on one database, two threads each: every write arrives."""
    ready = threading.Barrier(4)

    def count(state: State) -> None:
        ready.wait()
        for _ in range(25):
            state.remember_failures("a#1", {"p1": "timeout"}, NIGHT)

    with State.open(url) as first, State.open(url) as second, ThreadPoolExecutor(4) as pool:
        list(pool.map(count, [first, second, first, second]))
        assert first.retry_patients("a#1")[0].count == 100


def test_plain_postgresql_url_means_psycopg(postgresql_url: str) -> None:
    with State.open(postgresql_url.replace("+psycopg", "")) as state:
        state.move_watermark("a#1", NIGHT)
    with State.open(postgresql_url) as state:
        assert state.watermark("a#1") == NIGHT


def test_postgresql_that_does_not_answer_is_told_without_the_password() -> None:
    message = opening_fails(f"postgresql+psycopg://screener:{postgres.PASSWORD}@127.0.0.1:1/state")
    assert message.startswith("The state database state on 127.0.0.1 cannot be used: ")
    assert "Check that PostgreSQL answers there" in message
    assert postgres.PASSWORD not in message


def test_postgresql_refusing_the_password_is_told_without_it(postgresql_url: str) -> None:
    message = opening_fails(postgresql_url.replace(postgres.PASSWORD, "wr0ng"))
    assert "password authentication failed" in message
    assert "wr0ng" not in message


def test_postgresql_user_without_rights_is_told_what_to_grant(
    postgres_cluster: postgres.Cluster, postgresql_url: str
) -> None:
    schema = postgresql_url.rpartition("%3D")[2]
    with postgres_cluster.connect() as connection:
        connection.execute(f"CREATE ROLE limited LOGIN PASSWORD '{postgres.PASSWORD}'")
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO limited")
    message = opening_fails(postgresql_url.replace("//screener:", "//limited:"))
    assert f"permission denied for schema {schema}. Grant the user CREATE on the schema" in message


def test_postgresql_without_its_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError) as caught:
        State.open("postgresql+psycopg://screener@127.0.0.1:1/state")
    assert str(caught.value).endswith("is not installed. Install it: pip install 'osteoporosis-screener[postgresql]'")
