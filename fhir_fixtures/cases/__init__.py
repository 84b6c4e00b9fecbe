"""Situations, one file each: a few resources, the trap in them, and the outcome worked by hand."""

import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TABLE = HERE / "README.md"


@dataclass(frozen=True)
class Case:
    """One situation. `working` shows how `expected` was found by hand.

    `expected`: `outcome` and `reason`; `flag` (at_or_below, occasion, mg_mmol_l) and `nomogram` (occasion, bmi_kg_m2 to four
    places, where it matters `values` in the model's units), or None; where it matters `refusals` (reason: how many Mg results).
    `wire` marks those that servers may treat differently; `invalid` those that hold what R4 does not allow.
    """

    name: str
    trap: str
    source: str
    working: str
    now: str
    resources: list[dict[str, Any]]
    expected: dict[str, Any]
    wire: bool = False
    invalid: bool = False


def load() -> list[Case]:
    """All cases, by name."""
    return [
        Case(**json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal))
        for path in sorted(HERE.glob("*.json"), key=lambda path: path.stem)
    ]


def table(cases: list[Case]) -> str:
    """The cases as a Markdown table: name, trap, what must come out, and where that is from."""
    head = (
        "# Cases\n\nOne file each. Made by `python -m fhir_fixtures.cases`.\n\n"
        "| case | trap | expected | source |\n|---|---|---|---|\n"
    )
    rows = (f"| {c.name} | {c.trap} | {c.expected['outcome']}: {c.expected['reason']} | {c.source} |\n" for c in cases)
    return head + "".join(rows)
