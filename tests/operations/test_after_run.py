"""What follows a run: reports in a folder, metrics in a file and at an endpoint, messages to a webhook. None of it changes the run."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from screener.config.settings import Settings
from screener.operations.endpoint import health
from screener.operations.metrics import exposition
from screener.sandbox.app import SandboxServer
from screener.state import State
from tests.e2e.site import Site
from tests.folders import private_file
from tests.scripted import Reply, Request, scripted

Json = dict[str, Any]
DAY = (datetime.now(UTC) - timedelta(days=60)).date().isoformat()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Site]:
    """A server of this test's own, with two women, one of them at or below the cut-off."""
    with SandboxServer() as server:
        site = Site(server.base_url, tmp_path)
        for woman, mg in (("w1", "0.84"), ("w2", "0.90")):
            site.woman(woman)
            site.stay(woman, DAY, mg=mg)
        yield site


def samples(text: str) -> dict[tuple[str, ...], float]:
    """By name and the values of its labels, the mode first."""
    return {
        (
            sample.name,
            *(value for _, value in sorted(sample.labels.items(), key=lambda label: label[0] != "mode")),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


# Reports and metrics


def test_each_run_that_may_write_leaves_its_report(small: Site) -> None:
    small.environment |= {"SCREENER_REPORT_FOLDER": str(small.folder / "reports"), "SCREENER_REPORT_LEAST_COUNT": "1"}
    small.run("--backfill", "--dry-run")
    assert not (small.folder / "reports").exists()
    run = small.run("--backfill").summary
    (report,) = (small.folder / "reports").iterdir()
    assert report.name == f"{run['started'][:19].replace(':', '')}-backfill-{run['run_id'][:8]}.html"
    assert (report.parent.stat().st_mode & 0o777, report.stat().st_mode & 0o777) == (0o700, 0o600)
    assert '<td class="n">4</td>' in report.read_text()  # created
    small.run(
        "--patient",
        small.id("w1"),
        SCREENER_EXCLUSIONS_CONDITION="required",
        SCREENER_SERVER_ANSWER_SECONDS="0.000001",
        expect=4,
    )
    assert len(list(report.parent.iterdir())) == 2  # one of the run that was stopped


def test_a_report_that_cannot_be_written_changes_nothing(small: Site) -> None:
    (small.folder / "file").touch()
    ended = small.run("--backfill", SCREENER_REPORT_FOLDER=str(small.folder / "file"), expect=None)
    assert (ended.exit_code, ended.summary["writes"]["created"]) == (0, 4)
    assert "not_told_of_the_run" in ended.stderr


def test_the_metrics_of_the_ledger_as_a_file(small: Site) -> None:
    small.environment["SCREENER_METRICS_FILE"] = str(small.folder / "screener.prom")
    run = small.run("--backfill").summary
    found = samples((small.folder / "screener.prom").read_text())
    assert found["screener_last_run_assessments", "backfill", "created"] == 4
    assert found["screener_last_run_patients", "backfill", "scored"] == 2
    assert found["screener_last_run_flagged", "backfill"] == 1
    assert found["screener_last_run_newly_flagged", "backfill"] == run["newly_flagged"] == 1
    assert found["screener_last_run_exit_code", "backfill"] == 0
    assert found["screener_patients_to_retry",] == 0
    success = found["screener_last_success_timestamp_seconds", "backfill"]
    assert abs(success - time.time()) < 60
    assert not [key for key in found if "nightly" in key]
    assert small.name not in (small.folder / "screener.prom").read_text()
    again = small.run("--backfill").summary
    assert again["newly_flagged"] == 0
    small.run("--backfill", SCREENER_LIMITS_CREATED="1", SCREENER_SERVER_ANSWER_SECONDS="0.000001", expect=4)
    later = samples((small.folder / "screener.prom").read_text())
    assert later["screener_last_run_exit_code", "backfill"] in (0, 4)  # 4 only where it got as far as the ledger
    assert later["screener_last_success_timestamp_seconds", "backfill"] >= success


# The endpoint


def test_the_worker_serves_metrics_and_health(small: Site, unused_port: int) -> None:
    address = f"http://127.0.0.1:{unused_port}"
    small.environment |= {
        "SCREENER_METRICS_ADDRESS": f"127.0.0.1:{unused_port}",
        "SCREENER_SCHEDULE_NIGHTLY": "30 3 * * *",
    }
    worker = small.start("schedule", "--log-format", "json", stderr=subprocess.PIPE)
    assert worker.stderr is not None
    next(line for line in worker.stderr if json.loads(line)["event"] == "run_ended")
    found = samples(requests.get(f"{address}/metrics", timeout=10).text)
    well = requests.get(f"{address}/health", timeout=10)
    others = [
        requests.get(f"{address}{path}", timeout=10).status_code for path in ("/live", "/", "/metrics/../etc/passwd")
    ]
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=120)
    assert worker.returncode == 0
    assert found["screener_last_run_assessments", "backfill", "created"] == 4
    assert found["screener_next_start_timestamp_seconds", "nightly"] > time.time()
    assert (well.status_code, well.json()["healthy"], well.json()["last_exit_code"]) == (200, True, 0)
    assert set(well.json()["next_starts"]) == {"nightly", "backfill"}
    assert others == [200, 404, 404]


def test_an_address_that_is_taken_is_told(small: Site) -> None:
    taken = small.base_url.removeprefix("http://").partition("/")[0]
    ended = small.call("schedule", expect=2, SCREENER_METRICS_ADDRESS=taken)
    assert f"metrics.address = '{taken}' cannot be used" in ended.stderr


def test_health_goes_with_the_last_run_that_ended_well(small: Site) -> None:
    url = f"sqlite:///{small.folder / 'state.sqlite'}"
    now = datetime.now(UTC)
    with State.to_read(url) as state:
        assert health(state, {}, timedelta(hours=36), now)["healthy"] is False
        assert b"screener_patients_to_retry 0.0" in exposition(state)
    small.run("--backfill")
    with State.open(url) as state:
        assert health(state, {}, timedelta(hours=36), now)["healthy"] is True
        late = health(state, {}, timedelta(hours=36), now + timedelta(hours=37))
    assert (late["healthy"], late["running"]) == (False, None)
    assert late["last_success"]


# Messages


@pytest.mark.parametrize(
    ("arguments", "settings", "event", "words"),
    [
        (("--backfill",), {"SCREENER_NOTIFY_ON_NEWLY_FLAGGED": "true"}, "newly_flagged", "flagged <5 women"),
        (("--backfill",), {}, None, ""),
        (("--backfill", "--dry-run"), {"SCREENER_NOTIFY_ON_NEWLY_FLAGGED": "true"}, None, ""),
        (("--backfill",), {"SCREENER_LIMITS_FIRST_BACKFILL": "1"}, "withheld", "wrote nothing"),
        ((), {}, "failed", "exit code 2: There is no state at"),
        ((), {"SCREENER_NOTIFY_ON_FAILURE": "false"}, None, ""),
    ],
)
def test_a_webhook_is_told_what_happened(
    arguments: tuple[str, ...], settings: dict[str, str], event: str | None, words: str, small: Site
) -> None:
    with scripted(lambda _: Reply()) as hook:
        file = private_file(small.folder / "webhook", f"{hook.base_url}/secret-path\n")
        ended = small.run(*arguments, expect=None, SCREENER_NOTIFY_URL_FILE=str(file), **settings)
    sent = [json.loads(request.body) for request in hook.asked]
    assert [body["event"] for body in sent] == ([event] if event else [])
    if sent:
        assert words in sent[0]["text"]
        assert (sent[0]["run_id"], sent[0]["exit_code"]) == (ended.summary["run_id"], ended.exit_code)
        assert small.name not in hook.asked[0].body.replace(str(small.folder), "")
    assert "secret-path" not in ended.stdout + ended.stderr


def test_a_webhook_that_fails_changes_nothing(small: Site) -> None:
    def gone(request: Request) -> Reply:
        return Reply(404, b"no")

    with scripted(gone) as hook:
        told = {"SCREENER_NOTIFY_URL": f"{hook.base_url}/s3cret", "SCREENER_NOTIFY_ON_NEWLY_FLAGGED": "true"}
        ended = small.run("--backfill", **told)
    assert "notification_not_sent" in ended.stderr
    assert "HTTP 404" in ended.stderr
    assert "s3cret" not in ended.stderr
    assert len(hook.asked) == 3
    plain = small.run("--backfill", SCREENER_NOTIFY_URL="http://hooks.example/x", SCREENER_LIMITS_CREATED="1")
    assert "not https" in plain.stderr


def test_the_address_of_a_webhook_is_a_secret(tmp_path: Path) -> None:
    settings = Settings.model_validate({"notify": {"url": "https://hooks.example/s3cret"}})
    assert "s3cret" not in str(settings.shown()) + repr(settings)
