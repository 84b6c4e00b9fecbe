"""Processes that open the same new databases at the same moment."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from threading import Barrier

from screener.state import State

_PROCESSES = 4
_PATIENCE_SECONDS = 30


def open_together(urls: Sequence[str]) -> int:
    """How often a database was opened without an error; the first error is raised."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(_PROCESSES, mp_context=context) as pool:
        barrier = manager.Barrier(_PROCESSES)
        opened = [pool.submit(_open_each, urls, barrier) for _ in range(_PROCESSES)]
        return sum(future.result() for future in opened)


def _open_each(urls: Sequence[str], barrier: Barrier) -> int:
    for url in urls:
        barrier.wait(_PATIENCE_SECONDS)
        try:
            State.open(url).close()
        except BaseException:
            barrier.abort()  # the others must not wait for us
            raise
    return len(urls)
