"""What each case shows, by method: the reason, the results used, each caveat with its details; and what was refused or held against her.

The outcome of a case is worked by hand in its file. This table holds the rest as it is, so that a change of meaning is a line that a
reviewer sees:

python -m tests.clinical.shown        writes tests/clinical/shown.json
"""

import json
from contextlib import ExitStack
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fhir_fixtures import cases
from fhir_fixtures.cases import Case
from screener.assessment.resource import AssessmentWriter
from screener.clinical.judge import Verdict
from screener.clinical.records import Exclusion, Method
from screener.run.deciding import cannot_judge, judge
from screener.run.site import open_site
from screener.stores.folder.scratch import Workspace
from screener.stores.folder.source import FolderSource
from tests.e2e.expectations import ENCODER, settings

TABLE = Path(__file__).parent / "shown.json"


def judged(case: Case, folder: Path) -> tuple[Verdict, AssessmentWriter]:
    """Read the case as a folder, and judge p1, whom every case is about; and who would write her assessments."""
    source, scratch = folder / "export", folder / "scratch"
    source.mkdir()
    scratch.mkdir()
    (source / "all.ndjson").write_bytes(b"".join(ENCODER.encode(r) + b"\n" for r in case.resources))
    configured = settings(case, folder)
    with ExitStack() as stack:
        site = open_site(configured, stack)
        reader = FolderSource(source, site.mapper, site.needs, configured.folder, Workspace(scratch, 1))
        rules = site.rules(datetime.fromisoformat(case.now))
        (verdict,) = judge(reader.records(["p1"], ()), rules, cannot_judge)
    return verdict, rules.writer


def shown(verdict: Verdict) -> dict[str, Any]:
    """What a verdict shows, for the table."""
    return {
        "outcome": f"{verdict.outcome}: {verdict.reason}",
        **{method.value: _method(verdict, method) for method in Method},
        "refused": {row.id: row.reason for row in verdict.view.refusals},
        "against her": [_statement(row) for row in verdict.view.exclusions],
        "known of her": [_statement(row) for row in verdict.view.conditions],
        "menopause": [f"{row.resource}/{row.id} {row.status} {_day(row.day)}" for row in verdict.view.menopause],
        "not checked": [*verdict.view.unchecked, *verdict.view.unreadable],
    }


def _method(verdict: Verdict, method: Method) -> dict[str, Any]:
    occasion = verdict.occasions.get(method)
    if occasion is None:
        return {"reason": verdict.reasons[method]}
    scores = verdict.scores if method is Method.NOMOGRAM else None
    return {
        "results": [f"{fact.id} {fact.value:f}" for fact in occasion.facts],
        "age": occasion.age_years,
        "caveats": list(occasion.marks),
        **({"reduced": occasion.reduced} if occasion.reduced else {}),
        **({"at or below": occasion.at_or_below_cut_off} if scores is None else {"risk": f"{scores.risk:.4f}"}),
    }


def _statement(row: Exclusion) -> str:
    parts = [row.rule, row.by or row.words, f"{row.resource}/{row.id}", _day(row.start_day), "to", _day(row.end_day)]
    return " ".join(part for part in parts if part)


def _day(day: int) -> str:
    return date.fromordinal(day).isoformat() if day else "?"


def table() -> dict[str, Any]:
    """What all cases show, by name."""
    found = {}
    for case in cases.load():
        with TemporaryDirectory() as folder:
            found[case.name] = shown(judged(case, Path(folder))[0])
    return found


if __name__ == "__main__":
    TABLE.write_text(json.dumps(table(), indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
