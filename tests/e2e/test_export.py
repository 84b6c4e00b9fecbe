"""`screener export` as an operator runs it, killed without warning, and a backfill from what it leaves."""

import json
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from screener.sandbox.app import SandboxServer
from tests.command import screener
from tests.e2e.site import Site, writes
from tests.proxy import Ask, faulty
from tests.scripted import Reply, Request

Json = dict[str, Any]
DAY = "2025-11-01"
NOW = "2026-01-31T02:00:00Z"


def ids(folder: Path) -> list[str]:
    lines = (line for file in sorted(folder.glob("*.ndjson")) for line in file.read_text().splitlines())
    return [f"{resource['resourceType']}/{resource['id']}" for resource in map(json.loads, lines)]


def test_killed_at_any_moment_and_run_again_it_ends_whole(site: Site) -> None:
    for short in ("w1", "w2"):
        site.woman(short)
        site.stay(short, DAY)
    folder, kills = site.folder / "export", 0
    site.environment["SCREENER_BULK_LONGEST_WAIT_SECONDS"] = "0.3"
    # 0.4 s is before anything was asked, on a slow machine before Python is up; then later and later.
    for wait in (0.4, 0.7, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 60.0):
        started = site.start("export", "--out", str(folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            _, stderr = started.communicate(timeout=wait)
            assert started.returncode == 0, stderr
            break
        except subprocess.TimeoutExpired:
            started.send_signal(signal.SIGKILL)
            started.communicate()
            kills += 1
            time.sleep(0.05)
            if (
                folder / "export.json"
            ).exists():  # whole when it was killed: only its farewell to the server is missing
                break
    assert kills >= 1
    described = json.loads((folder / "export.json").read_text())
    found = ids(folder)
    assert len(found) == len(set(found)) == sum(file["resources"] for file in described["files"])
    mine = {name for name in found if name.endswith(site.name) or site.name in name}
    assert len(mine) == 2 * 7  # a Patient and six results each
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    again = site.call("export", "--out", str(folder), expect=2)
    assert "holds a whole export already, as of" in again.stderr


def test_a_backfill_from_an_export_ends_as_one_from_the_server(site: Site) -> None:
    site.woman("w1")
    site.stay("w1", DAY)
    site.woman("w2")
    site.stay("w2", DAY, mg="0.90", markers=False)
    site.see_whole_server()
    folder = site.folder / "export"
    site.environment["SCREENER_BULK_LONGEST_WAIT_SECONDS"] = "0.3"
    ended = site.call("export", "--out", str(folder), "--relevant")
    assert " resources in " in ended.stdout
    # Types that nobody has are known to be empty, for they were asked for: no folder.complete is needed.
    summary = site.folder / "s.json"
    asked = ("run", "--backfill", "--from", str(folder), "--to", str(site.folder / "out"), "--now", NOW)
    state = {"SCREENER_STATE_URL": f"sqlite:///{site.folder / 'f.sqlite'}"}
    screener(*asked, "--summary", str(summary), cwd=site.folder, **state)
    site.run("--backfill", "--now", NOW)
    lines = [json.loads(line) for line in (site.folder / "out" / "RiskAssessment.ndjson").read_text().splitlines()]
    for short in ("w1", "w2"):
        exported = {
            a["method"]["coding"][0]["code"]: a
            for a in lines
            if a["subject"]["reference"] == f"Patient/{site.id(short)}"
        }
        online = {a["method"]["coding"][0]["code"]: a for a in site.assessments(short)}
        assert exported.keys() == online.keys() != set()
        for method, assessment in online.items():
            theirs = exported[method]["prediction"][0]
            assert assessment["prediction"][0].get("probabilityDecimal") == theirs.get("probabilityDecimal")
            assert assessment["basis"] == exported[method]["basis"]
    assert json.loads(summary.read_text())["writes"] != writes()


def test_a_bulk_backfill_reads_files_writes_to_the_server_and_leaves_none_behind(site: Site) -> None:
    site.environment["SCREENER_BULK_LONGEST_WAIT_SECONDS"] = "0.3"
    site.see_whole_server()
    site.environment["SCREENER_OUTPUT_CANONICAL"] = site.canonical
    site.woman("w1")
    site.stay("w1", DAY)
    bulk = site.folder / "bulk"
    first = site.run("--backfill", "--bulk", str(bulk))
    assert len(site.assessments("w1")) == 2
    assert not bulk.exists()
    # From here the nightly run goes on, by search.
    moment = first.summary["watermark"]["to"]
    assert first.summary["watermark"]["from"] is None
    later = site.stay("w1", "2025-12-01", mg="0.95")
    nightly = site.run()
    assert nightly.summary["watermark"]["from"] == moment
    assert {a["occurrenceDateTime"] for a in site.assessments("w1")} == {"2025-12-01T08:00:00Z"}
    # What the export cannot show (a result that was deleted) is asked of the server.
    site.delete(f"Observation/{later}")
    site.delete(f"Observation/{site.id('w1-mg-' + DAY)}")
    site.run("--backfill", "--bulk", str(bulk))
    assert {a["status"] for a in site.assessments("w1")} == {"entered-in-error"}


def test_a_bulk_run_that_broke_off_takes_its_export_up_again(site: Site) -> None:
    site.environment["SCREENER_BULK_LONGEST_WAIT_SECONDS"] = "0.3"
    site.see_whole_server()
    site.woman("w1")
    site.stay("w1", DAY)
    bulk = site.folder / "bulk"
    site.run_and_kill("--backfill", "--bulk", str(bulk), after_seconds=1.2)
    again = site.run("--backfill", "--bulk", str(bulk))
    assert again.summary["exit_code"] == 0
    assert not bulk.exists()
    assert len(site.assessments("w1")) == 2


def test_a_night_may_ask_by_an_export_whose_results_changed(site: Site) -> None:
    site.environment["SCREENER_BULK_LONGEST_WAIT_SECONDS"] = "0.3"
    site.see_whole_server()
    site.environment["SCREENER_SERVER_OVERLAP_MINUTES"] = "0"
    for short in ("w1", "w2"):
        site.woman(short)
        site.stay(short, DAY)
    first = site.run("--backfill")
    bulk = site.folder / "bulk"
    # What an earlier night left of another export is given up.
    bulk.mkdir()
    (bulk / "Observation.000.ndjson").write_text("{}")
    (bulk / "export.json").write_text(
        json.dumps(
            {"host": "h", "transaction_time": first.summary["started"], "level": "", "types": ["Observation"]}
            | {
                "since": "2020-01-01T00:00:00.000Z",
                "files": [{"name": "Observation.000.ndjson", "resources": 1, "size_bytes": 2}],
            }
        )
    )
    time.sleep(1.1)  # both clocks show seconds
    site.stay("w1", "2025-12-01", mg="0.95")
    night = site.run("--bulk", str(bulk))
    assert night.summary["mode"] == "nightly"
    assert night.summary["watermark"]["from"] == first.summary["watermark"]["to"]
    assert {a["occurrenceDateTime"] for a in site.assessments("w1")} == {"2025-12-01T08:00:00Z"}
    assert {a["occurrenceDateTime"] for a in site.assessments("w2")} == {f"{DAY}T08:00:00Z"}
    assert not bulk.exists()


def test_a_night_by_an_export_takes_back_what_rests_on_a_deleted_result(tmp_path: Path) -> None:
    """`deleted` of the manifest: Bundles of DELETE requests (Bulk Data Access, 2.5.7)."""
    gone: list[str] = []

    def fault(request: Request, ask: Ask) -> Reply:
        if request.path.endswith("/deleted.ndjson"):
            entries = [{"request": {"method": "DELETE", "url": f"Observation/{name}"}} for name in gone]
            return Reply(body=json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode())
        answer = ask()
        if b"transactionTime" in bytes(answer.body):  # type: ignore[arg-type]
            manifest = json.loads(bytes(answer.body))  # type: ignore[arg-type]
            url = f"http://{request.headers['Host']}/fhir/deleted.ndjson"
            manifest["deleted"] = [{"type": "Bundle", "url": url, "count": 1}]
            return Reply(answer.status, manifest, answer.headers)
        return answer

    with SandboxServer() as behind, faulty(lambda: behind.base_url, fault) as front:
        site = Site(front.base_url, tmp_path)
        site.environment = {
            "SCREENER_BULK_LONGEST_WAIT_SECONDS": "0.2",
            "SCREENER_SERVER_ONLY_TAG": "",
            "SCREENER_SERVER_OVERLAP_MINUTES": "0",
        }
        for short in ("w1", "w2"):
            site.woman(short)
            site.stay(short, DAY)
        time.sleep(2.1)  # a Date header may be a second behind, and the night must not see these changes again
        site.run("--backfill")
        time.sleep(1.1)
        gone.append(site.id(f"w1-mg-{DAY}"))
        site.delete(f"Observation/{gone[0]}")
        night = site.run("--bulk", str(site.folder / "bulk"))
        assert (night.summary["patients_seen"], night.summary["writes"]["retracted"]) == (1, 2)
        assert {a["status"] for a in site.assessments("w1")} == {"entered-in-error"}
        assert {a["status"] for a in site.assessments("w2")} == {"final"}


def test_a_medication_that_is_not_exported_is_read_by_its_id(tmp_path: Path) -> None:
    def fault(request: Request, ask: Ask) -> Reply:
        answer = ask()
        if b"transactionTime" not in bytes(answer.body):  # type: ignore[arg-type]
            return answer
        manifest = json.loads(bytes(answer.body))  # type: ignore[arg-type]
        manifest["output"] = [file for file in manifest["output"] if file["type"] != "Medication"]
        return Reply(answer.status, manifest, answer.headers)

    with SandboxServer() as behind, faulty(lambda: behind.base_url, fault) as front:
        site = Site(front.base_url, tmp_path)
        site.environment = {"SCREENER_BULK_LONGEST_WAIT_SECONDS": "0.2", "SCREENER_SERVER_ONLY_TAG": ""}
        for short, atc in (("w1", "M05BA04"), ("w2", "C09AA05")):  # alendronic acid; ramipril
            site.woman(short)
            site.stay(short, DAY)
            code = {"coding": [{"system": "http://www.whocc.no/atc", "code": atc}]}
            site.put({"resourceType": "Medication", "id": site.id(f"m-{short}"), "code": code})
            named = {"medicationReference": {"reference": f"Medication/{site.id(f'm-{short}')}"}}
            about = {"subject": {"reference": f"Patient/{site.id(short)}"}, "authoredOn": DAY}
            request = {"resourceType": "MedicationRequest", "id": site.id(f"r-{short}"), "status": "active"}
            site.put({**request, "intent": "order", **named, **about})
        summary = site.run("--backfill", "--bulk", str(site.folder / "bulk")).summary
        assert summary["outcomes"]["not_eligible"] == {"excluded_antiresorptive": 1}
        assert summary["outcomes"]["scored"] == {"complete": 1}


def test_bulk_is_for_everyone_and_by_no_tag(site: Site) -> None:
    assert "--bulk asks the server for all" in site.run("--bulk", "b", "--patient", "p1", expect=2).stderr
    assert "cannot be narrowed to server.only_tag" in site.run("--backfill", "--bulk", "b", expect=2).stderr


def test_what_changed_after_the_export_was_finished_is_seen_by_the_next_night(site: Site) -> None:
    """The watermark stands for the export's data and not for the start of the run that read them."""
    site.environment |= {
        "SCREENER_BULK_LONGEST_WAIT_SECONDS": "0.3",
        "SCREENER_SERVER_OVERLAP_MINUTES": "0",
    }
    site.see_whole_server()
    site.woman("w1")
    site.stay("w1", DAY)
    bulk = site.folder / "bulk"
    site.call("export", "--out", str(bulk), "--relevant")
    as_of = json.loads((bulk / "export.json").read_text())["transaction_time"]
    site.stay("w1", "2025-12-01", mg="0.95")
    first = site.run("--backfill", "--bulk", str(bulk))
    assert {a["occurrenceDateTime"] for a in site.assessments("w1")} == {f"{DAY}T08:00:00Z"}
    assert datetime.fromisoformat(first.summary["watermark"]["to"]) <= datetime.fromisoformat(as_of)
    site.run()
    assert {a["occurrenceDateTime"] for a in site.assessments("w1")} == {"2025-12-01T08:00:00Z"}
