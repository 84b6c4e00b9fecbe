"""From a verdict to a card: the words are those of the assessment that the job writes."""

import uuid
from collections.abc import Sequence

from screener.assessment.resource import AssessmentWriter, Json, desired_by
from screener.clinical.judge import Verdict
from screener.clinical.records import Method
from screener.visit.hooks import Card, Link, Source

_SUMMARY_CHARACTERS = 139
_PAPER = "https://doi.org/10.3389/fmed.2026.1770830"


def card(verdict: Verdict, writer: AssessmentWriter, from_percent: float, links: Sequence[Link]) -> Card | None:
    """The card of a patient; None where there is nothing to say: she is not assessed, or neither flagged nor at a risk worth a card.

    `from_percent`: from which risk on a risk without a flag is worth one.
    """
    flag, nomogram = (verdict.occasions.get(method) for method in (Method.FLAG, Method.NOMOGRAM))
    risk = None if verdict.scores is None else 100 * verdict.scores.risk
    flagged = flag is not None and flag.at_or_below_cut_off
    if not flagged and (nomogram is None or risk is None or risk < from_percent):
        return None
    texts = writer.texts
    said = [
        f"{texts('assessment')}: {risk:.0f} %" if risk is not None and nomogram is not None else texts("assessment")
    ]
    if flagged:
        said.append(texts("side.at-or-below"))
    resources = [
        desired_by(verdict, method, writer) for method, one in ((Method.NOMOGRAM, nomogram), (Method.FLAG, flag)) if one
    ]
    return Card(
        uuid=str(uuid.uuid4()),
        summary=_short(". ".join(said)),
        indicator="info",  # it is no diagnosis: never "warning" or "critical"
        source=Source(f"{texts('device')}, {writer.artefact.id} {writer.artefact.version}", _PAPER),
        detail="\n\n".join(_detail(resource, writer) for resource in resources),
        links=tuple(links),
    )


def _short(text: str) -> str:
    return text if len(text) <= _SUMMARY_CHARACTERS else f"{text[: _SUMMARY_CHARACTERS - 1]}…"


def _detail(resource: Json, writer: AssessmentWriter) -> str:
    """What a reader must know first, then the estimate and what it means, as Markdown."""
    (prediction,) = resource["prediction"]
    title = writer.texts(f"method.{resource['method']['coding'][0]['code']}")
    lines = [f"**{_plain(title)}** ({resource['occurrenceDateTime'][:10]})", ""]
    lines += [f"- {_plain(note['text'])}" for note in resource.get("note", ())]
    lines += ["", _plain(prediction["rationale"])]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Words, some of which a sender wrote, without any meaning to Markdown or HTML."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#!|<>~" else c for c in text)
