"""Who may be assessed: the rules that no case shows whole, because they depend on a site's policy or on a day."""

import pytest

from model import load_artefact
from screener.assessment.texts import Texts, available
from screener.clinical.judge import Verdict, judge
from screener.clinical.policy import Policy
from screener.clinical.records import Exclusion, Menopause, Method, Outcome, Version
from tests.builders import NOW_US, OCCASION, complete, desired, record, woman, writer

DAY = OCCASION.toordinal()
YOUNG = woman(birth_date="1979-03-02")  # 46 on the occasion
FROM_40 = Policy(minimum_age_surgical_years=40)


def verdict(*statements: Menopause | Exclusion, policy: Policy = FROM_40, young: bool = True) -> Verdict:
    whole = record(
        *complete(),
        person=YOUNG if young else woman(),
        menopause=tuple(row for row in statements if isinstance(row, Menopause)),
        exclusions=tuple(row for row in statements if isinstance(row, Exclusion)),
    )
    return judge([whole], policy, load_artefact(), NOW_US)[0]


def menopause(status: str, days: int, *, surgical: bool = False) -> Menopause:
    return Menopause("p1", "Condition", f"{status}{days}", Version(), status, DAY + days, surgical=surgical)


def condition(rule: str, days: int, *, caveat: bool = False, until: int = 0) -> Exclusion:
    end = DAY + until if until else 0
    return Exclusion("p1", "Condition", rule, Version(), rule, DAY + days, end, caveat=caveat)


def test_a_woman_whose_ovaries_were_removed_is_assessed_from_the_sites_age_on() -> None:
    found = verdict(menopause("post", -400, surgical=True))
    assert (found.outcome, found.reason) == (Outcome.SCORED, "complete")
    assert found.scores is not None
    assert "age_years" in found.scores.extrapolated  # the model was made from women of 50 and older
    assert "menopause_presumed" not in found.occasions[Method.NOMOGRAM].marks


@pytest.mark.parametrize(
    ("statements", "policy"),
    [
        ((), FROM_40),
        ((menopause("post", -400),), FROM_40),  # early, and not by surgery
        ((menopause("post", -400, surgical=True),), Policy()),  # the site did not ask for it
        ((menopause("post", -400, surgical=True),), Policy(minimum_age_surgical_years=47)),
    ],
)
def test_other_women_below_50_are_too_young(statements: tuple[Menopause, ...], policy: Policy) -> None:
    assert verdict(*statements, policy=policy).reason == "too_young"


def test_results_of_the_time_before_the_operation_do_not_count() -> None:
    assert verdict(menopause("post", 1, surgical=True)).reason == "too_young"


def test_a_lower_age_for_some_never_raises_it_for_them() -> None:
    policy = Policy(minimum_age_years=50, minimum_age_surgical_years=70)
    assert verdict(menopause("post", -400, surgical=True), policy=policy, young=False).outcome is Outcome.SCORED


@pytest.mark.parametrize("status", ["pre", "peri"])
@pytest.mark.parametrize(("years", "counts"), [(1, True), (4, True), (6, False), (20, False)])
def test_that_menopause_had_not_come_is_outdated_after_five_years(status: str, years: int, counts: bool) -> None:  # noqa: FBT001
    found = verdict(menopause(status, -365 * years + 200), young=False)
    assert found.reason == (f"{status}menopausal" if counts else "complete")
    if not counts:
        told = verdict(menopause(status, -365 * years + 200), policy=Policy(presumed_until_years=70), young=False)
        assert "menopause_presumed" in told.occasions[Method.NOMOGRAM].marks


def test_menopause_itself_is_never_outdated() -> None:
    found = verdict(menopause("post", -365 * 30), young=False)
    assert "menopause_presumed" not in found.occasions[Method.NOMOGRAM].marks


def test_an_amputation_is_a_caveat_and_no_exclusion() -> None:
    found = verdict(condition("amputation", -1000, caveat=True), young=False)
    assert found.outcome is Outcome.SCORED
    written = desired(found, writer())[Method.NOMOGRAM]
    assert any("amputation is recorded" in note["text"] for note in written["note"])
    later = verdict(condition("amputation", 1, caveat=True), young=False)  # after her weight was taken
    assert not any("amputation" in note["text"] for note in desired(later, writer())[Method.NOMOGRAM]["note"])


def test_a_condition_of_the_sites_own_has_a_sentence_too() -> None:
    found = verdict(condition("oedema", -10, caveat=True), young=False)
    written = desired(found, writer())[Method.FLAG]
    assert "A recorded condition bears on this estimate: oedema." in [note["text"] for note in written["note"]]


def test_a_pregnancy_that_is_over_excludes_nobody_today() -> None:
    during = condition("pregnancy", -100, until=199)
    assert verdict(during, young=False).reason == "excluded_pregnancy"
    assert verdict(condition("pregnancy", -10_000, until=-9_701), young=False).outcome is Outcome.SCORED


# What the rules mark, the assessment has to say, in each language


MARKS = [
    "menopause_presumed",
    "near_cut_off",
    "other_side:51.2",
    "mg_known_by_comparator",
    "age_from_partial_birth_date",
    "exclusions_not_checked:Condition",
    "extrapolated:age_years",
    "unusual:mg",
    "unit_unlike_code:mg",
    "specimen_whole_blood:mg",
    "reduced_nomogram:age",
    "condition:amputation",
    "condition:anything",
    "uncalibrated",
]


@pytest.mark.parametrize("language", available())
@pytest.mark.parametrize("mark", MARKS)
def test_every_mark_has_a_sentence(language: str, mark: str) -> None:
    sentence = Texts(language).caveat(mark)
    assert len(sentence) > 20
    assert "$" not in sentence


@pytest.mark.parametrize("language", available())
def test_the_languages_say_the_same_things(language: str) -> None:
    theirs, ours = Texts(language).sentences, Texts("en").sentences
    assert theirs.keys() == ours.keys()
    for key, sentence in theirs.items():
        assert ("$detail" in sentence) is ("$detail" in ours[key]), key
