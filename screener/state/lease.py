"""The lease: one run at a time. The database decides who has it, a heartbeat keeps it, and it ends when its holder dies."""

import logging
import threading
import uuid
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Row, select

from screener.base.errors import LeaseHeld, LeaseLost, StateError
from screener.state.database import Database, insert_into
from screener.state.processes import Process, boot_seconds, current_process
from screener.state.tables import leases

_log = logging.getLogger(__name__)
_TRIES = 5  # a holder may let go between our attempt to insert and our look at who holds it
_STOPPED = "Nothing more is written. Run again: what is missing will be made up for"


class Lease:
    """A lease that is taken on entry and given back on exit. Made by `State.lease`."""

    def __init__(
        self, database: Database, name: str, *, run_id: str, ttl_seconds: float, heartbeat_seconds: float
    ) -> None:
        if not 0 < heartbeat_seconds < ttl_seconds:
            raise ValueError("heartbeat_seconds must be more than 0 and less than ttl_seconds")
        self.name = name
        self._database = database
        self._run_id = run_id
        self._ttl_seconds = ttl_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._token = ""
        self._deadline = 0.0  # by boot_seconds
        self._lost = f"The lease {name} has not been taken"
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Take the lease and start the heartbeat. Raises LeaseHeld, StateError."""
        self._token = uuid.uuid4().hex
        self._stop.clear()
        asked = boot_seconds()
        with self._database.write() as connection:
            self._acquire(connection)
        self._deadline = asked + self._ttl_seconds  # counted from before the request, so that we end first
        self._lost = ""
        self._thread = threading.Thread(target=self._keep, name=f"lease {self.name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the heartbeat; give the lease back if it is still ours."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=self._ttl_seconds)
        self._lost = self._lost or f"The lease {self.name} has been given back"
        try:
            with self._database.write() as connection:
                connection.execute(leases.delete().where(*self._ours()))
        except StateError as failure:  # it must not hide how the run ended
            _log.warning("The lease %s could not be given back; it ends by itself. %s", self.name, failure)

    def check(self) -> None:
        """Raise LeaseLost unless the lease is ours. Costs no request: call it before every write.

        A lease that ran out is lost, even if nobody took it: another run may be about to.
        """
        if not self._lost and boot_seconds() >= self._deadline:
            self._lost = f"The lease {self.name} could not be renewed before it ran out"
        if self._lost:
            raise LeaseLost(self._lost, _STOPPED)

    def _acquire(self, connection: Connection) -> None:
        now = self._database.now()
        claim = self._claim(now)
        for _ in range(_TRIES):
            connection.execute(insert_into(connection, leases).values(name=self.name, **claim).on_conflict_do_nothing())
            held = select(leases, now.label("now")).where(leases.c.name == self.name).with_for_update()
            row = connection.execute(held).one_or_none()
            if row is None:
                continue
            if row.token == self._token:
                return
            if row.until > row.now and holder(row).is_alive() is not False:
                raise _held(row)
            connection.execute(leases.update().where(leases.c.name == self.name).values(**claim))
            return
        raise StateError(f"The lease {self.name} changed hands {_TRIES} times while it was asked for", "Run again")

    def _claim(self, now: ColumnElement[float]) -> dict[str, Any]:
        process = current_process()
        return {
            "token": self._token,
            "run_id": self._run_id,
            "host": process.host,
            "pid": process.pid,
            "space": process.space,
            "process_started": process.started,
            "since": now,
            "until": now + self._ttl_seconds,
        }

    def _keep(self) -> None:
        """The heartbeat's thread. While the database does not answer it tries more often, until the lease is out."""
        wait_seconds = self._heartbeat_seconds
        while not self._stop.wait(wait_seconds):
            try:
                self.check()
                self._renew()
            except LeaseLost:
                return
            except StateError as error:
                _log.warning("The lease %s could not be renewed yet. %s", self.name, error)
                wait_seconds = self._heartbeat_seconds / 4
            else:
                wait_seconds = self._heartbeat_seconds

    def _renew(self) -> None:
        """Compare-and-set on our token: it succeeds only if nobody has held the lease since."""
        asked = boot_seconds()
        with self._database.write() as connection:
            renewal = leases.update().where(*self._ours()).values(until=self._database.now() + self._ttl_seconds)
            renewed = connection.execute(renewal).rowcount == 1
            row = connection.execute(select(leases).where(leases.c.name == self.name)).one_or_none()
        if renewed:
            self._deadline = asked + self._ttl_seconds
            return
        who = f"taken over by {_who(row)}" if row else "taken over by another run, or its row was deleted"
        self._lost = f"The lease {self.name} was {who}"
        raise LeaseLost(self._lost, _STOPPED)

    def _ours(self) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return leases.c.name == self.name, leases.c.token == self._token


def holder(row: Row[Any]) -> Process:
    """The process in a row of leases or of runs."""
    return Process(row.host, row.pid, row.space, row.process_started)


def _held(row: Row[Any]) -> LeaseHeld:
    until = _instant(row.until)
    what = f"The lease {row.name} is held by {_who(row)} since {_instant(row.since)}, until {until} unless renewed"
    if holder(row).is_alive():
        return LeaseHeld(what, f"Wait until it has ended, or end process {row.pid} on this host, and run again")
    remedy = f"Wait until it has ended; if it is dead already, run again after {until}, when its lease is out"
    return LeaseHeld(what, remedy)


def _who(row: Row[Any]) -> str:
    run = f"run {row.run_id}" if row.run_id else "a run"
    return f"{run} (host {row.host}, process {row.pid})"


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
