"""Situations, one file each: a few resources, the trap in them, and the outcome worked by hand."""

import csv
import json
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TABLE = HERE / "README.md"


@dataclass(frozen=True)
class Case:
    """One situation. `working` shows how `expected` was found by hand.

    `expected`: `outcome` and `reason`; `flag` (at_or_below, occasion, mg_mmol_l) and `nomogram` (occasion, bmi_kg_m2 to four
    places, where it matters `values` in the model's units), or None; where it matters `refusals` (reason: how many Mg results) and
    `caveats` (codes that the flag's assessment must carry). `site` is the configuration that the case is about: sections and keys as in
    `screener.toml`, rows of the site's own codes and units as lists. `wire` marks those that servers may treat differently; `invalid` those that hold what R4 does not allow.
    """

    name: str
    trap: str
    source: str
    working: str
    now: str
    resources: list[dict[str, Any]]
    expected: dict[str, Any]
    site: dict[str, Any] = field(default_factory=dict)
    wire: bool = False
    invalid: bool = False


def write_site(case: Case, folder: Path) -> None:
    """The case's configuration, as `screener.toml` and the tables that it names."""
    lines: list[str] = []
    for section, settings in case.site.items():
        lines.append(f"[{section}]")
        for name, value in settings.items():
            written = value
            if isinstance(value, list):
                written = f"{name}.csv"
                with (folder / written).open("w", encoding="utf-8", newline="") as stream:
                    table = csv.DictWriter(stream, sorted({key for row in value for key in row}))
                    table.writeheader()
                    table.writerows(value)
            lines.append(f"{name} = {json.dumps(written)}")
    (folder / "screener.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


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
