"""The ledger on the screen: runs in a list, one of them, and how two differ."""

import json

import jsonschema

from screener.run.summary import schema
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
    assert stopped.summary["error"].startswith("Cannot reach 127.0.0.1:9")

    listed = sandbox.call("runs", "list").stdout
    assert max(len(line) for line in listed.splitlines()) <= 80
    rows = [line for line in listed.splitlines() if "backfill" in line]
    assert [row.split()[0] for row in rows] == [run["run_id"][:8] for run in (stopped.summary, second, first)]
    assert ["exit 4" in rows[0], "exit 0" in rows[1]] == [True, True]

    shown = sandbox.call("runs", "show", first["run_id"][:8]).stdout
    assert first["run_id"] in shown
    assert "outcomes: scored: complete" in shown
    assert sandbox.id("w1") not in shown
    whole = json.loads(sandbox.call("runs", "show", first["run_id"], "--json").stdout)
    assert whole["summary"]["writes"] == first["writes"]
    assert [row["exit_code"] for row in json.loads(sandbox.call("runs", "list", "--json").stdout)] == [4, 0, 0]

    told = json.loads(sandbox.call("runs", "diff", first["run_id"], second["run_id"], "--json").stdout)
    assert told["judged_by"] == {}
    assert told["counted"]["outcomes: scored: complete"] == [1, 2]
    assert told["counted"]["writes: unchanged"] == [0, 2]
    assert "+2" in sandbox.call("runs", "diff", first["run_id"][:8], second["run_id"][:8]).stdout
    assert "Both counted the same" in sandbox.call("runs", "diff", first["run_id"], first["run_id"]).stdout
    assert "No run has an id that begins with zzz" in sandbox.call("runs", "show", "zzz", expect=2).stderr


def test_every_exit_leaves_a_summary_that_says_what_to_do(sandbox: Site) -> None:
    sandbox.woman("w1")
    sandbox.stay("w1", DAY)
    nowhere = {"SCREENER_SERVER_BASE_URL": "http://127.0.0.1:9/fhir", "SCREENER_SERVER_ATTEMPTS": "1"}
    rows = [
        (2, {"SCREENER_OUTPUT_LANGUAGE": "xx"}, False, "fix_configuration", "the run was stopped before it wrote"),
        (4, nowhere, True, "run_again", "the run was stopped before it wrote"),
        (0, {"SCREENER_WRITE": "off"}, False, "none", 'write = "off" in the configuration'),
        (7, {"SCREENER_LIMITS_FIRST_BACKFILL": "1"}, False, "decide", "the difference is larger than the limits allow"),
        (0, {}, False, "none", ""),
        (0, {}, False, "none", "nothing had changed"),
    ]
    for code, environment, retryable, next_action, why in rows:
        summary = sandbox.run("--backfill", *NOW, expect=code, **environment).summary
        jsonschema.validate(summary, schema())
        said = (summary["exit_code"], summary["retryable"], summary["next_action"], summary["why_not_written"])
        assert said == (code, retryable, next_action, why)
        assert summary["wrote"] == (not why)
        assert bool(summary["error"]) == (code in (2, 4))
    told = sandbox.call("run", "--backfill", "--log-format", "json", expect=4, **nowhere)
    assert json.loads(told.stdout)["error"].startswith("Cannot reach 127.0.0.1:9")


def test_a_run_whose_time_is_up_says_how_far_it_came(sandbox: Site) -> None:
    sandbox.woman("w1")
    sandbox.stay("w1", DAY)
    summary = sandbox.run("--backfill", "--until", "2026-01-01T00:00:00Z", expect=6).summary
    assert (summary["next_action"], summary["retryable"], summary["patients_seen"]) == ("run_again", True, 0)
    assert summary["model"]["id"] == "shi2026-mg-category"
