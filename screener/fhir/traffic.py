"""What is sent to a server: counts, and how often a run may try again."""

from threading import Lock

import msgspec


class Traffic(msgspec.Struct):
    """What a run has sent and received."""

    requests: int = 0
    bytes_read: int = 0
    retries: int = 0


class Retries:
    """How many retries a run has left, for all connections to one server together."""

    def __init__(self, left: int) -> None:
        self._left, self._lock = left, Lock()

    def take(self) -> bool:
        """Use one up; False where none is left."""
        with self._lock:
            self._left -= 1
            return self._left >= 0
