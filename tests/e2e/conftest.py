"""The servers that the whole job runs against: the embedded one, and a real HAPI FHIR."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from screener.sandbox.app import SandboxServer
from tests.e2e.site import Site


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    with SandboxServer() as server:
        yield server.base_url


@pytest.fixture(params=["sandbox", pytest.param("hapi", marks=pytest.mark.hapi)])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """A test's share of each of the two servers in turn."""
    fixture = {"sandbox": "sandbox_url", "hapi": "hapi"}[request.param]
    return Site(request.getfixturevalue(fixture), tmp_path)


@pytest.fixture
def sandbox(sandbox_url: str, tmp_path: Path) -> Site:
    """A test's share of the embedded server only."""
    return Site(sandbox_url, tmp_path)
