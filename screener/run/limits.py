"""Whether a run's difference is larger than the site allows, before any of it is written.

Against fixed limits, and against the last runs of the same kind: what a scope that was narrowed in silence, a laboratory that changed
its unit, or a wrong table does to many patients at once shows here first. What changes few patients, or all of them slowly, does not.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from math import exp, log

import msgspec

from screener.base.plural import counted
from screener.config.settings import LimitSettings
from screener.run.figures import AnalyteFigures, Figures, together
from screener.stores.protocols import Mode

_CHANCE = 0.001  # a fall or a rise that chance brings about more often than this is none
_NOTICED = 0.02  # created or amended for each patient: less is no rise, as when a week's results grow old
_ENOUGH_TO_ASK = 3  # patients of one run
_ENOUGH_TO_MISS = 50  # patients of whom some have a diagnosis, a procedure or a medicine wherever these are recorded
_ENOUGH = 100  # results or women below which a rate is not compared
_WRITES = ("created", "amended", "retracted")

Shows = Callable[[str], bool | None]  # whether the source shows any resource of a type; None where it cannot be asked


class Exceeded(msgspec.Struct, frozen=True):
    """One limit that is exceeded: its name in the configuration, and the figures in words."""

    limit: str
    words: str


class History(msgspec.Struct, frozen=True):
    """What is known of earlier runs with the same source and destination.

    `runs` are those to compare with (none where the model, the tables or the policy changed); `writing` are those of them that wrote as
    this run would: of the same kind, and not a first backfill, which amends nothing; `changed` names what changed since the last run; `backfilled` is whether there was a full run before; `unchecked` are
    the excluding types that the last run could not read, None where there was none.
    """

    runs: Sequence[Figures] = ()
    writing: Sequence[Figures] = ()
    changed: Sequence[str] = ()
    backfilled: bool = False
    unchecked: frozenset[str] | None = None


class Compared(msgspec.Struct, frozen=True):
    """What is compared of a run. `unchecked`: excluding types that it could not read, and why. `silent`: required ones that showed nothing
    at all, with how many patients they were asked for (0 for all). `to_folder`: the difference goes to a folder, whose first run may be of any size."""

    figures: Figures
    mode: Mode
    unchecked: Mapping[str, str] = {}
    accepted: bool = False
    to_folder: bool = False
    silent: Mapping[str, int] = {}


def exceeded(run: Compared, history: History, limits: LimitSettings, shows: Shows) -> list[Exceeded]:
    """Every limit that the difference exceeds; [] where it may be written. What falls is looked at in runs of every kind.

    The fall of a type that the run may do without and could not read is said elsewhere.
    """
    now, mode, folder, silent = run.figures, run.mode, run.to_folder, run.silent
    before = together(history.runs)
    types = {kind: count for kind, count in before.types.items() if kind not in run.unchecked}
    before = msgspec.structs.replace(before, types=types)
    found = [*_counts(now, mode, history, limits, folder=folder), *_shares(now, mode, history, limits)]
    if any(getattr(now, name) for name in _WRITES):
        found += [
            Exceeded("changed", f"{what} changed since the last run, and this run is the first to write with it")
            for what in history.changed
        ]
    if not before.patients:
        return [*found, *_never_shown(now, silent)]
    most_seen = {kind: max(run.types.get(kind, 0) for run in history.runs) for kind in before.types}
    found += [
        *_falls(now, before, limits),
        *_nothing_left(now, most_seen, lambda kind: _shows_any(kind, silent, shows)),
    ]
    if mode is not Mode.NAMED:
        found += _rises(now, together(history.writing), limits)
        found += [
            *_nobody_left(now, history.runs, shows),
            *(() if folder else _none_stands(now, history.runs, shows)),
            *_shifts(now, before, limits),
        ]
    return found


def _shows_any(kind: str, silent: Collection[str], shows: Shows) -> bool | None:
    """Whether the source shows any resource of a type. Where it lets nobody ask across patients, what it showed of these ones counts."""
    found = shows(kind)
    return False if found is None and kind in silent else found


def _never_shown(now: Figures, silent: Mapping[str, int]) -> Iterator[Exceeded]:
    """A first run that sees nothing of a required type in many patients most likely may not see it."""
    for kind, asked in silent.items():
        patients = asked or now.patients
        if patients >= _ENOUGH_TO_MISS:
            yield Exceeded(
                "fall",
                f"the source shows no {kind} of any of {counted(patients, 'patient')}, and no earlier run says that this is usual. "
                "Where there truly are none, --accept-large-change lets this run through, and later runs compare with it",
            )


def _counts(now: Figures, mode: Mode, history: History, limits: LimitSettings, *, folder: bool) -> Iterator[Exceeded]:
    first = mode is Mode.BACKFILL and not history.backfilled
    for name in (*_WRITES, "failed"):
        limit = "first_backfill" if name == "created" and first else name
        allowed = getattr(limits, limit)
        count = getattr(now, name)
        if allowed and count > allowed and not (folder and limit == "first_backfill"):
            yield Exceeded(limit, f"{_said(name, count)}; the limit is {allowed:,}")


def _shares(now: Figures, mode: Mode, history: History, limits: LimitSettings) -> Iterator[Exceeded]:
    names = ["retracted", "failed"]
    if mode is Mode.BACKFILL and history.backfilled:
        names += ["created", "amended"]
    for name in names:
        count, allowed = getattr(now, name), getattr(limits, f"{name}_share")
        if count >= limits.at_least and count > allowed * now.patients:
            yield Exceeded(
                f"{name}_share",
                f"{_said(name, count)}, for {counted(now.patients, 'patient')} looked at; the limit is {allowed:.0%}",
            )


def _rises(now: Figures, before: Figures, limits: LimitSettings) -> Iterator[Exceeded]:
    if not before.patients:
        return
    for name in _WRITES:
        count = getattr(now, name)
        usual = max(getattr(before, name), 1) * now.patients / before.patients
        noticed = name == "retracted" or count > _NOTICED * now.patients
        if noticed and count >= limits.at_least and count > limits.rise * usual and _chance(count, usual) < _CHANCE:
            yield Exceeded("rise", f"{_said(name, count)}, where the last runs lead one to expect {usual:,.0f}")


def _falls(now: Figures, before: Figures, limits: LimitSettings) -> Iterator[Exceeded]:
    if not before.candidates:
        return
    share = now.candidates / before.candidates
    if _fell(now.scored, before.scored * share, limits):
        yield Exceeded(
            "fall",
            f"scored: {counted(now.scored, 'woman', 'women')}, where the last runs lead one to expect {before.scored * share:,.0f}",
        )
    for kind, earlier in sorted(before.types.items()):
        seen = now.types.get(kind, 0)
        if _fell(seen, earlier * share, limits):
            yield Exceeded(
                "fall",
                f"{counted(seen, 'woman', 'women')} with a {kind} that bears on the rules, where the last runs lead one to expect "
                f"{earlier * share:,.0f}",
            )


def _nobody_left(now: Figures, before: Sequence[Figures], shows: Shows) -> Iterator[Exceeded]:
    """A night without any patient stops the run only where the source shows no result at all."""
    earlier = max(run.patients for run in before)
    if not now.patients and earlier >= _ENOUGH_TO_ASK and shows("Observation") is False:
        yield Exceeded("fall", "the source shows no Observation at all, and earlier runs saw patients with results")


def _none_stands(now: Figures, before: Sequence[Figures], shows: Shows) -> Iterator[Exceeded]:
    """Assessments that are not shown would be written again, and none would be taken back."""
    earlier = max(max(run.standing, run.created) for run in before)
    if now.patients and not now.standing and earlier >= _ENOUGH_TO_ASK and shows("RiskAssessment") is False:
        yield Exceeded(
            "fall", "the destination shows no RiskAssessment of ours at all, and earlier runs left some there"
        )


def _nothing_left(now: Figures, most_seen: Mapping[str, int], shows: Shows) -> Iterator[Exceeded]:
    """Where too few patients have a type for their fall to say anything, the source is asked whether it shows any at all."""
    for kind, earlier in sorted(most_seen.items()):
        if now.candidates and kind not in now.types and earlier >= _ENOUGH_TO_ASK and shows(kind) is False:
            yield Exceeded("fall", f"the source shows no {kind} at all, and earlier runs saw it")


def _fell(count: int, usual: float, limits: LimitSettings) -> bool:
    return count < (1 - limits.fall) * usual and _chance(count, usual) < _CHANCE


def _chance(count: int, usual: float) -> float:
    """How likely a count so far from the usual one is at most (Chernoff's bound of a Poisson distribution's tail)."""
    return exp(count - usual - (count * log(count / usual) if count else 0))


def _shifts(now: Figures, before: Figures, limits: LimitSettings) -> Iterator[Exceeded]:
    if now.flags_made >= _ENOUGH and before.flags_made >= _ENOUGH:
        rate, usual = now.flagged / now.flags_made, before.flagged / before.flags_made
        if abs(rate - usual) > limits.rate_shift:
            yield Exceeded("rate_shift", f"{rate:.0%} of women are flagged, and {usual:.0%} in the last runs")
    for name, earlier in before.analytes.items():
        yield from _of_analyte(name, now.analytes.get(name, AnalyteFigures()), earlier, limits)


def _of_analyte(name: str, now: AnalyteFigures, before: AnalyteFigures, limits: LimitSettings) -> Iterator[Exceeded]:
    if now.median is not None and before.median is not None:
        moved = abs(now.median / before.median - 1)
        if moved > limits.median_shift:
            yield Exceeded(
                "median_shift",
                f"the median of {name} is {now.median:.3g}, and {before.median:.3g} in the last runs: did its unit change?",
            )
    if now.used >= _ENOUGH and before.used >= _ENOUGH:
        for unit in sorted({*now.units, *before.units}):
            share, usual = now.units.get(unit, 0) / now.used, before.units.get(unit, 0) / before.used
            if abs(share - usual) > limits.unit_shift:
                yield Exceeded(
                    "unit_shift", f"{share:.0%} of {name} results are in {unit}, and {usual:.0%} in the last runs"
                )
    results, earlier = now.used + now.refused, before.used + before.refused
    if results >= _ENOUGH and earlier >= _ENOUGH:
        rate, usual = now.refused / results, before.refused / earlier
        if abs(rate - usual) > limits.rate_shift:
            yield Exceeded("rate_shift", f"{rate:.0%} of {name} results are refused, and {usual:.0%} in the last runs")


def _said(name: str, count: int) -> str:
    return (
        f"{counted(count, 'patient')} failed" if name == "failed" else f"{counted(count, 'assessment')} would be {name}"
    )
