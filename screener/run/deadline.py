"""When a run stops before its end: at its deadline, or because it was asked to."""

from collections.abc import Callable
from datetime import UTC, datetime

from screener.base.errors import ExitCode, ScreenerError

_SHARE_OF_TIME_TO_READ = 2 / 3  # of the time until the deadline; the rest is for writing


class Stopped(ScreenerError):
    """The run was asked to stop, and did so after the batch in hand. The watermark has not moved."""


class DeadlineReached(Stopped):
    """The time that the run was given is up; it goes on when it is called again."""

    exit_code = ExitCode.DEADLINE


Report = Callable[[str, int, int], None]  # (what is counted, done, total)


class Deadline:
    """The pace of a run (`engine.Pace`). `until`: when its time is up, None for never. `should_stop`: whether it was asked to stop (a
    signal)."""

    def __init__(
        self,
        until: datetime | None,
        should_stop: Callable[[], bool] | None = None,
        report: Report | None = None,
        *,
        resumable: bool,
    ) -> None:
        """`report` shows the progress. `resumable`: the next call goes on where this one stops."""
        self._until, self._should_stop, self._report, self._resumable = until, should_stop, report, resumable
        self._began = self._batch_began = datetime.now(UTC)

    def progress(self, step: str, done: int, total: int) -> None:
        """Report how far the run is. Raises Stopped or DeadlineReached between two batches, where it has to end."""
        if self._report:
            self._report(step, done, total)
        if done < total:
            self._check(f"{done} of {total} {step}")

    def _check(self, how_far: str) -> None:
        if self._until and datetime.now(UTC) >= self._until:
            raise self._reached(how_far)
        if self._should_stop and self._should_stop():
            raise Stopped(
                f"Stopped after {how_far}",
                "What was written is right; the next run goes on from the old watermark",
            )

    def check_done(self, done: int, total: int) -> None:
        """Raise DeadlineReached where reading ended before all patients were looked at: what there was time to decide is written."""
        if done < total:
            raise self._reached(f"{done} of {total} patients")

    def _reached(self, how_far: str) -> DeadlineReached:
        remedy = "Call it again: it goes on where it was" if self._resumable else "Call it again"
        return DeadlineReached(f"The time is up after {how_far}", remedy)

    def reading_ends(self) -> bool:
        """Called after each batch: whether one more, as long as the last, would take of the third of the time that is for writing."""
        if self._until is None:
            return False
        now = datetime.now(UTC)
        batch, self._batch_began = now - self._batch_began, now
        return now + batch >= self._began + (self._until - self._began) * _SHARE_OF_TIME_TO_READ
