"""Makes one view of a patient from rows in any order: only the latest copy of each resource counts.

Copies are merged before anything is filtered. A corrected or withdrawn copy may arrive in another page or file than the
old one; filtering first would let the old one win.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Protocol, TypeVar

import msgspec

from screener.clinical.courses import added_up
from screener.clinical.records import (
    MAGNESIUM_GIVEN,
    OF_BLOOD,
    Analyte,
    Demographics,
    Exclusion,
    Fact,
    Menopause,
    PatientRecord,
    Refusal,
    Sample,
    Version,
)


class _Copy(Protocol):
    @property
    def version(self) -> Version: ...


C = TypeVar("C", bound=_Copy)
K = TypeVar("K", str, tuple[str, str], tuple[str, str, str])

_id = attrgetter("id")
Results = tuple[Fact, ...]
Refusals = tuple[Refusal, ...]


class PatientView(msgspec.Struct, frozen=True):
    """What holds now for one patient: the latest copy of each resource, in a fixed order."""

    patient: str
    demographics: Demographics | None
    facts: tuple[Fact, ...]  # the usable measurements
    refusals: tuple[Refusal, ...]  # the measurements that must not be used
    exclusions: tuple[Exclusion, ...]
    conditions: tuple[Exclusion, ...]  # those that only call for a caveat
    menopause: tuple[Menopause, ...]
    unchecked: tuple[str, ...]
    unreadable: tuple[str, ...]
    in_part: tuple[str, ...] = ()
    by_category: tuple[str, ...] = ()
    labelled: bool = False  # whether any of it has a confidentiality label

    @property
    def measurements(self) -> list[Fact | Refusal]:
        """The usable measurements and the others, by id."""
        return sorted((*self.facts, *self.refusals), key=_id)


def merge(record: PatientRecord) -> PatientView:
    """The latest copies of everything in `record`; the same view for any order of its rows."""
    facts, refusals = _latest_results(record)
    hold = added_up(_latest_statements(record.exclusions)) if record.exclusions else ()
    if record.samples:
        facts, refusals = _refuse(facts, refusals, _by_samples(record.samples))
    given = [row for row in hold if row.rule == MAGNESIUM_GIVEN]
    if given:
        facts, refusals = _refuse(facts, refusals, _by_infusions(given))
        hold = tuple([row for row in hold if row.rule != MAGNESIUM_GIVEN])
    status = _latest(((row.resource, row.id), row) for row in record.menopause) if record.menopause else {}
    people = _latest((row.patient, row) for row in record.demographics)
    labelled = any(row.security for rows in (facts, hold, record.demographics) for row in rows)
    return PatientView(
        patient=record.patient,
        demographics=people.get(record.patient),
        facts=facts,
        refusals=refusals,
        exclusions=tuple([row for row in hold if not row.caveat]),
        conditions=tuple([row for row in hold if row.caveat]),
        menopause=tuple([row for row in status.values() if row.counts]),
        unchecked=tuple(sorted(set(record.unchecked))),
        unreadable=tuple(sorted(set(record.unreadable))),
        in_part=record.in_part,
        by_category=record.by_category,
        labelled=labelled,
    )


def _refuse(facts: Results, refusals: Refusals, reason_of: Callable[[Fact], str]) -> tuple[Results, Refusals]:
    """The results, with each refused for which there is a reason."""
    reasons = {fact.id: reason for fact in facts if (reason := reason_of(fact))}
    if not reasons:
        return facts, refusals
    refused = [
        Refusal(f.patient, f.id, f.version, f.analyte, reasons[f.id], f.moment.day) for f in facts if f.id in reasons
    ]
    kept = tuple([fact for fact in facts if fact.id not in reasons])
    return kept, tuple(sorted((*refusals, *refused), key=_id))


def _by_samples(samples: Iterable[Sample]) -> Callable[[Fact], str]:
    """Why a result must not be used by what its Specimen says."""
    reasons = {name: row.reason for name, row in _latest((row.id, row) for row in samples).items()}
    return lambda fact: reasons.get(fact.specimen, "") if fact.analyte in OF_BLOOD else ""


def _by_infusions(given: Sequence[Exclusion]) -> Callable[[Fact], str]:
    """Why a magnesium must not be used: it was measured on the day of an infusion of magnesium, or soon after it."""

    def reason(fact: Fact) -> str:
        soon = fact.analyte is Analyte.MG and any(
            row.start_day and row.start_day <= fact.moment.day <= row.end_day for row in given
        )
        return MAGNESIUM_GIVEN if soon else ""

    return reason


def _latest_results(record: PatientRecord) -> tuple[tuple[Fact, ...], tuple[Refusal, ...]]:
    rows: list[Fact | Refusal] = [*record.facts, *record.refusals]
    if len({row.id for row in rows}) == len(rows):  # no result comes in two copies
        return tuple(sorted(record.facts, key=_id)), tuple(sorted(record.refusals, key=_id))
    latest = _latest((row.id, row) for row in rows).values()
    return tuple([r for r in latest if isinstance(r, Fact)]), tuple([r for r in latest if isinstance(r, Refusal)])


def _latest_statements(rows: Sequence[Exclusion]) -> list[Exclusion]:
    """Those that hold. A later copy of a Condition may carry other rules than the older one: then the older one's no longer count."""
    stated = _latest(((row.resource, row.id, row.rule), row) for row in rows)
    newest = _latest(((row.resource, row.id), row) for row in rows)
    return [r for r in stated.values() if r.counts and r.version == newest[(r.resource, r.id)].version]


def _latest(rows: Iterable[tuple[K, C]]) -> dict[K, C]:
    best: dict[K, C] = {}
    for key, row in rows:
        held = best.get(key)
        if held is None or _later(row, held):
            best[key] = row
    return {key: best[key] for key in sorted(best)} if len(best) > 1 else best


def _later(row: _Copy, held: _Copy) -> bool:
    """By version; copies of one version that differ all the same are ordered by their bytes, so always alike."""
    if row.version != held.version:
        return row.version > held.version
    return msgspec.msgpack.encode(row) > msgspec.msgpack.encode(held)
