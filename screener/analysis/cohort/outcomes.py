"""Closing the loop: of the women whom the job assessed in a quarter, how many had a DXA afterwards, and what it showed.

Each quarter is judged as the job would have judged at its end, by the results of that quarter. What is counted is DXA on or after the day
of the magnesium result, within a time; a DXA before it led to no decision that an assessment could have helped.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from math import exp, sqrt
from pathlib import Path

import msgspec

from screener.analysis.cohort.files import cohort_bytes
from screener.analysis.cohort.women import Woman, occasion_of, woman
from screener.assessment.reconcile import Rules
from screener.base.batches import batches
from screener.base.errors import InputError
from screener.base.progress import Progress
from screener.base.small_counts import shown
from screener.clinical.dates import epoch_us
from screener.clinical.judge import Verdict, day_of
from screener.clinical.labels import Evidence, Label, LabelReader, LabelRule, LabelTables, TScore, label, latest
from screener.clinical.records import Method
from screener.run.deciding import judge, read
from screener.run.opening import Opened
from screener.run.site import Site
from screener.stores.patient_order import in_order
from screener.stores.protocols import Mode, Scope

_Z = 1.959964  # of a 95 % interval


class OutcomesRequest(msgspec.Struct, frozen=True):
    """What one call asks for."""

    quarters: int = 8
    within_days: int = 365
    least_count: int = 5
    out: Path | None = None
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


class QuarterShown(msgspec.Struct, frozen=True):
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
    """The quarters, the oldest first, then all together, where a woman counts once, with the first assessment that a DXA
    followed, else with the first: her results of other quarters are no further evidence. `failed`: patients whose records break a rule; they are in no quarter."""

    within_days: int
    failed: int | None
    suppressed_below: int
    quarters: Sequence[QuarterShown]
    together: QuarterShown


def outcomes(site: Site, opened: Opened, labels: LabelTables, request: OutcomesRequest, progress: Progress) -> Outcomes:
    """Read, judge each quarter and follow up. Nothing is written but `out`. Raises ScreenerError where the source cannot be read."""
    now = request.now or opened.as_of
    spans = quarters(now.date(), request.quarters, request.within_days)
    if not spans:
        raise InputError("No quarter is over for so long", "Give fewer --within-days")
    rule = LabelRule(max_gap_days=request.within_days, after_only=True)
    reader = LabelReader(site.mapper, rule.kind, labels)
    pulled = _pull(opened, site.rules_of_cohort(now), reader, rule, spans, progress)
    if request.out is not None:
        from model.atomic import write_whole  # noqa: PLC0415 - only where a file is asked for

        write_whole(request.out, [cohort_bytes(pulled.women, request.out.suffix)], private=True)
    return Outcomes(
        request.within_days,
        shown(len(pulled.failed), request.least_count),
        request.least_count,
        [_shown(counts, request.least_count) for counts in pulled.counts],
        _shown(pulled.together, request.least_count),
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
    together: Counts
    women: list[Woman] = []
    failed: set[str] = set()


def _pull(
    opened: Opened,
    rules: Rules,
    reader: LabelReader,
    rule: LabelRule,
    spans: Sequence[tuple[date, date]],
    progress: Progress,
) -> _Pulled:
    source, today = opened.source, day_of(rules.now_us)
    pulled = _Pulled([Counts(f"{first.year}Q{(first.month + 2) // 3}") for first, _ in spans], Counts("all"))
    patients = in_order(source.population(Scope(Mode.BACKFILL, oldest=spans[0][0].isoformat())))
    progress(0, len(patients))
    done = 0
    for part in batches(patients, opened.batch_patients):
        records = read(source, part)
        evidence: dict[str, list[Evidence]] = {}
        for row in source.read_more(reader, part):
            evidence.setdefault(row.patient, []).append(row)
        for record in records:
            known = [row for row in latest(evidence.get(record.patient, ())) if not _is_later(row, today)]
            of_hers: list[tuple[Verdict, Label, Rules]] = []
            for counts, span in zip(pulled.counts, spans, strict=True):
                of_quarter = _rules_of(span, rules)
                for verdict in judge([record], of_quarter, pulled.failed.add, as_of_occasion=True):
                    if verdict.occasions:  # else she would not have been assessed
                        found = label(known, occasion_of(verdict).mg.moment.day, rule)
                        _count(counts, verdict, found)
                        of_hers.append((verdict, found, of_quarter))
            if of_hers:
                _once(pulled, of_hers)
        done += len(part)
        progress(done, len(patients))
    return pulled


def _once(pulled: _Pulled, of_hers: Sequence[tuple[Verdict, Label, Rules]]) -> None:
    """Of all quarters together, and in the file, a woman counts once: with the first assessment that a DXA followed, else with the first."""
    verdict, found, rules = next((one for one in of_hers if one[1].osteoporosis is not None), of_hers[0])
    _count(pulled.together, verdict, found)
    if found.osteoporosis is not None:
        pulled.women.append(woman(verdict, found, rules.policy, rules.now_us))


def _is_later(row: Evidence, day: int) -> bool:
    return isinstance(row, TScore) and row.day > day


def _rules_of(quarter: tuple[date, date], rules: Rules) -> Rules:
    """The rules at the end of a quarter, by the magnesium of that quarter."""
    first, end = quarter
    of_quarter = msgspec.structs.replace(rules.policy, lookback_days=(end - first).days)
    end_us = epoch_us(datetime(end.year, end.month, end.day, 23, 59, 59, tzinfo=UTC))
    return msgspec.structs.replace(rules, policy=of_quarter, now_us=end_us)


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


def _shown(counts: Counts, least: int) -> QuarterShown:
    # None at all is no small count, and says something of many women.
    events_shown = counts.observed >= least or counts.observed == 0
    enough = events_shown and counts.scored_with_dxa - counts.observed >= least
    flags = min(counts.flagged_with_osteoporosis, counts.flagged_with_dxa - counts.flagged_with_osteoporosis) >= least
    scored = counts.scored_with_dxa or 1
    return QuarterShown(
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
        observed_expected=_ratio(counts.observed, counts.expected, scored) if enough else None,
    )


def _ratio(observed: int, expected: float, women: int) -> tuple[float, float, float]:
    """Observed over expected with its 95 % interval. Without any event its upper end is where none would be seen by chance in 2.5 % of
    such groups: (1 - p) ^ women = 0.025."""
    if not observed:
        return 0.0, 0.0, round((1 - 0.025 ** (1 / women)) * women / expected, 2)
    ratio, spread = observed / expected, exp(_Z * sqrt((1 - observed / women) / observed))
    return round(ratio, 2), round(ratio / spread, 2), round(ratio * spread, 2)
