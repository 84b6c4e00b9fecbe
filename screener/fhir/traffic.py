"""What is sent to a server: counts, and how often a run may try again."""

from threading import Lock

import msgspec


class Traffic(msgspec.Struct):
    """What a run has sent and received."""

    requests: int = 0
    bytes_read: int = 0
    retries: int = 0


_LEAST_WAIT_SECONDS = 1.0  # that a wait counts for: one of no time must not be asked for for ever


class Retries:
    """How many retries a run has left, and how long it may still wait because the server asked for it, for all connections to one server
    together."""

    def __init__(self, left: int, wait_seconds: float) -> None:
        self._left, self._wait_seconds, self._lock = left, wait_seconds, Lock()

    def may_wait(self, seconds: float) -> bool:
        """Use up the time of a wait that the server asked for; False where not so much is left."""
        with self._lock:
            self._wait_seconds -= max(seconds, _LEAST_WAIT_SECONDS)
            return self._wait_seconds >= 0

    def take(self) -> bool:
        """Use one up; False where none is left."""
        with self._lock:
            self._left -= 1
            return self._left >= 0
