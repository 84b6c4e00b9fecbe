"""What the job remembers between runs. Imports SQLAlchemy: the command line loads it only where it is used."""

from screener.state.lease import Lease
from screener.state.records import (
    ReceiptAction,
    ReceiptRow,
    RetryRow,
    RunRow,
    RunStart,
    RunStatus,
    SuppressionKind,
    SuppressionRow,
)
from screener.state.store import State

__all__ = [
    "Lease",
    "ReceiptAction",
    "ReceiptRow",
    "RetryRow",
    "RunRow",
    "RunStart",
    "RunStatus",
    "State",
    "SuppressionKind",
    "SuppressionRow",
]
