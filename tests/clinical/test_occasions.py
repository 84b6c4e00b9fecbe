"""Which results an assessment rests on: each window at its first and last day, each tie, and what became of the others."""

from decimal import Decimal

import msgspec
import pytest

from screener.clinical.occasions import (
    PREDICTORS,
    fate,
    magnesium,
    missing,
    nomogram_facts,
    not_in_future,
    predictors_around,
    reduced_facts,
    until_now,
)
from screener.clinical.policy import Policy
from screener.clinical.records import Analyte, Fact, Moment, Version
from tests.builders import NOW_US, OCCASION, complete, fact, moment

POLICY = Policy()
DAY = OCCASION.toordinal()
MG = fact(Analyte.MG, "0.84")
P, CTX, P1NP, WEIGHT, HEIGHT = Analyte.P, Analyte.CTX, Analyte.P1NP, Analyte.WEIGHT, Analyte.HEIGHT


def chosen(*facts: Fact, analyte: Analyte = P, policy: Policy = POLICY) -> str:
    """The id of the result around the magnesium; "" for none."""
    found = predictors_around(MG, facts, policy).get(analyte)
    return found.id if found else ""


@pytest.mark.parametrize(
    ("analyte", "days", "within"),
    [
        (P, -91, False), (P, -90, True), (P, 14, True), (P, 15, False),
        (CTX, -91, False), (CTX, -90, True), (CTX, 14, True), (CTX, 15, False),
        (P1NP, -91, False), (P1NP, -90, True), (P1NP, 14, True), (P1NP, 15, False),
        (WEIGHT, -366, False), (WEIGHT, -365, True), (WEIGHT, 15, True), (WEIGHT, 365, True), (WEIGHT, 366, False),
        (HEIGHT, -3653, False), (HEIGHT, -3652, True), (HEIGHT, 15, True), (HEIGHT, 3652, True), (HEIGHT, 3653, False),
    ],
)  # fmt: skip
def test_each_window_at_its_first_and_last_day(analyte: Analyte, days: int, within: bool) -> None:  # noqa: FBT001
    assert bool(chosen(fact(analyte, "1", days), analyte=analyte)) is within


def test_a_site_sets_each_window() -> None:
    narrow = Policy(marker_days_before=2, marker_days_after=1, weight_days=3, height_days=4)
    for analyte, first, last in ((P, -2, 1), (CTX, -2, 1), (P1NP, -2, 1), (WEIGHT, -3, 3), (HEIGHT, -4, 4)):
        inside = [day for day in range(-6, 7) if chosen(fact(analyte, "1", day), analyte=analyte, policy=narrow)]
        assert (inside[0], inside[-1]) == (first, last)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (
            fact(P, "1", -14, id="z"),
            fact(P, "1", 1, id="a"),
        ),  # before the magnesium comes first, however near the later one is
        (fact(P, "1", 0, id="z"), fact(P, "1", -1, id="a")),  # the nearest day
        (fact(P, "1", -1, id="z"), fact(P, "1", -2, id="a")),
        (fact(P, "1", 2, id="z"), fact(P, "1", 3, id="a")),
        (fact(P, "1", 0.1, id="z", rank=0), fact(P, "1", 0, id="a", rank=1)),  # measured before stated, on one day
        (fact(P, "1", -0.1, id="z"), fact(P, "1", -0.2, id="a")),  # the nearest instant of the day
        (fact(P, "1", 0.1, id="z"), fact(P, "1", -0.2, id="a")),
        (fact(P, "1", 0, id="a", issued_us=2), fact(P, "1", 0, id="z", issued_us=1)),  # the later issued
        (fact(P, "1", 0, id="a", version=Version(1, 3)), fact(P, "1", 0, id="z", version=Version(1, 2))),
        (fact(P, "1", 0, id="b"), fact(P, "1", 0, id="a")),  # then the id: always the same
    ],
)
def test_the_better_of_two_whatever_their_order(better: Fact, worse: Fact) -> None:
    assert chosen(better, worse) == chosen(worse, better) == better.id


def test_only_the_analytes_that_are_asked_for_are_looked_at() -> None:
    facts = [*complete(), fact(Analyte.OCN, "20")]
    assert predictors_around(MG, facts, POLICY).keys() == set(PREDICTORS)
    assert predictors_around(MG, facts, POLICY, [P, Analyte.OCN]).keys() == {P, Analyte.OCN}


def test_magnesium_of_the_lookback_the_newest_first() -> None:
    today = DAY + 730
    old, oldest = fact(Analyte.MG, "0.9", -1, id="old"), fact(Analyte.MG, "0.9", -1.2, id="older")
    edge, newer = fact(Analyte.MG, "0.8", 0, id="edge"), fact(Analyte.MG, "0.7", 3, id="newer")
    other = fact(P, "1", 2)
    assert [one.id for one in magnesium([old, edge, other, newer, oldest], today, POLICY)] == ["newer", "edge"]
    assert [one.id for one in magnesium([edge], today, POLICY)] == ["edge"]
    assert magnesium([edge], today + 1, POLICY) == []


@pytest.mark.parametrize(
    ("last", "first"),
    [
        ({"issued_us": 2, "id": "a"}, {"issued_us": 1, "id": "z"}),
        ({"version": Version(1, 3), "id": "a"}, {"version": Version(1, 2), "id": "z"}),
        ({"id": "b"}, {"id": "a"}),
    ],
)
def test_magnesium_of_one_instant(last: dict[str, object], first: dict[str, object]) -> None:
    later, earlier = fact(Analyte.MG, "0.9", 0, **last), fact(Analyte.MG, "0.8", 0, **first)
    assert magnesium([earlier, later], DAY, POLICY)[0] is later
    assert magnesium([later, earlier], DAY, POLICY)[0] is later


def test_the_newest_magnesium_with_all_others_around_it() -> None:
    lone = fact(Analyte.MG, "0.9", 100, id="lone")
    below = fact(Analyte.MG, "0.5", 5, id="below", comparator="<")
    whole = complete()
    mg = magnesium([lone, below, *whole], DAY + 100, POLICY)
    found = nomogram_facts(mg, [lone, below, *whole], POLICY, PREDICTORS)
    assert [one.analyte for one in found.facts] == [Analyte.MG, *PREDICTORS]
    assert (found.facts[0].value, found.reduced) == (Decimal("0.84"), "")
    assert nomogram_facts(mg, whole[:-1], POLICY, PREDICTORS).facts == ()
    assert nomogram_facts([below], whole, POLICY, PREDICTORS).facts == ()


def test_a_reduced_nomogram_takes_the_newest_magnesium_that_fits() -> None:
    lone = fact(Analyte.MG, "0.9", 100, id="lone")
    below = fact(Analyte.MG, "0.5", 5, id="below", comparator="<")
    facts = [lone, below, MG, fact(P, "1.1"), fact(CTX, "0.4")]
    mg = magnesium(facts, DAY + 100, POLICY)

    def choose(there: frozenset[Analyte]) -> tuple[str, frozenset[Analyte]] | None:
        return ("with-p", frozenset({P})) if P in there else None

    found = reduced_facts(mg, facts, POLICY, choose, PREDICTORS)
    assert (found.reduced, [one.analyte for one in found.facts]) == ("with-p", [Analyte.MG, P])
    assert found.facts[0] is MG
    assert reduced_facts([lone], facts, POLICY, choose, PREDICTORS).facts == ()


def test_what_the_newest_magnesium_with_a_value_lacks() -> None:
    below = fact(Analyte.MG, "0.5", 5, id="below", comparator="<")
    assert missing([below], [], POLICY, PREDICTORS) == "missing_mg_value"
    assert missing([below, MG], [*complete()], POLICY, PREDICTORS) == "missing_"
    assert missing([MG], [fact(P, "1"), fact(WEIGHT, "60")], POLICY, PREDICTORS) == "missing_ctx+p1np+height"


def test_results_after_the_runs_instant_are_left_out() -> None:
    now_us = moment(3).instant_us
    before, at, after = fact(P, "1", 2), fact(P, "1", 3), fact(P, "1", 3.00001)
    assert [one.id for one in until_now([before, at, after], now_us)] == [before.id, at.id]
    assert not_in_future(at, now_us)
    assert not not_in_future(after, now_us)


def test_a_result_of_which_only_the_day_is_known_may_be_of_its_morning() -> None:
    """Noon UTC stands for the day, which begins 14 hours before midnight UTC in the east."""
    day = OCCASION.toordinal()
    noon_us = moment(0).instant_us + 4 * 3_600_000_000
    day_only = msgspec.structs.replace(MG, moment=Moment(OCCASION.isoformat(), day, noon_us))
    hour_us = 3_600_000_000
    shown = [hours for hours in (1, 12, 25, 26, 27, 40) if until_now([day_only], noon_us - hours * hour_us)]
    assert shown == [1, 12, 25, 26]


def test_what_became_of_each_result() -> None:
    used = complete()
    today, needed = DAY + 10, PREDICTORS

    def of(one: Fact, used_: tuple[Fact, ...] = used, now_us: int = NOW_US) -> str:
        return fate(one, used_, today, now_us, POLICY, needed)

    assert {of(one) for one in used} == {"used"}
    assert of(fact(P, "1", 300)) == "in_future"
    assert of(fact(Analyte.OCN, "20")) == "no_predictor"
    assert of(fact(P, "1", -1), ()) == "no_occasion"
    assert of(fact(P, "1", -1)) == "another_preferred"
    assert of(fact(P, "1", -91)) == "outside_window"
    assert of(fact(Analyte.MG, "0.8", -721)) == "before_lookback"
    assert of(fact(Analyte.MG, "0.8", -720)) == "older"
    assert of(fact(Analyte.MG, "0.8", 3)) == "incomplete"
    assert of(fact(Analyte.MG, "0.8", 3, comparator="<")) == "no_value"
    assert of(fact(Analyte.MG, "0.8", -3), ()) == "incomplete"
