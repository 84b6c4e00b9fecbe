"""The summary of a run: a JSON document with stable keys, and the same as a table."""

import json
import uuid
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import msgspec

from screener.base.errors import ExitCode, ScreenerError
from screener.clinical.records import Outcome
from screener.config.tables import SiteTable
from screener.fhir.time import instant_text
from screener.run.counts import COLUMNS
from screener.run.figures import Figures
from screener.run.limits import Exceeded
from screener.run.tasks import TaskCounts
from screener.stores.reading import TypeReading

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
    error: str = ""  # what stopped the run; "" where it came to its end
    remedy: str = ""
    retryable: bool = False  # whether the same call may end otherwise without anybody doing anything
    next_action: str = "none"
    wrote: bool = False
    why_not_written: str = ""
    whole: bool = True  # everyone whom a run of its mode looks at: no --limit, no --since, no list
    withheld: bool = False  # nothing was written: the difference is larger than the limits allow
    accepted_large_change: bool = False
    limits_exceeded: tuple[Exceeded, ...] = ()
    by_result_date: bool = False
    reading: dict[str, TypeReading] = {}  # how it ended for each excluding type
    not_understood: dict[str, dict[str, int]] = {}  # {type: {code system: statements that nobody here can read}}
    not_offered: list[str] = []  # types that the source does not have: not asked for
    results_without_patient: int = 0
    totals_too_high: dict[str, int] = {}
    destination: str = ""  # host of the server, or name of the folder, that takes the assessments
    newly_flagged: int = 0  # women with magnesium at or below the cut-off whose flag this run created
    tasks: TaskCounts | None = None  # where the site wants Tasks
    stages: dict[str, float] = {}
    site_tables: tuple[SiteTable, ...] = ()
    figures: Figures = msgspec.field(default_factory=Figures)
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """Indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    def to_line(self) -> str:
        """JSON on one line."""
        return msgspec.json.encode(self).decode()

    def plain(self) -> dict[str, Any]:
        """The same as a dictionary."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


_WRITES = ("created", "amended", "retracted")
# What whoever started the run does next, by exit code.
_NEXT = {
    ExitCode.DONE: "none",
    ExitCode.SOME_PATIENTS_FAILED: "look",
    ExitCode.SERVER: "run_again",
    ExitCode.DEADLINE: "run_again",
    ExitCode.LEASE_HELD: "wait",
    ExitCode.TOO_LARGE: "decide",
    ExitCode.USAGE: "fix_configuration",
}
_RETRYABLE = frozenset({ExitCode.SERVER, ExitCode.DEADLINE, ExitCode.LEASE_HELD})


def concluded(summary: Summary, *, why_dry: str = "", error: ScreenerError | None = None) -> Summary:
    """The summary with what follows from how the run ended."""
    code = error.exit_code if error else ExitCode(summary.exit_code)
    wrote = any(summary.writes[name] for name in _WRITES) and not (summary.dry_run or summary.withheld)
    why = why_dry or ("the difference is larger than the limits allow" if summary.withheld else "")
    if not wrote and not why:
        why = "the run was stopped before it wrote" if error else "nothing had changed"
    return msgspec.structs.replace(
        summary,
        exit_code=int(code),
        error=error.what if error else "",
        remedy=error.remedy if error else "",
        retryable=code in _RETRYABLE,
        next_action=_NEXT.get(code, "look"),
        wrote=wrote,
        why_not_written="" if wrote else why,
    )


def blank(mode: str, run_id: str = "") -> Summary:
    """The summary of a run that could not begin."""
    none = {outcome.value: dict[str, int]() for outcome in Outcome}
    return Summary(
        run_id=run_id or str(uuid.uuid4()),
        mode=mode,
        dry_run=False,
        started=instant_text(datetime.now(UTC)),
        model={"id": "", "version": "", "checksum": "", "calibration": ""},
        patients_seen=0,
        outcomes=none,
        writes=dict.fromkeys(COLUMNS, 0),
        write_reasons={},
        flagged=0,
        refusals={},
        caveats={},
        exclusions_not_checked={},
        bad_lines=0,
        requests=0,
        retries=0,
        bytes_read=0,
        seconds=0,
        peak_rss_bytes=0,
        watermark=Watermark(),
        exit_code=0,
    )


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
