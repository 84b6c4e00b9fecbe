"""Tasks for worker processes: what a process can import by name."""

import os
import signal
import time

from screener.base.errors import InputError


def make_two() -> int:
    return 2


def twice(context: int, item: int) -> int:
    return context * item


def fails(context: int, item: int) -> int:
    if item == 3:
        raise InputError("Item 3 is bad", "Mend it")
    return item


def dies(context: int, item: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def sleeps(context: int, seconds: int) -> int:
    time.sleep(seconds)
    return os.getpid()
