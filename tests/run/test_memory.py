"""What a run leaves in the state, in the order in which a kill between two steps loses nobody."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from screener.assessment.reconcile import Action, Change
from screener.base.errors import ConfigurationError, LeaseLost
from screener.clinical.records import Method
from screener.fhir.time import instant_text
from screener.run.counts import RunTally
from screener.run.memory import Memory, RunJournal
from screener.run.options import Options
from screener.state import RunStart, State
from screener.stores.protocols import Receipt, WriteResult

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


# Since when, until whom, and where the watermark goes


def memory(state: State, options: Options, *, dry: bool = False) -> Memory:
    return Memory(state, START, SCOPE, options, dry=dry)


def test_since_when_a_night_looks(state: State) -> None:
    nightly = memory(state, Options())
    assert memory(state, Options(backfill=True)).since("there", "here -> there#") == ""
    since = datetime(2026, 1, 5, tzinfo=UTC)
    assert memory(state, Options(since=since)).since("there", "here -> there#") == "2026-01-05T00:00:00.000Z"
    with pytest.raises(ConfigurationError, match="There has been no full run yet, as far as the state at there knows"):
        nightly.since("there", "here -> there#")
    state.move_watermark("here -> there#another", "2026-01-01T00:00:00Z")
    with pytest.raises(ConfigurationError, match="changed since the last full run"):
        nightly.since("there", "here -> there#")
    state.move_watermark(SCOPE, "2026-01-02T00:00:00Z")
    assert nightly.since("there", "here -> there#") == "2026-01-02T00:00:00Z"
    with pytest.raises(ConfigurationError, match="A folder has no watermark"):
        memory(state, Options(from_folder=Path("export"))).since("there", "here -> there#")


def test_the_watermark_is_that_of_the_data_and_never_ahead_of_our_clock(state: State) -> None:
    run = memory(state, Options())
    run.done_until(datetime(2026, 1, 30, tzinfo=UTC))
    assert run.next_watermark() == "2026-01-30T00:00:00.000Z"
    run.done_until(datetime(2999, 1, 1, tzinfo=UTC))
    moved = run.next_watermark()
    assert moved is not None
    assert moved <= instant_text(datetime.now(UTC))


@pytest.mark.parametrize(
    "options",
    [
        Options(patients=("p1",)),
        Options(patients_from="list.txt"),
        Options(since=datetime(2026, 1, 1, tzinfo=UTC)),
        Options(limit=5),
        Options(now=datetime(2026, 1, 1, tzinfo=UTC)),
        Options(backfill=True, from_folder=Path("export")),
    ],
)
def test_a_run_over_some_moves_no_watermark(state: State, options: Options) -> None:
    run = memory(state, options)
    run.done_until(datetime(2026, 1, 30, tzinfo=UTC))
    assert run.next_watermark() is None


def test_a_dry_run_moves_no_watermark_and_goes_on_nowhere(state: State) -> None:
    state.done_until(SCOPE, "2026-01-30T00:00:00+00:00", "p5")
    run = memory(state, Options(backfill=True), dry=True)
    assert run.done_until(datetime(2026, 1, 31, tzinfo=UTC)) == ""
    assert run.next_watermark() is None


@pytest.mark.parametrize(
    ("begun", "options", "until", "watermark"),
    [
        # Within seven days a backfill goes on, and its watermark is that of its first data.
        ("2026-01-30T00:00:00+00:00", Options(backfill=True), "p5", "2026-01-30T00:00:00+00:00"),
        ("2026-01-24T02:00:00+00:00", Options(backfill=True), "p5", "2026-01-24T02:00:00+00:00"),
        ("2026-01-24T01:59:59+00:00", Options(backfill=True), "", "2026-01-31T00:00:00.000Z"),
        ("2026-01-30T00:00:00+00:00", Options(backfill=True, restart=True), "", "2026-01-31T00:00:00.000Z"),
        ("2026-01-30T00:00:00+00:00", Options(), "", "2026-01-31T00:00:00.000Z"),  # a night is none
    ],
)
def test_a_backfill_that_was_stopped_goes_on(
    state: State, begun: str, options: Options, until: str, watermark: str
) -> None:
    state.done_until(SCOPE, begun, "p5")
    run = memory(state, options)
    assert run.done_until(datetime(2026, 1, 31, tzinfo=UTC)) == until
    assert run.next_watermark() == watermark
    gone = state.unfinished(SCOPE) is None
    assert gone is (options.backfill and not until)


def test_receipts_are_kept_for_a_server_and_not_for_a_folder(state: State) -> None:
    receipt = Receipt(Change(Action.CREATE, "p1", Method.FLAG, "identity"), WriteResult.DONE, 201, "r1", "1")
    for options in (Options(backfill=True), Options(backfill=True, to_folder=Path("out"))):
        start = replace(START, run_id=f"r-{bool(options.to_folder)}")
        state.begin_run(start)
        Memory(state, start, SCOPE, options, dry=False).written([receipt])
    assert state.identities_of("r-False") == {"identity"}
    assert state.identities_of("r-True") == set()


def test_a_lost_lease_stops_before_the_next_write(state: State) -> None:
    class Lost:
        def check(self) -> None:
            raise LeaseLost("gone")

    tally = RunTally()
    run = memory(state, Options(backfill=True))
    RunJournal(run, None, tally).before_write()  # a dry run has none
    with pytest.raises(LeaseLost):
        RunJournal(run, Lost(), tally).before_write()  # type: ignore[arg-type]
