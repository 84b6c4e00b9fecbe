"""Groups rows by patient."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from screener.clinical.mapping import Settled
from screener.clinical.records import Demographics, Exclusion, Fact, Menopause, PatientRecord, Refusal, Unreadable


def gather(
    patients: Iterable[str],
    rows: Iterable[Settled],
    unchecked: Mapping[str, Sequence[str]],
    needs: Mapping[str, str],
) -> list[PatientRecord]:
    """A record for each of `patients`, with her rows.

    `unchecked`: the excluding resource types that were not read, by patient. A resource that could not be understood stops its
    patient where `needs` says that its type is required (or does not name it: a Patient); else its type counts as not checked.
    """
    by_patient: dict[str, list[Settled]] = {patient: [] for patient in patients}
    for row in rows:
        held = by_patient.get(row.patient)
        if held is not None:
            held.append(row)
    return [record_of(patient, mine, unchecked.get(patient, ()), needs) for patient, mine in by_patient.items()]


def record_of(
    patient: str, rows: Iterable[Settled], unchecked: Sequence[str], needs: Mapping[str, str]
) -> PatientRecord:
    """The record of one patient, of whom all `rows` are. The others as in `gather`."""
    kinds: dict[type, list[Any]] = {}
    for row in rows:
        held = kinds.get(type(row))
        if held is None:
            kinds[type(row)] = [row]
        else:
            held.append(row)
    unreadable = {row.resource for row in kinds.get(Unreadable, ())}
    required = {kind for kind in unreadable if needs.get(kind, "required") == "required"}
    return PatientRecord(
        patient=patient,
        demographics=tuple(kinds.get(Demographics, ())),
        facts=tuple(kinds.get(Fact, ())),
        refusals=tuple(kinds.get(Refusal, ())),
        exclusions=tuple(kinds.get(Exclusion, ())),
        menopause=tuple(kinds.get(Menopause, ())),
        unchecked=(*unchecked, *(unreadable - required)),
        unreadable=tuple(required),
    )
