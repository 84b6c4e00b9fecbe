"""A sandbox in memory, and short ways to talk to it."""

from collections.abc import Iterator

import pytest

from screener.sandbox.app import SandboxServer


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server
