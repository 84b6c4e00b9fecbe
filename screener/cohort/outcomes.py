"""Closing the loop: of the women whom the job assessed in a quarter, how many had a DXA afterwards, and what it showed.

Each quarter is judged as the job would have judged at its end, by the results of that quarter. What is counted is DXA on or after the day
of the magnesium result, within a time; a DXA before it led to no decision that an assessment could have helped.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from math import exp, sqrt
from pathlib import Path

import msgspec

from screener.batches import batches
from screener.clinical.as_of_occasion import judge_as_of_occasion
from screener.clinical.dates import epoch_us
from screener.clinical.judge import Verdict
from screener.clinical.labels import Evidence, Label, LabelReader, LabelRule, TScore, label, latest
from screener.clinical.policy import Policy
from screener.clinical.records import Method, PatientRecord
from screener.cohort.files import check_writable, cohort_bytes
from screener.cohort.women import Woman, occasion_of, woman
from screener.config.settings import Settings
from screener.config.tables import label_tables
from screener.errors import InputError
from screener.run.rules import ModelAndTables, load_model_and_tables
from screener.run.setup import open_to_read
from screener.small_counts import shown
from screener.stores.patient_order import in_order
from screener.stores.protocols import FullSource, Mode, Scope

Progress = Callable[[int, int], None]
_Z = 1.959964  # of a 95 % interval


class Request(msgspec.Struct, frozen=True):
    """What one call asks for, beside the settings."""

    quarters: int = 8
    within_days: int = 365
    least_count: int = 5
    out: Path | None = None
    from_folder: Path | None = None
    now: datetime | None = None


class Counts(msgspec.Struct):
    """Of one quarter. `expected` and `observed` are about the women with a probability and a DXA: the sum of their printed risks, and how
    many of them had osteoporosis."""

    quarter: str
    assessed: int = 0
    scored: int = 0
    flagged: int = 0
    with_dxa: int = 0
    osteoporosis: int = 0
    flagged_with_dxa: int = 0
    flagged_with_osteoporosis: int = 0
    scored_with_dxa: int = 0
    expected: float = 0.0
    observed: int = 0
    t_scores: float = 0.0


class Told(msgspec.Struct, frozen=True):
    """The same as it may be shown: small counts None, others rounded; ratios only where they rest on enough women. `observed_expected` is
    observed over expected with a 95 % interval on the log scale, as `screener model validate` gives it (Debray et al., BMJ 2017)."""

    quarter: str
    assessed: int | None
    scored: int | None
    flagged: int | None
    with_dxa: int | None
    osteoporosis: int | None
    mean_t_score: float | None
    flagged_with_osteoporosis_share: float | None
    mean_risk_percent: float | None
    observed_percent: float | None
    observed_expected: tuple[float, float, float] | None


class Outcomes(msgspec.Struct, frozen=True):
    """The quarters, the oldest first, then all together."""

    within_days: int
    suppressed_below: int
    quarters: Sequence[Told]
    together: Told


def outcomes(settings: Settings, request: Request, progress: Progress) -> Outcomes:
    """Read, judge each quarter and follow up. Nothing is written but `out`. Raises ScreenerError where the source cannot be read."""
    if request.out is not None:
        check_writable(request.out)
    with ExitStack() as stack:
        loaded = load_model_and_tables(settings, for_cohort=True)
        source, as_of, *_ = open_to_read(settings, request.from_folder, loaded.mapper, stack)
        now = request.now or as_of
        spans = quarters(now.date(), request.quarters, request.within_days)
        if not spans:
            raise InputError("No quarter is over for so long", "Give fewer --within-days")
        pulled = _pull(settings, request, source, loaded, spans, now, progress)
    if request.out is not None:
        from model.atomic import write_whole  # noqa: PLC0415 - only where a file is asked for

        write_whole(request.out, [cohort_bytes(pulled.women, request.out.suffix)], private=True)
    return Outcomes(
        request.within_days,
        request.least_count,
        [_told(counts, request.least_count) for counts in pulled.counts],
        _told(_together(pulled.counts), request.least_count),
    )


def quarters(today: date, count: int, within_days: int) -> list[tuple[date, date]]:
    """First and last day of the last `count` quarters that have been over for `within_days`, the oldest first."""
    last = today - timedelta(days=within_days)
    first = date(last.year, (last.month - 1) // 3 * 3 + 1, 1)
    found = []
    for _ in range(count):
        end = first - timedelta(days=1)  # of the quarter before: it is over
        first = date(end.year, (end.month - 1) // 3 * 3 + 1, 1)
        found.append((first, end))
    return found[::-1]


class _Pulled(msgspec.Struct):
    counts: list[Counts]
    women: list[Woman] = []


def _pull(
    settings: Settings,
    request: Request,
    source: FullSource,
    loaded: ModelAndTables,
    spans: Sequence[tuple[date, date]],
    now: datetime,
    progress: Progress,
) -> _Pulled:
    rule = LabelRule(max_gap_days=request.within_days, after_only=True)
    reader = LabelReader(loaded.mapper, rule.kind, label_tables(settings.cohort))
    pulled = _Pulled([Counts(f"{first.year}Q{(first.month + 2) // 3}") for first, _ in spans])
    patients = in_order(source.population(Scope(Mode.BACKFILL, oldest=spans[0][0].isoformat())))
    progress(0, len(patients))
    done = 0
    for part in batches(patients, settings.server.batch_patients):
        records = source.records(part, ())
        evidence: dict[str, list[Evidence]] = {}
        for row in source.read_more(reader, part):
            evidence.setdefault(row.patient, []).append(row)
        for record in records:
            known = [row for row in latest(evidence.get(record.patient, ())) if not _is_later(row, now.date())]
            for counts, span in zip(pulled.counts, spans, strict=True):
                for verdict, policy, end_us in _verdict(record, span, settings.policy.policy(), loaded):
                    found = label(known, occasion_of(verdict).mg.moment.day, rule)
                    _count(counts, verdict, found)
                    if found.osteoporosis is not None:
                        pulled.women.append(woman(verdict, found, policy, end_us))
        done += len(part)
        progress(done, len(patients))
    return pulled


def _is_later(row: Evidence, day: date) -> bool:
    return isinstance(row, TScore) and row.day > day.toordinal()


def _verdict(
    record: PatientRecord, span: tuple[date, date], policy: Policy, loaded: ModelAndTables
) -> Iterator[tuple[Verdict, Policy, int]]:
    """The verdict at the end of a quarter by the magnesium of that quarter; nothing where she would not have been assessed."""
    first, end = span
    of_quarter = msgspec.structs.replace(policy, lookback_days=(end - first).days)
    end_us = epoch_us(datetime(end.year, end.month, end.day, 23, 59, 59, tzinfo=UTC))
    verdict = judge_as_of_occasion(record, of_quarter, loaded.artefact, end_us)
    if verdict.occasions:
        yield verdict, of_quarter, end_us


def _count(counts: Counts, verdict: Verdict, found: Label) -> None:
    case = bool(found.osteoporosis)
    dxa = found.osteoporosis is not None
    flag = verdict.occasions.get(Method.FLAG)
    flagged = flag is not None and flag.at_or_below_cut_off
    counts.assessed += 1
    counts.flagged += flagged
    counts.with_dxa += dxa
    counts.osteoporosis += case
    counts.flagged_with_dxa += flagged and dxa
    counts.flagged_with_osteoporosis += flagged and case
    if dxa and found.t_score is not None:
        counts.t_scores += float(found.t_score)
    if verdict.scores is not None:
        counts.scored += 1
        if dxa:
            counts.scored_with_dxa += 1
            counts.expected += verdict.scores.risk
            counts.observed += case


def _together(parts: Sequence[Counts]) -> Counts:
    whole = Counts("all")
    for part in parts:
        for name in msgspec.structs.asdict(whole):
            if name != "quarter":
                setattr(whole, name, getattr(whole, name) + getattr(part, name))
    return whole


def _told(counts: Counts, least: int) -> Told:
    enough = min(counts.observed, counts.scored_with_dxa - counts.observed) >= least
    flags = min(counts.flagged_with_osteoporosis, counts.flagged_with_dxa - counts.flagged_with_osteoporosis) >= least
    ratio = counts.observed / counts.expected if enough else 0.0
    scored = counts.scored_with_dxa or 1
    spread = exp(_Z * sqrt((1 - counts.observed / scored) / counts.observed)) if enough else 1.0
    return Told(
        quarter=counts.quarter,
        assessed=shown(counts.assessed, least),
        scored=shown(counts.scored, least),
        flagged=shown(counts.flagged, least),
        with_dxa=shown(counts.with_dxa, least),
        osteoporosis=shown(counts.osteoporosis, least),
        mean_t_score=round(counts.t_scores / counts.with_dxa, 1) if counts.with_dxa >= least else None,
        flagged_with_osteoporosis_share=(
            round(counts.flagged_with_osteoporosis / counts.flagged_with_dxa, 2) if flags else None
        ),
        mean_risk_percent=round(100 * counts.expected / scored, 0) if enough else None,
        observed_percent=round(100 * counts.observed / scored, 0) if enough else None,
        observed_expected=(round(ratio, 2), round(ratio / spread, 2), round(ratio * spread, 2)) if enough else None,
    )
