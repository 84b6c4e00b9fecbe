"""This machine: platform, configuration, model, tables, state, disk, schedule."""

import platform
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from model import load_artefact
from screener import __version__
from screener.base.errors import ScreenerError
from screener.clinical.shipped import shipped
from screener.config.loading import Found
from screener.config.settings import CodeSettings, ScheduleSettings
from screener.config.tables import described
from screener.operations.doctor.findings import Findings
from screener.operations.doctor.preflight import problems
from screener.operations.schedule import starts
from screener.state import State

_SUPPORTED = ("Linux", "Darwin")
_LEAST_FREE_BYTES = 1_000_000_000
_STARTS_SHOWN = 3
_NEEDED_TO_ASK_A_SERVER = frozenset({"server", "destination", "model", "codes", "exclusions", "policy", "output"})


def look(found: Found, findings: Findings, *, folders_only: bool) -> bool:
    """Look at all of it, and leave out what the configuration has wrong. Returns whether a server can be looked at."""
    _platform(findings)
    wrong = problems(found, folders_only=folders_only)
    for problem in wrong:
        findings.red("configuration", f"{problem.key} = {problem.value}", problem.remedy)
    if not wrong:
        findings.green("configuration", "every key and every file can be used")
    settings, sections = found.settings, {problem.key.partition(".")[0] for problem in wrong}
    if settings.write == "off" and not folders_only:
        findings.yellow(
            "writing", 'write = "off": every run is a dry run', 'Set write = "on" when a dry run looks right'
        )
    # What is looked at unless the section of the configuration has a problem.
    looks: tuple[tuple[str, Callable[[], None]], ...] = (
        ("model", lambda: _model(settings.model, findings)),
        ("codes", lambda: _tables(settings.codes, findings)),
        ("state", lambda: _state(settings.state.url, findings)),
        ("state", lambda: _disk(settings.folder.temporary, settings.state.url, findings)),
        ("schedule", lambda: _schedule(settings.schedule, findings)),
    )
    for section, look_at in looks:
        if section not in sections:
            try:
                look_at()
            except ScreenerError as error:
                findings.error(section, error)
    return sections.isdisjoint(_NEEDED_TO_ASK_A_SERVER)


def _platform(findings: Findings) -> None:
    python = f"screener {__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    if platform.system() in _SUPPORTED:
        findings.green("platform", python)
    else:
        findings.red("platform", f"{python}: not supported", "Run it on Linux or macOS, or in a container")


def _model(model: str, findings: Findings) -> None:
    artefact = load_artefact(model)
    name = f"{artefact.id} {artefact.version}, checksum {artefact.checksum[:12]}"
    if artefact.calibration == "local":
        findings.green("model", f"{name}, calibrated to your patients")
    else:
        findings.yellow(
            "model",
            f"{name}, as published: it ranks women and does not estimate their own chance",
            "docs/model.md says how to calibrate it to your patients",
        )


def _tables(codes: CodeSettings, findings: Findings) -> None:
    own = shipped()
    findings.green("value sets", f"{own.codes:,} codes shipped, of {own.date}")
    for table in described(codes):
        said = f"{table.name} ({table.file}): version {table.version or 'none'}"
        if table.is_reviewed:
            findings.green("site tables", f"{said}, reviewed by {table.reviewed_by} on {table.reviewed}")
        else:
            findings.yellow(
                "site tables", f"{said}, nobody is named as its reviewer", "docs/codes-and-units.md says how"
            )


def _state(url: str, findings: Findings) -> None:
    place = State.place(url)
    if not State.is_there(url):
        findings.yellow("state", f"none yet at {place}", "The first `screener run --backfill` makes it")
        return
    with State.open(url) as state:
        (last, *_) = state.runs(1) or (None,)
    if last is None:
        findings.yellow("state", f"{place}: no run yet", "Begin with `screener run --backfill --dry-run`")
    elif last.exit_code == 0:
        findings.green("state", f"{place}: the last run began {last.start.started[:16]} and ended well")
    else:
        ended = last.status if last.exit_code is None else f"exit code {last.exit_code}"
        findings.yellow(
            "state",
            f"{place}: the last run began {last.start.started[:16]}, {ended}",
            f"screener runs show {last.start.run_id[:8]}",
        )


def _disk(temporary: Path | None, state_url: str, findings: Findings) -> None:
    folders = {"temporary files": temporary or Path(tempfile.gettempdir())}
    place = Path(State.place(state_url))
    if place.is_absolute():
        folders["the state"] = place.parent
    for what, folder in folders.items():
        free = shutil.disk_usage(folder).free
        said = f"{free / 1e9:,.1f} GB free for {what} in {folder}"
        if free < _LEAST_FREE_BYTES:
            findings.yellow("disk", said, "A backfill spools its changes there: make room for 1 GB at least")
        else:
            findings.green("disk", said)


def _schedule(schedule: ScheduleSettings, findings: Findings) -> None:
    now = datetime.now(UTC)
    findings.green(
        "time",
        f"{now:%Y-%m-%d %H:%M} UTC, {now.astimezone(ZoneInfo(schedule.timezone)):%H:%M} in {schedule.timezone}",
    )
    for name, times in starts(schedule, now, _STARTS_SHOWN).items():
        said = ", ".join(f"{time:%a %Y-%m-%d %H:%M %Z}" for time in times)
        findings.green("schedule", f"{name}: {said or 'never'}")
