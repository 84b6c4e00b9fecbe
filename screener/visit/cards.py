"""From a verdict to a card: the words are those of the assessment that the job writes."""

import uuid
from collections.abc import Sequence

from screener.assessment.narrative import explained, headline, is_known
from screener.assessment.numbers import Numbers
from screener.assessment.resource import AssessmentWriter, caveat_codes, desired_by, shown_numbers
from screener.assessment.texts import Texts
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
    found = shown_numbers(verdict.scores, writer)
    risk = None if found is None else 100 * found.risk
    flagged = flag is not None and flag.at_or_below_cut_off
    shown = nomogram or flag
    if shown is None or (not flagged and (nomogram is None or risk is None or risk < from_percent)):
        return None
    texts = writer.texts
    known = [texts.known(code) for code in caveat_codes(shown, verdict.scores, writer) if is_known(code)]
    said = [*known[:1], f"{texts('card.title')}: {_said(found, texts)}" if found and nomogram else texts("card.title")]
    if flagged:
        said.append(texts("card.flag"))
    return Card(
        uuid=str(uuid.uuid4()),
        summary=_short(". ".join(said)),
        indicator="info",  # it is no diagnosis: never "warning" or "critical"
        source=Source(f"{texts('device')}, {writer.artefact.id} {writer.artefact.version}", _PAPER),
        detail="\n\n".join(
            _detail(verdict, method, writer) for method in (Method.NOMOGRAM, Method.FLAG) if method in verdict.occasions
        ),
        links=tuple(links),
    )


def _said(found: Numbers, texts: Texts) -> str:
    """The estimate in a few words: the site's own number, or her rank."""
    if found.fifth:
        return texts("card.rank", detail=texts(f"fifth.{found.fifth}"))
    if found.published:
        return texts("card.risk.moved", a=f"{100 * found.risk:.0f}", b=f"{100 * found.published[0]:.0f}")
    return texts("card.risk", a=f"{100 * found.risk:.0f}")


def _short(text: str) -> str:
    return text if len(text) <= _SUMMARY_CHARACTERS else f"{text[: _SUMMARY_CHARACTERS - 1]}…"


def _detail(verdict: Verdict, method: Method, writer: AssessmentWriter) -> str:
    """What is already known, then the estimate and what must be known beside it, and what it means, as Markdown: the words of the
    assessment."""
    resource, texts, occasion = desired_by(verdict, method, writer), writer.texts, verdict.occasions[method]
    scores = verdict.scores if method is Method.NOMOGRAM else None
    found, codes = shown_numbers(scores, writer), caveat_codes(occasion, scores, writer)
    known = [texts.caveat(code) for code in codes if is_known(code)]
    others = [texts.caveat(code) for code in codes if not is_known(code)]
    title = texts(f"method.{resource['method']['coding'][0]['code']}")
    lines = [f"**{_plain(title)}** ({texts.day(resource['occurrenceDateTime'][:10])})", ""]
    lines += [f"- {_plain(text)}" for text in known]
    lines += ["", f"**{_plain(headline(occasion, found, texts))}**"]
    lines += [_plain(text) for text in explained(occasion, found, texts)]
    lines += ["", *(f"- {_plain(text)}" for text in others)]
    (prediction,) = resource["prediction"]
    lines += ["", _plain(prediction["rationale"])]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Words, some of which a sender wrote, without any meaning to Markdown or HTML."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#!|<>~" else c for c in text)
