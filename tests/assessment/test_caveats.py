"""What an assessment says besides its result: in which order, in which words, and what it says at another prevalence."""

from decimal import Decimal

from model import PAPER_PREVALENCE, at_prevalence
from screener.assessment.resource import AssessmentWriter
from screener.assessment.texts import Texts
from screener.clinical.judge import judge
from screener.clinical.policy import Policy
from screener.clinical.records import Analyte, Exclusion, Method, PatientRecord, Version
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
    (converted,) = (n for n in notes(patient, writer(prevalence=Decimal(20))) if n.startswith("The probability comes"))
    assert "where 20 % of the women have osteoporosis" in converted
    (verdict,) = judge([patient], Policy(), writer().artefact, NOW_US)
    assert verdict.scores is not None
    assert f"{100 * at_prevalence(verdict.scores.risk, PAPER_PREVALENCE, 0.2):.1f} %" in converted


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
