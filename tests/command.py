"""The command line, as tests run it: in this process, or in one of its own.

In this process it is the same entry point (`screener.commands.cli.main`) with its own arguments, environment, folder, standard output and error;
it only saves the second in which Python starts and imports. What is about processes (kills, signals, memory, start-up) starts one.
"""

import contextlib
import io
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from screener.commands import cli


@dataclass
class Ended:
    """A command that has ended."""

    exit_code: int
    stdout: str
    stderr: str


def clean_environment() -> dict[str, str]:
    """The caller's environment without any setting of screener's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SCREENER_")}


def arguments_of(*arguments: str) -> list[str]:
    """What starts the command line as a process."""
    return [sys.executable, "-m", "screener", *arguments]


def screener(*arguments: str, cwd: Path, expect: Any = 0, **environment: str) -> Ended:
    """Run it here, away from any configuration but `environment`; the exit code must be the expected one (None: any).

    `expect` has no type, for a checker takes each value of `**environment` for it, too.
    """
    out, err = io.StringIO(), io.StringIO()
    with _as_if_started(arguments, cwd, environment), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
            code = 0
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
    return _checked(Ended(code, out.getvalue(), err.getvalue()), expect)


def screener_process(
    *arguments: str,
    cwd: Path,
    expect: Any = 0,
    timeout: Any = 280,
    largest_file_bytes: Any = 0,
    **environment: str,
) -> Ended:
    """The same in a process of its own. `largest_file_bytes`: no file may grow beyond it, as on a disk that is full."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, largest_file_bytes))

    env = {**clean_environment(), **environment}
    if largest_file_bytes:
        env.pop("COVERAGE_PROCESS_CONFIG", None)  # the file of counts would be too large as well
    ended = subprocess.run(
        arguments_of(*arguments),
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        cwd=cwd,
        preexec_fn=limited if largest_file_bytes else None,
    )
    return _checked(Ended(ended.returncode, ended.stdout, ended.stderr), expect)


@contextlib.contextmanager
def _as_if_started(arguments: tuple[str, ...], cwd: Path, environment: Mapping[str, str]) -> Iterator[None]:
    kept, kept_arguments = dict(os.environ), sys.argv
    own = {**clean_environment(), **environment}
    os.environ.clear()
    os.environ.update(own)
    sys.argv = ["screener", *arguments]
    try:
        with contextlib.chdir(cwd):
            yield
    finally:
        structlog.reset_defaults()  # the command's log level is its own
        sys.argv = kept_arguments
        os.environ.clear()
        os.environ.update(kept)


def _checked(ended: Ended, expect: int | None) -> Ended:
    assert "Traceback" not in ended.stderr, ended.stderr
    assert expect is None or ended.exit_code == expect, f"exit {ended.exit_code}\n{ended.stdout}\n{ended.stderr}"
    return ended
