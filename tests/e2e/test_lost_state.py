"""What we wrote is found again from the server alone: the state may be lost, old, cut off, or named otherwise."""

import itertools
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from psycopg import sql

from tests.e2e.site import Json, Site, writes
from tests.fhir_samples import patient
from tests.folders import backfill as folder_backfill
from tests.folders import export, stay
from tests.postgres import Cluster
from tests.proxy import Ask, faulty
from tests.scripted import Reply, Request

DAY = "2025-11-01"
NOW = ("--now", "2026-01-31T02:00:00Z")
_numbers = itertools.count()


def backfill(site: Site, *arguments: str, **more: str) -> Json:
    return site.run("--backfill", *NOW, *arguments, **more).summary


def lose_state(site: Site) -> None:
    for file in site.folder.glob("state.sqlite*"):
        file.unlink()


def statuses(site: Site, *shorts: str) -> set[str]:
    return {resource["status"] for short in shorts for resource in site.assessments(short)}


def runs_of(site: Site, *shorts: str) -> list[str]:
    url = f"{site.canonical}/StructureDefinition/run"
    found = [one for short in shorts for one in site.assessments(short)]
    return [e["valueString"] for resource in found for e in resource["extension"] if e["url"] == url]


@pytest.fixture
def two(sandbox: Site) -> Site:
    """Two women with results, not assessed yet."""
    for short in ("w1", "w2"):
        sandbox.woman(short)
        sandbox.stay(short, DAY)
    return sandbox


# On purpose


def test_what_was_taken_back_stays_so_without_the_state_until_it_is_lifted(two: Site) -> None:
    run = backfill(two)["run_id"]
    two.call("retract", "--run", run, "--yes")
    lose_state(two)
    after = backfill(two)
    assert after["writes"] == writes(stands=4)
    assert after["write_reasons"]["stands"]["nomogram"] == {"taken_back_by_site": 2}
    assert statuses(two, "w1", "w2") == {"entered-in-error"}
    said = two.call("suppressions", "lift", "--run", run, "--yes").stdout
    assert said.startswith("4 of 4 on ")
    assert statuses(two, "w1", "w2") == {"entered-in-error"}
    assert backfill(two)["writes"] == writes(amended=4)
    assert statuses(two, "w1", "w2") == {"corrected"}
    assert backfill(two)["writes"] == writes(unchanged=4)


@pytest.mark.parametrize("target", ["--patient", "--artefact"])
def test_a_patient_and_a_model_are_lifted_without_the_state(two: Site, target: str) -> None:
    summary = backfill(two)
    name = two.id("w1") if target == "--patient" else f"{summary['model']['id']}@{summary['model']['version']}"
    two.call("retract", target, name, "--yes")
    lose_state(two)
    assert backfill(two)["writes"] == writes(stands=2, unchanged=2)
    assert two.call("suppressions", "lift", target, name, "--yes").stdout.startswith("2 of 2 on ")
    assert backfill(two)["writes"] == writes(amended=2, unchanged=2)


def test_a_run_is_found_without_the_ledger_by_its_whole_id(two: Site) -> None:
    run = backfill(two)["run_id"]
    assert set(runs_of(two, "w1", "w2")) == {run}
    lose_state(two)
    assert "give its whole id" in two.call("retract", "--run", run[:8], "--yes", expect=2).stderr
    assert two.call("retract", "--run", run, "--yes").stdout.startswith("4 of 4 on ")
    assert run not in runs_of(two, "w1", "w2")  # the call that took it back is named now


def test_a_second_run_writes_nothing_though_it_is_another(two: Site, tmp_path: Path) -> None:
    first = backfill(two)["run_id"]
    assert backfill(two)["writes"] == writes(unchanged=4)
    assert set(runs_of(two, "w1", "w2")) == {first}
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    given = ("--run-id", "6a1b7c1e-0000-4000-8000-000000000001")
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        folder_backfill(tmp_path / name, "--backfill", *given, "--from", str(source), "--to", "out", expect=0)
        made.append((tmp_path / name / "out" / "RiskAssessment.ndjson").read_bytes())
    assert made[0] == made[1]
    assert given[1].encode() in made[0]


def test_nothing_falls_and_nothing_rises_by_what_the_site_takes_back_and_lifts(sandbox: Site) -> None:
    for number in range(30):
        sandbox.put_all([patient(sandbox.id(f"w{number}")), *sandbox.results(f"w{number}", DAY)])
    run = backfill(sandbox)["run_id"]
    assert backfill(sandbox)["exit_code"] == 0
    sandbox.call("retract", "--run", run, "--yes")
    assert backfill(sandbox)["limits_exceeded"] == []
    sandbox.call("suppressions", "lift", "1")
    lifted = backfill(sandbox)
    assert (lifted["limits_exceeded"], lifted["writes"]["amended"]) == ([], 60)


# Killed, cut off


@contextmanager
def front(site: Site, act: "Act") -> Iterator[Site]:
    """The site behind a front that calls `act` around every batch of writes."""
    numbers = itertools.count(1)

    def fault(request: Request, ask: Ask) -> Reply:
        if request.method != "POST" or request.path.rstrip("/") != "/fhir":
            return ask()
        number = next(numbers)
        if act.at(number, "before"):
            return Reply(503)  # it never arrived
        answer = ask()
        act.at(number, "after")
        return answer

    with faulty(lambda: site.base_url, fault) as server:
        yield Site(server.base_url, site.folder, site.name, site.environment)


class Act:
    """What a test does at one boundary of a run, once."""

    def __init__(self, number: int, side: str) -> None:
        self._when = (number, side)
        self.ready, self.process = threading.Event(), list["subprocess.Popen[str]"]()

    def at(self, number: int, side: str) -> bool:
        if (number, side) != self._when:
            return False
        self._when = (0, "")
        self.do()
        return True

    def do(self) -> None:
        """Kill the run without warning."""
        self.ready.wait(30)
        self.process[0].kill()
        self.process[0].wait(30)


@pytest.mark.parametrize("lost", [False, True], ids=["ledger", "no ledger"])
@pytest.mark.parametrize(("number", "side"), [(n, side) for n in range(1, 5) for side in ("before", "after")])
def test_what_a_killed_run_wrote_is_taken_back_wherever_it_was_killed(
    two: Site,
    number: int,
    side: str,
    lost: bool,  # noqa: FBT001
) -> None:
    two.environment = {"SCREENER_OUTPUT_BUNDLE_ENTRIES": "1", "SCREENER_OUTPUT_CONNECTIONS": "1"}
    run = f"00000000-0000-4000-8000-{number:04}{side == 'after':01}{lost:01}{next(_numbers):06}"
    act = Act(number, side)
    with front(two, act) as site:
        act.process.append(site.start("run", "--backfill", *NOW, "--run-id", run))
        act.ready.set()
        assert act.process[0].wait(60) == -9
        wrote = len(runs_of(site, "w1", "w2"))
        assert wrote == number - (side == "before")
        if lost:
            lose_state(site)
        said = site.call("retract", "--run", run, "--yes").stdout
        assert said.startswith(f"{wrote} of {wrote} on ")
        assert statuses(site, "w1", "w2") == ({"entered-in-error"} if wrote else set())


def test_what_a_run_wrote_whose_database_was_cut_off_is_found(two: Site, postgres_cluster: Cluster) -> None:
    schema = f"cut{next(_numbers)}"
    two.environment = {
        "SCREENER_OUTPUT_BUNDLE_ENTRIES": "1",
        "SCREENER_OUTPUT_CONNECTIONS": "1",
        "SCREENER_STATE_URL": postgres_cluster.make_schema(schema),
    }

    def rename(old: str, new: str) -> None:
        with postgres_cluster.connect() as connection:
            connection.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new)))
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'screener'"
            )

    class Cut(Act):
        def do(self) -> None:
            rename(schema, f"{schema}gone")

    with front(two, Cut(3, "after")) as site:
        ended = site.run("--backfill", *NOW, expect=2)
        rename(f"{schema}gone", schema)
        (run,) = set(runs_of(site, "w1", "w2"))
        wrote = len(runs_of(site, "w1", "w2"))
        assert wrote >= 3
        assert ended.summary["run_id"] == run
        with postgres_cluster.connect() as connection:  # of a run in this process, which lives on
            connection.execute(sql.SQL("DELETE FROM {}.screener_leases").format(sql.Identifier(schema)))
        assert site.call("retract", "--run", run, "--yes").stdout.startswith(f"{wrote} of {wrote} on ")


# Another name


@pytest.mark.parametrize("spelt", ["HTTP://127.0.0.1:{port}/fhir", "http://127.0.0.1:{port}//fhir/", " {url}/ "])
def test_another_spelling_of_the_address_is_the_same_server(two: Site, spelt: str) -> None:
    assert backfill(two)["writes"] == writes(created=4)
    other = spelt.format(port=urlsplit(two.base_url).port, url=two.base_url)
    assert backfill(two, SCREENER_SERVER_BASE_URL=other)["writes"] == writes(unchanged=4)
    lose_state(two)
    assert backfill(two, SCREENER_SERVER_BASE_URL=other)["writes"] == writes(unchanged=4)


def test_another_name_of_the_server_stops_the_run_and_says_what_joins_them(two: Site) -> None:
    backfill(two)
    other = two.base_url.replace("127.0.0.1", "localhost")
    ended = two.run("--backfill", *NOW, expect=2, SCREENER_SERVER_BASE_URL=other)
    assert f'source_system = "{two.base_url}"' in ended.stderr
    assert "beside_other_sources = true" in ended.stderr
    assert len(two.assessments("w1")) == 2
    joined = backfill(two, SCREENER_SERVER_BASE_URL=other, SCREENER_SOURCE_SYSTEM=two.base_url)
    assert joined["writes"] == writes(unchanged=4)


def test_a_folder_of_another_source_stops_the_run(tmp_path: Path) -> None:
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    asked = ("--backfill", "--from", str(source), "--to", str(tmp_path / "out"))
    folder_backfill(tmp_path, *asked, expect=0, SCREENER_SOURCE_SYSTEM="a")
    before = (tmp_path / "out" / "RiskAssessment.ndjson").read_bytes()
    ended, _ = folder_backfill(tmp_path, *asked, expect=2, SCREENER_SOURCE_SYSTEM="b")
    assert "Assessments of another source stand for 1 patient" in ended.stderr
    assert (tmp_path / "out" / "RiskAssessment.ndjson").read_bytes() == before


def test_two_installations_beside_each_other_leave_each_other_alone(two: Site) -> None:
    a, b = ({"SCREENER_SOURCE_SYSTEM": name, "SCREENER_BESIDE_OTHER_SOURCES": "true"} for name in "ab")
    summary = backfill(two, **a)
    lose_state(two)
    assert backfill(two, **b)["writes"] == writes(created=4)
    model = f"{summary['model']['id']}@{summary['model']['version']}"
    said = two.call("retract", "--artefact", model, "--yes", **b).stdout
    assert said.startswith("2 of 2 on ")
    assert "Of another source system below the same canonical, left as they are: 4" in said
    assert two.call("purge", "--dry-run", **b).stdout.startswith("5 on ")
    two.call("purge", "--yes", **b)
    left = [one for short in ("w1", "w2") for one in two.assessments(short)]
    assert [one["status"] for one in left] == ["final"] * 4
    lose_state(two)
    assert backfill(two, **a)["writes"] == writes(unchanged=4)
