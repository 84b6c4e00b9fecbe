"""SIGTERM and SIGINT end a run after the batch in hand."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

log = structlog.get_logger()


@contextmanager
def stop_by_signal() -> Iterator[threading.Event]:
    """An event that a signal sets. A second signal ends the process at once. Outside the main thread nothing is caught."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def told(number: int, _: FrameType | None) -> None:
        log.info("stopping", signal=signal.Signals(number).name, after="the batch in hand")
        stop.set()
        signal.signal(number, before[number])

    before = {int(number): signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, told)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
