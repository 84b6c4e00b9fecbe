"""What an assessment says besides its result: in which order, in which words, and what it says at another prevalence."""

import re
from decimal import Decimal

import msgspec
import pytest

from model import PAPER_PREVALENCE, at_prevalence
from screener.assessment.resource import AssessmentWriter
from screener.assessment.texts import Texts
from screener.clinical.judge import judge
from screener.clinical.policy import Policy
from screener.clinical.records import Analyte, Exclusion, Method, PatientRecord, Version
from screener.visit.cards import card
from tests.builders import NOW_US, PATIENT, complete, desired, fact, moment, record, writer

JUST_NOW = 150  # days after the occasion of the builders: results of then are not old


def known(rule: str, words: str = "") -> Exclusion:
    about = (PATIENT, "Condition", f"c-{rule}", Version(1, 1))
    return Exclusion(*about, rule, moment(-10).day, caveat=True, words=words)


def notes(patient: PatientRecord, by: AssessmentWriter, method: Method = Method.NOMOGRAM) -> list[str]:
    (verdict,) = judge([patient], Policy(), by.artefact, NOW_US)
    return [note["text"] for note in desired(verdict, by)[method]["note"]]


def test_what_a_doctor_must_know_first_comes_first() -> None:
    patient = record(
        *complete(JUST_NOW),
        fact(Analyte.T_SCORE, "-2.7", 100),
        fact(Analyte.CALCIUM, "2.75", JUST_NOW),
        exclusions=(known("osteoporosis"), known("suspected:renal", "ESRD")),
    )
    begins = [
        "Osteoporosis is already documented",
        "A bone density measurement (DXA) of 2025-09-09 is on record, with a lowest T-score of -2.7.",
        'A record that is on no list of this program reads like a reason not to use this estimate (severe kidney disease): "ESRD".',
        "Calcium was high (2.75 mmol/L on 2025-10-29)",
        "The probability comes from the published model",
    ]
    for note, begin in zip(notes(patient, writer()), begins, strict=False):
        assert note.startswith(begin)


def test_the_note_converts_an_uncalibrated_risk_where_the_site_says_its_prevalence() -> None:
    patient = record(*complete(JUST_NOW))
    (plain,) = (n for n in notes(patient, writer()) if n.startswith("The probability comes"))
    assert "its interval does not cover the difference in prevalence" in plain
    (converted,) = (n for n in notes(patient, writer(prevalence=Decimal(20))) if n.startswith("The estimate is"))
    (verdict,) = judge([patient], Policy(), writer().artefact, NOW_US)
    assert verdict.scores is not None
    assert "moved to a prevalence of 20 %" in converted
    assert f"The published {100 * verdict.scores.risk:.1f} % (" in converted


def test_the_number_for_this_site_comes_first_wherever_it_stands() -> None:
    """Headline, coded value and interval say the site's number; the published one stands second."""
    patient = record(*complete(JUST_NOW, mg="0.84"))
    (verdict,) = judge([patient], Policy(), writer().artefact, NOW_US)
    assert verdict.scores is not None
    own = 100 * at_prevalence(verdict.scores.risk, PAPER_PREVALENCE, 0.2)
    other = 100 * at_prevalence(verdict.scores.other_side_risk or 0, PAPER_PREVALENCE, 0.2)
    found = desired(verdict, writer(prevalence=Decimal(20)))[Method.NOMOGRAM]
    (prediction,) = found["prediction"]
    assert float(prediction["probabilityDecimal"]) == pytest.approx(own, abs=0.05)
    assert "qualitativeRisk" not in prediction
    assert (
        f"<b>Estimated probability of osteoporosis where 20 % of the women have it, as this site says of its own: {own:.1f} %"
        in found["text"]["div"]
    )
    (beside,) = (one for one in prediction["extension"] if one["url"].endswith("/published-probability"))
    assert float(beside["extension"][0]["valueQuantity"]["value"]) == pytest.approx(100 * verdict.scores.risk, abs=0.05)
    assert f"On the other side of the magnesium cut-off the estimate would be {other:.1f} %." in [
        n["text"] for n in found["note"]
    ]


def test_without_a_number_of_the_sites_her_rank_comes_first() -> None:
    patient = record(*complete(JUST_NOW))
    (verdict,) = judge([patient], Policy(), writer().artefact, NOW_US)
    assert verdict.scores is not None
    found = desired(verdict, writer())[Method.NOMOGRAM]
    (prediction,) = found["prediction"]
    fifth = 1 + sum(verdict.scores.risk > edge for edge in writer().artefact.fifths)
    (coding,) = prediction["qualitativeRisk"]["coding"]
    assert coding["code"] == f"fifth-{fifth}"
    assert (
        f"<b>In the {coding['display']} of women like those of the study, as rebuilt; not calibrated here</b>"
        in found["text"]["div"]
    )
    assert f"The published model gives {prediction['probabilityDecimal']} %" in found["text"]["div"]
    assert found["language"] == "en"


def test_what_is_known_of_her_bones_stands_before_the_number() -> None:
    patient = record(*complete(JUST_NOW), exclusions=(known("osteoporosis"),))
    (verdict,) = judge([patient], Policy(), writer().artefact, NOW_US)
    div = desired(verdict, writer())[Method.NOMOGRAM]["text"]["div"]
    assert 0 < div.index("Osteoporosis is already documented") < div.index("<b>")
    assert div.count("Osteoporosis is already documented") == 1


@pytest.mark.parametrize(("language", "start"), [("en", "DXA on 2025-"), ("de", "DXA vom ")])
def test_a_card_has_room_for_what_is_known_the_number_and_the_flag(language: str, start: str) -> None:
    patient = record(*complete(JUST_NOW, mg="0.80"), fact(Analyte.T_SCORE, "-3.1", JUST_NOW))
    (verdict,) = judge([patient], Policy(), writer().artefact, NOW_US)
    by = msgspec.structs.replace(writer(prevalence=Decimal(22)), texts=Texts(language))
    made = card(verdict, by, 0, ())
    assert made is not None
    assert made.summary.startswith(start)
    assert made.summary.endswith(Texts(language)("card.flag"))
    assert ".." not in made.summary
    number = desired(verdict, by)[Method.NOMOGRAM]["prediction"][0]["probabilityDecimal"]
    assert f": {float(number):.0f} % (" in made.summary


def test_the_flag_says_that_it_is_no_low_magnesium() -> None:
    (verdict,) = judge([record(*complete(JUST_NOW, mg="0.80"))], Policy(), writer().artefact, NOW_US)
    assert "this is no finding of low magnesium" in desired(verdict, writer())[Method.FLAG]["text"]["div"]


def test_german_writes_numbers_and_days_as_germans_do() -> None:
    texts = Texts("de")
    assert "09.09.2025" in texts.caveat("dxa_on_record:2025-09-09:-2.7")
    assert "-2,7" in texts.caveat("dxa_on_record:2025-09-09:-2.7")
    assert texts.number("2.05 mg/dL") == "2,05 mg/dL"
    (verdict,) = judge([record(*complete(JUST_NOW, mg="0.80"))], Policy(), writer().artefact, NOW_US)
    div = desired(verdict, msgspec.structs.replace(writer(), texts=texts))[Method.FLAG]["text"]["div"]
    assert "Magnesium 0,8" in div
    assert re.search(r"\d\d\.\d\d\.\d{4}", div)


def test_each_result_stands_with_its_day_and_as_it_was_sent() -> None:
    sent = msgspec.structs.replace(complete(JUST_NOW)[0], sent="2.05 mg/dL")
    (verdict,) = judge([record(sent, *complete(JUST_NOW)[1:])], Policy(), writer().artefact, NOW_US)
    div = desired(verdict, writer())[Method.NOMOGRAM]["text"]["div"]
    assert "(sent as 2.05 mg/dL), 2" in div
    assert div.count(f"{sent.moment.text[:10]}") >= 6


def test_a_flag_above_the_cut_off_rules_nothing_out() -> None:
    (verdict,) = judge([record(*complete(JUST_NOW, mg="0.90"))], Policy(), writer().artefact, NOW_US)
    flag = desired(verdict, writer())[Method.FLAG]["prediction"][0]
    assert "about half of the women with osteoporosis" in flag["rationale"]
    assert "does not rule osteoporosis out" in flag["rationale"]


def test_repeated_caveats_differ_by_their_details() -> None:
    (verdict,) = judge([record(*complete(JUST_NOW, p="0.5", ctx="1.5"))], Policy(), writer().artefact, NOW_US)
    found = desired(verdict, writer())[Method.NOMOGRAM]
    concepts = [e["valueCodeableConcept"] for e in found["extension"] if e["url"].endswith("/caveat")]
    said = [(concept["coding"][0]["code"], concept.get("text", "")) for concept in concepts]
    assert len(said) == len(set(said))
    assert {("extrapolated", "phosphate"), ("extrapolated", "beta-CTx")} <= set(said)


def test_a_narrative_is_escaped() -> None:
    patient = record(*complete(JUST_NOW), exclusions=(known("suspected:renal", '<b onclick="x">&'),))
    (verdict,) = judge([patient], Policy(), writer().artefact, NOW_US)
    narrative = desired(verdict, writer())[Method.FLAG]["text"]["div"]
    assert "<b onclick" not in narrative
    assert "&lt;b onclick=&quot;x&quot;&gt;&amp;" in narrative


def test_both_languages_say_the_same_things() -> None:
    english, german = Texts("en").sentences, Texts("de").sentences
    assert english.keys() == german.keys()
    for key, sentence in english.items():
        holes = {name for name in ("$a", "$b", "$c", "$d", "$detail") if name in sentence}
        assert holes == {name for name in ("$a", "$b", "$c", "$d", "$detail") if name in german[key]}, key
        assert sum(sentence.count(f"{end} ") for end in (".", "!", "?")) <= (3 if "rationale" in key else 1), key
