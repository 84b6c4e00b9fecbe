"""Several connections to one server at once, bounded: each thread has a client of its own."""

import queue
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Self, TypeVar

from screener.fhir.client import Client
from screener.fhir.traffic import Traffic

T = TypeVar("T")
R = TypeVar("R")


class Connections:
    """Up to `count` clients beside `client`, made when they are first needed and kept. What they sent and received is added to its
    traffic."""

    def __init__(self, client: Client, count: int) -> None:
        self._client, self._count = client, count
        self._idle: queue.SimpleQueue[Client] = queue.SimpleQueue()
        self._clients: list[Client] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give all connections back."""
        for client in self._clients:
            client.close()

    def map(self, work: Callable[[Client, T], R], items: Sequence[T]) -> list[R]:
        """`work` done for each item, the answers in the order of the items.

        The first error ends it: what is in flight is finished, nothing more is begun, and the error is raised.
        """
        while len(self._clients) < min(self._count, len(items)):
            self._clients.append(self._client.another())
            self._idle.put(self._clients[-1])

        def with_client(item: T) -> R:
            client = self._idle.get()
            try:
                return work(client, item)
            finally:
                self._idle.put(client)

        pool = ThreadPoolExecutor(self._count, thread_name_prefix="fhir")
        try:
            # With the context of the caller, which its log events carry.
            futures = [pool.submit(copy_context().run, with_client, item) for item in items]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = next((future for future in futures if future in done and future.exception()), None)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._add_up()
        if failed is not None:
            raise failed.exception() or AssertionError("a failed future has an exception")
        return [future.result() for future in futures]

    def _add_up(self) -> None:
        """Add up the counters. Called only while no thread is at work: they are not thread-safe."""
        for client in self._clients:
            sent, total = client.traffic, self._client.traffic
            total.requests += sent.requests
            total.bytes_read += sent.bytes_read
            total.retries += sent.retries
            client.traffic = Traffic()
            self._client.counts_too_high.update(client.counts_too_high)
        for client in self._clients:  # every connection knows what was said already
            client.counts_too_high = Counter(dict.fromkeys(self._client.counts_too_high, 0))
