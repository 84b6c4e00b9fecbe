"""Rows of the map, gathered by patient."""

from collections.abc import Iterable, Mapping, Sequence

from screener.clinical.mapping import Mapped, Unreadable
from screener.clinical.records import Demographics, Exclusion, Fact, Menopause, PatientRecord, Refusal


def gather(
    patients: Iterable[str], rows: Iterable[Mapped], unchecked: Mapping[str, Sequence[str]] | None = None
) -> list[PatientRecord]:
    """A record for each of `patients`, with those of the rows that are theirs.

    `unchecked`: the excluding resource types that were not read, by patient.
    """
    by_patient: dict[str, list[Mapped]] = {patient: [] for patient in patients}
    for row in rows:
        if row.patient in by_patient:
            by_patient[row.patient].append(row)
    return [_record(patient, mine, (unchecked or {}).get(patient, ())) for patient, mine in by_patient.items()]


def _record(patient: str, rows: Sequence[Mapped], unchecked: Sequence[str]) -> PatientRecord:
    return PatientRecord(
        patient=patient,
        demographics=tuple(row for row in rows if isinstance(row, Demographics)),
        facts=tuple(row for row in rows if isinstance(row, Fact)),
        refusals=tuple(row for row in rows if isinstance(row, Refusal)),
        exclusions=tuple(row for row in rows if isinstance(row, Exclusion)),
        menopause=tuple(row for row in rows if isinstance(row, Menopause)),
        unchecked=tuple(unchecked),
        unreadable=tuple(row.resource for row in rows if isinstance(row, Unreadable)),
    )
