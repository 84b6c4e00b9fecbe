"""The job as it is operated: the resident worker, the lease, seeding and cleaning, whole populations, and privacy."""

import json
import os
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest
import requests

from screener.operations.endpoint import health
from screener.run.summary import schema
from screener.state import RunStart, State
from tests.command import screener_process
from tests.e2e.site import Site, writes
from tests.proxy import Ask, faulty, kind_of
from tests.scripted import Reply, Request

DAY = (datetime.now(UTC) - timedelta(days=100)).date().isoformat()
LATER = (datetime.now(UTC) - timedelta(days=20)).date().isoformat()
CANARY = "CANARY4711"


def test_the_summary_keeps_its_schema(sandbox: Site) -> None:
    sandbox.woman()
    sandbox.stay("w1", DAY)
    for arguments in (["--backfill", "--dry-run"], ["--backfill"], [], ["--patient", sandbox.id("w1")]):
        summary = sandbox.run(*arguments).summary
        jsonschema.validate(summary, schema(), format_checker=jsonschema.FormatChecker())
        assert sum(n for reasons in summary["outcomes"].values() for n in reasons.values()) == summary["patients_seen"]


def test_json_on_standard_output_is_the_summary(sandbox: Site) -> None:
    ended = sandbox.run("--backfill", "--log-format", "json")
    assert json.loads(ended.stdout) == ended.summary


def test_every_event_of_a_run_names_the_run(sandbox: Site) -> None:
    """Also those of the threads that send its requests."""
    sandbox.woman()
    sandbox.stay("w1", DAY)
    failed: set[str] = set()

    def once(request: Request, ask: Ask) -> Reply:
        """Each resource type is unwell once."""
        kind = kind_of(request)
        if kind in failed or "metadata" in request.path:
            return ask()
        failed.add(kind)
        return Reply(503)

    one_at_a_time = {"SCREENER_SERVER_CONNECTIONS": "4", "SCREENER_SERVER_PAGE_SIZE": "50"}
    with faulty(lambda: sandbox.base_url, once) as front:
        ended = sandbox.run(
            "--backfill", "--log-format", "json", SCREENER_SERVER_BASE_URL=front.base_url, **one_at_a_time
        )
    events = [json.loads(line) for line in ended.stderr.splitlines()]
    assert sum(event["event"] == "request_failed_trying_again" for event in events) >= 7
    assert {event.get("run_id") for event in events} == {ended.summary["run_id"]}


def test_a_second_run_leaves_with_5_and_says_who_is_at_work(sandbox: Site) -> None:
    with State.open(f"sqlite:///{sandbox.folder / 'state.sqlite'}") as state:
        state.begin_run(RunStart("r1", "backfill", "2026-01-31T02:00:00Z", "s", "d", *["h"] * 4, "m", "0"))  # type: ignore[call-arg]
        with state.lease(sandbox.base_url, run_id="r1"):
            ended = sandbox.run("--backfill", expect=5)
            assert str(os.getpid()) in ended.stderr
            assert "r1" in ended.stderr
            assert sandbox.run("--backfill", "--dry-run").summary["dry_run"] is True
        assert [run.exit_code for run in state.runs(9)][:1] == [5]  # it is in the ledger, too
    sandbox.run("--backfill")


@pytest.mark.parametrize("arguments", [["--backfill"], []], ids=["backfill", "nightly"])
def test_a_run_that_reaches_no_server_is_in_ledger_metrics_and_health(
    sandbox: Site, tmp_path: Path, arguments: list[str]
) -> None:
    sandbox.run("--backfill")
    sandbox.run()
    away = {"SCREENER_SERVER_ATTEMPTS": "1", "SCREENER_METRICS_FILE": str(tmp_path / "screener.prom")}
    ended = sandbox.run(*arguments, expect=4, SCREENER_SERVER_BASE_URL="http://127.0.0.1:9/fhir", **away)
    mode = ended.summary["mode"]
    assert f'screener_last_run_exit_code{{mode="{mode}"}} 4.0' in (tmp_path / "screener.prom").read_text()
    with State.open(f"sqlite:///{sandbox.folder / 'state.sqlite'}") as state:
        (last,) = state.runs(1)
        assert (last.exit_code, last.start.run_id, last.status) == (4, ended.summary["run_id"], "ended")
        assert health(state, {}, timedelta(hours=1), datetime.now(UTC))["last_exit_code"] == 4


def test_the_worker_runs_and_a_signal_ends_it_in_good_order(sandbox: Site) -> None:
    sandbox.woman()
    sandbox.stay("w1", DAY)
    sandbox.run("--backfill")
    sandbox.stay("w1", (datetime.now(UTC) - timedelta(days=2)).date().isoformat(), mg="0.90")
    worker = sandbox.start("schedule", "--run-now", "--log-format", "json", stderr=subprocess.PIPE)
    assert worker.stderr is not None
    events = []
    for line in worker.stderr:
        events.append(json.loads(line))
        if events[-1]["event"] == "run_ended":
            break
    worker.send_signal(signal.SIGTERM)
    events += [json.loads(line) for line in worker.stderr]
    worker.stderr.close()
    assert worker.wait(30) == 0
    ended = next(event for event in events if event["event"] == "run_ended")
    assert (ended["amended"], ended["failed"]) == (2, 0)
    assert {event["run"] for event in events if event["event"] == "scheduled"} == {"nightly", "backfill"}
    assert events[-1]["event"] == "stopped"


def test_a_worker_without_a_full_run_begins_with_one(sandbox: Site) -> None:
    sandbox.woman()
    sandbox.stay("w1", DAY)
    worker = sandbox.start("schedule", "--log-format", "json", stderr=subprocess.PIPE)
    assert worker.stderr is not None
    ended = next(event for line in worker.stderr if (event := json.loads(line))["event"] == "run_ended")
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=120)
    assert (ended["run"], ended["created"]) == ("backfill", 2)


def test_a_worker_may_leave_the_first_full_run_to_people(sandbox: Site) -> None:
    sandbox.environment["SCREENER_SCHEDULE_FIRST_BACKFILL"] = "never"
    worker = sandbox.start("schedule", "--run-now", "--log-format", "json", stderr=subprocess.PIPE)
    assert worker.stderr is not None
    failed = next(event for line in worker.stderr if (event := json.loads(line))["event"] == "run_failed")
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=120)
    assert (failed["run"], failed["exit_code"]) == ("nightly", 2)


def stopped_after_the_first_batches(sandbox: Site, women: int, number: signal.Signals = signal.SIGTERM) -> str:
    """A backfill of so many women, one a batch and a Bundle, ended by a signal; returns what it said."""
    for woman in range(women):
        sandbox.woman(f"w{woman:02}")
        sandbox.stay(f"w{woman:02}", DAY, markers=False)
    sandbox.environment["SCREENER_SERVER_BATCH_PATIENTS"] = "1"
    sandbox.environment["SCREENER_OUTPUT_BUNDLE_ENTRIES"] = "1"
    sandbox.environment["SCREENER_OUTPUT_CONNECTIONS"] = "1"
    sandbox.environment["SCREENER_SERVER_REQUESTS_PER_SECOND"] = "40"
    worker = sandbox.start("run", "--backfill", stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not sandbox.search("RiskAssessment", _tag="|".join(sandbox.tag)) and time.monotonic() < until:
        time.sleep(0.02)
    worker.send_signal(number)
    _, said = worker.communicate(timeout=60)
    sandbox.environment["SCREENER_SERVER_REQUESTS_PER_SECOND"] = "0"
    assert worker.returncode == 1, said
    assert "Traceback" not in said
    return said.partition("Error: ")[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_run_between_batches_and_the_watermark_stays(sandbox: Site, number: signal.Signals) -> None:
    said = stopped_after_the_first_batches(sandbox, 20, number)
    assert said.startswith("Stopped after ")
    with State.open(f"sqlite:///{sandbox.folder / 'state.sqlite'}") as state:
        (run,) = state.runs(1)
    assert (run.status, run.exit_code) == ("ended", 1)
    assert "screener run --backfill" in sandbox.run(expect=2).stderr  # no watermark
    assert sandbox.run("--backfill").summary["writes"]["failed"] == 0


def test_a_stopped_backfill_goes_on_where_it_was_and_its_watermark_is_its_beginning(sandbox: Site) -> None:
    said = stopped_after_the_first_batches(sandbox, 20)
    done = int(said.removeprefix("Stopped after ").split()[0])
    assert 0 < done < 20
    # Somebody who is done already has a new result before the second call: the nightly run must see it.
    finished = next(name for name in (f"w{number:02}" for number in range(20)) if sandbox.assessments(name))
    sandbox.stay(finished, LATER, mg="0.95", markers=False)
    second = sandbox.run("--backfill")
    (told,) = (line for line in second.stderr.splitlines() if "backfill_goes_on" in line)
    assert second.summary["patients_seen"] == 20 - done
    # The server's clock shows seconds: both calls may lie in one.
    assert second.summary["watermark"]["to"] in told
    assert second.summary["watermark"]["to"] <= second.summary["started"]
    assert all(sandbox.assessments(f"w{number:02}") for number in range(20))
    assert sandbox.run().summary["writes"]["amended"] == 1
    # It came to its end: the next one begins at the beginning.
    third = sandbox.run("--backfill")
    assert (third.summary["patients_seen"], "backfill_goes_on" in third.stderr) == (20, False)


def test_restart_begins_a_backfill_again(sandbox: Site) -> None:
    stopped_after_the_first_batches(sandbox, 8)
    again = sandbox.run("--backfill", "--restart")
    assert (again.summary["patients_seen"], "backfill_goes_on" in again.stderr) == (8, False)


def test_another_policy_does_not_go_on_with_the_old_ones_run(sandbox: Site) -> None:
    stopped_after_the_first_batches(sandbox, 8)
    other = sandbox.run("--backfill", SCREENER_POLICY_LOOKBACK_DAYS="800")
    assert other.summary["patients_seen"] == 8


def test_when_the_time_is_up_the_run_says_so_by_its_exit_code(sandbox: Site) -> None:
    sandbox.woman()
    sandbox.stay("w1", DAY)
    ended = sandbox.run("--backfill", "--until", "2020-01-01T05:00:00Z", expect=6)
    assert "The time is up after 0 of 1 patients. Call it again: it goes on where it was" in ended.stderr
    assert sandbox.assessments("w1") == []
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert sandbox.run("--backfill", "--until", later).summary["writes"]["created"] == 2


@pytest.mark.hapi
def test_a_seeded_population_on_a_hapi_of_its_own(hapi_second: str, tmp_path: Path) -> None:
    site = Site(hapi_second, tmp_path)
    site.environment.update(SCREENER_SERVER_ONLY_TAG="", SCREENER_SERVER_OVERLAP_MINUTES="0")
    kinds = ("Patient", "Observation", "RiskAssessment", "Device")
    before = {kind: len(site.search(kind)) for kind in kinds}
    site.call("sandbox", "seed", "--patients", "60")
    first = site.run("--backfill").summary
    assert first["writes"]["created"] > 20
    assert first["writes"]["failed"] == 0
    second = site.run("--backfill").summary
    assert second["writes"] == writes(unchanged=first["writes"]["created"])
    time.sleep(1.1)  # the server's Date header counts in seconds
    site.run("--backfill")
    nightly = site.run().summary
    assert nightly["patients_seen"] == 0
    site.call("sandbox", "clean", "--yes")
    assert {kind: len(site.search(kind)) for kind in kinds} == before


def test_the_demonstration(tmp_path: Path) -> None:
    ended = screener_process("sandbox", "demo", "--patients", "120", cwd=tmp_path)
    nightly = ended.stdout.rpartition("$ screener run --show-patients")[2]
    assert nightly.count("amended   │") >= 1
    assert nightly.count("basis_withdrawn") == 2
    assert list(tmp_path.iterdir()) == []


def test_no_patient_data_is_left_anywhere(sandbox: Site) -> None:
    """Canaries in names, identifiers, ids, notes and error texts: none in output, logs, summary or state."""
    name = f"{CANARY}-{sandbox.name}"
    sandbox.put(
        {
            "resourceType": "Patient",
            "id": name,
            "gender": "female",
            "birthDate": "1958-03-02",
            "name": [{"family": CANARY, "given": [CANARY]}],
            "identifier": [{"system": "https://hospital.example/mrn", "value": CANARY}],
            "telecom": [{"system": "phone", "value": CANARY}],
        }
    )
    for short, value in (
        ("a", {"valueString": CANARY}),
        ("b", {"valueQuantity": _quantity("0.7177", CANARY)}),
        ("c", {"valueQuantity": _quantity("0.7177", "mmol/L")}),
    ):
        sandbox.put(
            {
                "resourceType": "Observation",
                "id": f"{CANARY}-{short}-{sandbox.name}",
                "status": "final",
                "code": {"coding": [{"system": "http://loinc.org", "code": "2601-3"}], "text": CANARY},
                "subject": {"reference": f"Patient/{name}", "display": CANARY},
                "effectiveDateTime": f"{DAY}T08:00:00Z",
                "note": [{"text": CANARY}],
                **value,
            }
        )
    for arguments in (["--backfill", "-v"], ["--backfill", "-v", "--log-format", "json"], ["-v"]):
        ended = sandbox.run(*arguments)
        left = ended.stdout + ended.stderr + json.dumps(ended.summary)
        assert CANARY not in left
        assert "0.7177" not in left
    for file in sandbox.folder.iterdir():
        content = file.read_bytes()
        assert CANARY.encode() not in content, file.name
        assert b"0.7177" not in content, file.name
    shown = sandbox.run("--backfill", "--dry-run", "--show-patients", "--now", "2035-01-01T00:00:00Z")
    assert name in shown.stdout.replace("\n", "")  # asked for: then ids are shown


def _quantity(value: str, unit: str) -> dict[str, object]:
    return {"value": float(value), "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}


def test_limit_and_since_move_no_watermark(sandbox: Site) -> None:
    for name in ("w1", "w2", "w3"):
        sandbox.woman(name)
        sandbox.stay(name, DAY)
    assert sandbox.run("--backfill", "--limit", "2").summary["patients_seen"] == 2
    before = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    since = sandbox.run("--since", before).summary
    assert (since["patients_seen"], since["writes"]) == (3, writes(created=2, unchanged=4))
    assert since["watermark"]["to"] is None
    assert sandbox.run("--since", "2099-01-01T00:00:00Z").summary["patients_seen"] == 0
    assert "screener run --backfill" in sandbox.run(expect=2).stderr


def test_a_patient_that_does_not_exist(sandbox: Site) -> None:
    """Also one of several that a list names."""
    summary = sandbox.run("--patient", "nobody", expect=3).summary
    assert summary["outcomes"]["not_scorable"] == {"patient_missing": 1}
    sandbox.woman()
    sandbox.stay("w1", DAY)
    (sandbox.folder / "list.txt").write_text(f"{sandbox.id('w1')}\nnobody\n")
    listed = sandbox.run("--patients-from", "list.txt", expect=3)
    assert listed.summary["writes"]["created"] == 2
    assert "patients_not_found" in listed.stderr


def test_a_write_that_the_server_refuses_fails_that_patient_and_is_tried_again(sandbox: Site) -> None:
    sandbox.woman("w1")
    sandbox.stay("w1", DAY)
    sandbox.run("--backfill")
    for assessment in sandbox.assessments("w1"):
        broken = {
            **assessment,
            "prediction": [{"probabilityDecimal": 1, "probabilityRange": {}}],
            "note": [{"text": 5}],
        }
        answer = requests.put(f"{sandbox.base_url}/RiskAssessment/{assessment['id']}", json=broken, timeout=30)
        assert answer.status_code == 200
    sandbox.woman("w2")
    sandbox.stay("w2", DAY)
    ended = sandbox.run("--backfill", expect=3)
    assert ended.summary["outcomes"]["failed"] == {"invalid_resource": 1}
    assert ended.summary["writes"] == writes(created=2, failed=2)
    assert sandbox.run(SCREENER_SERVER_OVERLAP_MINUTES="0", expect=3).summary["outcomes"]["failed"] == {
        "invalid_resource": 1
    }


def test_an_assessment_damaged_by_others_fails_that_patient_only(sandbox: Site) -> None:
    """Its date is a year alone now, and its patient is dead, so that it is held against what it rests on."""
    for name in ("w1", "w2"):
        sandbox.woman(name)
        sandbox.stay(name, DAY)
    sandbox.run("--backfill")
    for assessment in sandbox.assessments("w1"):
        odd = {**assessment, "occurrenceDateTime": "2025"}
        answer = requests.put(f"{sandbox.base_url}/RiskAssessment/{assessment['id']}", json=odd, timeout=30)
        assert answer.status_code == 200
    sandbox.woman("w1", deceasedBoolean=True)
    summary = sandbox.run("--backfill", expect=3).summary
    assert summary["outcomes"]["failed"] == {"internal_error": 1}
    assert summary["writes"] == writes(unchanged=2)
