"""The narrative of an assessment: XHTML for people."""

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from html import escape

from screener.assessment.texts import Texts
from screener.assessment.values import UNITS, occurrence, per_cent
from screener.clinical.records import Occasion, Scores


def narrative(occasion: Occasion, scores: Scores | None, texts: Texts, caveats: Sequence[str]) -> str:
    """What the assessment says, from which results, and what must be known beside it (`caveats` as codes)."""
    notes = [texts.caveat(code) for code in caveats]
    return xhtml(texts, headline(occasion, scores, texts), [results_used(occasion, texts)], notes)


def headline(occasion: Occasion, scores: Scores | None, texts: Texts) -> str:
    """What the assessment says, in a sentence."""
    if scores is None:
        return texts("side.at-or-below" if occasion.at_or_below_cut_off else "side.above")
    risk, low, high = [str(per_cent(risk)) for risk in (scores.risk, scores.risk_low, scores.risk_high)]
    return texts("narrative.risk", a=risk, b=low, c=high)


def results_used(occasion: Occasion, texts: Texts) -> str:
    """The results that it rests on, in a sentence."""
    results = [
        f"{texts.name(f.analyte)} {f.comparator}{_shown(str(f.value))} {UNITS[f.analyte]}" for f in occasion.facts
    ]
    return texts("narrative.results", a=occurrence(occasion.mg)[:10], b=", ".join(results))


@lru_cache(maxsize=16_384)
def _shown(value: str) -> str:
    """A value to four significant digits; by its text, for 0.80 is not shown as 0.8."""
    return f"{Decimal(value):.4g}"


def xhtml(texts: Texts, headline: str, paragraphs: Sequence[str], notes: Sequence[str] = ()) -> str:
    """A narrative: the kind of assessment, a headline, paragraphs, and notes as a list; every text is escaped."""
    parts = [f"<p>{_escaped(texts('assessment'))}</p><p><b>{escape(headline)}</b></p>"]
    parts += [f"<p>{escape(text)}</p>" for text in paragraphs]
    if notes:
        parts.append("<ul>" + "".join([item(note) for note in notes]) + "</ul>")
    language = f'xml:lang="{texts.language}" lang="{texts.language}"'
    return f'<div xmlns="http://www.w3.org/1999/xhtml" {language}>{"".join(parts)}</div>'


@lru_cache(maxsize=16_384)
def item(note: str) -> str:
    """A note as an element of a list."""
    return f"<li>{escape(note)}</li>"


@lru_cache(maxsize=16_384)
def _escaped(text: str) -> str:
    """For texts that repeat: notes and titles."""
    return escape(text)
