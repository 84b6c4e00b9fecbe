"""Tasks of newly flagged women: from the flag to the DXA, on the embedded server and on a real HAPI."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from fhir.resources.R4B.task import Task

from tests.e2e.site import Site
from tests.proxy import Ask, faulty
from tests.scripted import Reply, Request

Json = dict[str, Any]


def ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).date().isoformat()


def with_a_clinic(site: Site) -> Site:
    """Tasks go to a role; four women, two of them newly flagged, one flagged long ago."""
    site.put({"resourceType": "PractitionerRole", "id": site.id("dxa"), "active": True})
    site.environment |= {"SCREENER_TASKS_OWNER": f"PractitionerRole/{site.id('dxa')}"}
    for woman, mg, days in (("w1", "0.80", 20), ("w2", "0.82", 30), ("w3", "0.95", 20), ("w4", "0.80", 300)):
        site.woman(woman)
        site.stay(woman, ago(days), mg=mg)
    return site


@pytest.fixture
def clinic(sandbox: Site) -> Site:
    """On the embedded server."""
    return with_a_clinic(sandbox)


def tasks(site: Site) -> dict[str, Json]:
    """By the woman, as she is called in the test."""
    found = site.search("Task", _tag="|".join(site.tag))
    return {task["for"]["reference"].removeprefix("Patient/").partition("-")[0]: task for task in found}


def test_a_task_from_the_flag_to_the_dxa(site: Site) -> None:
    """On HAPI, too."""
    clinic = with_a_clinic(site)
    run = clinic.run("--backfill").summary
    assert run["tasks"] == {"created": 2, "completed": 0, "cancelled": 0, "failed": 0, "held_back": 0}
    made = tasks(clinic)
    assert set(made) == {"w1", "w2"}
    first = made["w1"]
    Task.model_validate(first)
    assert (first["status"], first["intent"]) == ("requested", "proposal")
    assert first["owner"] == {"reference": f"PractitionerRole/{clinic.id('dxa')}"}
    (flag,) = clinic.assessments("w1", "mg-flag")
    assert first["focus"] == {"reference": f"RiskAssessment/{flag['id']}"}

    assert clinic.run("--backfill").summary["tasks"]["created"] == 0
    assert {name: task["meta"]["versionId"] for name, task in tasks(clinic).items()} == {
        name: task["meta"]["versionId"] for name, task in made.items()
    }

    dxa = {
        "resourceType": "Observation",
        "id": clinic.id("dxa-result"),
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "38267-1"}]},
        "subject": {"reference": f"Patient/{clinic.id('w1')}"},
        "effectiveDateTime": ago(1),
        "valueQuantity": {"value": -2.7, "unit": "{T-score}"},
    }
    clinic.put(dxa)
    assert clinic.run("--backfill").summary["tasks"]["completed"] == 1
    closed = tasks(clinic)["w1"]
    assert (closed["status"], closed["statusReason"]["text"]) == (
        "completed",
        "A bone density measurement (DXA) is on record.",
    )
    assert closed["identifier"] == first["identifier"]
    assert closed["authoredOn"] == first["authoredOn"]
    assert clinic.run("--backfill").summary["tasks"] == {**run["tasks"], "created": 0}  # she gets no second one


def test_a_task_is_cancelled_where_the_assessment_no_longer_applies(clinic: Site) -> None:
    clinic.run("--backfill")
    clinic.stay("w2", ago(30), mg="0.95")  # the laboratory corrects it
    assert clinic.run("--backfill").summary["tasks"]["cancelled"] == 1
    assert {name: task["status"] for name, task in tasks(clinic).items()} == {"w1": "requested", "w2": "cancelled"}


def test_what_somebody_did_with_a_task_stands(clinic: Site) -> None:
    clinic.run("--backfill")
    taken, noted = tasks(clinic)["w1"], tasks(clinic)["w2"]
    clinic.put({**taken, "status": "accepted", "note": [{"text": "called her"}]})
    clinic.put({**noted, "note": [{"text": "on holiday until May"}]})
    for woman in ("w1", "w2"):
        clinic.stay(woman, ago(20 if woman == "w1" else 30), mg="0.95")
    assert clinic.run("--backfill").summary["tasks"]["cancelled"] == 1
    after = tasks(clinic)
    assert (after["w1"]["status"], after["w1"]["note"][0]["text"]) == ("accepted", "called her")
    assert (after["w2"]["status"], after["w2"]["note"][0]["text"]) == ("cancelled", "on holiday until May")


def test_too_many_at_once_are_not_made(clinic: Site) -> None:
    ended = clinic.run("--backfill", SCREENER_TASKS_AT_MOST="1")
    assert (ended.summary["tasks"]["held_back"], ended.summary["tasks"]["created"]) == (2, 0)
    assert "tasks_held_back" in ended.stderr
    assert tasks(clinic) == {}
    assert clinic.run("--backfill").summary["tasks"]["created"] == 2


def test_by_default_there_are_none_and_a_dry_run_makes_none(sandbox: Site) -> None:
    sandbox.woman("w1")
    sandbox.stay("w1", ago(20), mg="0.80")
    sandbox.run("--backfill", "--dry-run", SCREENER_TASKS_OWNER="PractitionerRole/x")
    assert sandbox.run("--backfill").summary["tasks"] is None
    assert tasks(sandbox) == {}


def test_a_purge_takes_the_tasks_away(sandbox: Site) -> None:
    sandbox.put({"resourceType": "PractitionerRole", "id": sandbox.id("dxa"), "active": True})
    sandbox.environment |= {"SCREENER_TASKS_OWNER": f"PractitionerRole/{sandbox.id('dxa')}"}
    sandbox.woman("w1")
    sandbox.stay("w1", ago(20), mg="0.80")
    sandbox.run("--backfill")
    (task,) = tasks(sandbox).values()
    sandbox.call("purge", "--yes")
    assert requests.get(f"{sandbox.base_url}/Task/{task['id']}", timeout=10).status_code == 410


def test_a_server_that_takes_no_tasks_is_named_before_anything_is_written(sandbox: Site) -> None:
    def fault(request: Request, ask: Ask) -> Reply:
        reply = ask()
        if "metadata" in request.path and isinstance(reply.body, bytes):
            return Reply(200, reply.body.replace(b'"Task"', b'"Basic"'))
        return reply

    sandbox.woman("w1")
    sandbox.stay("w1", ago(20), mg="0.80")
    with faulty(lambda: sandbox.base_url, fault) as front:
        here = {"SCREENER_SERVER_BASE_URL": front.base_url, "SCREENER_TASKS_OWNER": "PractitionerRole/x"}
        said = sandbox.run("--backfill", expect=4, **here).stderr
    assert "create of Task (tasks.owner)" in said
    assert sandbox.assessments("w1") == []


def test_a_task_that_is_refused_is_counted_and_made_the_next_night(sandbox: Site) -> None:
    sandbox.put({"resourceType": "PractitionerRole", "id": sandbox.id("dxa"), "active": True})
    sandbox.woman("w1")
    sandbox.stay("w1", ago(20), mg="0.80")
    nobody = {"SCREENER_TASKS_OWNER": "PractitionerRole/nobody"}
    wrong = sandbox.run("--backfill", expect=3, **nobody)
    assert "to the create of a Task" in sandbox.call("doctor", "--write", expect=4, **nobody).stdout
    assert (
        "a Task were created"
        in sandbox.call("doctor", "--write", SCREENER_TASKS_OWNER=f"PractitionerRole/{sandbox.id('dxa')}").stdout
    )
    assert (wrong.summary["tasks"]["failed"], wrong.summary["writes"]["created"]) == (1, 2)
    right = sandbox.run("--backfill", SCREENER_TASKS_OWNER=f"PractitionerRole/{sandbox.id('dxa')}")
    assert right.summary["tasks"]["created"] == 1
