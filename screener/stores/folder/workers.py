"""Runs tasks in several processes, or in this one where there is little work.

Processes come from a server that has no threads, because this one has some. Each makes its own context once; a task is a function
of the context and an item. What a task raises is raised by `map`, and the other processes are stopped.
"""

import gc
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from types import TracebackType
from typing import Any, Self, TypeVar

from screener.base.errors import ScreenerError

C = TypeVar("C")
I = TypeVar("I")  # noqa: E741
R = TypeVar("R")

# What every worker needs, imported once by the process that they are forked from; see `preload`.
_preloaded = ["screener.clinical.preloaded"]
# One process has read so much before another has started.
_WORTH_SHARING_BYTES = 24 << 20
_AHEAD = 2  # tasks handed to each process: one in work, one waiting
_context: Any = None
_most_bytes = 0  # that the workers of one pool held together


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes_for(size_bytes: int, most: int = 0) -> int:
    """How many processes to work with on so many bytes: one on little work, else `most`, or one on each core where that is 0."""
    return (most or cores()) if size_bytes >= _WORTH_SHARING_BYTES else 1


def preload(module: str) -> None:
    """Let workers that start from now on find this module imported. A module whose functions are their tasks names itself."""
    if module not in _preloaded:
        _preloaded.append(module)


def start_ahead() -> None:
    """Start the process that workers are forked from, and do not wait: it starts early, while this process does other work."""
    if _method() == "forkserver":
        _context_of_processes()
        forkserver.ensure_running()


def _method() -> str:
    # A server that forks: each process starts at once, from one that has no threads.
    return "forkserver" if hasattr(os, "fork") else "spawn"


def _context_of_processes() -> BaseContext:
    how = multiprocessing.get_context(_method())
    how.set_forkserver_preload(_preloaded)
    return how


def peak_rss_bytes() -> int:
    """The most memory that this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_rss_bytes_of_workers() -> int:
    """The most memory that processes started here have held together, each at its own highest."""
    return _most_bytes


class Workers:
    """`count` processes, each with the context that `make` gives it. With one, everything is done in this process."""

    def __init__(self, count: int, make: Callable[..., object], *arguments: object) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._count = count
        self._peaks: dict[int, int] = {}  # by process
        if count > 1:
            self._pool = ProcessPoolExecutor(count, _context_of_processes(), _begin, (make, arguments))
        else:
            self._here = make(*arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _most_bytes  # noqa: PLW0603 - a maximum over the process's life, as the kernel's own is
        _most_bytes = max(_most_bytes, sum(self._peaks.values()))
        if self._pool is not None:
            self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def _result(self, future: Future[tuple[R, int, int]]) -> R:
        found, process, peak = future.result()
        self._peaks[process] = peak
        return found

    def map(self, task: Callable[[C, I], R], items: Sequence[I]) -> Iterator[R]:
        """The results, as they come. ScreenerError where a process was killed."""
        if self._pool is None:
            for item in items:
                with _uncollected():
                    found = task(self._here, item)  # type: ignore[arg-type]
                yield found
            return
        waiting = iter(items)
        running: set[Future[tuple[R, int, int]]] = set()
        try:
            for item in waiting:
                running.add(self._pool.submit(_run, task, item))
                if len(running) >= _AHEAD * self._count:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from map(self._result, done)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from map(self._result, done)
        except BrokenProcessPool as error:
            raise ScreenerError(
                "A worker process was ended from outside, perhaps for want of memory",
                "Run again, with fewer --workers; nothing was written to the destination",
            ) from error


@contextmanager
def _uncollected() -> Iterator[None]:
    """Switch the cycle collector off: a task makes many rows, and rows are never part of a cycle."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _begin(make: Callable[..., object], arguments: tuple[object, ...]) -> None:
    global _context  # noqa: PLW0603 - one per process, which is what a context is
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers itself
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _context = make(*arguments)
    # What lives as long as the process need not be collected, and rows are never part of a cycle.
    gc.freeze()
    gc.disable()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(task: Callable[[C, I], R], item: I) -> tuple[R, int, int]:
    return task(_context, item), os.getpid(), peak_rss_bytes()
