"""A run leaves an AuditEvent where the site wants one: counts, and nothing of any patient."""

import json

from fhir.resources.R4B.auditevent import AuditEvent

from tests.e2e.site import Site
from tests.proxy import Ask, faulty, kind_of
from tests.scripted import Reply, Request

DAY = "2025-11-01"
NOW = ("--now", "2026-01-31T02:00:00Z")


def test_each_run_that_may_write_leaves_one(sandbox: Site) -> None:
    sandbox.woman("w1")
    sandbox.stay("w1", DAY)
    before = len(sandbox.search("AuditEvent"))
    sandbox.run("--backfill", *NOW)
    assert len(sandbox.search("AuditEvent")) == before
    sandbox.environment = {"SCREENER_OUTPUT_AUDIT_EVENT": "true"}
    sandbox.run("--backfill", "--dry-run", *NOW)
    sandbox.stay("w1", "2025-12-01")
    run = sandbox.run("--backfill", *NOW).summary
    (event,) = [e for e in sandbox.search("AuditEvent") if run["run_id"] in json.dumps(e)]
    AuditEvent.model_validate(event)
    said = {detail["type"]: detail["valueString"] for detail in event["entity"][0]["detail"]}
    assert (said["amended"], said["patients looked at"], event["outcome"]) == ("2", "1", "0")
    assert sandbox.id("w1") not in json.dumps(event)
    assert len(sandbox.search("AuditEvent")) == before + 1


def test_one_that_cannot_be_written_is_said_and_the_run_is_done(sandbox: Site) -> None:
    def fault(request: Request, ask: Ask) -> Reply:
        return Reply(422) if kind_of(request) == "AuditEvent" else ask()

    with faulty(lambda: sandbox.base_url, fault) as front:
        site = Site(front.base_url, sandbox.folder, environment={"SCREENER_OUTPUT_AUDIT_EVENT": "true"})
        site.woman("w1")
        site.stay("w1", DAY)
        ended = site.run("--backfill", expect=1)
        assert "The run is done, but its AuditEvent could not be written" in ended.stderr
        assert len(site.assessments("w1")) == 2
        assert (ended.summary["wrote"], ended.summary["watermark"]["to"] is None) == (True, False)
        site.environment = {}
        assert site.run().summary["writes"]["failed"] == 0  # the watermark has moved


def test_a_server_that_takes_none_is_named_before_anything_is_read(sandbox: Site) -> None:
    def fault(request: Request, ask: Ask) -> Reply:
        answer = ask()
        return (
            Reply(200, bytes(answer.body).replace(b'"AuditEvent"', b'"Basic"'), answer.headers)  # type: ignore[arg-type]
            if "metadata" in request.path
            else answer
        )

    with faulty(lambda: sandbox.base_url, fault) as front:
        site = Site(front.base_url, sandbox.folder, environment={"SCREENER_OUTPUT_AUDIT_EVENT": "true"})
        assert "create of AuditEvent (output.audit_event)" in site.run("--backfill", expect=4).stderr
