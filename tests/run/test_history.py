"""Which earlier runs a run is compared with, from the ledger of a state."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from screener.run.figures import Figures
from screener.run.history import history
from screener.state import RunStart, State

AT = "2026-01-31T02:00:00Z"
RUN = RunStart("now", "nightly", AT, "here", "there", "c0", "a0", "m0", "p0", "model 1", "0.1.0")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State.open(f"sqlite:///{tmp_path / 'state.sqlite'}") as opened:
        yield opened


def ended(state: State, run_id: str, patients: int, *, code: int = 0, said: Any = None, **start: str) -> None:
    run = replace(RUN, run_id=run_id, **start)
    state.begin_run(run)
    summary = {"figures": msgspec.to_builtins(Figures(patients=patients)), **(said or {})}
    state.end_run(run_id, AT, code, summary)


def compared_with(state: State, **start: str) -> list[int]:
    """The patients of the runs that are compared with, the newest first."""
    return [run.patients for run in history(state, replace(RUN, **start)).runs]


def test_the_last_five_of_the_same_kind(state: State) -> None:
    ended(state, "b1", 1000, mode="backfill")
    assert (compared_with(state), history(state, RUN).writing) == ([1000], [])
    for night in range(7):
        ended(state, f"n{night}", night)
    assert compared_with(state) == [6, 5, 4, 3, 2]
    assert history(state, RUN).writing == history(state, RUN).runs
    assert compared_with(state, mode="backfill") == [1000]
    assert compared_with(state, destination="elsewhere") == []


def test_neither_itself_nor_a_run_that_began_later_is_compared_with(state: State) -> None:
    """`screener runs report` looks at an older run: what came after it is no history of it."""
    ended(state, "before", 1, started="2026-01-30T02:00:00Z")
    ended(state, "now", 2)
    ended(state, "after", 3, started="2026-02-01T02:00:00Z")
    assert compared_with(state) == [1]
    assert compared_with(state, run_id="later", started="2026-02-02T02:00:00Z") == [3, 2, 1]


def test_a_first_backfill_says_nothing_of_what_a_reconcile_writes(state: State) -> None:
    """It amends nothing; a week later some results have grown old, and their assessments are amended to say so."""
    ended(state, "b1", 1000, mode="backfill")
    reconcile = replace(RUN, mode="backfill")
    assert (len(history(state, reconcile).runs), history(state, reconcile).writing) == (1, [])
    ended(state, "b2", 1001, mode="backfill")
    assert [run.patients for run in history(state, reconcile).writing] == [1001]
    assert compared_with(state, mode="backfill") == [1001, 1000]


def test_only_runs_that_came_to_their_end_and_looked_at_everyone(state: State) -> None:
    ended(state, "n1", 1)
    ended(state, "n2", 2, code=7)
    ended(state, "n3", 3, code=3)
    ended(state, "n4", 4, said={"whole": False})
    ended(state, "n5", 5, mode="named")
    ended(state, "n6", 6, mode="retract")
    state.begin_run(replace(RUN, run_id="n7"))
    assert compared_with(state) == [3, 1]
    ended(state, "b1", 10, mode="backfill", said={"whole": False})
    assert not history(state, replace(RUN, mode="backfill")).backfilled


def test_what_was_before_an_accepted_change_or_a_purge_is_no_longer_the_rule(state: State) -> None:
    ended(state, "n1", 1)
    ended(state, "n2", 2, said={"accepted_large_change": True})
    ended(state, "n3", 3)
    assert compared_with(state) == [3, 2]
    ended(state, "p", 0, mode="purge")
    assert compared_with(state) == []
    ended(state, "n4", 4)
    assert compared_with(state) == [4]


def test_new_model_or_policy_resets_comparison(state: State) -> None:
    ended(state, "b1", 1, mode="backfill")
    found = history(state, replace(RUN, config_hash="c1", artefact_hash="a1", policy_hash="p1"))
    assert found.changed == ["the model", "the policy, the exclusions or server.only_tag"]
    assert (found.runs, found.backfilled) == ([], True)


def test_the_types_that_the_last_run_could_not_read(state: State) -> None:
    assert history(state, RUN).unchecked is None
    ended(state, "n1", 1, said={"exclusions_not_checked": {"Procedure": "switched off"}})
    assert history(state, RUN).unchecked == {"Procedure"}
