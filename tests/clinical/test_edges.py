"""Who may be assessed, and what a reader must know: each rule on its first day, its last day, and the day beyond."""

from decimal import Decimal
from itertools import permutations

import pytest

from screener.clinical import caveats, eligibility
from screener.clinical.merge import PatientView, merge
from screener.clinical.policy import Policy
from screener.clinical.records import Analyte, Demographics, Exclusion, Fact, Menopause, Refusal, Version
from tests.builders import OCCASION, complete, fact, record, refusal, woman

POLICY = Policy()
DAY = OCCASION.toordinal()
MG = fact(Analyte.MG, "0.80")


def view(*rows: Fact | Refusal, **fields: object) -> PatientView:
    return merge(record(*rows, **fields))  # type: ignore[arg-type]


def statement(rule: str, start: int = 0, end: int = 0, **fields: object) -> Exclusion:
    """Days count from the occasion; 0 is unknown."""
    days = {"start_day": DAY + start if start else 0, "end_day": DAY + end if end else 0}
    given = {
        "patient": "p1",
        "resource": "Condition",
        "id": f"{rule}{start}",
        "version": Version(1, 1),
        **days,
        **fields,
    }
    return Exclusion(rule=rule, **given)  # type: ignore[arg-type]


def menopause(status: str, days: int | None = None, **fields: object) -> Menopause:
    """`days` from the occasion; None for an undated statement."""
    given = {"resource": "Condition", "id": f"{status}{days}", "version": Version(1, 1), **fields}
    return Menopause(patient="p1", status=status, day=0 if days is None else DAY + days, **given)  # type: ignore[arg-type]


# Who


def test_why_a_patient_is_not_assessed_whatever_the_occasion() -> None:
    assert eligibility.who(None, POLICY) == "patient_missing"
    assert eligibility.who(woman(), POLICY) == ""
    assert [eligibility.who(woman(sex=sex), POLICY) for sex in ("male", "other", "unknown")] == [
        "sex_male",
        "sex_other",
        "sex_unknown",
    ]
    assert eligibility.who(woman(merged=True, active=False), POLICY) == "merged"
    assert eligibility.who(woman(active=False, deceased=True), POLICY) == "inactive"
    assert eligibility.who(woman(deceased=True), POLICY) == "deceased"


@pytest.mark.parametrize(
    ("born", "reason"),
    [
        ("", "birth_date_missing"), ("malformed", "birth_date_missing"),
        ("1975-06-01", ""), ("1975-06-02", "too_young"),  # 50 on the day
        ("1975-06", "age_uncertain"), ("1975-05", ""), ("1975-07", "too_young"),
        ("1975", "age_uncertain"), ("1974", ""), ("1976", "too_young"),
        ("1909-06-02", ""), ("1909-06-01", "birth_date_implausible"),  # 115, 116
    ],
)  # fmt: skip
def test_age_on_a_day(born: str, reason: str) -> None:
    person = woman(birth_date=born)
    assert eligibility.age(view(person=person), person, DAY, POLICY) == reason


def test_completed_years_and_whether_they_are_exact() -> None:
    assert eligibility.completed_years(woman(birth_date="1958-06-01"), DAY) == (67, True)
    assert eligibility.completed_years(woman(birth_date="1958-06-02"), DAY) == (66, True)
    assert eligibility.completed_years(woman(birth_date="1958"), DAY) == (66, False)
    assert eligibility.completed_years(woman(birth_date="1958-03"), DAY) == (67, True)


# Menopause


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ((), ""),
        ((menopause("post", 0),), "post"), ((menopause("post", 1),), ""),  # on the day, after it
        ((menopause("pre"),), "pre"), ((menopause("peri"),), "peri"), ((menopause("post"),), "post"),  # undated: it holds
        ((menopause("pre", -1826),), "pre"), ((menopause("pre", -1827),), ""),  # five years
        ((menopause("peri", -1826),), "peri"), ((menopause("peri", -1827),), ""),
        ((menopause("post", -9999),), "post"),
        ((menopause("pre", -10), menopause("post", -5)), "post"), ((menopause("post", -10), menopause("pre", -5)), "pre"),
        ((menopause("pre"), menopause("post", -5)), "post"),
        ((menopause("period", -1, last_period_day=DAY - 1),), ""),
    ],
)  # fmt: skip
def test_the_menopausal_status_on_a_day(rows: tuple[Menopause, ...], status: str) -> None:
    for ordered in permutations(rows):
        assert eligibility.menopause_status(view(menopause=ordered), DAY, POLICY) == status
    expected = {"pre": "premenopausal", "peri": "perimenopausal"}.get(status, "")
    periods = any(row.last_period_day for row in rows)
    assert eligibility.not_menopausal(view(menopause=rows), DAY, DAY, POLICY) == (
        "perimenopausal" if periods else expected
    )


def test_of_two_statements_of_one_day_the_later_version_holds_then_the_id() -> None:
    older, newer = (
        menopause("pre", -5, id="a", version=Version(1, 1)),
        menopause("post", -5, id="b", version=Version(2, 1)),
    )
    assert eligibility.menopause_status(view(menopause=(newer, older)), DAY, POLICY) == "post"
    first, last = menopause("post", -5, id="a"), menopause("pre", -5, id="b")
    assert eligibility.menopause_status(view(menopause=(last, first)), DAY, POLICY) == "pre"


@pytest.mark.parametrize(
    ("days_before", "counts"), [(0, True), (1, True), (364, True), (365, False), (400, False), (-30, True)]
)
def test_a_last_period_counts_for_twelve_months(days_before: int, counts: bool) -> None:  # noqa: FBT001
    last = menopause("period", -400, last_period_day=DAY - days_before)
    assert eligibility.had_period(view(menopause=(last,)), DAY) is counts
    assert eligibility.not_menopausal(view(menopause=(last,)), DAY, DAY, POLICY) == ("perimenopausal" if counts else "")


@pytest.mark.parametrize(("operation", "counts"), [(-21, True), (-20, False), (0, False), (1, True)])
def test_periods_end_with_the_ovaries(operation: int, counts: bool) -> None:  # noqa: FBT001
    last = menopause("period", -20, last_period_day=DAY - 20)
    removed = menopause("post", operation, surgical=True)
    assert eligibility.had_period(view(menopause=(last, removed)), DAY) is counts
    assert eligibility.had_period(view(menopause=(last, menopause("post", 0))), DAY)  # not by surgery
    assert not eligibility.had_period(view(menopause=(removed,)), DAY)


def test_the_later_of_two_last_periods_counts() -> None:
    long_ago, lately = (menopause("period", -n, last_period_day=DAY - n) for n in (800, 100))
    for rows in permutations((long_ago, lately)):
        assert eligibility.had_period(view(menopause=rows), DAY)


def test_from_which_age_after_the_ovaries_were_removed() -> None:
    policy = Policy(minimum_age_surgical_years=40)
    least = [
        eligibility.minimum_age_years(view(menopause=(row,)), DAY, policy)
        for row in (
            menopause("post", 0, surgical=True),
            menopause("post", 1, surgical=True),
            menopause("post", 0),
            menopause("pre", 0, surgical=True),
        )
    ]
    assert least == [40, 50, 50, 50]
    assert eligibility.minimum_age_years(view(), DAY, policy) == 50


# Exclusions


@pytest.mark.parametrize(
    ("start", "end", "holds"),
    [(0, 0, True), (-1, 0, True), (1, 0, False), (-9, -1, False), (0, -1, False), (0, 1, True), (-9, 5, True)],
)
def test_a_statement_holds_from_its_first_to_its_last_day(start: int, end: int, holds: bool) -> None:  # noqa: FBT001
    assert eligibility.holds(statement("paget", start, end), DAY) is holds


def test_a_statement_holds_on_its_first_and_on_its_last_day() -> None:
    row = Exclusion("p1", "Condition", "c", Version(), "paget", DAY, DAY)
    assert [eligibility.holds(row, DAY + days) for days in (-1, 0, 1)] == [False, True, False]


def test_the_first_rule_by_name_is_the_reason() -> None:
    rows = (statement("renal", -5), statement("malignancy", -5), statement("anabolic", 5))
    assert eligibility.excluded(view(exclusions=rows), DAY) == "excluded_malignancy"
    assert eligibility.excluded(view(exclusions=rows[2:]), DAY) == ""
    assert eligibility.excluded(view(), DAY) == ""


def test_reasons_against_an_occasion_come_in_one_order() -> None:
    """Age, menopause, exclusions then and now, kidneys, documented osteoporosis."""
    young, peri = woman(birth_date="1980"), menopause("peri", -5)
    then, now = statement("paget", -5, 5), statement("renal", 90)
    low = fact(Analyte.EGFR, "20", 90)
    known = statement("osteoporosis", -5, caveat=True)
    skip = Policy(documented="skip")

    def reason(*rows: Fact, **fields: object) -> str:
        return eligibility.at_occasion(view(*rows, **fields), DAY, DAY + 100, skip)

    every = {"exclusions": (then, now, known), "menopause": (peri,)}
    assert reason(low, person=young, **every) == "too_young"
    assert reason(low, **every) == "perimenopausal"
    assert reason(low, exclusions=(then, now, known)) == "excluded_paget"
    assert reason(low, exclusions=(now, known)) == "excluded_renal"
    assert reason(low, exclusions=(known,)) == "excluded_renal"
    assert reason(exclusions=(known,)) == "osteoporosis_documented"
    assert reason() == ""
    assert (
        eligibility.at_occasion(view(person=Demographics("x", Version(), "female")), DAY, DAY, skip)
        == "patient_missing"
    )


@pytest.mark.parametrize(
    ("value", "comparator", "below"),
    [
        ("29.9", "", True),
        ("30", "", False),
        ("30", "<", True),
        ("30.1", "<", False),
        ("15", "<", True),
        ("90", ">", False),
    ],
)
def test_a_result_below_a_limit(value: str, comparator: str, below: bool) -> None:  # noqa: FBT001
    egfr = fact(Analyte.EGFR, value, comparator=comparator)
    assert eligibility.below(egfr, Decimal(30)) is below
    assert eligibility.excluded_by_measurement(view(egfr), DAY, POLICY) == ("excluded_renal" if below else "")


@pytest.mark.parametrize(("days", "counts"), [(1, False), (0, True), (-730, True), (-731, False)])
def test_the_newest_kidney_function_of_the_lookback(days: int, counts: bool) -> None:  # noqa: FBT001
    low = fact(Analyte.EGFR, "20", days)
    assert eligibility.excluded_by_measurement(view(low, fact(Analyte.MG, "0.8")), DAY, POLICY) == (
        "excluded_renal" if counts else ""
    )
    better = fact(Analyte.EGFR, "60", -1)
    assert eligibility.excluded_by_measurement(view(fact(Analyte.EGFR, "20", -2), better), DAY, POLICY) == ""
    assert eligibility.excluded_by_measurement(
        view(fact(Analyte.EGFR, "60", -2), fact(Analyte.EGFR, "20", -1)), DAY, POLICY
    )


@pytest.mark.parametrize("rule", ["osteoporosis", "fragility_fracture", "dxa"])
def test_documented_osteoporosis_keeps_out_only_where_the_site_says_so(rule: str) -> None:
    known = view(exclusions=(statement(rule, -5, caveat=True),))
    skipped = eligibility.documented(known, DAY, Policy(documented="skip"))
    assert skipped == ("" if rule == "dxa" else "osteoporosis_documented")
    assert eligibility.documented(known, DAY, POLICY) == ""
    assert eligibility.documented(known, DAY - 6, Policy(documented="skip")) == ""
    assert eligibility.conditions(known, DAY) == [rule]


# Caveats of the results


@pytest.mark.parametrize(
    ("value", "near"), [("0.824", False), ("0.825", True), ("0.845", True), ("0.865", True), ("0.866", False)]
)
def test_near_the_cut_off(value: str, near: bool) -> None:  # noqa: FBT001
    assert ("near_cut_off" in caveats.of_results([fact(Analyte.MG, value)], POLICY)) is near


def test_magnesium_known_by_a_comparator_is_near_nothing() -> None:
    assert caveats.of_results([fact(Analyte.MG, "0.845", comparator="<")], POLICY) == {"mg_known_by_comparator"}


def test_marks_name_their_analyte_and_an_old_height_its_day() -> None:
    used = [
        MG,
        fact(Analyte.P, "1", marks=("unusual",)),
        fact(Analyte.HEIGHT, "158", -1827),
        fact(Analyte.WEIGHT, "60", -9999),
    ]
    assert caveats.of_results(used, POLICY) == {"unusual:p", "height_old:2020-05-31"}
    assert caveats.of_results([MG, fact(Analyte.HEIGHT, "158", -1826)], POLICY) == set()
    assert caveats.of_results([MG, fact(Analyte.HEIGHT, "158", 1827)], POLICY) == set()


# Caveats of the patient


def known(*rows: Fact, today: int = DAY, **fields: object) -> set[str]:
    return caveats.of_patient(view(*rows, **fields), DAY, today, POLICY)


def test_results_are_old_from_the_181st_day_on() -> None:
    assert known(today=DAY + 180) == set()
    assert known(today=DAY + 181) == {"results_old:2025-06-01"}


def test_what_was_not_checked_is_named() -> None:
    assert known(unchecked=("Procedure", "Condition")) == {
        "exclusions_not_checked:Condition",
        "exclusions_not_checked:Procedure",
    }


def test_conditions_hold_on_the_occasion_or_today() -> None:
    rows = (
        statement("hormones", -9, -5, caveat=True),
        statement("diuretic", -9, 1, caveat=True),
        statement("mgus", 5, caveat=True),
        statement("amputation", 5, caveat=True),
        statement("suspected:malignancy", -5, caveat=True, words="Mamma-Ca?"),
    )
    assert known(exclusions=rows) == {"diuretic", "suspected:malignancy:Mamma-Ca?"}
    assert known(exclusions=rows, today=DAY + 10) == {"diuretic", "mgus", "suspected:malignancy:Mamma-Ca?"}


@pytest.mark.parametrize(
    ("scores", "rows", "caveat"),
    [
        ([], [], ""),
        ([], [0], "dxa_on_record"),  # undated
        ([], [-30], "dxa_on_record:2025-05-02"),
        ([("-2.1", -30), ("-2.9", -30)], [], "dxa_on_record:2025-05-02:-2.9"),  # the lowest of the day
        ([("-2.9", -31), ("-1.0", -30)], [], "dxa_on_record:2025-05-02:-1.0"),  # of the newest day
        ([("-2.9", -31)], [-30], "dxa_on_record:2025-05-02"),
        ([("-2.9", -30)], [-31], "dxa_on_record:2025-05-02:-2.9"),
        ([("-2.9", 1)], [], ""),  # after today
        ([("-2.9", 0)], [], "dxa_on_record:2025-06-01:-2.9"),
    ],
)
def test_a_bone_density_on_record(scores: list[tuple[str, int]], rows: list[int], caveat: str) -> None:
    facts = [fact(Analyte.T_SCORE, value, days, id=f"t{n}") for n, (value, days) in enumerate(scores)]
    stated = tuple(statement("dxa", days, caveat=True) for days in rows)
    assert known(*facts, exclusions=stated) == ({caveat} if caveat else set())


@pytest.mark.parametrize(
    ("calcium", "albumin", "caveat"),
    [
        ("2.60", None, ""), ("2.61", None, "calcium_high:2.61:2025-06-01"),
        ("2.60", ("39", 0), "calcium_high:2.62:2025-06-01"), ("2.62", ("41", 0), ""),
        ("2.62", ("41", 7), ""), ("2.62", ("41", -7), ""),
        ("2.62", ("41", 8), "calcium_high:2.62:2025-06-01"), ("2.62", ("41", -8), "calcium_high:2.62:2025-06-01"),
    ],
)  # fmt: skip
def test_calcium_corrected_by_albumin(calcium: str, albumin: tuple[str, int] | None, caveat: str) -> None:
    rows = [fact(Analyte.CALCIUM, calcium)] + ([fact(Analyte.ALBUMIN, *albumin)] if albumin else [])
    assert known(*rows, today=DAY + 10) == ({caveat} if caveat else set())


def test_the_nearest_albumin_and_the_newest_calcium_count() -> None:
    near, far = fact(Analyte.ALBUMIN, "41", 1), fact(Analyte.ALBUMIN, "30", 2)
    assert known(fact(Analyte.CALCIUM, "2.62"), near, far, today=DAY + 10) == set()
    first, second = fact(Analyte.ALBUMIN, "41", -1, id="a"), fact(Analyte.ALBUMIN, "30", 1, id="b")
    assert known(fact(Analyte.CALCIUM, "2.62"), second, first, today=DAY + 10) == set()
    assert known(fact(Analyte.CALCIUM, "2.9", -5), fact(Analyte.CALCIUM, "2.3", -4)) == set()
    assert known(fact(Analyte.CALCIUM, "2.9", 1)) == set()  # after today
    assert known(fact(Analyte.CALCIUM, "2.9", -730)) == {"calcium_high:2.90:2023-06-02"}
    assert known(fact(Analyte.CALCIUM, "2.9", -731)) == set()


def test_calcium_above_the_laboratorys_own_range_is_high() -> None:
    assert known(fact(Analyte.CALCIUM, "2.55", marks=("above_range",))) == {"calcium_high:2.55:2025-06-01"}


# Merge


def test_only_the_latest_copy_of_a_result_counts_whatever_came_of_it() -> None:
    old, new = (
        fact(Analyte.MG, "0.8", id="o", version=Version(1, 9)),
        fact(Analyte.MG, "0.9", id="o", version=Version(2, 1)),
    )
    gone = refusal(Analyte.MG, "withdrawn", id="o", version=Version(3, 1), withdrawn=True)
    for rows in permutations((old, new)):
        assert [one.value for one in view(*rows).facts] == [Decimal("0.9")]
    copies: tuple[Fact | Refusal, ...] = (old, new, gone)
    for every in permutations(copies):
        found = view(*every)
        assert (found.facts, [one.reason for one in found.refusals]) == ((), ["withdrawn"])
    assert view(old, gone, fact(Analyte.P, "1")).facts == (fact(Analyte.P, "1"),)


def test_versions_come_by_time_then_by_number_then_by_their_bytes() -> None:
    low, high = (
        fact(Analyte.MG, "0.8", id="o", version=Version(1, 1)),
        fact(Analyte.MG, "0.9", id="o", version=Version(1, 2)),
    )
    for rows in permutations((low, high)):
        assert view(*rows).facts == (high,)
    one, other = fact(Analyte.MG, "0.8", id="o"), fact(Analyte.MG, "0.9", id="o")
    assert view(one, other).facts == view(other, one).facts


def test_results_and_statements_come_in_one_order() -> None:
    rows: list[Fact | Refusal] = [
        fact(Analyte.P, "1", id="b"),
        fact(Analyte.MG, "1", id="a"),
        refusal(Analyte.MG, "x", id="c"),
    ]
    found = view(*reversed(rows))
    assert [one.id for one in found.facts] == ["a", "b"]
    assert [one.id for one in found.measurements] == ["a", "b", "c"]
    assert [row.rule for row in view(exclusions=(statement("renal", 1), statement("paget", 1))).exclusions] == [
        "paget",
        "renal",
    ]


def test_a_later_copy_with_another_rule_takes_the_older_one_back() -> None:
    old = statement("malignancy", -9, id="c", version=Version(1, 1))
    new = statement("renal", -9, id="c", version=Version(2, 1))
    refuted = statement("malignancy", -9, id="c", version=Version(3, 1), counts=False)
    for rows in permutations((old, new)):
        assert [row.rule for row in view(exclusions=rows).exclusions] == ["renal"]
    for every in permutations((old, new, refuted)):
        assert view(exclusions=every).exclusions == ()
    both = (old, statement("renal", -9, id="c", version=Version(1, 1)))
    assert [row.rule for row in view(exclusions=both).exclusions] == ["malignancy", "renal"]


def test_resources_of_two_types_may_share_an_id() -> None:
    rows = (statement("renal", -9, id="1"), statement("renal", -9, id="1", resource="Procedure"))
    assert len(view(exclusions=rows).exclusions) == 2
    statuses = (menopause("pre", -9, id="1"), menopause("post", -9, id="1", resource="Observation"))
    assert len(view(menopause=statuses).menopause) == 2


def test_what_does_not_count_is_in_no_view() -> None:
    assert view(menopause=(menopause("pre", -9, counts=False),)).menopause == ()
    caveat, exclusion = statement("dxa", -9, caveat=True), statement("paget", -9)
    found = view(exclusions=(caveat, exclusion))
    assert (found.conditions, found.exclusions) == ((caveat,), (exclusion,))
    assert view(unchecked=("b", "a", "b"), unreadable=("d", "c", "d")).unchecked == ("a", "b")
    assert view(unreadable=("d", "c", "d")).unreadable == ("c", "d")


def test_a_person_is_the_latest_copy_of_her_own_resource() -> None:
    copies = (woman(birth_date="1950", version=Version(1, 1)), woman(birth_date="1951", version=Version(2, 1)))
    other = Demographics("another", Version(9, 9), "male")
    whole = record(*complete())
    for rows in permutations((*copies, other)):
        found = merge(type(whole)(patient="p1", demographics=rows)).demographics
        assert found is not None
        assert found.birth_date == "1951"


@pytest.mark.parametrize("where", ["facts", "exclusions", "demographics", ""])
def test_a_label_anywhere_labels_the_view(where: str) -> None:
    label = ("R",)
    found = view(
        fact(Analyte.MG, "0.8", security=label if where == "facts" else ()),
        exclusions=(statement("paget", -9, security=label if where == "exclusions" else ()),),
        person=woman(security=label if where == "demographics" else ()),
    )
    assert found.labelled is bool(where)
