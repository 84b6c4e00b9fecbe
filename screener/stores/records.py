"""Rows of the map, gathered by patient."""

from collections.abc import Iterable, Mapping, Sequence

from screener.clinical.mapping import Settled
from screener.clinical.records import Demographics, Exclusion, Fact, Menopause, PatientRecord, Refusal, Unreadable


def gather(
    patients: Iterable[str],
    rows: Iterable[Settled],
    unchecked: Mapping[str, Sequence[str]],
    needs: Mapping[str, str],
) -> list[PatientRecord]:
    """A record for each of `patients`, with those of the rows that are theirs.

    `unchecked`: the excluding resource types that were not read, by patient. A resource that could not be understood stops its
    patient where `needs` says that its type is required (or does not name it: a Patient); else its type counts as not checked.
    """
    by_patient: dict[str, list[Settled]] = {patient: [] for patient in patients}
    for row in rows:
        if row.patient in by_patient:
            by_patient[row.patient].append(row)
    return [_record(patient, mine, unchecked.get(patient, ()), needs) for patient, mine in by_patient.items()]


def _record(patient: str, rows: Sequence[Settled], unchecked: Sequence[str], needs: Mapping[str, str]) -> PatientRecord:
    unreadable = {row.resource for row in rows if isinstance(row, Unreadable)}
    required = {kind for kind in unreadable if needs.get(kind, "required") == "required"}
    return PatientRecord(
        patient=patient,
        demographics=tuple(row for row in rows if isinstance(row, Demographics)),
        facts=tuple(row for row in rows if isinstance(row, Fact)),
        refusals=tuple(row for row in rows if isinstance(row, Refusal)),
        exclusions=tuple(row for row in rows if isinstance(row, Exclusion)),
        menopause=tuple(row for row in rows if isinstance(row, Menopause)),
        unchecked=(*unchecked, *(unreadable - required)),
        unreadable=tuple(required),
    )
