"""The real HAPI FHIR as fixtures. If it cannot start, the tests that need it are errors: they are never skipped.

A pytest plugin: tests/conftest.py names it in `pytest_plugins`, and every folder of tests has the fixtures.
"""

import uuid
from collections.abc import Iterator

import pytest

from tests.hapi.launcher import HapiServer
from tests.postgres import Cluster, cluster

TAG_SYSTEM = "https://example.org/tests/hapi/tag"


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A PostgreSQL server of this session's own."""
    with cluster() as running:
        yield running


@pytest.fixture(scope="session")
def hapi(tmp_path_factory: pytest.TempPathFactory, postgres_cluster: Cluster) -> Iterator[str]:
    """The base URL of a server that all tests share: each keeps to its own tag and ids. On PostgreSQL, as sites run it."""
    database = postgres_cluster.make_database("hapi")
    with HapiServer(tmp_path_factory.mktemp("hapi") / "hapi.log", jdbc_url=database) as server:
        yield server.base_url


@pytest.fixture(scope="session")
def hapi_second(tmp_path_factory: pytest.TempPathFactory, postgres_cluster: Cluster) -> Iterator[str]:
    """The base URL of a second server: for tests that need two, or one on which nothing else changes meanwhile."""
    database = postgres_cluster.make_database("hapi_second")
    with HapiServer(tmp_path_factory.mktemp("hapi-second") / "hapi.log", jdbc_url=database) as server:
        yield server.base_url


@pytest.fixture
def hapi_tag() -> str:
    """A tag of this test's own, as `system|code`: its resources carry it in `meta.tag`, its searches ask for `_tag`."""
    return f"{TAG_SYSTEM}|{uuid.uuid4().hex}"
