"""What may exclude a patient: diagnoses, medicines, procedures; and what documents her menopausal status.

The lists are data/exclusions.csv and data/menopause.csv. Each row of the first says for how long it counts: `ever` from
its start on, `active` while it lasts, `washout` for some days after its end. The days of the rows made here already include
that, so that whoever judges only compares days.
"""

import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Generic, Literal, TypeVar

from screener.clinical import dates, wire
from screener.clinical.codes import SiteRows, TableRow, read_rows, read_table
from screener.clinical.records import Span, Version

ICD_10 = "http://hl7.org/fhir/sid/icd-10-cm"
ATC = "http://www.whocc.no/atc"

_LONGEST_DAYS = 36_525  # a hundred years: what claims to run longer has no end
_DAYS = {"d": 1.0, "wk": 7.0, "mo": 30.4375, "a": 365.25, "h": 1 / 24, "min": 1 / 1440, "s": 1 / 86_400}
_NOT_ALPHANUMERIC = re.compile(r"[^A-Z0-9]")

NOT_MEANT = frozenset({"entered-in-error", "cancelled", "draft", "not-taken", "intended", "not-done", "preparation"})
_OVER = frozenset({"completed", "stopped"})
_ENDED_CONDITION = frozenset({"inactive", "remission", "resolved"})


class ListRow(TableRow, frozen=True, kw_only=True):
    """A code in certain resource types (separated by blanks); "prefix" takes every code that begins so."""

    resources: str
    system: str
    code: str
    match: Literal["exact", "prefix"] = "exact"


class ExclusionRow(ListRow, frozen=True, kw_only=True):
    """One code that excludes, and for how long. A site switches a row off with the window "never".

    `longest_days` ends what is recorded without an end so long after its start (a pregnancy is over, whatever the record says).
    `effect` "caveat" excludes nobody: the assessment says that the condition bears on it.
    """

    rule: str
    window: Literal["ever", "active", "washout", "never"]
    washout_days: int = 0
    minimum_days: int = 0
    longest_days: int = 0
    effect: Literal["exclude", "caveat"] = "exclude"

    @property
    def token(self) -> str:
        """`system|code`, with a star where it is the beginning of codes."""
        return f"{self.system}|{self.code}{'*' if self.match == 'prefix' else ''}"


class MenopauseRow(ListRow, frozen=True, kw_only=True):
    """One code that states a menopausal status; `surgical` says that the ovaries were removed."""

    status: Literal["post", "pre", "peri"]
    surgical: bool = False


class MenopauseObservationRow(TableRow, frozen=True, kw_only=True):
    """One code of an Observation whose value says something of menopause other than by a concept."""

    system: str
    code: str
    means: Literal["last_period", "age_at_menopause"]


class MenopauseObservations:
    """The rows of Observations whose value says something of menopause."""

    def __init__(self, rows: Iterable[MenopauseObservationRow], aliases: Mapping[str, str]) -> None:
        self._means = {(row.system, row.code): row.means for row in rows}
        self._aliases = aliases

    def means(self, concept: wire.CodeableConcept) -> str:
        """What a value under this code says: "last_period", "age_at_menopause", or "" for nothing."""
        pairs = ((self._aliases.get(c.system or "", c.system or ""), c.code or "") for c in concept.coding or ())
        return next((self._means[pair] for pair in pairs if pair in self._means), "")

    def tokens(self) -> tuple[str, ...]:
        """`system|code` of each, sorted, for a FHIR token search."""
        return tuple(sorted(f"{system}|{code}" for system, code in self._means))


L = TypeVar("L", bound=ListRow)


class CodeList(Generic[L]):
    """Rows found by the codings of a concept."""

    def __init__(self, rows: Iterable[L], aliases: Mapping[str, str]) -> None:
        self._aliases = aliases
        self._rows: dict[tuple[str, str, str, str], list[L]] = {}
        for row in rows:
            code = _canonical(row.system, row.code)
            for resource in row.resources.split():
                self._rows.setdefault((resource, row.system, row.match, code), []).append(row)

    def find(self, resource: str, concept: wire.CodeableConcept) -> tuple[L, ...]:
        """Every row that one of the codings meets, in the order of the codings."""
        return tuple(row for coding in concept.coding or () for row in self._of(resource, coding))

    def _of(self, resource: str, coding: wire.Coding) -> list[L]:
        if not coding.system or not coding.code:
            return []
        system = self._aliases.get(coding.system.strip(), coding.system.strip())
        code = _canonical(system, coding.code)
        found = list(self._rows.get((resource, system, "exact", code), ()))
        for length in range(1, len(code) + 1):
            found += self._rows.get((resource, system, "prefix", code[:length]), ())
        return found


def exclusion_table(extra: SiteRows) -> tuple[ExclusionRow, ...]:
    """The exclusion list, the site's rows over our own."""
    rows = [*read_table("exclusions.csv", ExclusionRow), *read_rows(extra, ExclusionRow, "extra_exclusions")]
    table = {(row.rule, row.resources, row.system, row.code): row for row in rows}
    return tuple(table[key] for key in sorted(table))


def window(row: ExclusionRow, span: Span) -> tuple[int, int, bool]:
    """First and last day on which `row` excludes (0 = open), and whether it does so at all.

    Long-term (`minimum_days`) means a documented length of at least so many days, or something that goes on without an
    end. Several short prescriptions in a row are not added up.
    """
    if row.window == "never" or not _long_enough(row, span):
        return span.start_day, span.end_day, False
    if row.longest_days and span.start_day and not span.end_day:
        return span.start_day, span.start_day + row.longest_days - 1, True
    if row.window == "ever" or not span.over:
        # A planned end that lies ahead is the end all the same; it is compared with the day in question.
        planned = span.end_day if span.documented_end and row.window != "ever" else 0
        return span.start_day, planned + row.washout_days if planned else 0, True
    return span.start_day, span.end_day + row.washout_days if span.end_day else 0, True


def _long_enough(row: ExclusionRow, span: Span) -> bool:
    if not row.minimum_days or not (span.over or span.documented_end):
        return True
    known = span.start_day and span.end_day and span.documented_end
    return bool(known) and span.end_day - span.start_day + 1 >= row.minimum_days


@lru_cache(maxsize=4096)
def codes_of(raw: bytes) -> tuple[str, ...]:
    """The plain codes of a CodeableConcept kept raw, for the elements whose code systems R4 fixes."""
    if raw in (b"", b"null"):
        return ()
    return tuple(coding.code for coding in wire.decode_concept(raw).coding or () if coding.code)


def refuted(condition: wire.Condition) -> bool:
    """Whether the diagnosis was taken back."""
    return not {"refuted", "entered-in-error"}.isdisjoint(codes_of(bytes(condition.verificationStatus)))


def condition_span(condition: wire.Condition, version: Version) -> Span:
    """When the diagnosis held. Without an onset it is known from the day it was recorded.

    An ended one without a date of its end ended, at the latest, when the resource was last changed.
    """
    onset = condition.onsetDateTime or _start(condition.onsetPeriod) or condition.recordedDate
    end = dates.last_day(condition.abatementDateTime or _end(condition.abatementPeriod))
    in_words = (condition.abatementAge, condition.abatementRange, condition.abatementString)
    over = (
        bool(end)
        or any(wire.present(raw) for raw in in_words)
        or not _ENDED_CONDITION.isdisjoint(codes_of(bytes(condition.clinicalStatus)))
    )
    at_latest = _updated_day(version) or dates.last_day(condition.recordedDate)
    return Span(dates.first_day(onset), end or (at_latest if over else 0), over, bool(end))


def procedure_span(procedure: wire.Procedure) -> Span:
    """When the procedure was done."""
    start = procedure.performedDateTime or _start(procedure.performedPeriod)
    end = dates.last_day(procedure.performedDateTime or _end(procedure.performedPeriod))
    over = procedure.status in _OVER
    return Span(dates.first_day(start), end or (dates.last_day(start) if over else 0), over, bool(end))


def meant(resource: wire.Medicated | wire.Procedure) -> bool:
    """Whether the statement says that the medicine is or was taken, or the procedure done."""
    if resource.status in NOT_MEANT:
        return False
    if isinstance(resource, wire.MedicationRequest):
        return resource.intent not in ("proposal", "plan") and not resource.doNotPerform
    return True


def medication_span(resource: wire.Medicated, version: Version) -> Span:
    """When the medicine was taken, as far as it is documented."""
    if isinstance(resource, wire.MedicationRequest):
        return _request_span(resource, version)
    over = resource.status in _OVER
    period_end = dates.last_day(_end(resource.effectivePeriod))
    start = dates.first_day(resource.effectiveDateTime or _start(resource.effectivePeriod))
    if isinstance(resource, wire.MedicationAdministration):
        end = period_end or dates.last_day(resource.effectiveDateTime)
        return Span(start, end, over, bool(end))
    asserted = dates.last_day(resource.dateAsserted or resource.effectiveDateTime)
    at_latest = (asserted or _updated_day(version)) if over else 0
    return Span(start, period_end or at_latest, over, bool(period_end))


def _request_span(request: wire.MedicationRequest, version: Version) -> Span:
    bounds = [d.timing.repeat for d in request.dosageInstruction or () if d.timing and d.timing.repeat]
    periods = [b.boundsPeriod for b in bounds if b.boundsPeriod]
    starts = [day for p in periods if (day := dates.first_day(p.start))]
    start = min(starts, default=0) or dates.first_day(request.authoredOn)
    end = _documented_end(request, bounds, start)
    over = request.status in _OVER
    at_latest = (_updated_day(version) or dates.last_day(request.authoredOn)) if over else 0
    return Span(start, end or at_latest, over, bool(end))


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


def _canonical(system: str, code: str) -> str:
    """ICD and ATC codes come with and without dots, in either case, and with marks behind them (N18.4+)."""
    return _NOT_ALPHANUMERIC.sub("", code.upper()) if system in (ICD_10, ATC) else code.strip()
