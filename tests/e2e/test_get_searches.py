"""A server that offers no search by POST and no URL of more than 2,048 characters (CDCgov/dibbs-query-connector#1024: Epic)."""

from datetime import date
from pathlib import Path

import requests

from fhir_fixtures.population import generate
from screener.config.servers import ServerSettings
from screener.fhir.client import Client
from screener.sandbox.app import SandboxServer
from screener.sandbox.seeding import seed
from tests.command import screener
from tests.folders import without_runs
from tests.scripted import Reply, Request, scripted

TODAY = date(2026, 1, 31)
NOW = f"{TODAY}T02:00:00Z"


def backfilled(base_url: str, folder: Path) -> tuple[dict[str, bytes], str]:
    """What a backfill writes into a folder, and what it said."""
    environment = {
        "SCREENER_SERVER_BASE_URL": base_url,
        "SCREENER_SOURCE_SYSTEM": "https://hospital.example/fhir",
        "SCREENER_STATE_URL": f"sqlite:///{folder / 'state.sqlite'}",
    }
    folder.mkdir()
    ended = screener("run", "--backfill", "--now", NOW, "--to", "out", cwd=folder, **environment)
    written = {file.name: file.read_bytes() for file in (folder / "out").glob("*.ndjson")}
    assert written["RiskAssessment.ndjson"]
    return written, ended.stderr


def test_a_run_by_get_ends_as_one_by_post(tmp_path: Path) -> None:
    with SandboxServer() as server:
        with Client(ServerSettings(base_url=server.base_url)) as client:
            seed(client, generate(300, 5, TODAY), lambda _: None)

        def get_only(request: Request) -> Reply:
            if request.method == "POST":
                return Reply(405)
            if len(request.path) > 2048:
                return Reply(414)
            found = requests.get(server.base_url + request.path.removeprefix("/fhir"), timeout=30)
            body = found.text.replace(server.base_url, f"http://{request.headers['Host']}/fhir")
            return Reply(found.status_code, body.encode())

        by_post, _ = backfilled(server.base_url, tmp_path / "post")
        with scripted(get_only) as front:
            by_get, said = backfilled(front.base_url, tmp_path / "get")
    assert {name: without_runs(text) for name, text in by_get.items()} == {
        name: without_runs(text) for name, text in by_post.items()
    }
    assert said.count("server_searches_by_get_only") == 1
    posted = [request for request in front.asked if request.method == "POST"]
    assert len(posted) == 1
    long = [request for request in front.asked if len(request.path) > 1000]
    assert len(long) > 10  # lists of patients, divided
