"""The two servers that the contract holds for."""

from collections.abc import Iterator

import pytest

from screener.sandbox.app import SandboxServer
from tests.contract.server import Server


@pytest.fixture(scope="session")
def contract_sandbox() -> Iterator[str]:
    with SandboxServer() as sandbox:
        yield sandbox.base_url


@pytest.fixture(params=["sandbox", pytest.param("hapi", marks=pytest.mark.hapi)])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A test's share of the sandbox, then of HAPI."""
    fixture = {"sandbox": "contract_sandbox", "hapi": "hapi"}[request.param]
    with Server(request.param, request.getfixturevalue(fixture)) as share:
        yield share
