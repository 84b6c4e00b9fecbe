"""Every test that asks for `url` or `state` runs on SQLite and on a real PostgreSQL."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from screener.state import State
from tests.postgres import Cluster

_numbers = itertools.count()


@pytest.fixture
def postgresql_url(postgres_cluster: Cluster) -> str:
    return postgres_cluster.make_schema(f"test{next(_numbers)}")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/state.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def state(url: str) -> Iterator[State]:
    with State.open(url) as opened:
        yield opened


class Worker:
    """A child process that runs worker.py."""

    def __init__(self, *arguments: str | float | Path) -> None:
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), *map(str, arguments)]
        root = Path(__file__).parents[2]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1, cwd=root)
        assert self.hear() == "ready"

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def check(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write("check\n")
        return self.hear()

    def end(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(timeout=120)


@pytest.fixture
def start() -> Iterator[Callable[..., Worker]]:
    """Starts workers and ends those that the test left behind."""
    with ExitStack() as stack:

        def starting(*arguments: str | float | Path) -> Worker:
            worker = Worker(*arguments)
            stack.callback(worker.end)
            stack.callback(worker.process.kill)
            return worker

        yield starting
