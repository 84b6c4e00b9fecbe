"""Names the process that holds a lease so exactly that a dead holder is recognised. On Linux; elsewhere nothing is concluded."""

import os
import socket
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
_START_TIME_FIELD = 19  # proc(5): field 22 (starttime), counted from the state, which follows the command's ")"


@dataclass(frozen=True, slots=True)
class Process:
    """A process, named so that no other one can be mistaken for it.

    `space` is the boot and the PID namespace in which `pid` means something: two containers on one machine both have a
    process 1. `started` is the kernel's start time in clock ticks since boot: process numbers are used again.
    Both are empty or 0 where the system does not tell.
    """

    host: str
    pid: int
    space: str
    started: int

    def is_alive(self) -> bool | None:
        """True or False for a process that this one can see; None when it cannot tell (another host or container)."""
        if not self.space or self.space != _space():
            return None
        if not _exists(self.pid):
            return False
        state, started = _stat(self.pid)
        if not state:  # /proc mounted with hidepid shows nothing of other users' processes
            return _exists(self.pid)
        return state not in "ZX" and started == self.started  # a zombie holds nothing any more


def current_process() -> Process:
    """This process. Not remembered: a fork has another number."""
    pid = os.getpid()
    return Process(socket.gethostname(), pid, _space(), _stat(pid)[1])


def boot_seconds() -> float:
    """Seconds on a clock that nobody sets, and that on Linux also counts the time asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


@cache
def _space() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, and belongs to someone else
        return True
    return True


def _stat(pid: int) -> tuple[str, int]:
    """State letter and start time; ("", 0) where they cannot be read."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", 0
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[_START_TIME_FIELD])
