"""What a site takes back stays back until it says otherwise; what it purges is gone. The whole job, by the command line."""

from pathlib import Path
from typing import Any

import pytest
import requests

from model import load_artefact
from tests.e2e.site import Json, Site, writes

DAY, LATER = "2025-11-01", "2025-12-01"
NOW = ("--now", "2026-01-31T02:00:00Z")
SHIPPED = f"{load_artefact().id}@{load_artefact().version}"


def statuses(site: Site, short: str) -> list[str]:
    return [resource["status"] for resource in site.assessments(short)]


def backfill(site: Site) -> Json:
    return site.run("--backfill", *NOW).summary


@pytest.fixture
def two(sandbox: Site) -> Site:
    """Two women, assessed by both methods."""
    for short in ("w1", "w2"):
        sandbox.woman(short)
        sandbox.stay(short, DAY)
    assert backfill(sandbox)["writes"] == writes(created=4)
    return sandbox


def test_a_run_is_taken_back_and_stays_so_until_it_is_lifted(two: Site) -> None:
    first = backfill(two)["run_id"]
    (shown,) = [line for line in two.call("run", "--backfill", *NOW).stdout.splitlines() if line.startswith("Run ")]
    assert len(shown) == len(f"Run {first}")
    # Written anew by a later run, w2 is that run's.
    two.stay("w2", LATER, mg="0.90")
    made = two.run("--backfill", *NOW).summary
    assert made["writes"]["amended"] == 2

    assert two.call("retract", "--run", first, "--dry-run").stdout.startswith("0 on ")  # it wrote nothing
    looked = two.call("retract", "--run", made["run_id"][:8], "--dry-run")  # its first letters are enough
    assert looked.stdout.startswith("2 on ")
    assert statuses(two, "w2") == ["final", "final"]
    asked = two.call("retract", "--run", made["run_id"], expect=2)
    assert "Add --yes" in asked.stderr
    done = two.call("retract", "--run", made["run_id"], "--yes")
    assert done.stdout.startswith("2 of 2 on ")
    assert (statuses(two, "w1"), statuses(two, "w2")) == (["final"] * 2, ["entered-in-error"] * 2)
    assert "the site took it back" in str(two.assessments("w2")[0]["note"])
    assert two.call("retract", "--run", made["run_id"], "--yes").stdout.splitlines()[1] == "Taken back before: 2"

    after = backfill(two)
    assert after["outcomes"]["not_eligible"] == {"suppressed": 1}
    assert statuses(two, "w2") == ["entered-in-error"] * 2
    listed = two.call("suppressions", "list").stdout
    assert f"run {made['run_id']}" in listed
    assert listed.split("\t")[0] == "1"
    two.call("suppressions", "lift", "1")
    assert "lifted" in two.call("suppressions", "list").stdout
    assert two.call("suppressions", "lift", "1", expect=2).stderr.count("No suppression 1 holds") == 1
    assert backfill(two)["writes"] == writes(amended=2, unchanged=2)
    assert statuses(two, "w2") == ["corrected"] * 2


def test_what_a_later_run_wrote_again_is_the_later_runs(sandbox: Site) -> None:
    sandbox.woman()
    sandbox.stay("w1", DAY)
    first = backfill(sandbox)["run_id"]
    sandbox.stay("w1", LATER)
    backfill(sandbox)
    said = sandbox.call("retract", "--run", first, "--yes").stdout
    assert "0 of 0" in said
    assert "written them again (retract that run): 2" in said


def test_all_nomograms_of_a_model(two: Site) -> None:
    assert two.call("retract", "--artefact", SHIPPED, "--yes").stdout.startswith("2 of 2 on ")
    flag, nomogram = two.assessments("w1")
    assert (flag["method"]["coding"][0]["code"], flag["status"]) == ("mg-flag", "final")
    assert nomogram["status"] == "entered-in-error"
    again = backfill(two)
    assert (again["outcomes"]["flag_only"], again["writes"]) == ({"suppressed": 2}, writes(unchanged=2))
    assert two.call("retract", "--artefact", "another@1", "--yes").stdout.startswith("0 of 0 on ")


def test_one_patient(two: Site) -> None:
    assert two.call("retract", "--patient", two.id("w1"), "--yes").stdout.startswith("2 of 2 on ")
    assert (statuses(two, "w1"), statuses(two, "w2")) == (["entered-in-error"] * 2, ["final"] * 2)
    assert backfill(two)["outcomes"]["not_eligible"] == {"suppressed": 1}
    assert statuses(two, "w1") == ["entered-in-error"] * 2
    assert "suppressed" in two.call("explain", two.id("w1")).stdout
    assert "suppressed" not in two.call("explain", two.id("w2")).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--run", "0b6f"], "no such run"),
        ([], "Give one of"),
        (["--run", "a", "--patient", "b"], "Give one of"),
        (["--artefact", "shi2026"], "ID@VERSION"),
        (["--patient", "Patient/1"], "logical id"),
    ],
)
def test_what_cannot_be_meant(sandbox: Site, arguments: list[str], words: str) -> None:
    assert words in sandbox.call("retract", *arguments, "--yes", expect=2).stderr


def test_write_off_takes_nothing_back(two: Site) -> None:
    for command in (["retract", "--patient", two.id("w1")], ["purge"]):
        assert 'write = "off"' in two.call(*command, "--yes", expect=2, SCREENER_WRITE="off").stderr
    assert statuses(two, "w1") == ["final"] * 2


def test_a_purge_leaves_what_others_wrote(two: Site) -> None:
    others: dict[str, Any] = {
        "resourceType": "RiskAssessment",
        "id": two.id("other"),
        "status": "final",
        "subject": {"reference": f"Patient/{two.id('w1')}"},
        "method": {"coding": [{"system": f"{two.canonical}/CodeSystem/method", "code": "mg-flag"}]},
    }
    two.put(others)
    device = two.assessments("w2")[0]["performer"]["reference"]
    assert two.call("purge", "--dry-run").stdout.startswith("5 on ")  # four assessments and the Device
    assert two.call("purge", "--yes").stdout.startswith("5 of 5 on ")
    assert [resource["id"] for resource in two.assessments("w1")] == [two.id("other")]
    assert two.assessments("w2") == []
    assert requests.get(f"{two.base_url}/{device}", timeout=10).status_code == 410
    assert "There has been no full run yet" in two.run(expect=2).stderr
    assert two.call("purge", "--yes").stdout.startswith("0 of 0 on ")


def test_who_objected_is_an_outcome(two: Site, tmp_path: Path) -> None:
    listed = tmp_path / "objected"
    listed.write_text(f"# by telephone\n{two.id('w1')}\n")
    two.environment = {"SCREENER_OPTED_OUT": str(listed)}
    after = backfill(two)
    assert after["outcomes"]["not_eligible"] == {"opted_out": 1}
    assert after["writes"] == writes(amended=2, unchanged=2)
    assert "she objected to being assessed" in str(two.assessments("w1")[0]["note"])
    assert backfill(two)["writes"] == writes(stands=2, unchanged=2)
    two.environment = {"SCREENER_OPTED_OUT": str(tmp_path / "nowhere")}
    assert "opted_out" in two.run("--backfill", expect=2).stderr
