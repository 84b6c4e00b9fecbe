"""Runs and their receipts. Each function works inside the caller's transaction."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, exists, func, select

from screener.base.errors import ExitCode, StateError
from screener.state.database import Database
from screener.state.lease import holder
from screener.state.processes import current_process
from screener.state.records import ReceiptRow, RunRow, RunStart, RunStatus
from screener.state.tables import leases, receipts, runs

_CHUNK = 1000
INTENDED = "intended"  # a change that is about to be sent; it stays so where the run did not live to see the answer
_CAME_TO_THEIR_END = (int(ExitCode.DONE), int(ExitCode.SOME_PATIENTS_FAILED))
_START_FIELDS = tuple(field.name for field in fields(RunStart))
_RECEIPT_FIELDS = tuple(field.name for field in fields(ReceiptRow))
T = TypeVar("T")


def begin_run(connection: Connection, run: RunStart) -> None:
    """Enter the run, with its process."""
    if connection.execute(select(runs.c.number).where(runs.c.run_id == run.run_id)).first():
        raise StateError(f"The run {run.run_id} is in the ledger already", "Give every run an id of its own")
    process = current_process()
    who = {"host": process.host, "pid": process.pid, "space": process.space, "process_started": process.started}
    connection.execute(runs.insert().values(**asdict(run), **who))


def end_run(connection: Connection, run_id: str, ended: str, exit_code: int, summary: Mapping[str, object]) -> None:
    """Close an open run."""
    end = {"ended": ended, "exit_code": exit_code, "summary": dict(summary)}
    closed = connection.execute(runs.update().where(runs.c.run_id == run_id, runs.c.ended.is_(None)).values(**end))
    if closed.rowcount != 1:
        raise StateError(f"The run {run_id} is not open in the ledger", "begin_run comes first, end_run once")


def add_receipts(connection: Connection, run_id: str, rows: Iterable[ReceiptRow], *, instead_of_intended: bool) -> None:
    """Append receipts to a run. `instead_of_intended`: what the run intended last has become these."""
    run = connection.execute(select(runs.c.number).where(runs.c.run_id == run_id)).scalar_one_or_none()
    if run is None:
        raise StateError(f"The run {run_id} is not in the ledger", "begin_run comes before its receipts")
    if instead_of_intended:
        known = select(func.max(receipts.c.number)).where(receipts.c.run == run, receipts.c.action != INTENDED)
        last = connection.execute(known).scalar_one_or_none() or 0
        behind = (receipts.c.run == run, receipts.c.number > last, receipts.c.action == INTENDED)
        connection.execute(receipts.delete().where(*behind))
    for chunk in in_chunks(rows):
        connection.execute(receipts.insert(), [{"run": run, **asdict(row)} for row in chunk])


def read_runs(
    database: Database,
    connection: Connection,
    *,
    run_id: str | None,
    limit: int,
    beginning: str = "",
    between: tuple[str, str] | None = None,
) -> list[RunRow]:
    """Runs, the newest first; only the named one when `run_id` is given, only those whose id begins so when `beginning` is, only
    those that ended from a source to a destination when `between` is."""
    leased = exists().where(leases.c.run_id == runs.c.run_id, leases.c.until > database.now())
    query = select(runs, leased.label("leased")).order_by(runs.c.number.desc()).limit(limit)
    if run_id is not None:
        query = query.where(runs.c.run_id == run_id)
    if beginning:
        query = query.where(func.substr(runs.c.run_id, 1, len(beginning)) == beginning)
    if between is not None:
        source, destination = between
        query = query.where(
            runs.c.source == source, runs.c.destination == destination, runs.c.exit_code.in_(_CAME_TO_THEIR_END)
        )
    return [_run(row) for row in connection.execute(query)]


def read_receipts(database: Database, run_id: str) -> Iterator[ReceiptRow]:
    """All receipts of a run in the order of writing, page by page: a backfill has more than memory should hold."""
    query = (
        select(receipts)
        .join(runs, runs.c.number == receipts.c.run)
        .where(runs.c.run_id == run_id)
        .order_by(receipts.c.number)
        .limit(_CHUNK)
    )
    last = 0
    while True:
        with database.read() as connection:
            page = connection.execute(query.where(receipts.c.number > last)).all()
        for row in page:
            yield ReceiptRow(**{name: getattr(row, name) for name in _RECEIPT_FIELDS})
        if len(page) < _CHUNK:
            return
        last = page[-1].number


def in_chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """The items in lists of at most a thousand, so that no statement grows without bound."""
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _run(row: Row[Any]) -> RunRow:
    start = RunStart(**{name: getattr(row, name) for name in _START_FIELDS})
    return RunRow(start, _status(row), row.ended, row.exit_code, row.summary)


def _status(row: Row[Any]) -> RunStatus:
    if row.ended is not None:
        return "ended"
    alive = holder(row).is_alive()
    if alive is None:  # on another host: only its heartbeat speaks for it
        alive = bool(row.leased)
    return "running" if alive else "killed"
