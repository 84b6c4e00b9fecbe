"""Coverage of a source: read and judge everyone with magnesium as the job would, look at a sample's codes, write nothing."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime

import msgspec
import structlog

from screener.analysis.as_sent import SentReader, Stated, StatedReader
from screener.analysis.coverage.tally import CodeSeen, SystemSeen, Tally, systems
from screener.analysis.suggestions import Suggestions
from screener.assessment.reconcile import Rules
from screener.base.batches import batches
from screener.base.errors import ServerError, is_about_the_type
from screener.base.progress import Progress
from screener.base.small_counts import shown
from screener.clinical import eligibility, occasions
from screener.clinical.dates import instant_text
from screener.clinical.judge import Verdict, at_or_below, day_of
from screener.clinical.mapping import Mapper
from screener.clinical.policy import Policy
from screener.clinical.records import NOMOGRAM_RESULTS, Analyte, Method, Outcome
from screener.clinical.units import UnitTable
from screener.clinical.wire import EXCLUDING
from screener.run.deciding import judge
from screener.run.opening import Opened
from screener.run.site import Site
from screener.stores.patient_order import in_order
from screener.stores.protocols import FullSource, everyone

log = structlog.get_logger()

SCHEMA_VERSION = 1


class CoverageRequest(msgspec.Struct, frozen=True):
    """What one call asks for. `sample`: of so many women of the age all codes are looked at (0: of all)."""

    sample: int = 500
    limit: int = 0
    least_count: int = 5
    now: datetime | None = None


class AnalyteSeen(msgspec.Struct, frozen=True):
    """How many women have a usable result where the nomogram would look for it: magnesium within the lookback, the others in their
    windows around the newest magnesium that has a value."""

    analyte: str
    women: int | None


class Coverage(msgspec.Struct, frozen=True):
    """The whole answer. Counts of few are None, and the others are multiples of `suppressed_below`; see `shown`."""

    instant: str
    suppressed_below: int
    women_of_the_age: int | None
    patients_with_magnesium: int | None
    patients_looked_at: int | None
    women_eligible_with_magnesium: int | None
    analytes: list[AnalyteSeen]
    outcomes: dict[str, dict[str, int | None]]
    excluded_by: dict[str, dict[str, int | None]]
    caveats_by: dict[str, dict[str, int | None]]
    flagged: int | None
    refused: dict[str, dict[str, int | None]]
    exclusions_not_checked: dict[str, str]
    not_offered: list[str]
    unreadable_resources: int
    women_sampled: int | None
    mapped_codes: list[CodeSeen]
    unmapped_codes: list[CodeSeen]
    unmapped_codes_of_few_patients: int
    excluding: list[SystemSeen]
    schema_version: int = SCHEMA_VERSION


def cover(site: Site, opened: Opened, request: CoverageRequest, progress: Progress) -> Coverage:
    """Read and count. Nothing is written anywhere. Raises ScreenerError where the source cannot be read.

    A type that cannot be read is what the user wants to know, and does not stop the command.
    """
    source, batch, tables = opened.source, opened.batch_patients, site.tables
    now = request.now or opened.as_of
    look = _Look(source, site.rules(now))
    patients = in_order(source.population(everyone(now.date(), site.policy.lookback_days)))
    looked_at = patients[: request.limit] if request.limit else patients
    at_most = request.sample or 10**9
    women, total = _women(source, _born_until(now.date(), site.policy), at_most)
    sample = in_order({*women, *looked_at[:at_most]})
    units = UnitTable(tables.units, tables.ranges)
    tally = Tally(Suggestions(tables.units), units, request.least_count)
    whole = len(looked_at) + len(sample)
    for done in look.judge_all(looked_at, batch):
        progress(done, whole)
    stated: list[Stated] = []
    for share in _tally(tally, stated, source, site.mapper, sample, batch):
        progress(len(looked_at) + int(share * len(sample)), whole)
    listed = {(kind, row.system) for row in tables.exclusions for kind in row.kinds}
    excluding = systems(stated, listed, request.least_count)
    return look.coverage(request.least_count, len(patients), total, len(sample), tally, excluding)


def _women(source: FullSource, born_until: str, at_most: int) -> tuple[list[str], int | None]:
    """Women of the age; none where the server will not search for them: then only patients with magnesium are looked at."""
    try:
        return source.women(born_until, at_most)
    except ServerError as error:
        if not is_about_the_type(error):
            raise
        log.warning("women_not_counted", why=error.what)
        return [], None


def _born_until(today: date, policy: Policy) -> str:
    """The birth date of whoever is just old enough today."""
    years = min(policy.minimum_age_years, policy.minimum_age_surgical_years)
    return date.fromordinal(today.toordinal() - int(years * 365.25)).isoformat()


def _tally(
    tally: Tally, stated: list[Stated], source: FullSource, mapper: Mapper, sample: Sequence[str], batch: int
) -> Iterator[float]:
    """Codes and units of the sample, and the code systems of what may exclude; gives the share that is done.

    One reader after the other, for a folder is read once for each.
    """
    reader = SentReader(mapper, everything=True)
    excluding = [StatedReader(mapper, kind) for kind in sorted(EXCLUDING) if _readable(source, kind)]
    parts = list(batches(sample, batch))
    steps = len(parts) * (1 + len(excluding))
    done = 0
    for part in parts:
        # A resource may come twice, on two pages: by its id it counts once.
        tally.add({row.id: row for row in source.read_more(reader, part)}.values())
        done += 1
        yield done / steps
    for other in excluding:
        kind = next(iter(other.kinds))
        for part in parts:
            if _readable(source, kind):
                stated += _stated(source, other, kind, part)
            done += 1
            yield done / steps


def _readable(source: FullSource, kind: str) -> bool:
    return kind not in source.reading.not_readable and kind not in source.reading.not_offered


def _stated(source: FullSource, reader: StatedReader, kind: str, patients: Sequence[str]) -> list[Stated]:
    """The statements of one type. A type that cannot be read is reported as not checked."""
    try:
        rows = list({row.id: row for row in source.read_more(reader, patients)}.values())
        known = source.medicines({row.medicine for row in rows if row.medicine})
        return [reader.resolved(row, known.get(row.medicine)) if row.medicine else row for row in rows]
    except ServerError as error:
        if not is_about_the_type(error):
            raise
        source.reading.cannot(kind, error.what)
        return []


class _Look:
    """The verdicts of everyone with magnesium, counted."""

    def __init__(self, source: FullSource, rules: Rules) -> None:
        self.source, self._rules = source, rules
        self._policy, self._now_us = rules.policy, rules.now_us
        self._looked_at = self._eligible = self._flagged = 0
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._refused: Counter[tuple[str, str]] = Counter()
        self._excluded: Counter[tuple[str, str]] = Counter()  # rule, row of the list
        self._caveats: Counter[tuple[str, str]] = Counter()  # of those who are only a caveat
        self._have: Counter[Analyte] = Counter()

    def judge_all(self, patients: Sequence[str], batch: int) -> Iterator[int]:
        """Count everyone; gives how many are done after each batch."""
        done = 0
        for part in batches(patients, batch):
            records = self.source.records(part, ())
            self._looked_at += len(records)
            for verdict in judge(records, self._rules, self._failed):
                self._count(verdict)
            done += len(part)
            yield done

    def _failed(self, _: str) -> None:
        self._outcomes[Outcome.FAILED.value, "internal_error"] += 1

    def _count(self, verdict: Verdict) -> None:
        self._have.update(self._there(verdict))
        self._outcomes[verdict.outcome.value, verdict.reason] += 1
        self._refused.update((row.analyte.value, row.reason) for row in verdict.view.refusals)
        if verdict.occasions or verdict.reason.startswith("excluded_"):
            today = day_of(self._now_us)
            holding = [row for row in verdict.view.exclusions if eligibility.holds(row, today)]
            self._excluded.update({(row.rule, row.by) for row in holding})
            noted = [row for row in verdict.view.conditions if eligibility.holds(row, today)]
            self._caveats.update({(row.rule, row.by or "by its words") for row in noted})
        occasion = verdict.occasions.get(Method.FLAG)
        self._eligible += occasion is not None
        self._flagged += occasion is not None and at_or_below(occasion.mg)

    def _there(self, verdict: Verdict) -> Iterable[Analyte]:
        """The analytes that a woman who may be assessed has around her newest magnesium."""
        if Method.FLAG not in verdict.occasions:
            return ()
        facts = occasions.until_now(verdict.view.facts, self._now_us)
        with_value = [mg for mg in occasions.magnesium(facts, day_of(self._now_us), self._policy) if not mg.comparator]
        around = occasions.predictors_around(with_value[0], facts, self._policy) if with_value else {}
        return (Analyte.MG, *around)

    def coverage(
        self, least: int, patients: int, women: int | None, sampled: int, tally: Tally, excluding: list[SystemSeen]
    ) -> Coverage:
        """The answer, with small counts suppressed."""
        return Coverage(
            instant=instant_text(self._now_us),
            suppressed_below=least,
            women_of_the_age=None if women is None else shown(women, least),
            patients_with_magnesium=shown(patients, least),
            patients_looked_at=shown(self._looked_at, least),
            women_eligible_with_magnesium=shown(self._eligible, least),
            analytes=[AnalyteSeen(analyte.value, shown(self._have[analyte], least)) for analyte in NOMOGRAM_RESULTS],
            outcomes=_nested(self._outcomes, least),
            excluded_by=_nested(self._excluded, least),
            caveats_by=_nested(self._caveats, least),
            flagged=shown(self._flagged, least),
            refused=_nested(self._refused, least),
            exclusions_not_checked=self.source.reading.not_whole,
            not_offered=sorted(self.source.reading.not_offered),
            unreadable_resources=self.source.reading.bad_lines,
            women_sampled=shown(sampled, least),
            mapped_codes=tally.mapped(),
            unmapped_codes=tally.unmapped(),
            unmapped_codes_of_few_patients=tally.few(),
            excluding=excluding,
        )


def _nested(counts: Counter[tuple[str, str]], least: int) -> dict[str, dict[str, int | None]]:
    found: dict[str, dict[str, int | None]] = {}
    for (group, name), count in sorted(counts.items()):
        found.setdefault(group, {})[name] = shown(count, least)
    return found
