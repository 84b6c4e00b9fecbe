"""The summary of a run: a JSON document with stable keys, and the same as a table."""

import json
from importlib.resources import files
from typing import Any

import msgspec

from screener.run.figures import Figures
from screener.run.limits import Exceeded

SCHEMA_VERSION = 2


class Watermark(msgspec.Struct, frozen=True):
    """Since when the run looked for changes, and since when the next one will; None for a run that moves no watermark."""

    from_: str | None = msgspec.field(name="from", default=None)
    to: str | None = None


class Summary(msgspec.Struct, frozen=True):
    """What a run did. Keys are stable: see `summary.schema.json`."""

    run_id: str
    mode: str
    dry_run: bool
    started: str
    model: dict[str, str]
    patients_seen: int
    outcomes: dict[str, dict[str, int]]
    writes: dict[str, int]
    write_reasons: dict[str, dict[str, dict[str, int]]]
    flagged: int
    refusals: dict[str, dict[str, int]]
    caveats: dict[str, int]
    exclusions_not_checked: dict[str, str]
    bad_lines: int
    requests: int
    retries: int
    bytes_read: int
    seconds: float
    peak_rss_bytes: int
    watermark: Watermark
    exit_code: int
    whole: bool = True  # everyone whom a run of its mode looks at: no --limit, no --since, no list
    withheld: bool = False  # nothing was written: the difference is larger than the limits allow
    accepted_large_change: bool = False
    limits_exceeded: tuple[Exceeded, ...] = ()
    by_result_date: bool = False
    totals_too_high: dict[str, int] = {}
    figures: Figures = msgspec.field(default_factory=Figures)
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """Indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    def plain(self) -> dict[str, Any]:
        """The same as a dictionary."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def schema() -> dict[str, Any]:
    """The JSON Schema of the summary."""
    loaded: dict[str, Any] = json.loads(
        (files(__package__ or "screener.run") / "summary.schema.json").read_text("utf-8")
    )
    return loaded


def rows(summary: Summary) -> list[tuple[str, str, int]]:
    """(group, item, count) for a table: outcomes first, then what was written."""
    found = [
        (outcome, reason, count) for outcome, reasons in summary.outcomes.items() for reason, count in reasons.items()
    ]
    verb = "would be" if summary.dry_run or summary.withheld else ""
    return found + [(f"{verb} written".strip(), name, count) for name, count in summary.writes.items()]
