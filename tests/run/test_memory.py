"""What a run leaves in the state, in the order in which a kill between two steps loses nobody."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from screener.run.memory import Memory
from screener.run.options import Options
from screener.state import RunStart, State

SCOPE = "here -> there#1"
START = RunStart("r1", "backfill", "2026-01-31T02:00:00+00:00", "here", "there", "c", "a", "m", "p", "model 1", "1.0.0")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State.open(f"sqlite:///{tmp_path / 'state.sqlite'}") as opened:
        yield opened


class Killed(BaseException):
    """As a process that ends between two steps."""


def killed(*_: Any) -> None:
    raise Killed


def test_failures_are_saved_before_the_progress(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the two, the patients are done twice. The other way round, one that failed would be lost."""
    memory = Memory(state, START, SCOPE, Options(backfill=True), dry=False)
    memory.done_until(datetime.now(UTC))
    monkeypatch.setattr(state, "done_until", killed)
    with pytest.raises(Killed):
        memory.batch_done("p9", {"p7": "write_rejected"})
    assert [row.patient_id for row in state.retry_patients(SCOPE)] == ["p7"]
    assert state.unfinished(SCOPE) is None


def test_a_failure_is_counted_once_a_run(state: State) -> None:
    memory = Memory(state, START, SCOPE, Options(backfill=True), dry=False)
    memory.done_until(datetime.now(UTC))
    failed: Mapping[str, str] = {"p7": "write_rejected"}
    memory.batch_done("p8", failed)
    memory.batch_done("p9", failed)
    memory.save_failed(failed, set())
    assert [(row.patient_id, row.count) for row in state.retry_patients(SCOPE)] == [("p7", 1)]


def test_a_run_with_a_clock_of_its_own_takes_nobody_from_the_retry_set(state: State) -> None:
    state.remember_failures(SCOPE, {"p7": "write_rejected"}, START.started)
    other_clock = Options(backfill=True, now=datetime(2026, 1, 1, tzinfo=UTC))
    Memory(state, START, SCOPE, other_clock, dry=False).save_failed({}, {"p7"})
    assert len(state.retry_patients(SCOPE)) == 1
    Memory(state, START, SCOPE, Options(backfill=True), dry=True).save_failed({}, {"p7"})
    assert len(state.retry_patients(SCOPE)) == 1
    Memory(state, START, SCOPE, Options(backfill=True), dry=False).save_failed({}, {"p7"})
    assert state.retry_patients(SCOPE) == []
