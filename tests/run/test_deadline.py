"""When a run stops between two batches: at its deadline, at a signal, and how much time is kept for writing."""

from datetime import UTC, datetime, timedelta

import pytest

from screener.base.errors import ExitCode
from screener.run import deadline
from screener.run.deadline import Deadline, DeadlineReached, Stopped

BEGAN = datetime(2026, 1, 31, 2, tzinfo=UTC)


class Clock(datetime):
    """A clock that stands where a test sets it."""

    at = BEGAN

    @classmethod
    def now(cls, *_: object) -> datetime:  # type: ignore[override]
        return cls.at


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(deadline, "datetime", Clock)
    Clock.at = BEGAN
    return Clock


def test_progress_is_reported_and_the_run_goes_on_without_a_deadline(clock: type[Clock]) -> None:
    told: list[tuple[str, int, int]] = []
    pace = Deadline(None, None, lambda *step: told.append(step), resumable=True)
    clock.at = BEGAN + timedelta(days=9)
    pace.progress("patients", 1, 5)
    assert told == [("patients", 1, 5)]
    assert not pace.reading_ends()


@pytest.mark.parametrize(
    ("resumable", "remedy"), [(True, "Call it again: it goes on where it was"), (False, "Call it again")]
)
def test_the_time_is_up(clock: type[Clock], resumable: bool, remedy: str) -> None:  # noqa: FBT001
    pace = Deadline(BEGAN + timedelta(minutes=30), resumable=resumable)
    clock.at = BEGAN + timedelta(minutes=30, seconds=-1)
    pace.progress("patients", 1, 5)
    clock.at = BEGAN + timedelta(minutes=30)
    pace.progress("patients", 5, 5)  # nothing is left to stop
    with pytest.raises(DeadlineReached, match="The time is up after 1 of 5 patients") as reached:
        pace.progress("patients", 1, 5)
    assert (reached.value.exit_code, reached.value.remedy) == (ExitCode.DEADLINE, remedy)
    with pytest.raises(DeadlineReached, match="after 3 of 5 patients"):
        pace.check_done(3, 5)
    pace.check_done(5, 5)


def test_a_signal_stops_it_after_the_batch_in_hand() -> None:
    asked = False
    pace = Deadline(None, lambda: asked, resumable=False)
    pace.progress("patients", 1, 5)
    asked = True
    pace.progress("patients", 5, 5)
    with pytest.raises(Stopped, match="Stopped after 2 of 5 patients"):
        pace.progress("patients", 2, 5)


@pytest.mark.parametrize(
    ("minutes", "ends"), [([9, 18], [False, True]), ([5, 10, 15], [False, False, True]), ([20], [True])]
)
def test_a_third_of_the_time_is_kept_for_writing(clock: type[Clock], minutes: list[int], ends: list[bool]) -> None:
    """Of 30 minutes 20 are for reading: no batch begins that would end after them, were it as long as the last."""
    pace = Deadline(BEGAN + timedelta(minutes=30), resumable=True)
    found = []
    for minute in minutes:
        clock.at = BEGAN + timedelta(minutes=minute)
        found.append(pace.reading_ends())
    assert found == ends
