"""The lease between real processes: one at a time, never for long in dead hands, never in two hands unnoticed."""

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from screener.base.errors import ExitCode, LeaseHeld, LeaseLost
from screener.state import State
from screener.state import lease as lease_module
from screener.state.processes import Process, current_process
from screener.state.tables import leases

SOON_SECONDS = 60.0  # on a busy machine; the leases of the dead last an hour
ELSEWHERE = Process("other-host", 4711, "another boot pid:[1]", 99)


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_SECONDS
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_of_four_processes_at_once_exactly_one_holds_it(url: str, start: Any, tmp_path: Path) -> None:
    go = tmp_path / "go"
    workers = [start(url, f"run-{number}", 30, 10, go) for number in range(4)]  # the database is made in the race too

    go.touch()
    answers = sorted(worker.hear().split()[0] for worker in workers)

    assert answers == ["held", "refused", "refused", "refused"]


def test_refusal_says_who_holds_it_since_when_until_when_and_what_to_do(url: str, start: Any) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    worker = start(url, "run-7", 60, 20)
    assert worker.hear() == "held"

    with State.open(url) as state, pytest.raises(LeaseHeld) as caught, state.lease("job"):
        pass

    message = str(caught.value)
    pid = worker.process.pid
    assert message.startswith(f"The lease job is held by run run-7 (host {os.uname().nodename}, process {pid}) since ")
    assert message.endswith(f"Wait until it has ended, or end process {pid} on this host, and run again")
    words = message.replace(",", "").split()
    since, until = (datetime.fromisoformat(words[words.index(word) + 1]) for word in ("since", "until"))
    assert (until - since).total_seconds() == 60
    assert before <= since <= datetime.now(UTC)
    assert caught.value.exit_code == ExitCode.LEASE_HELD


def test_after_kill_9_the_next_run_starts_at_once(state: State, url: str, start: Any) -> None:
    worker = start(url, "killed", 3600, 600)
    assert worker.hear() == "held"
    worker.process.send_signal(signal.SIGKILL)
    # Not waited for: a zombie, as under a container's careless first process, is dead enough.
    wait_for(lambda: Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")

    began = time.monotonic()
    with state.lease("job", run_id="next") as lease:
        lease.check()

    assert time.monotonic() - began < SOON_SECONDS


def test_killed_and_reaped_holder_is_succeeded_at_once(state: State, url: str, start: Any) -> None:
    worker = start(url, "killed", 3600, 600)
    assert worker.hear() == "held"
    worker.process.kill()
    worker.process.wait()

    with state.lease("job") as lease:
        lease.check()


def test_process_number_used_again_by_another_process_counts_as_dead(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = current_process()
    earlier = Process(me.host, me.pid, me.space, me.started - 1)
    with monkeypatch.context() as patch:
        patch.setattr(lease_module, "current_process", lambda: earlier)
        abandoned = state.lease("job")
        abandoned.__enter__()

    with state.lease("job") as lease:
        lease.check()

    abandoned.__exit__(None, None, None)


def test_silent_holder_on_another_host_is_succeeded_when_its_lease_is_out(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(lease_module, "current_process", lambda: ELSEWHERE)
        elsewhere = state.lease("job", run_id="far", ttl_seconds=1, heartbeat_seconds=0.9)
        elsewhere.__enter__()
    elsewhere._stop.set()  # its machine loses power: no heartbeat, no release

    with pytest.raises(LeaseHeld, match="host other-host, process 4711") as caught, state.lease("job"):
        pass
    assert "if it is dead already, run again after" in caught.value.remedy

    time.sleep(1.05)
    with state.lease("job") as lease:
        lease.check()
    with pytest.raises(LeaseLost, match="could not be renewed before it ran out"):
        elsewhere.check()


def test_heartbeat_keeps_it_beyond_its_time_to_live(state: State) -> None:
    with state.lease("job", ttl_seconds=1.2, heartbeat_seconds=0.1) as lease:
        time.sleep(1.5)

        lease.check()
        with pytest.raises(LeaseHeld), state.lease("job"):
            pass


def test_process_that_was_stopped_too_long_finds_its_lease_lost(state: State, url: str, start: Any) -> None:
    worker = start(url, "stopped", 1.5, 0.3)
    assert worker.hear() == "held"
    assert worker.check() == "ours"

    worker.process.send_signal(signal.SIGSTOP)
    time.sleep(1.6)
    with state.lease("job", run_id="successor") as successor:
        worker.process.send_signal(signal.SIGCONT)
        assert worker.check().startswith("lost The lease job could not be renewed before it ran out. Nothing more")
        assert worker.end() == 0
        successor.check()  # the loser's exit did not give our lease away
        with pytest.raises(LeaseHeld, match="successor"), state.lease("job"):
            pass


def test_heartbeat_notices_a_lease_that_was_taken(state: State) -> None:
    with state.lease("job", run_id="ours", ttl_seconds=60, heartbeat_seconds=0.05) as lease:
        with state._database.write() as connection:
            connection.execute(update(leases).values(token="theirs", run_id="other"))
        wait_for(lambda: bool(lease._lost))

        with pytest.raises(LeaseLost, match=r"The lease job was taken over by run other \(host ") as caught:
            lease.check()
    assert caught.value.exit_code == ExitCode.LEASE_HELD


def test_lease_is_lost_when_the_database_does_not_answer_until_it_is_out(state: State, url: str) -> None:
    with (
        State.open(url) as other,
        state.lease("job", ttl_seconds=0.5, heartbeat_seconds=0.1) as lease,
        other._database.write() as connection,
    ):
        connection.execute(update(leases).values(run_id="lock"))  # holds the row, in SQLite the file
        time.sleep(0.6)

        with pytest.raises(LeaseLost, match="could not be renewed before it ran out"):
            lease.check()


def test_heartbeat_outlasts_a_database_that_is_locked_for_a_while(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        State.open(f"{sqlite_url}?timeout=0.05") as state,
        State.open(sqlite_url) as other,
        state.lease("job", ttl_seconds=1.2, heartbeat_seconds=0.2) as lease,
    ):
        with other._database.write():
            wait_for(lambda: "The lease job could not be renewed yet" in caplog.text)
        time.sleep(1.5)

        lease.check()
    assert "is locked by another program" in caplog.text


def test_it_is_given_back_on_exit_even_when_the_run_fails(state: State) -> None:
    with pytest.raises(ZeroDivisionError), state.lease("job") as failed:
        raise ZeroDivisionError
    with pytest.raises(LeaseLost, match="has been given back"):
        failed.check()

    with state.lease("job"), state.lease("another name"):
        pass


def test_a_lease_that_was_never_taken_is_not_ours(state: State) -> None:
    with pytest.raises(LeaseLost, match="has not been taken"):
        state.lease("job").check()


def test_heartbeat_must_be_shorter_than_the_time_to_live(state: State) -> None:
    with pytest.raises(ValueError, match="less than ttl_seconds"):
        state.lease("job", ttl_seconds=20, heartbeat_seconds=20)


def test_a_process_of_another_container_is_not_declared_dead() -> None:
    me = current_process()
    boot = me.space.split()[0]

    assert me.is_alive() is True
    assert Process(me.host, me.pid, f"{boot} pid:[1]", me.started).is_alive() is None
