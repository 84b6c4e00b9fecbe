"""Receipts as the ledger keeps them."""

from screener.assessment.reconcile import Action
from screener.state import ReceiptAction, ReceiptRow
from screener.stores.protocols import Receipt, WriteResult

_ACTIONS: dict[Action, ReceiptAction] = {Action.CREATE: "created", Action.AMEND: "amended", Action.RETRACT: "retracted"}


def ledger_row(receipt: Receipt) -> ReceiptRow:
    """The row of a change that was written, or that failed."""
    done = receipt.result is WriteResult.DONE
    return ReceiptRow(
        assessment_id=receipt.change.identity,
        action=_ACTIONS[receipt.change.action] if done else "failed",
        resource_id=receipt.id or None,
        version=receipt.version or None,
        status_code=receipt.status or None,
        reason=receipt.change.reason if done else f"write_{receipt.result.value}",
    )
