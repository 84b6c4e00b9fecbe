"""What stops a run before it writes: the whole job, on folders and against a server that shows less than it did."""

import json
from datetime import date
from pathlib import Path

import pytest

from fhir_fixtures.population import generate
from screener.config.servers import ServerSettings
from screener.fhir.bundles import ENCODER
from screener.fhir.client import Client
from screener.sandbox.app import SandboxServer
from screener.sandbox.seeding import seed
from tests.e2e.site import Site, writes
from tests.folders import assessments, backfill, export
from tests.proxy import NOTHING_FOUND, Ask, faulty, kind_of
from tests.scripted import Reply, Request

TODAY = date(2026, 1, 31)
NOW = f"{TODAY}T02:00:00Z"
EXCLUDING = {"Condition", "MedicationRequest", "MedicationStatement", "MedicationAdministration", "Procedure"}


def everything(site: Site) -> list[object]:
    return site.search("RiskAssessment", _count="1000") + site.search("Device")  # type: ignore[return-value]


def test_a_scope_narrowed_in_silence_stops_the_night_before_it_writes(tmp_path: Path) -> None:
    hidden: set[str] = set()

    def fault(request: Request, ask: Ask) -> Reply:
        return NOTHING_FOUND if kind_of(request) in hidden else ask()

    with SandboxServer() as server, faulty(lambda: server.base_url, fault) as front:
        with Client(ServerSettings(base_url=server.base_url)) as client:
            seed(client, generate(120, 5, TODAY), lambda _: None)
        site = Site(front.base_url, tmp_path, environment={"SCREENER_SERVER_ONLY_TAG": "", "SCREENER_OUTPUT_TAG": ""})
        first = site.run("--backfill").summary
        assert first["figures"]["types"]["Condition"] >= 3
        stands = everything(site)
        assert len(stands) > 20

        hidden |= EXCLUDING
        night = site.run(expect=7)
        assert night.summary["withheld"]
        assert night.summary["writes"]["created"] > 0  # women who are excluded
        assert {found["limit"] for found in night.summary["limits_exceeded"]} >= {"fall"}
        assert "Condition" in night.stdout
        assert "--accept-large-change" in night.stdout
        assert everything(site) == stands
        dry = site.run("--backfill", "--dry-run", expect=7)
        assert dry.summary["writes"]["created"] >= night.summary["writes"]["created"]

        hidden.clear()
        assert site.run().summary["writes"]["created"] == 0
        assert everything(site) == stands


@pytest.mark.parametrize("kind_of_run", ["backfill", "named"])
def test_a_first_run_that_may_not_see_the_history_stops_and_is_answered_once(tmp_path: Path, kind_of_run: str) -> None:
    """A token without the scope, on a server that answers nothing instead of 403: nobody has a history."""

    def fault(request: Request, ask: Ask) -> Reply:
        return NOTHING_FOUND if kind_of(request) in EXCLUDING else ask()

    with SandboxServer() as server, faulty(lambda: server.base_url, fault) as front:
        with Client(ServerSettings(base_url=server.base_url)) as client:
            seed(client, generate(300, 5, TODAY), lambda _: None)
        site = Site(front.base_url, tmp_path, environment={"SCREENER_SERVER_ONLY_TAG": "", "SCREENER_OUTPUT_TAG": ""})
        patients = [str(found["id"]) for found in site.search("Patient", _count="500")]
        (tmp_path / "list").write_text("\n".join(patients))
        call = ["--backfill"] if kind_of_run == "backfill" else ["--patients-from", "list"]
        stopped = site.run(*call, expect=7)
        said = [found["words"] for found in stopped.summary["limits_exceeded"]]
        assert [kind for kind in ("Condition", "Procedure") if f"no {kind} " in str(said)] == ["Condition", "Procedure"]
        assert "Where there truly are none" in stopped.stdout
        assert everything(site) == []
        assert site.run(*call, "--accept-large-change").summary["writes"]["created"] > 20
        assert site.run(*call).summary["limits_exceeded"] == []  # it was answered once


def test_a_large_first_backfill_asks_first_and_leaves_not_even_a_device(sandbox: Site) -> None:
    for name in ("w1", "w2"):
        sandbox.woman(name)
        sandbox.stay(name, "2025-11-01")
    sandbox.environment = {"SCREENER_LIMITS_FIRST_BACKFILL": "3"}
    asked = sandbox.run("--backfill", "--now", NOW, expect=7)
    assert asked.summary["limits_exceeded"] == [
        {"limit": "first_backfill", "words": "4 assessments would be created; the limit is 3"}
    ]
    assert asked.summary["writes"] == writes(created=4)
    assert asked.summary["watermark"]["to"] is None
    assert sandbox.assessments("w1") == []
    name = f"{sandbox.canonical}/identifier|"
    assert [d for d in sandbox.search("Device") if any(name[:-1] == i["system"] for i in d["identifier"])] == []
    accepted = sandbox.run("--backfill", "--now", NOW, "--accept-large-change")
    assert accepted.summary["writes"] == writes(created=4)
    assert accepted.summary["accepted_large_change"]
    assert len(sandbox.assessments("w1")) == 2


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_laboratory_that_changes_its_unit_and_not_its_label(tmp_path: Path, workers: str) -> None:
    """Magnesium in another unit under the old name: not 2.4 but 1.5 times as high here, so that it stays plausible."""
    made = [json.loads(ENCODER.encode(resource)) for resource in generate(600, 5, TODAY)]
    folder = export(tmp_path / "in", made)
    call = ("--backfill", "--from", str(folder), "--to", str(tmp_path / "out"), "--workers", workers)
    _, first = backfill(tmp_path, *call, expect=0)
    before = assessments(tmp_path / "out")
    for resource in made:
        codes = {coding["code"] for coding in resource.get("code", {}).get("coding", ())}
        if "valueQuantity" in resource and codes & {"2601-3", "19123-9"}:
            resource["valueQuantity"]["value"] = round(1.5 * resource["valueQuantity"]["value"], 2)
    export(folder, made)
    said, second = backfill(tmp_path, *call, expect=7)
    limits = {found["limit"] for found in second["limits_exceeded"]}
    assert {"median_shift", "rate_shift", "amended_share"} <= limits
    assert "did its unit change?" in " ".join(said.stdout.split())
    assert assessments(tmp_path / "out") == before
    _, accepted = backfill(tmp_path, *call, "--accept-large-change", expect=0)
    assert accepted["writes"]["amended"] == second["writes"]["amended"] > 0
    # What was accepted is the rule from now on.
    _, fourth = backfill(tmp_path, *call, expect=0)
    assert (fourth["limits_exceeded"], fourth["writes"]["amended"]) == ([], 0)
    assert first["figures"]["analytes"]["mg"]["median"] < fourth["figures"]["analytes"]["mg"]["median"]
