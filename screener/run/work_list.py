"""A run patient by patient, for people who work down a list: patient data, kept only where a call asks for it."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import msgspec

from model.atomic import write_whole
from screener.assessment.values import per_cent
from screener.base.errors import ConfigurationError, ListNotWritten, missing_package_error
from screener.base.table_files import SUFFIXES, Kind, table_bytes
from screener.clinical.judge import Verdict
from screener.clinical.records import Method

COLUMNS: tuple[tuple[str, Kind], ...] = (
    ("patient", "text"),
    ("outcome", "text"),
    ("reason", "text"),
    ("risk_percent", "number"),
    ("risk_low_percent", "number"),
    ("risk_high_percent", "number"),
    ("nomogram_date", "text"),
    ("magnesium_at_or_below_0_845", "truth"),
    ("magnesium_mmol_l", "number"),
    ("magnesium_date", "text"),
    ("age_years", "integer"),
    ("caveats", "text"),
)


class WorkListRow(msgspec.Struct, array_like=True):
    """One patient: what came of her, and on what it rests. Outcome and reason are those at the run's end."""

    patient: str
    outcome: str
    reason: str
    risk: float | None = None
    risk_low: float | None = None
    risk_high: float | None = None
    nomogram_day: int = 0
    at_or_below: bool | None = None
    mg_mmol_l: Decimal | None = None  # None also where it is known only by a comparator
    mg_day: int = 0
    age_years: int | None = None
    caveats: tuple[str, ...] = ()


def row_of(verdict: Verdict) -> WorkListRow:
    """The line of a verdict. Risk and its day are the nomogram's; magnesium, its day and its side are the flag's, as on the two
    assessments: they may rest on different results."""
    found = WorkListRow(verdict.patient, verdict.outcome.value, verdict.reason)
    nomogram, flag = verdict.occasions.get(Method.NOMOGRAM), verdict.occasions.get(Method.FLAG)
    found.caveats = tuple(sorted({mark.partition(":")[0] for one in verdict.occasions.values() for mark in one.marks}))
    if flag is not None:
        found.at_or_below, found.age_years = flag.at_or_below_cut_off, flag.age_years
        found.mg_mmol_l = None if flag.mg.comparator else flag.mg.value
        found.mg_day = flag.mg.moment.day
    if nomogram is not None:
        found.age_years, found.nomogram_day = nomogram.age_years, nomogram.mg.moment.day
    if verdict.scores is not None:
        found.risk, found.risk_low, found.risk_high = (
            verdict.scores.risk,
            verdict.scores.risk_low,
            verdict.scores.risk_high,
        )
    return found


def check(file: Path) -> None:
    """ConfigurationError for a name that says neither CSV nor Parquet, and where Parquet lacks its package: before the run."""
    if file.suffix not in SUFFIXES:
        raise ConfigurationError(f"{file.name} is neither .csv nor .parquet", "Name the file by what it is to be")
    if file.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise missing_package_error("pyarrow", "report", "write .csv")


def write(file: Path, rows: Sequence[WorkListRow]) -> None:
    """The highest risks first, then the flagged, then the others; for its owner alone. ListNotWritten where it cannot be."""
    ordered = sorted(rows, key=lambda row: (-(row.risk or -1.0), not row.at_or_below, row.patient))
    try:
        write_whole(file, [table_bytes(COLUMNS, [_cells(row) for row in ordered], file.suffix)], private=True)
    except (OSError, ConfigurationError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ListNotWritten(
            f"The run is done, but {file.name} could not be written: {why}",
            "What it wrote is right; run again for the list",
        ) from error


def _cells(row: WorkListRow) -> tuple[object, ...]:
    percents = (None if risk is None else float(per_cent(risk)) for risk in (row.risk, row.risk_low, row.risk_high))
    return (
        row.patient,
        row.outcome,
        row.reason,
        *percents,
        _date(row.nomogram_day),
        row.at_or_below,
        None if row.mg_mmol_l is None else float(row.mg_mmol_l),
        _date(row.mg_day),
        row.age_years,
        "+".join(row.caveats),
    )


def _date(day: int) -> str | None:
    return date.fromordinal(day).isoformat() if day else None
