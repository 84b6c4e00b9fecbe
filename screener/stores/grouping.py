"""Groups rows by patient."""

from collections.abc import Iterable, Mapping
from typing import Any

from screener.clinical.mapping import Settled
from screener.clinical.records import (
    Demographics,
    Exclusion,
    Fact,
    Menopause,
    PatientRecord,
    Refusal,
    Sample,
    Unreadable,
)
from screener.stores.reading import Gaps


def gather(
    patients: Iterable[str],
    rows: Iterable[Settled],
    gaps: Mapping[str, Gaps],
    needs: Mapping[str, str],
) -> list[PatientRecord]:
    """A record for each of `patients`, with her rows.

    `gaps`: what was not read whole, by patient. A resource that could not be understood stops its
    patient where `needs` says that its type is required (or does not name it: a Patient); else its type counts as not checked.
    """
    by_patient: dict[str, list[Settled]] = {patient: [] for patient in patients}
    for row in rows:
        held = by_patient.get(row.patient)
        if held is not None:
            held.append(row)
    return [record_of(patient, mine, gaps.get(patient, Gaps()), needs) for patient, mine in by_patient.items()]


def record_of(patient: str, rows: Iterable[Settled], gaps: Gaps, needs: Mapping[str, str]) -> PatientRecord:
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
        samples=tuple(kinds.get(Sample, ())),
        unchecked=(*gaps.not_checked, *(unreadable - required)),
        in_part=gaps.in_part,
        by_category=gaps.by_category,
        unreadable=tuple(required),
    )
