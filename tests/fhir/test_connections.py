"""Several connections: answers in order, a bound that holds, an end at the first error, and one sum of the traffic."""

import threading
import time

import pytest
import structlog

from screener.base.errors import RequestRefused, ServerError
from screener.config.servers import ServerSettings
from screener.fhir.client import Client
from screener.fhir.connections import Connections
from screener.fhir.search import search
from tests.scripted import Reply, Request, bundle, named, scripted


class Crowd:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = self.most = self.all = 0

    def __call__(self, request: Request) -> Reply:
        with self._lock:
            self.now, self.all = self.now + 1, self.all + 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)
        with self._lock:
            self.now -= 1
        return Reply(400) if request.path.endswith("/bad") else Reply(body=request.path.encode())


def read(client: Client, name: str) -> str:
    return client.get(f"Patient/{name}", what="a patient").body.decode().rpartition("/")[2]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_answers_come_in_the_order_asked_and_the_bound_holds(count: int) -> None:
    crowd = Crowd()
    names = [str(number) for number in range(12)]
    with (
        scripted(crowd) as server,
        Client(ServerSettings(base_url=server.base_url)) as client,
        Connections(client, count) as connections,
    ):
        assert connections.map(read, names) == names
        assert connections.map(read, names[:3]) == names[:3]
        assert connections.map(read, []) == []
    assert crowd.most == count
    assert (client.traffic.requests, client.traffic.bytes_read) == (
        15,
        sum(len(f"/fhir/Patient/{name}") for name in [*names, *names[:3]]),
    )


def test_all_connections_share_the_retries_of_a_run() -> None:
    """Each of 12 requests is refused once. However they spread over the connections and calls, 5 may be tried again."""
    seen: set[str] = set()

    def refuse_once(request: Request) -> Reply:
        new = request.path not in seen
        seen.add(request.path)
        return Reply(503, headers={"Retry-After": "0"}) if new else Reply(body=request.path.encode())

    with scripted(refuse_once) as server:
        settings = ServerSettings(base_url=server.base_url, retries_per_run=5)
        with Client(settings) as client, Connections(client, 3) as connections:
            with pytest.raises(ServerError, match="used up its 5 retries"):
                for first in range(0, 12, 3):
                    connections.map(read, [str(first + number) for number in range(3)])
            assert client.traffic.retries == 5


def test_what_a_server_counts_too_high_is_said_once_and_summed_over_calls() -> None:
    """One connection after the other meets the same miscount in each of three calls."""

    def search_all(client: Client, _: str) -> int:
        return len(list(search(client, "Observation", [("_count", "10")])))

    def count_one_too_many(request: Request) -> Reply:
        if "_count=10" in request.path:
            return Reply(body=bundle(*named("a", "b"), total=3))
        if "page=2" in request.path:
            return Reply(body=bundle(*named("b"), total=3))
        return Reply(body=bundle(*named("a"), following="?page=2", total=3))

    with (
        scripted(count_one_too_many) as server,
        Client(ServerSettings(base_url=server.base_url)) as client,
        Connections(client, 1) as connections,
        structlog.testing.capture_logs() as said,
    ):
        for _ in range(3):
            assert connections.map(search_all, ["x"]) == [2]
        assert client.counts_too_high == {"Observation": 3}
    assert [event["event"] for event in said].count("server_counts_more_than_it_shows") == 1


def test_the_first_error_ends_it_and_what_was_not_begun_is_not() -> None:
    crowd = Crowd()
    names = ["0", "bad", *(str(number) for number in range(2, 40))]
    with scripted(crowd) as server:
        settings = ServerSettings(base_url=server.base_url, attempts=1)
        with Client(settings) as client, Connections(client, 2) as connections:
            with pytest.raises(RequestRefused, match="answered 400 to a patient"):
                connections.map(read, names)
            assert connections.map(read, ["again"]) == ["again"]
    assert crowd.all < 12
    assert client.traffic.requests == crowd.all
