"""Suppressions in the state. Each function works inside the caller's transaction."""

from sqlalchemy import Connection, select

from screener.state.ledger import INTENDED
from screener.state.records import SuppressionKind, SuppressionRow
from screener.state.tables import receipts, runs, suppressions

_WROTE = ("created", "amended", INTENDED)  # what was intended may have been written: the server knows


def add(connection: Connection, destination: str, kind: SuppressionKind, name: str, since: str) -> None:
    """Enter one that is not there yet, or was lifted."""
    same = (suppressions.c.destination == destination, suppressions.c.kind == kind, suppressions.c.name == name)
    if connection.execute(select(suppressions.c.number).where(*same, suppressions.c.lifted.is_(None))).first():
        return
    connection.execute(suppressions.insert().values(destination=destination, kind=kind, name=name, since=since))


def read(connection: Connection, destination: str | None) -> list[SuppressionRow]:
    """Those of a destination that hold; all that there ever were where it is None."""
    query = select(suppressions).order_by(suppressions.c.number)
    if destination is not None:
        query = query.where(suppressions.c.destination == destination, suppressions.c.lifted.is_(None))
    return [SuppressionRow(*row) for row in connection.execute(query)]


def lift(connection: Connection, number: int, at: str) -> bool:
    """Lift one; False where no suppression of that number holds."""
    held = (suppressions.c.number == number, suppressions.c.lifted.is_(None))
    return connection.execute(suppressions.update().where(*held).values(lifted=at)).rowcount == 1


def identities_of(connection: Connection, run_id: str) -> set[str]:
    """The identities of the assessments that a run created or amended, or was about to."""
    query = (
        select(receipts.c.assessment_id)
        .join(runs, runs.c.number == receipts.c.run)
        .where(runs.c.run_id == run_id, receipts.c.action.in_(_WROTE))
    )
    return set(connection.execute(query).scalars())


def rewritten_after(connection: Connection, run_id: str) -> set[str]:
    """The identities of the assessments that later runs created or amended."""
    number = select(runs.c.number).where(runs.c.run_id == run_id).scalar_subquery()
    query = select(receipts.c.assessment_id).where(receipts.c.run > number, receipts.c.action.in_(_WROTE[:2]))
    return set(connection.execute(query).scalars())
