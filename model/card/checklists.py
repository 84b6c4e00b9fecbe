"""TRIPOD+AI and PROBAST, filled in: the texts are data beside this module, their figures come from outside."""

import json
from collections import Counter
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from model.card.markdown import bullets, section, table

Json = dict[str, Any]


def tripod_ai() -> Json:
    """Items with `item`, `heading`, `answered_by` (paper, us, not reported) and `answer`; figures as {names}."""
    return _read("tripod_ai.json")


def probast() -> Json:
    """Domains with their signalling questions, judgements and reasons; figures as {names}."""
    return _read("probast.json")


def tripod_ai_section(figures: Mapping[str, str]) -> str:
    """As a table, after a count of who answers."""
    found = tripod_ai()
    counts = Counter(row["answered_by"] for row in found["items"])
    rows = [
        (row["item"], row["heading"], row["answered_by"], row["answer"].format_map(figures)) for row in found["items"]
    ]
    said = ", ".join(f"{name}: {counts[name]}" for name in ("paper", "us", "not reported"))
    return section(
        "TRIPOD+AI checklist",
        f"It speaks of the published model. {found['source']}. Answered by {said}.",
        table(("item", "about", "answered by", "answer"), rows),
    )


def probast_section(figures: Mapping[str, str]) -> str:
    """The overall judgement, then each domain with its questions."""
    found = probast()
    overall, legend = found["overall"], ", ".join(f"{key} {text}" for key, text in found["answers"].items())
    return section(
        "PROBAST judgement of the paper",
        f"**Overall: {overall['risk_of_bias']} risk of bias, {overall['applicability_concern']} concern about applicability.** {overall['why']}",
        f"{found['source']}. Answers: {legend}.",
        *(_domain(row, figures) for row in found["domains"]),
    )


def _domain(row: Json, figures: Mapping[str, str]) -> str:
    judged = [f"Risk of bias: {row['risk_of_bias']}"]
    if row["applicability_concern"]:
        judged.append(f"Concern about applicability: {row['applicability_concern']}")
    questions = [(q["question"], q["asks"], q["answer"], q["why"].format_map(figures)) for q in row["questions"]]
    return section(
        row["domain"],
        bullets([*judged, row["why"].format_map(figures)]),
        table(("question", "asks", "answer", "reason"), questions),
        level=3,
    )


def _read(name: str) -> Json:
    loaded: Json = json.loads((files(__package__) / name).read_text(encoding="utf-8"))
    return loaded
