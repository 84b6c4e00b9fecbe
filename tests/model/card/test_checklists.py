"""TRIPOD+AI (BMJ 2024;385:e078378) and PROBAST (Ann Intern Med 2019;170:51): the numbers of their items, from the publications."""

from collections.abc import Iterator

from model.card.checklists import probast, probast_section, tripod_ai, tripod_ai_section
from model.card.figures import of_the_paper

SUB_ITEMS = {
    3: "abc",
    5: "ab",
    6: "abc",
    8: "abc",
    9: "abc",
    12: "abcdefg",
    18: "abcdef",
    20: "abc",
    23: "ab",
    27: "abc",
}
QUESTIONS = {"Participants": 2, "Predictors": 3, "Outcome": 6, "Analysis": 9}


def items() -> Iterator[str]:
    for number in range(1, 28):
        yield from (
            (f"{number}{letter}" for letter in SUB_ITEMS.get(number, "")) if number in SUB_ITEMS else [str(number)]
        )


def test_every_item_of_tripod_ai_is_there_once_in_order() -> None:
    assert [row["item"] for row in tripod_ai()["items"]] == list(items())


def test_every_item_says_who_answers_in_one_sentence_or_two() -> None:
    for row in tripod_ai()["items"]:
        assert row["answered_by"] in {"paper", "us", "not reported"}
        assert row["heading"]
        assert row["answer"].endswith(".")


def test_every_question_of_probast_is_there_once_with_an_answer() -> None:
    for at, (domain, row) in enumerate(zip(QUESTIONS, probast()["domains"], strict=True), start=1):
        assert row["domain"] == domain
        assert [q["question"] for q in row["questions"]] == [f"{at}.{i}" for i in range(1, QUESTIONS[domain] + 1)]
        assert {q["answer"] for q in row["questions"]} <= set(probast()["answers"])


def test_a_domain_with_a_no_is_at_high_risk_and_so_is_the_whole() -> None:
    found = probast()
    for row in found["domains"]:
        no = any(q["answer"] == "N" for q in row["questions"])
        assert row["risk_of_bias"] == ("high" if no else "low")
    assert found["overall"]["risk_of_bias"] == found["overall"]["applicability_concern"] == "high"


def test_the_texts_take_their_figures_from_outside() -> None:
    texts = dict.fromkeys(of_the_paper().texts, "HERE")
    for text in (tripod_ai_section(texts), probast_section(texts)):
        assert "HERE" in text
        assert "{" not in text
        assert "496" not in text
