"""What a run is compared with before it writes. The figures are written out, and the sums done by hand."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from screener.config.settings import LimitSettings
from screener.run.counts import Counts
from screener.run.figures import AnalyteFigures, Figures, analyte_figures, kept, size_of, together
from screener.run.limits import Compared, History, exceeded
from screener.stores.protocols import Mode

MG = AnalyteFigures(used=400, refused=20, units={"mmol/L": 400}, median=0.84)
USUAL = Figures(
    patients=1000,
    candidates=600,
    scored=300,
    flags_made=500,
    flagged=250,
    created=10,
    amended=10,
    retracted=1,
    types={"Condition": 200, "Procedure": 20},
    analytes={"mg": MG},
)


def limits_of(
    now: Figures, *before: Figures, mode: Mode = Mode.NIGHTLY, changed: Sequence[str] = (), **more: Any
) -> list[str]:
    """The names of the limits that are exceeded."""
    history = History(before, more.pop("writing", before), changed=changed, backfilled=bool(before))
    shows = more.pop("shows", lambda _: True)
    settings = LimitSettings(**more.pop("settings", {}))
    unchecked = dict.fromkeys(more.pop("unchecked", ()), "")
    run = Compared(now, mode, unchecked=unchecked, to_folder=more.pop("folder", False), **more)
    return [found.limit for found in exceeded(run, history, settings, shows)]


def changed(**fields: Any) -> Figures:
    return msgspec.structs.replace(USUAL, **fields)


def of_mg(**fields: Any) -> Figures:
    return changed(analytes={"mg": msgspec.structs.replace(MG, **fields)})


def test_a_night_like_the_others_is_written() -> None:
    assert limits_of(USUAL, USUAL, USUAL) == []
    assert limits_of(USUAL, USUAL, mode=Mode.BACKFILL) == []


@pytest.mark.parametrize(
    ("now", "limits"),
    [
        (changed(retracted=201), ["retracted", "retracted_share", "rise"]),
        (changed(retracted=51), ["retracted_share", "rise"]),  # 5 % of 1,000 patients is 50
        (changed(retracted=50), ["rise"]),
        (changed(failed=101), ["failed_share"]),
        (changed(failed=100), []),
        (changed(created=5001), ["created", "rise"]),
        (changed(amended=31), ["rise"]),  # more than three times 10, which chance brings about once in 10^8
        (changed(amended=30), []),
        (changed(scored=149), ["fall"]),  # less than half of 300
        (changed(scored=150), []),
        (changed(types={"Condition": 99, "Procedure": 20}), ["fall"]),
        (changed(types={"Condition": 200}), ["fall"]),
        (changed(types={"Condition": 200, "Procedure": 8}), []),  # of 20: exp(8 - 20 - 8 ln 0.4) is 0.9 %
        (changed(types={"Condition": 200, "Procedure": 5}), ["fall"]),  # exp(5 - 20 - 5 ln 0.25) is 0.03 %
        (changed(flagged=351), ["rate_shift"]),  # 50 % to 70.2 %
        (changed(flagged=349), []),
        (of_mg(median=1.06), ["median_shift"]),  # 1.06 / 0.84 is 1.262
        (of_mg(median=0.62), ["median_shift"]),  # 0.62 / 0.84 is 0.738
        (of_mg(median=1.0), []),
        (of_mg(median=None), []),
        (of_mg(units={"mmol/L": 290, "mg/dL": 110}), ["unit_shift", "unit_shift"]),  # 27.5 % of 400
        (of_mg(units={"mmol/L": 310, "mg/dL": 90}), []),
        (of_mg(refused=140), ["rate_shift"]),  # 20 of 420 to 140 of 540: 4.8 % to 25.9 %
        (of_mg(refused=100), []),
    ],
)
def test_each_limit(now: Figures, limits: list[str]) -> None:
    assert limits_of(now, USUAL) == limits


def test_a_full_reconcile_changes_little() -> None:
    busy = changed(created=251, amended=251)
    assert limits_of(busy, busy, mode=Mode.BACKFILL) == ["created_share", "amended_share"]
    assert limits_of(busy, busy) == []  # a night: everyone that it looks at has new results


def test_a_first_night_looks_at_other_patients_than_the_backfill_before_it() -> None:
    """Only shares of women with a usable magnesium are compared."""
    night = changed(patients=100, candidates=20, scored=10, created=25, amended=0, types={"Condition": 7})
    assert limits_of(night, USUAL, writing=(), settings={"rate_shift": 1}) == []
    assert limits_of(night, USUAL, settings={"rate_shift": 1}) == ["rise"]
    many = changed(candidates=6000)
    assert limits_of(many, USUAL, writing=()) == ["fall", "fall", "fall"]


def test_few_of_many_are_no_rise_unless_they_are_taken_back() -> None:
    """A week in which more results than usual grow old amends more assessments; what is taken back is looked at."""
    usual = changed(patients=10_000, created=1, amended=5, retracted=1)
    assert limits_of(changed(patients=10_000, created=1, amended=200), usual) == []
    assert limits_of(changed(patients=10_000, created=1, amended=201), usual) == ["rise"]  # more than 2 %
    assert limits_of(changed(patients=10_000, created=1, amended=5, retracted=30), usual) == ["rise"]


def test_the_first_backfill_has_its_own_limit() -> None:
    first = changed(created=25_001)
    assert limits_of(first, mode=Mode.BACKFILL) == ["first_backfill"]
    assert limits_of(changed(created=25_000), mode=Mode.BACKFILL) == []
    assert limits_of(first, mode=Mode.BACKFILL, folder=True) == []
    assert limits_of(first, mode=Mode.BACKFILL, settings={"first_backfill": 0}) == []


@pytest.mark.parametrize("part", ["the model", "the policy"])
def test_what_changed_is_said_where_anything_is_written_by_it(part: str) -> None:
    nothing = changed(created=0, amended=0, retracted=0)
    assert limits_of(changed(created=0, amended=1, retracted=0), changed=[part]) == ["changed"]
    assert limits_of(nothing, changed=[part]) == []


def test_few_are_no_share() -> None:
    assert limits_of(Figures(patients=20, retracted=19)) == []
    assert limits_of(Figures(patients=20, retracted=20)) == ["retracted_share"]


def test_a_type_too_rare_to_count_is_asked_for() -> None:
    rare = Figures(patients=30, candidates=9, types={"Condition": 3})
    gone = Figures(patients=30, candidates=9)
    assert limits_of(gone, rare, shows=lambda _: False) == ["fall"]
    assert limits_of(gone, rare, shows=lambda _: True) == []
    assert limits_of(gone, rare, shows=lambda _: None) == []  # the source cannot be asked
    assert limits_of(gone, rare, shows=lambda _: False, unchecked={"Condition"}) == []
    assert limits_of(gone, Figures(patients=30, candidates=9, types={"Condition": 2}), shows=lambda _: False) == []


def test_a_night_without_anybody_is_asked_about() -> None:
    assert limits_of(Figures(), USUAL, shows=lambda _: True) == []
    assert limits_of(Figures(), USUAL, shows=lambda kind: kind != "Observation") == ["fall"]


def test_named_patients_are_compared_by_what_falls_only() -> None:
    assert limits_of(changed(created=900, flagged=0, standing=0), USUAL, mode=Mode.NAMED, shows=lambda _: None) == []
    gone = changed(scored=0, types={})
    assert limits_of(gone, USUAL, mode=Mode.NAMED, shows=lambda _: None) == ["fall"] * 3
    few = changed(patients=6, candidates=6, scored=2, types={})
    assert limits_of(few, USUAL, mode=Mode.NAMED, shows=lambda _: None) == []
    assert limits_of(few, USUAL, mode=Mode.NAMED, shows=lambda _: None, silent={"Condition": 6}) == ["fall"]


@pytest.mark.parametrize("mode", list(Mode))
def test_a_first_run_that_sees_nothing_of_a_required_type_is_stopped(mode: Mode) -> None:
    first = changed(created=0, amended=0, retracted=0, types={})
    assert limits_of(first, mode=mode, silent={"Condition": 50, "Procedure": 0}) == ["fall", "fall"]
    assert limits_of(first, mode=mode, silent={"Condition": 49}) == []
    few = changed(created=0, amended=0, retracted=0, types={}, patients=49, candidates=40)
    assert limits_of(few, mode=mode, silent={"Procedure": 0}) == []  # of an export
    # Whoever accepted it once has answered: later runs are compared with that one.
    assert limits_of(first, first, mode=mode, silent={"Condition": 50}) == []


def test_several_runs_count_as_one() -> None:
    other = Figures(
        patients=1000, analytes={"mg": AnalyteFigures(used=100, refused=1, units={"mg/dL": 100}, median=1.04)}
    )
    both = together([USUAL, other])
    assert (both.patients, both.scored, both.types) == (2000, 300, USUAL.types)
    mg = AnalyteFigures(used=500, refused=21, units={"mmol/L": 400, "mg/dL": 100}, median=pytest.approx(0.88))  # type: ignore[arg-type]
    assert both.analytes["mg"] == mg  # (400 * 0.84 + 100 * 1.04) / 500


def test_a_median_is_right_to_a_step_and_is_of_many_only() -> None:
    counts = Counts()
    for value in ("0.70", "0.80", "0.90"):
        counts.used["mg", "2601-3", "mmol/L", size_of(Decimal(value))] += 17
    found = analyte_figures(counts.used, counts.refusals)["mg"]
    assert found.used == 51
    assert found.median == pytest.approx(0.80, rel=0.022)
    counts.used["mg", "2601-3", "mmol/L", size_of(Decimal("0.70"))] -= 2
    assert analyte_figures(counts.used, counts.refusals)["mg"].median is None


@pytest.mark.parametrize("summary", [None, {}, {"error": "it stopped"}, {"figures": {"patients": "many"}}])
def test_a_run_without_figures_is_not_compared_with(summary: dict[str, Any] | None) -> None:
    assert kept(summary) is None
    assert kept({"figures": msgspec.to_builtins(USUAL)}) == USUAL
