"""When a diagnosis held, a procedure was done or a medicine was taken, as far as it is documented; and whether it was meant at all."""

import math
from collections.abc import Iterable
from functools import lru_cache

from screener.clinical import dates, wire
from screener.clinical.records import Span, Version

_LONGEST_DAYS = 36_525  # a hundred years: a longer span counts as one without an end
_DAYS = {"d": 1.0, "wk": 7.0, "mo": 30.4375, "a": 365.25, "h": 1 / 24, "min": 1 / 1440, "s": 1 / 86_400}

NOT_MEANT = frozenset(
    {"entered-in-error", "cancelled", "draft", "not-taken", "intended", "not-done", "preparation", "declined"}
)
_OVER = frozenset({"completed", "stopped"})
_ENDED_CONDITION = frozenset({"inactive", "remission", "resolved"})


@lru_cache(maxsize=4096)
def codes_of(raw: bytes) -> tuple[str, ...]:
    """The plain codes of a CodeableConcept kept raw, for the elements whose code systems R4 fixes."""
    if raw in (b"", b"null"):
        return ()
    return tuple(coding.code for coding in wire.decode_concept(raw).coding or () if coding.code)


def condition_span(condition: wire.Condition, version: Version, *, past: bool = False) -> Span:
    """When the diagnosis held. Without an onset it is known from the day it was recorded. `past`: it is marked as over.

    An ended one without a date of its end ended, at the latest, when the resource was last changed.
    """
    onset = condition.onsetDateTime or _start(condition.onsetPeriod) or condition.recordedDate
    end = dates.last_day(condition.abatementDateTime or _end(condition.abatementPeriod))
    in_words = (condition.abatementAge, condition.abatementRange, condition.abatementString)
    over = (
        bool(end)
        or past
        or any(wire.present(raw) for raw in in_words)
        or not _ENDED_CONDITION.isdisjoint(codes_of(bytes(condition.clinicalStatus)))
    )
    at_latest = _updated_day(version) or dates.last_day(condition.recordedDate)
    return Span(dates.first_day(onset), end or (at_latest if over else 0), over, bool(end))


def recorded_day(condition: wire.Condition, version: Version) -> int:
    """The day on which the diagnosis was written down, as far as that is known: from then on a suspicion grows old; 0 unknown."""
    return (
        dates.first_day(condition.recordedDate)
        or dates.first_day(condition.onsetDateTime or _start(condition.onsetPeriod))
        or _updated_day(version)
    )


def procedure_span(procedure: wire.Procedure) -> Span:
    """When the procedure was done."""
    start = procedure.performedDateTime or _start(procedure.performedPeriod)
    end = dates.last_day(procedure.performedDateTime or _end(procedure.performedPeriod))
    over = procedure.status in _OVER
    return Span(dates.first_day(start), end or (dates.last_day(start) if over else 0), over, bool(end))


def report_day(report: wire.DiagnosticReport) -> int:
    """When the report's measurement was made; 0 unknown."""
    return dates.first_day(report.effectiveDateTime or _start(report.effectivePeriod) or report.issued)


def meant(resource: wire.Medicated | wire.Procedure) -> bool:
    """Whether the statement says that the medicine is or was taken, or the procedure done."""
    if resource.status in NOT_MEANT:
        return False
    if isinstance(resource, wire.MedicationRequest):
        return resource.intent not in ("proposal", "plan") and not resource.doNotPerform
    return True


def medication_span(resource: wire.Medicated, version: Version) -> Span:
    """When the medicine was taken, as far as it is documented. Without a documented end, what is over was taken at least until its last
    sign of life: the last day on which it was ordered, handed out, taken or asserted. When the resource was last changed is no such
    sign; it only says until when it may have been taken.
    """
    if isinstance(resource, wire.MedicationRequest):
        return _request_span(resource, version)
    if isinstance(resource, wire.MedicationDispense):
        return _dispense_span(resource)
    over = resource.status in _OVER
    period_end = dates.last_day(_end(resource.effectivePeriod))
    start = dates.first_day(resource.effectiveDateTime or _start(resource.effectivePeriod))
    if isinstance(resource, wire.MedicationAdministration):
        end = period_end or dates.last_day(resource.effectiveDateTime)
        return _as_documented(start, end, (start,), version, over=over)
    asserted = dates.last_day(resource.dateAsserted or resource.effectiveDateTime)
    return _as_documented(start, period_end, (asserted, start), version, over=over)


def _dispense_span(dispense: wire.MedicationDispense) -> Span:
    """From the day it was handed over, for as long as the supply lasts; where that is not said, that day."""
    start = dates.first_day(dispense.whenHandedOver or dispense.whenPrepared)
    end = _after(start, dispense.daysSupply, 1)
    return Span(start, end or start, over=True, documented_end=bool(end))


def _request_span(request: wire.MedicationRequest, version: Version) -> Span:
    bounds = [d.timing.repeat for d in request.dosageInstruction or () if d.timing and d.timing.repeat]
    periods = [b.boundsPeriod for b in bounds if b.boundsPeriod]
    starts = [day for p in periods if (day := dates.first_day(p.start))]
    start = min(starts, default=0) or dates.first_day(request.authoredOn)
    end = _documented_end(request, bounds, start)
    valid = request.dispenseRequest.validityPeriod if request.dispenseRequest else None
    signs = (*starts, dates.last_day(request.authoredOn), dates.last_day(_start(valid)))
    return _as_documented(start, end, signs, version, over=request.status in _OVER)


def _as_documented(start: int, end: int, signs: Iterable[int], version: Version, *, over: bool) -> Span:
    if end or not over:
        return Span(start, end, over, bool(end))
    return Span(start, max(signs), over, changed_day=_updated_day(version))


def _documented_end(request: wire.MedicationRequest, bounds: list[wire.Bounds], start: int) -> int:
    """The last day by the dosage, else by the supply with its repeats, else by the prescription's validity; 0 unknown."""
    ends = [dates.last_day(_end(b.boundsPeriod)) or _after(start, b.boundsDuration, 1) for b in bounds]
    if any(ends):
        return max(ends) if all(ends) else 0
    supply = request.dispenseRequest
    if supply is None:
        return 0
    fills = 1 + max(supply.numberOfRepeatsAllowed or 0, 0)
    return _after(start, supply.expectedSupplyDuration, fills) or dates.last_day(_end(supply.validityPeriod))


def _after(start: int, duration: wire.Duration | None, times: int) -> int:
    """The last day of `times` durations from `start`; 0 where that is unknown or as good as never."""
    if not start or duration is None or duration.value is None or not duration.value.is_finite():
        return 0
    unit_days = _DAYS.get(duration.code or duration.unit or "", 0.0)
    days = float(duration.value) * unit_days * times if abs(duration.value.adjusted()) < 9 else 0.0
    return start + math.ceil(days) - 1 if 0 < days <= _LONGEST_DAYS else 0


def _updated_day(version: Version) -> int:
    return dates.EPOCH_ORDINAL + version.updated_us // dates.US_PER_DAY if version.updated_us else 0


def _start(period: wire.Period | None) -> str | None:
    return period.start if period else None


def _end(period: wire.Period | None) -> str | None:
    return period.end if period else None
