"""What a run finds in the state and leaves there: watermark, retry set, how far a backfill got, the ledger."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import structlog

from screener.assessment.reconcile import Change
from screener.base.errors import ConfigurationError, as_screener_error
from screener.fhir.time import instant_text, parse_instant
from screener.run.counts import RunTally
from screener.run.history import history
from screener.run.limits import History
from screener.run.options import Options
from screener.run.receipts import ledger_row
from screener.run.summary import Summary
from screener.state import Lease, RunStart, State
from screener.stores.protocols import Receipt

log = structlog.get_logger()

_GIVEN_UP_AFTER = timedelta(days=7)  # a backfill that was left so long ago begins again


class Memory:
    """The state as one run uses it. A dry run changes nothing in it."""

    def __init__(self, state: State, start: RunStart, watermark: str, options: Options, *, dry: bool) -> None:
        """`watermark`: the name of the run's watermark and retry set. `start`: the run's row in the ledger."""
        self._state, self._start, self._watermark, self._options = state, start, watermark, options
        self._dry = dry
        self._resumable = options.resumable and not dry
        self._remembered: set[str] = set()  # failed patients that the retry set has from this run
        self._data_of = ""  # the instant that the data stand for, perhaps that of an earlier call

    def since(self, place: str, prefix: str) -> str:
        """The instant since which a nightly run looks for changes; "" for a backfill. ConfigurationError where there is none.

        `place`: of the state, for the message. `prefix`: what all watermarks of this source and destination begin with.
        """
        if self._options.backfill:
            return ""
        if self._options.since:
            return instant_text(self._options.since)
        if self._options.from_folder:
            raise ConfigurationError("A folder has no watermark: it is read as a whole", "Add --backfill")
        since = self._state.watermark(self._watermark)
        if since is not None:
            return since
        if self._state.watermark_scopes(prefix):
            raise ConfigurationError(
                "The policy, the exclusions, the code map or the model changed since the last full run",
                "Run `screener run --backfill --dry-run` to see what it does to everyone, then with --accept-large-change instead",
            )
        raise ConfigurationError(
            f"There has been no full run yet, as far as the state at {place} knows",
            "Run `screener run --backfill` once; the nightly runs follow on from it",
        )

    def history(self) -> History:
        """Earlier runs with the same source and destination."""
        return history(self._state, self._start)

    def waiting(self) -> frozenset[str]:
        """The patients of the retry set."""
        return frozenset(row.patient_id for row in self._state.retry_patients(self._watermark))

    @contextmanager
    def held(self, destination: str, lease_seconds: float) -> Iterator[Lease | None]:
        """Hold the lease of a destination, with the run's row in the ledger; an error closes the row. None in a dry run."""
        if self._dry:
            yield None
            return
        run_id = self._start.run_id
        with self._state.lease(
            destination, run_id=run_id, ttl_seconds=lease_seconds, heartbeat_seconds=lease_seconds / 6
        ) as lease:
            self._state.begin_run(self._start)
            try:
                yield lease
            except Exception as error:
                said = as_screener_error(error)
                self._end(int(said.exit_code), {"error": said.what})
                raise

    def _end(self, exit_code: int, summary: Mapping[str, object]) -> None:
        self._state.end_run(self._start.run_id, instant_text(datetime.now(UTC)), exit_code, summary)

    def done_until(self, as_of: datetime) -> str:
        """The last patient of an earlier call of this backfill, "" for none. The watermark then takes the instant of that call's
        data. `as_of`: the instant that this call's data stand for."""
        # Never ahead of this machine's clock: what a server with a fast one dates in between would be missed.
        self._data_of = instant_text(min(as_of, datetime.now(UTC)))
        held = self._state.unfinished(self._watermark) if self._resumable else None
        if held is None:
            return ""
        started = parse_instant(self._start.started)
        if self._options.restart or started - parse_instant(held.started) > _GIVEN_UP_AFTER:
            self._state.finished(self._watermark)
            return ""
        self._data_of = held.started
        log.info(
            "backfill_goes_on",
            begun=held.started,
            why="an earlier call did not come to its end; --restart begins again",
        )
        return held.done_until

    def batch_done(self, last_patient: str, failed: Mapping[str, str]) -> None:
        """Save the failures first, then the progress: after a kill between the two, patients are done twice and none is lost."""
        if self._resumable:
            self._save_failures(failed)
            self._state.done_until(self._watermark, self._data_of, last_patient)

    def intended(self, identities: Sequence[str]) -> None:
        """Write into the ledger what is about to be written."""
        if identities and not self._options.to_folder:
            self._state.record_intended(self._start.run_id, identities)

    def written(self, receipts: Sequence[Receipt]) -> None:
        """Write receipts into the ledger. A folder needs none."""
        if not self._options.to_folder:
            self._state.record_receipts(self._start.run_id, [ledger_row(receipt) for receipt in receipts])

    def save_failed(self, failed: Mapping[str, str], recovered: Collection[str]) -> None:
        """Save the patients that failed, with the reasons: the next run tries them again. Of a run that came to its end.

        Those that `recovered` leave the retry set only if the run judged by today's clock. A run that stopped may have judged a patient
        without writing, so it takes none out.
        """
        if self._dry:
            return
        if self._options.now is None:
            self._state.forget(self._watermark, recovered)
        self._save_failures(failed)

    def _save_failures(self, failed: Mapping[str, str]) -> None:
        new = {name: why for name, why in failed.items() if name not in self._remembered}
        if new:
            self._state.remember_failures(self._watermark, new, self._start.started)
            self._remembered.update(new)

    def next_watermark(self) -> str | None:
        """Where a run that looked at everything moves the watermark to; None for another run."""
        moves = not (self._dry or self._options.partial or self._options.from_folder)
        return self._data_of if moves else None

    def close(self, summary: Summary, *, finished: bool) -> None:
        """End the run: the ledger first, the watermark last. `finished`: a backfill is not gone on with."""
        if not self._dry:
            self._end(summary.exit_code, summary.plain())
        if summary.watermark.to:
            self._state.move_watermark(self._watermark, summary.watermark.to)
        if self._resumable and finished:
            self._state.finished(self._watermark)


class RunJournal:
    """What is kept while a run writes (`engine.Journal`)."""

    def __init__(self, memory: Memory, lease: Lease | None, tally: RunTally) -> None:
        """`lease`: None in a dry run."""
        self._memory, self._lease, self._tally = memory, lease, tally

    def before_write(self, changes: Sequence[Change] = ()) -> None:
        """Never write without the lease (LeaseLost where another run has it), nor what is not in the ledger."""
        if self._lease is not None:
            self._lease.check()
            self._memory.intended([change.identity for change in changes])

    def written(self, receipts: Sequence[Receipt]) -> None:
        """Write receipts into the ledger before the next batch begins."""
        self._memory.written(receipts)

    def batch_done(self, last_patient: str) -> None:
        """Save how far the run got."""
        self._memory.batch_done(last_patient, self._tally.counts.failed)
