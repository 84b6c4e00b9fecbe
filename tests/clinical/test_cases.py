"""Every case, read as a folder and judged in this process: its outcome by hand, and all that it shows."""

import json
from pathlib import Path

import pytest

from fhir_fixtures import cases
from fhir_fixtures.cases import Case
from tests.clinical.shown import TABLE, shown

SHOWN = json.loads(TABLE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", cases.load(), ids=lambda case: case.name)
def test_case_shows_what_the_table_says(case: Case, tmp_path: Path) -> None:
    found = shown(case, tmp_path)
    assert found["outcome"] == f"{case.expected['outcome']}: {case.expected['reason']}"
    assert found == SHOWN[case.name], "python -m tests.clinical.shown, and look at the difference"


def test_table_names_every_case_once() -> None:
    assert list(SHOWN) == sorted(case.name for case in cases.load())
