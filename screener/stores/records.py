"""Rows of the map, gathered by patient."""

from collections.abc import Iterable, Mapping, Sequence

from screener.clinical.mapping import Unreadable
from screener.clinical.records import Demographics, Exclusion, Fact, Menopause, PatientRecord, Refusal, Row


def gather(
    patients: Iterable[str], rows: Iterable[Row], unchecked: Mapping[str, Sequence[str]] | None = None
) -> list[PatientRecord]:
    """A record for each of `patients`, with those of the rows that are theirs.

    `unchecked`: the excluding resource types that were not read, by patient.
    """
    sorted_rows: dict[str, dict[type, list[Row]]] = {patient: {} for patient in patients}
    for row in rows:
        mine = sorted_rows.get(row.patient)  # type: ignore[attr-defined]
        if mine is not None:
            mine.setdefault(type(row), []).append(row)
    return [_record(patient, kinds, (unchecked or {}).get(patient, ())) for patient, kinds in sorted_rows.items()]


def _record(patient: str, kinds: Mapping[type, list[Row]], unchecked: Sequence[str]) -> PatientRecord:
    def of(kind: type) -> tuple[Row, ...]:
        return tuple(kinds.get(kind, ()))

    return PatientRecord(
        patient=patient,
        demographics=of(Demographics),  # type: ignore[arg-type]
        facts=of(Fact),  # type: ignore[arg-type]
        refusals=of(Refusal),  # type: ignore[arg-type]
        exclusions=of(Exclusion),  # type: ignore[arg-type]
        menopause=of(Menopause),  # type: ignore[arg-type]
        unchecked=tuple(unchecked),
        unreadable=tuple(row.resource for row in of(Unreadable)),  # type: ignore[attr-defined]
    )
