"""`screener doctor`: green on a server that works, and red or yellow with what to do for each thing that does not."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from screener.clinical import shipped
from screener.sandbox.app import SandboxServer
from tests.certificates import certificate, https_with
from tests.command import screener
from tests.e2e.site import Site
from tests.proxy import Ask, Fault, faulty, kind_of, parameters_of
from tests.scripted import Reply, Request

Json = dict[str, Any]
DAY = (datetime.now(UTC) - timedelta(days=60)).date().isoformat()


def findings(site: Site, *arguments: str, expect: Any = 0, **environment: str) -> dict[str, list[Json]]:
    """What is said, by what was looked at."""
    said = json.loads(site.call("doctor", "--json", *arguments, expect=expect, **environment).stdout)
    assert said["exit_code"] == expect
    found: dict[str, list[Json]] = {}
    for finding in said["findings"]:
        assert finding["level"] == "green" or finding["remedy"], finding
        found.setdefault(finding["check"], []).append(finding)
    return found


def levels(found: dict[str, list[Json]], level: str) -> set[str]:
    return {check for check, said in found.items() if any(one["level"] == level for one in said)}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server of these tests' own, with one woman."""
    with SandboxServer() as server:
        site = Site(server.base_url, tmp_path_factory.mktemp("doctor"))
        site.woman("w1")
        site.stay("w1", DAY)
        yield site


def test_a_server_that_works_is_green_and_a_write_is_taken_back(site: Site) -> None:
    site.woman("w1")
    site.stay("w1", DAY)
    found = findings(site, "--write")
    assert levels(found, "red") == set()
    assert levels(found, "yellow") == {"model", "state"}  # not calibrated; no run yet
    assert found["write"][0]["found"].endswith("created, found, updated and deleted again")
    system = f"{site.canonical}/CodeSystem/test"
    assert site.search("RiskAssessment", _tag=f"{system}|write-test") == []
    assert site.search("Device", _tag=f"{system}|write-test") == []
    site.run("--backfill")
    assert levels(findings(site), "yellow") == {"model"}
    assert "ended well" in findings(site)["state"][0]["found"]


def test_without_write_nothing_is_sent_but_reads(small: Site) -> None:
    sent: list[tuple[str, str]] = []

    def fault(request: Request, ask: Ask) -> Reply:
        sent.append((request.method, request.path.partition("?")[0]))
        return ask()

    with faulty(lambda: small.base_url, fault) as front:
        found = findings(small, SCREENER_SERVER_BASE_URL=front.base_url)
    assert levels(found, "red") == set()
    assert len(sent) > 8
    assert {path.endswith("_search") for method, path in sent if method != "GET"} <= {True}
    assert [path.name for path in small.folder.iterdir() if "state" in path.name] == []


def test_a_state_that_cannot_be_opened_is_said_and_the_server_is_looked_at(small: Site, tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_text("no database at all, but a file that somebody put there\n" * 100)
    found = findings(small, expect=2, SCREENER_STATE_URL=f"sqlite:///{tmp_path / 'state.sqlite'}")
    assert "configuration" in levels(found, "red")
    assert {"server", "records"} <= levels(found, "green")


def test_nobody_is_named(small: Site) -> None:
    said = small.call("doctor", "-v")
    assert small.name not in (said.stdout + said.stderr).replace(small.canonical, "").replace(str(small.folder), "")
    assert max(map(len, said.stdout.splitlines())) <= 100


def refused(kind: str, status: int, method: str = "") -> Fault:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]}

    def fault(request: Request, ask: Ask) -> Reply:
        about = kind_of(request) == kind and "metadata" not in request.path
        return Reply(status, outcome) if about and method in ("", request.method) else ask()

    return fault


def capped(request: Request, ask: Ask) -> Reply:
    """A server that gives pages of one, whatever is asked."""
    reply = ask()
    if parameters_of(request).get("_elements") == ["id"] and isinstance(reply.body, bytes):
        page = json.loads(reply.body)
        page["link"] = [{"relation": "next", "url": "http://127.0.0.1/fhir?page=2"}]
        return Reply(200, page)
    return reply


def clock(minutes: float) -> Fault:
    def fault(request: Request, ask: Ask) -> Reply:
        reply = ask()
        when = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
        return Reply(reply.status, reply.body, {**reply.headers, "Date": when})

    return fault


def without(kind: str) -> Fault:
    def fault(request: Request, ask: Ask) -> Reply:
        reply = ask()
        if "metadata" in request.path and isinstance(reply.body, bytes):
            statement = json.loads(reply.body)
            for rest in statement["rest"]:
                rest["resource"] = [one for one in rest["resource"] if one["type"] != kind]
            return Reply(200, statement)
        return reply

    return fault


@pytest.mark.parametrize(
    ("fault", "level", "check", "words"),
    [
        (refused("Condition", 403), "red", "records", "Grant system/Condition.rs"),
        (refused("Observation", 403), "red", "searches", "403"),
        (refused("Observation", 401), "red", "searches", "401"),
        (refused("Device", 403, "DELETE"), "yellow", "write", "Device"),
        (without("Procedure"), "red", "offers", "search of Procedure"),
        (without("RiskAssessment"), "red", "assessments", "create of RiskAssessment"),
        (capped, "yellow", "page size", "Set server.page_size = "),
        (clock(3), "yellow", "clock", "3 min apart"),
        (clock(30), "red", "clock", "30 min apart"),
        (refused("Patient", 503), "red", "records", "503"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_is_wrong_with_a_server_is_named(fault: Fault, level: str, check: str, words: str, small: Site) -> None:
    with faulty(lambda: small.base_url, fault) as front:
        found = findings(small, "--write", expect=4 if level == "red" else 0, SCREENER_SERVER_BASE_URL=front.base_url)
    (said,) = [one for one in found[check] if one["level"] == level]
    assert words in f"{said['found']} {said['remedy']}"


def test_a_write_that_is_refused_leaves_nothing(small: Site) -> None:
    def fault(request: Request, ask: Ask) -> Reply:
        """Refuses the RiskAssessment within the Bundle."""
        reply = ask()
        if request.method == "POST" and kind_of(request) == "" and isinstance(reply.body, bytes):
            answer = json.loads(reply.body)
            location = answer["entry"][1]["response"]["location"].partition("/_history")[0]
            small.delete("/".join(location.split("/")[-2:]))
            answer["entry"][1]["response"] = {"status": "403 Forbidden"}
            return Reply(200, answer)
        return reply

    left = {"_tag": f"{small.canonical}/CodeSystem/test|write-test"}
    before = small.search("Device", **left)  # of the server that deletes nothing
    with faulty(lambda: small.base_url, fault) as front:
        found = findings(small, "--write", expect=4, SCREENER_SERVER_BASE_URL=front.base_url)
    assert "403 to the create of a RiskAssessment" in found["write"][0]["found"]
    assert small.search("Device", **left) == before


@pytest.mark.parametrize(("days", "level"), [(10, "yellow"), (90, "green")])
def test_a_certificate_that_soon_ends_is_told(days: int, level: str, small: Site, tmp_path: Path) -> None:
    pem = certificate(tmp_path, "server", days)
    with faulty(lambda: small.base_url, lambda _, ask: ask(), https_with(pem)) as front:
        trusted = {"SCREENER_SERVER_CA_BUNDLE": str(pem), "SCREENER_SERVER_BASE_URL": front.base_url}
        (said,) = findings(small, **trusted)["TLS"]
        untrusted = findings(small, expect=4, SCREENER_SERVER_BASE_URL=front.base_url)
    assert said["level"] == level
    assert f"valid until {(datetime.now(UTC) + timedelta(days=days, hours=1)).date()}" in said["found"]
    assert "certificate that is not trusted" in untrusted["server"][0]["found"]


def test_a_problem_of_the_configuration_hides_no_server(small: Site) -> None:
    found = findings(small, expect=2, SCREENER_SCHEDULE_TIMEZONE="Mars", SCREENER_EXCLUSIONS_CONDITION="nonsense")
    assert {one["found"].partition(" =")[0] for one in found["configuration"]} == {
        "schedule.timezone",
        "exclusions.condition",
    }
    assert "schedule" not in found
    assert "server" not in found  # what it must offer is not known
    found = findings(small, expect=2, SCREENER_SCHEDULE_TIMEZONE="Mars")
    assert levels(found, "green") >= {"server", "records", "state"} - {"state"}


def test_a_server_that_is_not_there(small: Site) -> None:
    found = findings(small, expect=4, SCREENER_SERVER_BASE_URL="http://127.0.0.1:9/fhir")
    assert "Cannot reach 127.0.0.1:9" in found["server"][0]["found"]


def test_folders_need_no_server(tmp_path: Path) -> None:
    said = screener("doctor", "--folders", "--json", cwd=tmp_path).stdout
    checks = {finding["check"] for finding in json.loads(said)["findings"]}
    assert {"platform", "configuration", "model", "value sets", "disk"} <= checks
    assert "server" not in checks


def test_the_next_starts_are_those_of_the_schedule(small: Site) -> None:
    found = findings(
        small,
        SCREENER_SCHEDULE_NIGHTLY="30 3 * * *",
        SCREENER_SCHEDULE_BACKFILL="",
        SCREENER_SCHEDULE_TIMEZONE="Europe/Berlin",
    )
    (said,) = found["schedule"]
    assert said["found"].startswith("nightly: ")
    assert said["found"].count("03:30 CE") == 3


def test_the_date_of_the_shipped_tables_is_renewed_with_them() -> None:
    """A change of any table needs a new line in data/version.csv: the day, and this digest."""
    assert shipped.shipped().sha256 == shipped.digest()
