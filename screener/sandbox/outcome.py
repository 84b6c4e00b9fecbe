"""What the server answers when it refuses: an HTTP status and an OperationOutcome.

Texts name elements and parameters, never what stands in them: they end up in other programs' logs.
"""

import re
from typing import Any

Json = dict[str, Any]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")


class Refused(Exception):
    """A request that is answered with `status` and one OperationOutcome issue (`code` from the issue-type value set)."""

    def __init__(self, status: int, code: str, diagnostics: str) -> None:
        super().__init__(diagnostics)
        self.status, self.code, self.diagnostics = status, code, diagnostics

    def outcome(self) -> Json:
        """The OperationOutcome of this refusal."""
        return operation_outcome("error", self.code, self.diagnostics)


def operation_outcome(severity: str, code: str, diagnostics: str) -> Json:
    """An OperationOutcome with one issue."""
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": severity, "code": code, "diagnostics": diagnostics}],
    }


def bad_request(diagnostics: str) -> Refused:
    """400: the request cannot be understood."""
    return Refused(400, "invalid", diagnostics)


def no_conditional_delete() -> Refused:
    """400, as http.html#delete says for servers that do not support it."""
    return Refused(400, "not-supported", "Deletion is by id only")


def printable(name: str) -> str:
    """A parameter or type name fit for a message; anything that does not look like a name is left out."""
    return f'"{name}"' if _NAME.fullmatch(name) else "(unreadable name)"
