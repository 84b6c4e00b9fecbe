"""Each fault of `tests/faults.py`: the run under it ends as the row says, and the next one leaves the server as if there had been none."""

import json
import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.e2e.site import RunEnded, Site
from tests.faults import (
    CANARY,
    EXPORT_ROWS,
    NOTHING_WRONG,
    ROWS,
    Row,
    Ward,
    batch,
    bulk_backfill,
    but_for_rewriting,
    edited,
    kept,
    night,
    night_alone,
)
from tests.proxy import Ask, Fault, kind_of
from tests.scripted import Reply, Request


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with ExitStack() as stack:
        yield Ward(tmp_path_factory.mktemp("ward"), stack)


@pytest.fixture(scope="module")
def undisturbed(ward: Ward) -> list[dict[str, Any]]:
    """What stands after a night in which nothing went wrong."""
    with ward.again() as (site, _):
        night(site)
        return kept(site)


def check_nothing_leaked(site: Site, ended: RunEnded) -> None:
    """No name, text or header of the fixtures anywhere; no patient's id in what a run says (the state holds those to try again)."""
    said = ended.stdout + ended.stderr + json.dumps(ended.summary)
    assert CANARY not in said
    assert not re.search(rf"[wn]\d-{site.name}", said)
    for file in site.folder.iterdir():
        assert not file.is_file() or CANARY.encode() not in file.read_bytes(), file.name


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_a_fault_and_the_run_after_it(row: Row, undisturbed: list[dict[str, Any]], ward: Ward) -> None:
    with ward.again(**row.environment) as (site, faults):
        faults.append(row.fault())
        ended = night(site, expect=None)
        said = " ".join((ended.stdout + ended.stderr).split())
        assert (ended.exit_code, row.words in said) == (row.exit_code, True), said[-1500:]
        check_nothing_leaked(site, ended)
        faults.append(NOTHING_WRONG)
        night(site)
        after = kept(site)
        if row.rewritten:
            after, undisturbed = but_for_rewriting(after), but_for_rewriting(undisturbed)
        assert after == undisturbed


@pytest.fixture(scope="module")
def undisturbed_export(ward: Ward) -> list[dict[str, Any]]:
    """What stands after a backfill by an export in which nothing went wrong."""
    with ward.again() as (site, _):
        bulk_backfill(site)
        return kept(site)


@pytest.mark.parametrize("row", EXPORT_ROWS, ids=lambda row: row.what)
def test_a_fault_of_an_export_and_the_run_after_it(
    row: Row, undisturbed_export: list[dict[str, Any]], ward: Ward
) -> None:
    with ward.again() as (site, faults):
        faults.append(row.fault())
        ended = bulk_backfill(site, expect=None)
        said = " ".join((ended.stdout + ended.stderr).split())
        assert (ended.exit_code, row.words in said) == (row.exit_code, True), said[-1500:]
        check_nothing_leaked(site, ended)
        faults.append(NOTHING_WRONG)
        bulk_backfill(site)
        assert kept(site) == undisturbed_export


@pytest.mark.parametrize("answered", [False, True], ids=["before the server has it", "before its answer is read"])
def test_killed_at_every_request(answered: bool, undisturbed: list[dict[str, Any]], ward: Ward) -> None:  # noqa: FBT001
    """A night is killed at its first request, the next at its second, and so on until one ends: nothing is lost or written twice."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.faults", "screener.run.job", "screener.commands.run"])
    larger = {"SCREENER_SERVER_BATCH_PATIENTS": "50", "SCREENER_SERVER_PAGE_SIZE": "50"}
    with ward.again(**larger) as (site, faults):
        for deadly in range(1, 100):
            run = processes.Process(target=night_alone, args=(site.settings(), site.folder))
            count = iter(range(1, 10_000))

            def fault(_: Request, ask: Ask, run: Any = run, count: Any = count, deadly: int = deadly) -> Reply:
                last = next(count) == deadly
                reply = ask() if answered or not last else Reply()
                if last:
                    os.kill(run.pid, signal.SIGKILL)
                return reply

            faults.append(fault)
            run.start()
            run.join(60)
            if run.exitcode == 0:
                break
            assert run.exitcode == -signal.SIGKILL
        faults.append(NOTHING_WRONG)
        assert deadly > 15  # among them the writes: three to a Bundle
        night(site)
        assert kept(site) == undisturbed


def before_the_first_batch(do: Callable[[], None]) -> Fault:
    """Somebody else writes between our reading and our writing."""
    left = iter([do])

    def fault(request: Request, ask: Ask) -> Reply:
        if batch(request) and (somebody := next(left, None)):
            somebody()
        return ask()

    return fault


def test_a_note_between_read_and_write_is_kept(ward: Ward) -> None:
    with ward.again() as (site, faults):

        def somebody() -> None:
            (resource,) = site.assessments("w1", "mg-flag")
            noted = {**resource, "note": [*resource.get("note", ()), {"text": "spoke to her"}]}
            requests.put(f"{site.base_url}/RiskAssessment/{resource['id']}", json=noted, timeout=10).raise_for_status()

        faults.append(before_the_first_batch(somebody))
        ended = night(site)
        (after,) = site.assessments("w1", "mg-flag")
        assert ended.summary["writes"]["failed"] == 0
        assert "spoke to her" in [note["text"] for note in after["note"]]
        assert "0.92" in json.dumps(after)  # the corrected result


def test_what_somebody_takes_back_between_read_and_write_stays_so(ward: Ward) -> None:
    with ward.again() as (site, faults):

        def somebody() -> None:
            for resource in site.assessments("w1"):
                taken = {**resource, "status": "entered-in-error"}
                address = f"{site.base_url}/RiskAssessment/{resource['id']}"
                requests.put(address, json=taken, timeout=10).raise_for_status()

        faults.append(before_the_first_batch(somebody))
        assert night(site).summary["writes"]["failed"] == 0
        faults.append(NOTHING_WRONG)
        night(site)
        assert [resource["status"] for resource in site.assessments("w1")] == ["entered-in-error"] * 2


def test_a_result_that_becomes_visible_behind_the_watermark_is_found(ward: Ward) -> None:
    """Stamped before the night, committed after it (a long transaction): the overlap finds it."""
    with ward.again(SCREENER_SERVER_OVERLAP_MINUTES="60") as (site, faults):
        late = site.id("n1")

        def not_yet(request: Request, ask: Ask) -> Reply:
            return edited(
                lambda bundle: (
                    bundle.update(entry=[e for e in bundle.get("entry", ()) if late not in json.dumps(e)])
                    if bundle.get("entry") and bundle.pop("total", None)
                    else None
                )
            )(request, ask)

        faults.append(not_yet)
        night(site)
        assert site.assessments("n1") == []
        faults.append(NOTHING_WRONG)
        night(site)
        assert len(site.assessments("n1")) == 2


def test_batches_that_take_much_of_the_time_are_written_all_the_same(ward: Ward) -> None:
    """Each call of a night with a deadline comes further, though a single batch takes a third of its time."""
    with ward.again(SCREENER_SERVER_BATCH_PATIENTS="1") as (site, faults):

        def slow(request: Request, ask: Ask) -> Reply:
            return replace(ask(), hang_seconds=0.7 if kind_of(request) == "Patient" else 0)

        faults.append(slow)
        until = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
        stopped = site.run("--until", until, expect=6)
        assert stopped.summary["wrote"]
        assert stopped.summary["next_action"] == "run_again"


def test_a_lost_state_costs_a_backfill_and_nothing_else(undisturbed: list[dict[str, Any]], ward: Ward) -> None:
    with ward.again() as (site, _):
        (site.folder / "state.sqlite").unlink()
        assert "no run has been made with it yet" in night(site, expect=2).stderr
        site.run("--backfill")
        assert kept(site) == undisturbed


def test_a_code_that_is_taken_off_the_map_by_mistake_changes_nothing(
    undisturbed: list[dict[str, Any]], ward: Ward
) -> None:
    with ward.again() as (site, _):
        table = site.folder / "codes.csv"
        table.write_text("system,code,analyte,use,reason\nhttp://loinc.org,2601-3,mg,refuse,mistake\n")
        site.environment["SCREENER_CODES_CODES"] = str(table)
        before = kept(site)
        assert "or the model changed since the last full run" in night(site, expect=2).stderr
        assert "code map" in site.run("--backfill", expect=7).stdout
        assert kept(site) == before
        del site.environment["SCREENER_CODES_CODES"]
        night(site)
        assert kept(site) == undisturbed


def test_a_merged_record_ends_what_stands_under_it_once(ward: Ward) -> None:
    with ward.again() as (site, _):
        link = {"type": "replaced-by", "other": {"reference": f"Patient/{site.id('w5')}"}}
        site.put({**site.read(f"Patient/{site.id('w4')}"), "active": False, "link": [link]})
        site.run("--backfill")
        said = [
            resource["extension"][0]["valueCodeableConcept"]["coding"][0]["code"] for resource in site.assessments("w4")
        ]
        assert said == ["merged", "merged"]
        versions = [resource["meta"]["versionId"] for resource in site.assessments("w4")]
        site.run("--backfill")
        assert [resource["meta"]["versionId"] for resource in site.assessments("w4")] == versions


@pytest.mark.parametrize(
    "command",
    [
        ["coverage"],
        ["export", "--out", "all"],
        ["config", "show"],
        ["config", "check"],
        ["retract", "--artefact", "shi2026-mg-category@1", "--yes"],
        ["suppressions", "list"],
        ["purge", "--dry-run"],
        ["purge", "--yes"],
    ],
    ids=" ".join,
)
def test_no_command_says_what_is_anybodys(command: list[str], ward: Ward) -> None:
    """No name, text, record number or patient's id of the fixtures, at the most verbose level."""
    with ward.again() as (site, _):
        ended = site.call(*command, "-v")
        said = ended.stdout + ended.stderr
        assert CANARY not in said
        assert not re.search(rf"[wn]\d-{site.name}", said)
        assert CANARY.encode() not in (site.folder / "state.sqlite").read_bytes()
