"""Every case, read as a folder and judged in this process: its outcome and values by hand, and all that it shows."""

import json
from collections import Counter
from pathlib import Path

import pytest

from fhir_fixtures import cases
from fhir_fixtures.cases import Case
from screener.clinical.records import Analyte
from tests.builders import desired
from tests.clinical.shown import TABLE, judged, shown
from tests.e2e.expectations import check

SHOWN = json.loads(TABLE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", cases.load(), ids=lambda case: case.name)
def test_case_shows_what_the_table_says(case: Case, tmp_path: Path) -> None:
    verdict, writer = judged(case, tmp_path)
    refused = Counter(row.reason for row in verdict.view.refusals if row.analyte is Analyte.MG)
    summary = {"outcomes": {verdict.outcome.value: {verdict.reason: 1}}, "refusals": {"mg": dict(refused)}}
    check(case, summary, list(desired(verdict, writer).values()), writer.canonical.base)
    assert shown(verdict) == SHOWN[case.name], "python -m tests.clinical.shown, and look at the difference"


def test_table_names_every_case_once() -> None:
    assert list(SHOWN) == sorted(case.name for case in cases.load())
