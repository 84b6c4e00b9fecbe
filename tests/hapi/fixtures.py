"""The real HAPI FHIR as fixtures. If it cannot start, the tests that need it are errors: they are never skipped.

A pytest plugin: tests/conftest.py names it in `pytest_plugins`, and every folder of tests has the fixtures.
"""

import uuid
from collections.abc import Iterator

import pytest

from tests.hapi.launcher import HapiServer

TAG_SYSTEM = "https://example.org/tests/hapi/tag"


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


@pytest.fixture
def hapi_tag() -> str:
    """A tag of this test's own, as `system|code`: its resources carry it in `meta.tag`, its searches ask for `_tag`."""
    return f"{TAG_SYSTEM}|{uuid.uuid4().hex}"
