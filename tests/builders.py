"""Short ways to say what a patient's record holds. All days count from one occasion, so that windows read as numbers."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from model import load_artefact
from screener.assessment.identity import Canonical
from screener.assessment.resource import AssessmentWriter, Json, desired_by
from screener.assessment.texts import Texts
from screener.clinical.judge import Verdict
from screener.clinical.records import Analyte, Demographics, Fact, Method, Moment, PatientRecord, Refusal, Version

OCCASION = date(2025, 6, 1)
NOW = datetime(2026, 1, 31, 2, tzinfo=UTC)
NOW_US = int(NOW.timestamp() * 1_000_000)
PATIENT = "p1"

COMPLETE = {
    Analyte.MG: "0.84",
    Analyte.P: "1.10",
    Analyte.CTX: "0.47",
    Analyte.P1NP: "54.0",
    Analyte.WEIGHT: "60.0",
    Analyte.HEIGHT: "158.0",
}


def moment(days: float = 0) -> Moment:
    """The instant `days` after 08:00 UTC of the occasion's day."""
    at = datetime(OCCASION.year, OCCASION.month, OCCASION.day, 8, tzinfo=UTC) + timedelta(days=days)
    return Moment(at.isoformat().replace("+00:00", "Z"), at.date().toordinal(), int(at.timestamp() * 1_000_000))


def fact(analyte: Analyte, value: str, days: float = 0, **fields: Any) -> Fact:
    """A usable result."""
    given: dict[str, Any] = {"id": f"{analyte.value}-{days:g}", "version": Version(1, 1), "patient": PATIENT, **fields}
    return Fact(analyte=analyte, value=Decimal(value), moment=moment(days), **given)


def refusal(analyte: Analyte, reason: str, days: float = 0, **fields: Any) -> Refusal:
    """A result that must not be used."""
    given: dict[str, Any] = {"id": f"{analyte.value}-{days:g}", "version": Version(2, 2), "patient": PATIENT, **fields}
    return Refusal(analyte=analyte, reason=reason, day=moment(days).day, **given)


def complete(days: float = 0, **values: str) -> tuple[Fact, ...]:
    """All six predictors of one stay; a value can be given by the analyte's name."""
    return tuple(fact(analyte, values.get(analyte.value, value), days) for analyte, value in COMPLETE.items())


def woman(**fields: Any) -> Demographics:
    """An eligible woman: 67 on the occasion."""
    return Demographics(
        **{"patient": PATIENT, "version": Version(1, 1), "sex": "female", "birth_date": "1958-03-02", **fields}
    )


def record(*rows: Fact | Refusal, person: Demographics | None = None, **fields: Any) -> PatientRecord:
    """The record of one woman."""
    return PatientRecord(
        patient=PATIENT,
        demographics=(person or woman(),),
        facts=tuple(row for row in rows if isinstance(row, Fact)),
        refusals=tuple(row for row in rows if isinstance(row, Refusal)),
        **fields,
    )


def writer(**fields: Any) -> AssessmentWriter:
    """Who writes, in tests."""
    given = {
        "canonical": Canonical(),
        "artefact": load_artefact(),
        "texts": Texts(),
        "source_system": "test",
        "device": "Device/d1",
        **fields,
    }
    return AssessmentWriter(**given)


def desired(verdict: Verdict, by: AssessmentWriter) -> dict[Method, Json]:
    """For each method that has an occasion, the resource that ought to stand."""
    return {method: desired_by(verdict, method, by) for method in verdict.occasions}
