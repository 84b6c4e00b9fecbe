"""Connections of the service that say nothing, or too little, are closed: a thousand half-open ones must not hold it up."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0  # within which a request's line and headers are there


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, with a limit of time for the headers of each request."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The first request has to come soon."""
        super().connection_made(transport)
        self._begin()

    def data_received(self, data: bytes) -> None:
        """A request whose headers are complete has a cycle, and the application limits its time."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._end()

    def on_response_complete(self) -> None:
        """The next one on the same connection has to come soon, too."""
        super().on_response_complete()
        self._end()
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._end()
        super().connection_lost(exc)

    def _begin(self) -> None:
        self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
