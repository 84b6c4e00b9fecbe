"""An assessment to be created: as a dictionary where somebody reads it, as bytes where it is only written.

Most of an assessment is the same for every woman of one kind: the same results at hand, the same caveats. A template is the assessment of
the first woman of a shape, cut at the values that are her own. It is cut where the encoded text shows these values, checked on the
first few women against the ordinary way, and dropped for that kind where it ever differs.
"""

from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from html import escape

import msgspec

from screener.assessment.identity import assessment_uuid
from screener.assessment.narrative import explained, headline, is_known, item, paragraph, results_used
from screener.assessment.numbers import Numbers
from screener.assessment.resource import (
    AssessmentWriter,
    Json,
    basis_ids,
    caveat,
    caveat_codes,
    confidentiality,
    desired_by,
    note,
    observation_id,
    probability,
    rank_of,
    shown_numbers,
)
from screener.assessment.values import occurrence, per_cent, plain, shown_bmi
from screener.clinical.dates import Remembered, instant_text
from screener.clinical.judge import Verdict
from screener.clinical.records import Method, Scores

_CHECKED = 3  # the first women of each shape, written by the ordinary way
_MOST_TEMPLATES = 4096
_REMEMBERED = 65_536


class Shape:
    """All that decides which elements an assessment has. Each exists once, so that a lookup compares identities and hashes nothing."""

    __slots__ = ()


AddServerFields = Callable[[Json, str], Json]
Template = tuple[bytes, ...]

_encode = msgspec.json.Encoder(decimal_format="number").encode


def _encode_number(value: Decimal) -> bytes:
    return _encode(plain(value))


def _inside(text: str) -> bytes:
    """A text as it stands within a JSON string."""
    return _encode(text)[1:-1]


def _encode_instant(instant_us: int) -> bytes:
    return _encode(instant_text(instant_us))


def _encode_per_cent(fraction: str) -> bytes:
    return _encode(per_cent(float(fraction)))


_number = Remembered(_encode_number, _REMEMBERED).__getitem__
_instant = Remembered(_encode_instant, _REMEMBERED).__getitem__
_per_cent = Remembered(_encode_per_cent, _REMEMBERED).__getitem__


_shapes: dict[tuple[object, ...], Shape] = defaultdict(Shape)


class Draft:
    """The assessment that ought to stand for a patient and a method, where none stands yet."""

    __slots__ = (
        "_caveats",
        "_json",
        "_numbers",
        "_shape",
        "basis",
        "identity",
        "method",
        "occasion",
        "verdict",
        "writer",
    )

    def __init__(self, verdict: Verdict, method: Method, writer: AssessmentWriter) -> None:
        self.verdict, self.method, self.writer = verdict, method, writer
        self.occasion = verdict.occasions[method]
        self.basis = basis_ids(self.occasion)
        self.identity = assessment_uuid(writer.source_system, verdict.patient, method)
        self._json: Json | None = None
        self._shape: Shape | None = None
        self._caveats: list[str] | None = None
        self._numbers: Numbers | None = None

    @property
    def scores(self) -> Scores | None:
        """What the nomogram says; None for the flag."""
        return self.verdict.scores if self.method is Method.NOMOGRAM else None

    @property
    def numbers(self) -> Numbers | None:
        """The numbers that it shows; None for the flag."""
        if self._numbers is None:
            self._numbers = shown_numbers(self.scores, self.writer)
        return self._numbers

    @property
    def caveats(self) -> list[str]:
        """The codes of its caveats, in their order."""
        if self._caveats is None:
            self._caveats = caveat_codes(self.occasion, self.scores, self.writer)
        return self._caveats

    @property
    def json(self) -> Json:
        """The whole resource, without id and version."""
        if self._json is None:
            self._json = {**desired_by(self.verdict, self.method, self.writer), "status": "final"}
        return self._json

    @property
    def shape(self) -> Shape:
        """All that decides which elements it has, and what they say apart from numbers, ids, times and caveats."""
        if self._shape is None:
            occasion, scores = self.occasion, self.scores
            labels = confidentiality(self.verdict, occasion)
            self._shape = _shapes[
                self.method,
                tuple([(fact.analyte, fact.comparator, fact.version.updated_us > 0) for fact in occasion.facts]),
                len(self.basis),
                frozenset([":" in code for code in self.caveats]),  # with and without details; empty for none
                occasion.reduced,
                occasion.at_or_below_cut_off,
                labels[0]["code"] if labels else "",
                frozenset([is_known(code) for code in self.caveats]),
                self.numbers and (self.numbers.fifth > 0, self.numbers.published is None),
                scores and (scores.extrapolated, scores.other_side_risk is None, tuple(scores.points)),
            ]
        return self._shape


class Templates:
    """Writes drafts. `add_server_fields` adds what the destination gives a resource (id, version), from the resource and its identity."""

    def __init__(self, add_server_fields: AddServerFields) -> None:
        self._add_server_fields = add_server_fields
        self._writer: AssessmentWriter | None = None

    def encode(self, draft: Draft) -> bytes:
        """The resource as JSON: the same bytes as its encoded `json`, as the destination keeps it."""
        if draft.writer is not self._writer:
            self._begin(draft.writer)
        shape = draft.shape
        if self._checked.get(shape, 0) < _CHECKED:
            return self._first(shape, draft)
        template = self._templates[shape]
        return _filled(template, self._values(draft)) if template else self._ordinary(draft)

    def _begin(self, writer: AssessmentWriter) -> None:
        """Templates and the bytes of caveats hold for one writer."""
        self._writer = writer
        self._templates: dict[Shape, Template | None] = {}
        self._checked: dict[Shape, int] = {}
        self._caveat = Remembered[str, bytes](lambda code: _encode(caveat(code, writer)), _REMEMBERED)
        self._note = Remembered[str, bytes](lambda code: _encode(note(code, writer)), _REMEMBERED)
        self._rank = Remembered[int, bytes](lambda fifth: _encode(rank_of(fifth, writer)), _REMEMBERED)
        self._paragraph = Remembered[str, bytes](
            lambda code: _inside(paragraph(writer.texts.caveat(code))), _REMEMBERED
        )
        self._item = Remembered[str, bytes](lambda code: _inside(item(writer.texts.caveat(code))), _REMEMBERED)

    def _ordinary(self, draft: Draft) -> bytes:
        return _encode(self._add_server_fields(draft.json, draft.identity))

    def _first(self, shape: Shape, draft: Draft) -> bytes:
        text, values = self._ordinary(draft), self._values(draft)
        if shape not in self._templates:
            if len(self._templates) >= _MOST_TEMPLATES:
                return text
            self._templates[shape] = _cut(text, values)
        template = self._templates[shape]
        if template and _filled(template, values) != text:
            self._templates[shape] = None
        self._checked[shape] = self._checked.get(shape, 0) + 1
        return text

    def _values(self, draft: Draft) -> list[bytes]:
        """The values that differ from woman to woman, as JSON, in the order in which a as the destination keeps it resource has them."""
        occasion, codes = draft.occasion, draft.caveats
        texts = draft.writer.texts
        found = draft.numbers
        known = [code for code in codes if is_known(code)]
        others = [code for code in codes if not is_known(code)]
        values = [_encode(draft.identity)]
        if known:
            values.append(b"".join([self._paragraph[code] for code in known]))
        values.append(_inside(escape(headline(occasion, found, texts))))
        values += [_inside(escape(text)) for text in explained(occasion, found, texts)]
        values.append(_inside(escape(results_used(occasion, texts))))
        if others:
            values.append(b"".join([self._item[code] for code in others]))
        references = {name: _encode(f"Observation/{name}") for name in draft.basis}
        for fact in occasion.facts:
            values.append(_number(fact.value))
            values.append(references[observation_id(fact)])
            if fact.version.updated_us:
                values.append(_instant(fact.version.updated_us))
        values.append(b"%d" % occasion.age_years)
        if occasion.bmi_kg_m2 is not None:
            values.append(_encode(shown_bmi(occasion.bmi_kg_m2)))
        if codes:
            values.append(b",".join([self._caveat[code] for code in codes]))
        values.append(_encode(f"urn:uuid:{draft.identity}"))
        values.append(_encode(f"Patient/{draft.verdict.patient}"))
        when = occurrence(occasion.mg)
        values.append(_encode(when))
        values += references.values()
        scores = draft.scores
        if scores is not None and found is not None:
            shown = [found.low, found.high, *(found.published or ())]
            values += [_per_cent(f"{risk:.3f}") for risk in shown]
            values += [b"%.1f" % points for _, points in sorted(scores.points.items())]
            values.append(b"%.1f" % scores.total_points)
            values.append(_encode(probability(found.risk, draft.writer)))
            if found.fifth:
                values.append(self._rank[found.fifth])
        values += [_encode(when[:10])] * 2  # whenPeriod
        if codes:
            values.append(b",".join([self._note[code] for code in codes]))
        return values


def _cut(text: bytes, values: list[bytes]) -> Template | None:
    """The text between the values, which are in it in their order. Each value is the value of an element, elements of an array, or
    the content of an element of the narrative."""
    parts, start = [], 0
    for value in values:
        at = _element(text, value, start)
        if at < 0:
            return None
        parts.append(text[start:at])
        start = at + len(value)
    return (*parts, text[start:])


def _element(text: bytes, value: bytes, start: int) -> int:
    at = text.find(value, start)
    while at > 0 and (text[at - 1] not in b":[,>" or text[at + len(value)] not in b",}]<"):
        at = text.find(value, at + 1)
    return at


def _filled(template: Template, values: list[bytes]) -> bytes:
    whole: list[bytes] = [b""] * (2 * len(values) + 1)
    whole[0::2] = template
    whole[1::2] = values
    return b"".join(whole)
