"""State: what the job remembers between runs. What was written, by which run, and what a site took back on purpose is on the server; only
suppressions of those of whom nothing stands there are here alone."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Self

from sqlalchemy import func, select

from screener.base.errors import StateError
from screener.state import ledger, suppressed
from screener.state.database import Database, insert_into, is_there, place_of
from screener.state.lease import Lease
from screener.state.ledger import in_chunks
from screener.state.records import (
    ReceiptRow,
    RetryRow,
    RunRow,
    RunStart,
    SuppressionKind,
    SuppressionRow,
    Unfinished,
)
from screener.state.tables import retries, runs, unfinished, watermarks


class State:
    """Watermarks, the lease, the ledger of runs and the retry set, in SQLite or PostgreSQL.

    Every method is one transaction and may raise StateError. Instants are ISO 8601 text with an offset. A `scope` is
    "<source>#<configuration hash>", built by the caller. Threads may share a State; a forked child opens its own.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str, *, make: bool = True) -> Self:
        """Open `sqlite:///FILE` (made with mode 0600 if absent) or `postgresql+psycopg://...`. Raises StateError, also for one that
        is absent where `make` is false."""
        return cls(Database.open(url, make=make))

    @classmethod
    def to_read(cls, url: str) -> Self:
        """Open the state for a call that writes nothing: an empty one in memory where there is none yet. Raises StateError."""
        return cls(Database.open(url)) if is_there(url) else cls.in_memory()

    @classmethod
    def in_memory(cls) -> Self:
        """An empty one that is kept nowhere."""
        return cls(Database.in_memory())

    @staticmethod
    def is_there(url: str) -> bool:
        """Whether there is one to open; `open` would make it. Raises StateError for a URL that cannot be read."""
        return is_there(url)

    @staticmethod
    def place(url: str) -> str:
        """Where it is, for people, without user and password. Raises StateError for a URL that cannot be read."""
        return place_of(url)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def watermark(self, scope: str) -> str | None:
        """The instant up to which the scope's changes have been seen, as it was given; None before the first."""
        with self._database.read() as connection:
            return connection.execute(
                select(watermarks.c.instant).where(watermarks.c.scope == scope)
            ).scalar_one_or_none()

    def move_watermark(self, scope: str, instant: str) -> None:
        """Set the scope's watermark. Also backwards: that costs a repeated look, and a server's clock may be set."""
        _require_instant(instant)
        with self._database.write() as connection:
            values = {"instant": instant, "moved_at": self._database.now()}
            insert = insert_into(connection, watermarks).values(scope=scope, **values)
            connection.execute(insert.on_conflict_do_update(index_elements=["scope"], set_=values))

    def watermark_scopes(self, source_prefix: str) -> list[str]:
        """Scopes with a watermark that begin with the prefix ("<source>#"), the last moved first.

        Other scopes than the caller's own mean: there is a watermark, but under another configuration.
        """
        # Not LIKE, which folds case on SQLite and gives % and _ a meaning.
        matches = func.substr(watermarks.c.scope, 1, len(source_prefix)) == source_prefix
        query = select(watermarks.c.scope).where(matches).order_by(watermarks.c.moved_at.desc(), watermarks.c.scope)
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def unfinished(self, scope: str) -> Unfinished | None:
        """The scope's full run that did not come to its end, or None."""
        query = select(unfinished.c.started, unfinished.c.done_until).where(unfinished.c.scope == scope)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return Unfinished(*row) if row else None

    def done_until(self, scope: str, started: str, patient_id: str) -> None:
        """A full run that began at `started` has done all patients up to this one."""
        _require_instant(started)
        with self._database.write() as connection:
            values = {"started": started, "done_until": patient_id, "moved_at": self._database.now()}
            insert = insert_into(connection, unfinished).values(scope=scope, **values)
            connection.execute(insert.on_conflict_do_update(index_elements=["scope"], set_=values))

    def finished(self, scope: str) -> None:
        """The scope's full run has come to its end, or is given up."""
        with self._database.write() as connection:
            connection.execute(unfinished.delete().where(unfinished.c.scope == scope))

    def lease(self, name: str, *, run_id: str = "", ttl_seconds: float = 120, heartbeat_seconds: float = 20) -> Lease:
        """A lease to enter with `with`; entering raises LeaseHeld if another run has it.

        A thread renews it every `heartbeat_seconds`; `Lease.check` raises LeaseLost once it is no longer ours. A
        holder that died on this host is succeeded at once, one elsewhere after `ttl_seconds` without a heartbeat.
        """
        return Lease(self._database, name, run_id=run_id, ttl_seconds=ttl_seconds, heartbeat_seconds=heartbeat_seconds)

    def begin_run(self, run: RunStart) -> None:
        """Enter a run in the ledger. Until `end_run` it shows as running, or as killed once its process is gone."""
        _require_instant(run.started)
        with self._database.write() as connection:
            ledger.begin_run(connection, run)

    def record_intended(self, run_id: str, identities: Iterable[str]) -> None:
        """Write down which assessments a run is about to write: whatever becomes of it, they can be looked for."""
        rows = [ReceiptRow(identity, "intended") for identity in identities]
        with self._database.write() as connection:
            ledger.add_receipts(connection, run_id, rows, instead_of_intended=False)

    def record_receipts(self, run_id: str, receipts: Iterable[ReceiptRow]) -> None:
        """Append receipts to a run, in place of what it intended last: all of them or none. Meant for a Bundle's worth at a time."""
        rows = list(receipts)  # drawn before the transaction begins: what makes them may take its time
        with self._database.write() as connection:
            ledger.add_receipts(connection, run_id, rows, instead_of_intended=True)

    def end_run(self, run_id: str, ended: str, exit_code: int, summary: Mapping[str, object]) -> None:
        """Close a run; `summary` holds counts, and nothing but what JSON can hold."""
        _require_instant(ended)
        with self._database.write() as connection:
            ledger.end_run(connection, run_id, ended, exit_code, summary)

    def runs(self, limit: int = 20) -> list[RunRow]:
        """The last runs, the newest first."""
        with self._database.read() as connection:
            return ledger.read_runs(self._database, connection, run_id=None, limit=limit)

    def runs_between(self, source: str, destination: str, limit: int) -> list[RunRow]:
        """The last runs from this source to this destination that came to their end, the newest first."""
        with self._database.read() as connection:
            return ledger.read_runs(self._database, connection, run_id=None, limit=limit, between=(source, destination))

    def addresses(self) -> list[str]:
        """The sources and destinations of all runs, in the spelling in which they were first named."""
        query = select(runs.c.source, runs.c.destination).group_by(runs.c.source, runs.c.destination)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(func.min(runs.c.number))).all()
        return list(dict.fromkeys(address for row in rows for address in row))

    def runs_named(self, beginning: str, limit: int = 2) -> list[RunRow]:
        """Runs whose id begins so, the newest first."""
        with self._database.read() as connection:
            return ledger.read_runs(self._database, connection, run_id=None, limit=limit, beginning=beginning)

    def run(self, run_id: str) -> RunRow | None:
        """One run, or None if the ledger has none of that id."""
        with self._database.read() as connection:
            return next(iter(ledger.read_runs(self._database, connection, run_id=run_id, limit=1)), None)

    def receipts(self, run_id: str) -> Iterator[ReceiptRow]:
        """The receipts of a run in the order of writing, read in pages while they are drawn."""
        return ledger.read_receipts(self._database, run_id)

    def suppress(self, destination: str, kind: SuppressionKind, name: str, at: str) -> None:
        """Later runs to this destination leave out what it names, until `lift`. One that holds already is no error."""
        _require_instant(at)
        with self._database.write() as connection:
            suppressed.add(connection, destination, kind, name, at)

    def suppressions(self, destination: str | None = None) -> list[SuppressionRow]:
        """Those of a destination that hold; all that there ever were where it is None."""
        with self._database.read() as connection:
            return suppressed.read(connection, destination)

    def lift(self, number: int, at: str) -> bool:
        """Lift a suppression; False where no suppression of that number holds."""
        _require_instant(at)
        with self._database.write() as connection:
            return suppressed.lift(connection, number, at)

    def identities_of(self, run_id: str) -> set[str]:
        """The identities of the assessments that a run created or amended."""
        with self._database.read() as connection:
            return suppressed.identities_of(connection, run_id)

    def rewritten_after(self, run_id: str) -> set[str]:
        """The identities of the assessments that later runs created or amended."""
        with self._database.read() as connection:
            return suppressed.rewritten_after(connection, run_id)

    def forget_watermarks(self, destination: str) -> None:
        """Drop the watermarks, the unfinished backfills and the retry sets of all scopes with this destination."""
        with self._database.write() as connection:
            for table in (watermarks, unfinished, retries):
                position = (func.instr if self._database.is_sqlite else func.strpos)(
                    table.c.scope, f" -> {destination}#"
                )
                connection.execute(table.delete().where(position > 0))

    def retry_patients(self, scope: str) -> list[RetryRow]:
        """Patients that failed and are to be tried again, by id."""
        columns = [column for column in retries.c if column.name != "scope"]
        query = select(*columns).where(retries.c.scope == scope).order_by(retries.c.patient_id)
        with self._database.read() as connection:
            return [RetryRow(*row) for row in connection.execute(query)]

    def patients_to_retry(self) -> int:
        """How many patients failed and are to be tried again, of all scopes."""
        with self._database.read() as connection:
            return connection.execute(select(func.count()).select_from(retries)).scalar_one()

    def remember_failures(self, scope: str, reasons: Mapping[str, str], at: str) -> None:
        """Add patients {id: reason} to the retry set; those in it already count one failure more."""
        _require_instant(at)
        first = {"scope": scope, "count": 1, "first_seen": at, "last_seen": at}
        rows = [{**first, "patient_id": patient, "reason": reason} for patient, reason in sorted(reasons.items())]
        with self._database.write() as connection:
            insert = insert_into(connection, retries)
            again = {
                "count": retries.c.count + 1,
                "reason": insert.excluded.reason,
                "last_seen": insert.excluded.last_seen,
            }
            upsert = insert.on_conflict_do_update(index_elements=["scope", "patient_id"], set_=again)
            for chunk in in_chunks(rows):
                connection.execute(upsert, chunk)

    def forget(self, scope: str, patient_ids: Iterable[str]) -> None:
        """Take patients off the retry set; those who are not in it are no error."""
        with self._database.write() as connection:
            for chunk in in_chunks(patient_ids):
                gone = retries.c.patient_id.in_(chunk)
                connection.execute(retries.delete().where(retries.c.scope == scope, gone))


def _require_instant(text: str) -> None:
    """An instant that cannot be read would be found out by the next run only, when it is too late."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise StateError(f"{text!r} is no instant", "Give date, time and offset, as in 2026-01-31T02:00:00Z")
