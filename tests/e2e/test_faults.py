"""Each fault of `tests/faults.py`: the run under it ends as the row says, and the next one leaves the server as if there had been none."""

from pathlib import Path
from typing import Any

import pytest

from tests.faults import NOTHING_WRONG, ROWS, Row, but_for_rewriting, kept, night, ward


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What stands after a night in which nothing went wrong."""
    with ward(tmp_path_factory.mktemp("undisturbed")) as (site, _):
        night(site)
        return kept(site)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_a_fault_and_the_run_after_it(row: Row, undisturbed: list[dict[str, Any]], tmp_path: Path) -> None:
    with ward(tmp_path, **row.environment) as (site, faults):
        faults.append(row.fault())
        ended = night(site, expect=None)
        said = " ".join((ended.stdout + ended.stderr).split())
        assert (ended.exit_code, row.words in said) == (row.exit_code, True), said[-1500:]
        faults.append(NOTHING_WRONG)
        night(site)
        after = kept(site)
        if row.rewritten:
            after, undisturbed = but_for_rewriting(after), but_for_rewriting(undisturbed)
        assert after == undisturbed
