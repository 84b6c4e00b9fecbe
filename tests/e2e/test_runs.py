"""The ledger on the screen: runs in a list, one of them, and how two differ."""

import json

from tests.e2e.site import Site

DAY = "2025-11-01"
NOW = ("--now", "2026-01-31T02:00:00Z")


def test_the_ledger_says_what_runs_did_and_how_they_differ(sandbox: Site) -> None:
    assert "no run has been made" in sandbox.call("runs", "list", expect=2).stderr
    assert not (sandbox.folder / "state.sqlite").exists()
    sandbox.woman("w1")
    sandbox.stay("w1", DAY)
    first = sandbox.run("--backfill", *NOW).summary
    sandbox.woman("w2")
    sandbox.stay("w2", DAY)
    second = sandbox.run("--backfill", *NOW).summary
    stopped = sandbox.run(
        "--backfill",
        *NOW,
        expect=4,
        SCREENER_SERVER_ANSWER_MEGABYTES="1",
        SCREENER_SERVER_BASE_URL="http://127.0.0.1:9/fhir",
    )
    assert stopped.summary == {}

    listed = sandbox.call("runs", "list").stdout
    assert max(len(line) for line in listed.splitlines()) <= 80
    rows = [line for line in listed.splitlines() if "backfill" in line]
    assert [row.split()[0] for row in rows] == [second["run_id"][:8], first["run_id"][:8]]
    assert "exit 0" in rows[0]

    shown = sandbox.call("runs", "show", first["run_id"][:8]).stdout
    assert first["run_id"] in shown
    assert "outcomes: scored: complete" in shown
    assert sandbox.id("w1") not in shown
    whole = json.loads(sandbox.call("runs", "show", first["run_id"], "--json").stdout)
    assert whole["summary"]["writes"] == first["writes"]
    assert [row["exit_code"] for row in json.loads(sandbox.call("runs", "list", "--json").stdout)] == [0, 0]

    told = json.loads(sandbox.call("runs", "diff", first["run_id"], second["run_id"], "--json").stdout)
    assert told["judged_by"] == {}
    assert told["counted"]["outcomes: scored: complete"] == [1, 2]
    assert told["counted"]["writes: unchanged"] == [0, 2]
    assert "+2" in sandbox.call("runs", "diff", first["run_id"][:8], second["run_id"][:8]).stdout
    assert "Both counted the same" in sandbox.call("runs", "diff", first["run_id"], first["run_id"]).stdout
    assert "No run has an id that begins with zzz" in sandbox.call("runs", "show", "zzz", expect=2).stderr
