"""Time and memory of commands, paired fairly: one after the other in turns, each in a process of its own."""

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

ITSELF = "seconds of its own: "


class Command(NamedTuple):
    """Something to measure: its name in the table, its arguments (after the interpreter), and what it needs in the environment."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = {}


class Measured(NamedTuple):
    """All runs of a command."""

    name: str
    seconds: list[float]
    peak_mb: float

    @property
    def median_seconds(self) -> float:
        """The figure that is compared."""
        return statistics.median(self.seconds)


def in_turns(make: Callable[[Path], Sequence[Command]], rounds: int, say: Callable[[str], None]) -> list[Measured]:
    """Measure commands `rounds` times, each time all of them in turn. `make` gets an empty folder for each round's output."""
    seconds: dict[str, list[float]] = {}
    peaks: dict[str, float] = {}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as scratch:
            for command in make(Path(scratch)):
                took, peak = once(command)
                seconds.setdefault(command.name, []).append(took)
                peaks[command.name] = max(peak, peaks.get(command.name, 0.0))
                say(f"round {number + 1} of {rounds}: {command.name}: {took:.2f} s, {peak:.0f} MB")
    return [Measured(name, seconds[name], peaks[name]) for name in seconds]


def once(command: Command) -> tuple[float, float]:
    """Seconds of wall time, and the peak memory of the process and all that it started, in MB (their resident sets added up)."""
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *command.arguments],
        env=dict(command.environment) or None,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        watch = _Watch(process.pid)
        watch.start()
        out, said = process.communicate()
        took = time.perf_counter() - began
        watch.stop()
    if process.returncode:
        raise RuntimeError(f"{command.name} ended with {process.returncode}: {said.decode()[-2000:]}")
    # What times itself, because its imports are not the matter, says so.
    itself = out.decode(errors="replace").rpartition(ITSELF)[2].strip() if ITSELF.encode() in out else ""
    return float(itself) if itself else took, watch.peak_bytes / 1e6


class _Watch(threading.Thread):
    """Looks at the memory of a process and its descendants, fifty times a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._ended = threading.Event()
        self.peak_bytes = 0

    def run(self) -> None:
        while True:
            try:
                family = [self._process, *self._process.children(recursive=True)]
                self.peak_bytes = max(self.peak_bytes, sum(_resident(one) for one in family))
            except psutil.NoSuchProcess:
                return
            if self._ended.wait(0.02):
                return

    def stop(self) -> None:
        """No more."""
        self._ended.set()
        self.join()


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
