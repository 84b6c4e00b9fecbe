"""The narrative of an assessment: XHTML for people."""

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from html import escape

from screener.assessment.numbers import Numbers
from screener.assessment.texts import Texts
from screener.assessment.values import UNITS, occurrence, per_cent
from screener.clinical.records import Fact, Occasion

KNOWN = frozenset({"osteoporosis", "fragility_fracture", "dxa_on_record"})  # what stands before the estimate


def is_known(code: str) -> bool:
    """Whether a caveat says what is already known of her bones."""
    return code.partition(":")[0] in KNOWN


def narrative(occasion: Occasion, found: Numbers | None, texts: Texts, caveats: Sequence[str]) -> str:
    """What the assessment says, from which results, and what must be known beside it (`caveats` as codes). What is already known of
    her bones stands first."""
    notes = [texts.caveat(code) for code in caveats if not is_known(code)]
    before = [texts.caveat(code) for code in caveats if is_known(code)]
    paragraphs = [*explained(occasion, found, texts), results_used(occasion, texts)]
    return xhtml(texts, headline(occasion, found, texts), paragraphs, notes, before)


def headline(occasion: Occasion, found: Numbers | None, texts: Texts) -> str:
    """What the assessment says, in a sentence."""
    if found is None:
        return texts("side.at-or-below" if occasion.at_or_below_cut_off else "side.above")
    if found.fifth:
        return rank(found.fifth, texts)
    shown = _per_cents((found.risk, found.low, found.high), texts)
    if found.prevalence is None:
        return texts("narrative.risk", **shown)
    return texts("narrative.risk.moved", d=texts.number(str(found.prevalence)), **shown)


def rank(fifth: int, texts: Texts) -> str:
    """Her rank among women like those of the study, in words."""
    return texts("narrative.rank", detail=texts(f"fifth.{fifth}"))


def explained(occasion: Occasion, found: Numbers | None, texts: Texts) -> list[str]:
    """What the headline does not mean: the published number beside it, or that the flag is no low magnesium."""
    if found is None:
        return [texts("narrative.flag")] if occasion.at_or_below_cut_off else []
    if found.fifth:
        return [texts("narrative.published", **_per_cents((found.risk, found.low, found.high), texts))]
    return [texts("narrative.published", **_per_cents(found.published, texts))] if found.published else []


def _per_cents(risks: tuple[float, float, float], texts: Texts) -> dict[str, str]:
    return dict(zip("abc", (texts.number(str(per_cent(risk))) for risk in risks), strict=True))


def results_used(occasion: Occasion, texts: Texts) -> str:
    """The results that it rests on, each with its day, and as it was sent where that was in another unit."""
    return texts("narrative.results", b="; ".join(_result(fact, texts) for fact in occasion.facts))


def _result(fact: Fact, texts: Texts) -> str:
    value = f"{texts.name(fact.analyte)} {fact.comparator}{texts.number(_shown(str(fact.value)))} {UNITS[fact.analyte]}"
    sent = texts("narrative.sent", detail=texts.number(fact.sent)) if fact.sent else ""
    return f"{value}{f' ({sent})' if sent else ''}, {texts.day(occurrence(fact)[:10])}"


@lru_cache(maxsize=16_384)
def _shown(value: str) -> str:
    """A value to four significant digits; by its text, for 0.80 is not shown as 0.8."""
    return f"{Decimal(value):.4g}"


def xhtml(
    texts: Texts, headline: str, paragraphs: Sequence[str], notes: Sequence[str] = (), before: Sequence[str] = ()
) -> str:
    """A narrative: the kind of assessment, what stands before the headline, the headline, paragraphs, and notes as a list; every text is
    escaped."""
    parts = [f"<p>{_escaped(texts('assessment'))}</p>", *(paragraph(text) for text in before)]
    parts.append(f"<p><b>{escape(headline)}</b></p>")
    parts += [paragraph(text) for text in paragraphs]
    if notes:
        parts.append("<ul>" + "".join([item(note) for note in notes]) + "</ul>")
    language = f'xml:lang="{texts.language}" lang="{texts.language}"'
    return f'<div xmlns="http://www.w3.org/1999/xhtml" {language}>{"".join(parts)}</div>'


@lru_cache(maxsize=16_384)
def paragraph(text: str) -> str:
    """A text as a paragraph."""
    return f"<p>{escape(text)}</p>"


@lru_cache(maxsize=16_384)
def item(note: str) -> str:
    """A note as an element of a list."""
    return f"<li>{escape(note)}</li>"


@lru_cache(maxsize=16_384)
def _escaped(text: str) -> str:
    """For texts that repeat: notes and titles."""
    return escape(text)
