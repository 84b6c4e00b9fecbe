"""The real HAPI FHIR as fixtures. If it cannot start, the tests that need it fail: they are never skipped."""

from collections.abc import Iterator

import pytest

from tests.hapi.launcher import HapiServer


@pytest.fixture(scope="session")
def hapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server that all tests share: each keeps to its own tag and ids."""
    with HapiServer(tmp_path_factory.mktemp("hapi") / "hapi.log") as server:
        yield server.base_url


@pytest.fixture(scope="module")
def hapi_empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a second, empty server, for tests about a whole server."""
    with HapiServer(tmp_path_factory.mktemp("hapi-empty") / "hapi.log") as server:
        yield server.base_url
