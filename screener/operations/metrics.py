"""Metrics of the last runs, for Prometheus: as a text file for node-exporter, or at an endpoint. Counts and times only."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from model.atomic import write_whole
from screener.base.errors import InputError
from screener.run.summary import Summary
from screener.state import RunRow, State
from screener.stores.protocols import Mode

_PREFIX = "screener_"
_MODES = (Mode.NIGHTLY, Mode.BACKFILL)
_ROWS_LOOKED_AT = 1000
# By name: help, and labels beside the mode of the run.
OF_RUN: dict[str, tuple[str, tuple[str, ...]]] = {
    "last_run_timestamp_seconds": ("When the last run ended (Unix time).", ()),
    "last_success_timestamp_seconds": ("When the last run that ended with exit code 0 ended (Unix time).", ()),
    "last_run_exit_code": ("Exit code of the last run.", ()),
    "last_run_duration_seconds": ("How long the last run took.", ()),
    "last_run_wrote": ("1 where the last run wrote an assessment.", ()),
    "last_run_withheld": ("1 where the last run wrote nothing because a limit was exceeded.", ()),
    "last_run_patients": ("Patients of the last run, by outcome.", ("outcome",)),
    "last_run_assessments": ("Assessments of the last run, by what became of them.", ("change",)),
    "last_run_flagged": ("Women with magnesium at or below the cut-off in the last run.", ()),
    "last_run_newly_flagged": ("Those of them who had no flag before.", ()),
    "last_run_requests": ("Requests of the last run.", ()),
    "last_run_retries": ("Repeated requests of the last run.", ()),
    "last_run_bytes_read": ("Bytes read by the last run.", ()),
    "last_run_peak_memory_bytes": ("Peak memory of the last run.", ()),
}

Sample = tuple[str, tuple[str, ...], float]  # name, values of the labels, value


class Ledger(Collector):
    """What the ledger of runs says, and when the next runs start."""

    def __init__(self, state: State, next_starts: Mapping[str, datetime] | None = None) -> None:
        self._state, self._next_starts = state, next_starts or {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One family for each name that has a value."""
        families: dict[str, GaugeMetricFamily] = {}
        for name, labels, value in _of_runs(self._state):
            if name not in families:
                text, further = OF_RUN[name]
                families[name] = GaugeMetricFamily(_PREFIX + name, text, labels=["mode", *further])
            families[name].add_metric(list(labels), value)
        yield from families.values()
        yield GaugeMetricFamily(
            _PREFIX + "patients_to_retry",
            "Patients that failed and are tried again.",
            value=self._state.patients_to_retry(),
        )
        if self._next_starts:
            following = GaugeMetricFamily(
                _PREFIX + "next_start_timestamp_seconds", "When the next run starts (Unix time).", labels=["mode"]
            )
            for mode, start in self._next_starts.items():
                following.add_metric([mode], start.timestamp())
            yield following


def _of_runs(state: State) -> Iterator[Sample]:
    rows = [row for row in state.runs(_ROWS_LOOKED_AT) if row.ended and row.start.mode in _MODES]
    for mode in _MODES:
        of_mode = [row for row in rows if row.start.mode == mode]
        for row in of_mode[:1]:
            yield from _of_run(row, mode.value)
        success = next((row for row in of_mode if row.exit_code == 0), None)
        if success is not None:
            yield "last_success_timestamp_seconds", (mode.value,), _seconds(success.ended)


def _of_run(row: RunRow, mode: str) -> Iterator[Sample]:
    yield "last_run_timestamp_seconds", (mode,), _seconds(row.ended)
    yield "last_run_exit_code", (mode,), row.exit_code or 0
    try:
        summary = msgspec.convert(row.summary, Summary)
    except msgspec.ValidationError:  # of a run that was stopped, or of an older release
        return
    yield "last_run_duration_seconds", (mode,), summary.seconds
    yield "last_run_wrote", (mode,), summary.wrote
    yield "last_run_withheld", (mode,), summary.withheld
    for outcome, reasons in summary.outcomes.items():
        yield "last_run_patients", (mode, outcome), sum(reasons.values())
    for change, count in summary.writes.items():
        yield "last_run_assessments", (mode, change), count
    yield "last_run_flagged", (mode,), summary.flagged
    yield "last_run_newly_flagged", (mode,), summary.newly_flagged
    yield "last_run_requests", (mode,), summary.requests
    yield "last_run_retries", (mode,), summary.retries
    yield "last_run_bytes_read", (mode,), summary.bytes_read
    yield "last_run_peak_memory_bytes", (mode,), summary.peak_rss_bytes


def _seconds(instant: str | None) -> float:
    return datetime.fromisoformat(instant).timestamp() if instant else 0.0


def exposition(state: State, next_starts: Mapping[str, datetime] | None = None) -> bytes:
    """The metrics as Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(Ledger(state, next_starts))
    return generate_latest(registry)


def write(state: State, file: Path) -> None:
    """A text file for node-exporter's textfile collector; it appears whole. InputError where it cannot be written."""
    try:
        write_whole(file, [exposition(state)], public=True)
    except OSError as error:
        raise InputError(
            f"Cannot write {file.name}: {error.strerror}", "Check metrics.file and its permissions"
        ) from error
