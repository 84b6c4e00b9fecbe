"""Watermarks, runs, receipts and the retry set."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from screener.base.errors import StateError
from screener.state import ReceiptRow, RetryRow, RunRow, RunStart, State
from screener.state import ledger as ledger_module
from screener.state.processes import Process
from screener.state.records import Unfinished

RUN = RunStart(
    run_id="run-1",
    mode="nightly",
    started="2026-01-31T02:00:00Z",
    source="https://fhir.example.org",
    destination="folder",
    config_hash="c0",
    artefact_hash="a0",
    code_map_hash="m0",
    policy_hash="p0",
    model_id="mg-nomogram",
    software_version="0.1.0",
)
NIGHT_1, NIGHT_2 = "2026-01-31T02:00:00Z", "2026-02-01T02:00:00+01:00"


def test_watermark_is_none_then_what_was_set_last(state: State) -> None:
    assert state.watermark("a#1") is None
    state.move_watermark("a#1", NIGHT_2)
    state.move_watermark("a#1", NIGHT_1)
    assert state.watermark("a#1") == NIGHT_1


def test_watermark_under_another_configuration_is_found_by_its_source(state: State) -> None:
    for scope in ("a_b#1", "a_b#2", "axb#3", "A_B#4", "a_b2#5", "a_b#1"):
        state.move_watermark(scope, NIGHT_1)
    assert state.watermark_scopes("a_b#") == ["a_b#1", "a_b#2"]
    assert state.watermark_scopes("c#") == []


@pytest.mark.parametrize("text", ["yesterday", "2026-01-31", "2026-01-31T02:00:00"])
def test_watermark_that_is_no_instant_is_refused(state: State, text: str) -> None:
    with pytest.raises(StateError, match=r"is no instant\. Give date, time and offset"):
        state.move_watermark("a#1", text)
    assert state.watermark("a#1") is None


def test_state_outlives_the_process(url: str) -> None:
    with State.open(url) as first:
        first.move_watermark("a#1", NIGHT_1)
    with State.open(url) as second:
        assert second.watermark("a#1") == NIGHT_1


def test_run_from_begin_to_end(state: State) -> None:
    state.begin_run(RUN)
    assert state.run("run-1") == RunRow(RUN, "running", None, None, None)

    state.end_run("run-1", NIGHT_2, 3, {"patients_seen": 2, "outcomes": {"failed": {"timeout": 1}}})

    summary = {"patients_seen": 2, "outcomes": {"failed": {"timeout": 1}}}
    assert state.run("run-1") == RunRow(RUN, "ended", NIGHT_2, 3, summary)
    assert state.run("run-2") is None
    assert json.dumps(state.runs()[0].summary) == json.dumps(summary)


def test_runs_are_listed_newest_first(state: State) -> None:
    for number in range(3):
        state.begin_run(replace(RUN, run_id=f"run-{number}"))
    assert [run.start.run_id for run in state.runs(limit=2)] == ["run-2", "run-1"]


@pytest.mark.parametrize(("leased", "status"), [("run-1", "running"), ("run-2", "killed")])
def test_run_on_another_host_runs_while_its_lease_does(
    state: State, monkeypatch: pytest.MonkeyPatch, leased: str, status: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "current_process", lambda: Process("far", 1, "another boot", 1))
        state.begin_run(RUN)
    with state.lease("job", run_id=leased):
        assert state.runs()[0].status == status


def test_run_whose_process_is_gone_shows_as_killed(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    me = ledger_module.current_process()  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "current_process", lambda: replace(me, started=me.started - 1))
        state.begin_run(RUN)
    assert state.runs()[0].status == "killed"


def test_receipts_come_back_in_order_over_several_pages(state: State) -> None:
    first = ReceiptRow("uuid-0", "created", "ra-1", "1", 201)
    failed = ReceiptRow("uuid-1", "failed", status_code=422, reason="rejected")
    many = [ReceiptRow(f"uuid-{number}", "amended", "ra-1", "2", 200) for number in range(2, 2503)]
    state.begin_run(RUN)
    state.begin_run(replace(RUN, run_id="run-2"))

    state.record_receipts("run-1", [first, failed])
    state.record_receipts("run-2", [first])
    state.record_receipts("run-1", iter(many))
    state.record_receipts("run-1", [])

    assert list(state.receipts("run-1")) == [first, failed, *many]
    assert list(state.receipts("run-2")) == [first]
    assert list(state.receipts("run-3")) == []


def test_receipts_are_written_all_or_none(state: State) -> None:
    def rows() -> Iterator[ReceiptRow]:
        yield from (ReceiptRow(f"uuid-{number}", "created") for number in range(1500))
        yield ReceiptRow("uuid-bad", None)  # type: ignore[arg-type]  # refused by the table

    state.begin_run(RUN)
    with pytest.raises(StateError) as caught:
        state.record_receipts("run-1", rows())
    assert "uuid" not in str(caught.value)
    assert list(state.receipts("run-1")) == []


def test_calls_out_of_order_are_refused(state: State) -> None:
    with pytest.raises(StateError, match="begin_run comes before its receipts"):
        state.record_receipts("run-1", [])
    with pytest.raises(StateError, match="is not open in the ledger"):
        state.end_run("run-1", NIGHT_1, 0, {})
    state.begin_run(RUN)
    with pytest.raises(StateError, match="is in the ledger already"):
        state.begin_run(RUN)
    state.end_run("run-1", NIGHT_1, 0, {})
    with pytest.raises(StateError, match="is not open in the ledger"):
        state.end_run("run-1", NIGHT_2, 0, {})


def test_failures_are_counted_until_forgotten(state: State) -> None:
    state.remember_failures("a#1", {"p2": "timeout", "p1": "rejected"}, NIGHT_1)
    state.remember_failures("a#1", {"p1": "timeout"}, NIGHT_2)
    state.remember_failures("b#1", {"p1": "timeout"}, NIGHT_2)

    assert state.retry_patients("a#1") == [
        RetryRow("p1", "timeout", 2, NIGHT_1, NIGHT_2),
        RetryRow("p2", "timeout", 1, NIGHT_1, NIGHT_1),
    ]

    state.forget("a#1", ["p1", "never there"])
    assert state.retry_patients("a#1") == [RetryRow("p2", "timeout", 1, NIGHT_1, NIGHT_1)]
    assert state.retry_patients("b#1") == [RetryRow("p1", "timeout", 1, NIGHT_2, NIGHT_2)]


def test_a_whole_hospital_of_failures_can_be_remembered_and_forgotten(state: State) -> None:
    patients = [f"p{number:05}" for number in range(2500)]
    state.remember_failures("a#1", dict.fromkeys(patients, "timeout"), NIGHT_1)
    assert [row.patient_id for row in state.retry_patients("a#1")] == patients

    state.forget("a#1", iter(patients))
    assert state.retry_patients("a#1") == []


def test_no_failures_are_no_work(state: State) -> None:
    state.remember_failures("a#1", {}, NIGHT_1)
    state.forget("a#1", [])
    assert state.retry_patients("a#1") == []


def test_the_place_of_a_full_run_is_kept_by_scope_until_it_ends(state: State) -> None:
    assert state.unfinished("a#1") is None
    state.done_until("a#1", "2026-01-31T02:00:00Z", "p7")
    state.done_until("a#1", "2026-01-31T02:00:00Z", "p9")
    state.done_until("a#2", "2026-01-30T02:00:00Z", "p1")
    assert state.unfinished("a#1") == Unfinished("2026-01-31T02:00:00Z", "p9")
    state.finished("a#1")
    state.finished("a#1")  # twice is no error
    assert state.unfinished("a#1") is None
    assert state.unfinished("a#2") == Unfinished("2026-01-30T02:00:00Z", "p1")
