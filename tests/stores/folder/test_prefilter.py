"""Lines skipped without decoding: compared with decoding every line."""

import json
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from screener.clinical.mapping import Mapper, MappingTables
from screener.clinical.records import MalformedResource
from screener.stores.folder import prefilter
from screener.stores.folder.prefilter import Prefilter
from tests.clinical.oddities import PEOPLE, POOL, odd
from tests.fhir_samples import observation

Json = dict[str, Any]
MAPPER = Mapper(MappingTables.default())
CODES = MAPPER.codes_that_matter()
SODIUM = {"coding": [{"system": "http://loinc.org", "code": "2951-2"}]}


def rows(lines: Any) -> list[str]:
    found = []
    for line in lines:
        try:
            found += [repr(row) for row in MAPPER.map(line)]
        except MalformedResource:
            found.append("malformed")
    return found


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """A resource on a line, in one of the ways in which JSON may be written."""
    resource = draw(
        st.one_of(
            st.sampled_from([*POOL, *PEOPLE]),
            st.sampled_from(POOL).flatmap(odd),
            st.builds(lambda name: {**observation(name, "p1", "mg", "0.8", "2025-11-01"), "code": SODIUM}, st.text()),
        )
    )
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", "\t: ")]))
    text = json.dumps(resource, separators=separators, ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        # Any character of a string may be escaped, in either case.
        code = draw(st.sampled_from(["2601-3", "29463-7", "Patient", "resourceType", "Condition"]))
        place = draw(st.integers(0, len(code) - 1))
        escape = f"\\u{ord(code[place]):04x}"
        text = text.replace(
            f'"{code}"',
            f'"{code[:place]}{draw(st.sampled_from([escape, escape.upper().replace("U", "u")]))}{code[place + 1 :]}"',
        )
    if draw(st.booleans()):
        text = text.replace('"2601-3"', '" 2601-3\\t"')
    cut = draw(st.one_of(st.none(), st.integers(1, max(len(text) - 1, 1))))
    if cut is not None and text[cut - 1] != "}":
        text = text[:cut]
    return text.replace("\n", " ").encode("utf-8", "surrogatepass")


@given(st.lists(written(), min_size=1, max_size=8), st.booleans(), st.sampled_from([b"\n", b"\r\n"]))
def test_what_is_passed_over_gives_nothing(lines: list[bytes], ended: bool, end: bytes) -> None:  # noqa: FBT001
    block = end.join(lines) + (end if ended else b"")
    sieve = Prefilter(CODES or ())
    assert rows(line for line in sieve.lines(block) if line.strip()) == rows(
        line for line in block.split(b"\n") if line.strip()
    )


def test_most_lines_of_an_export_are_passed_over() -> None:
    sodium = json.dumps({**observation("o1", "p1", "mg", "0.8", "2025-11-01"), "code": SODIUM}).encode()
    magnesium = json.dumps(observation("o2", "p1", "mg", "0.8", "2025-11-01")).encode()
    block = b"\n".join([sodium] * 40 + [magnesium] + [sodium] * 40) + b"\n"
    assert list(Prefilter(CODES or ()).lines(block)) == [magnesium]


def test_where_nearly_all_matters_the_next_blocks_are_taken_as_they_are() -> None:
    sieve = Prefilter(CODES or ())
    magnesium = json.dumps(observation("o2", "p1", "mg", "0.8", "2025-11-01")).encode()
    assert list(sieve.lines(magnesium + b"\n")) == [magnesium]
    assert b"{}" in list(sieve.lines(b"{}\n" * 9))
    for _ in range(40):
        found = list(sieve.lines(b"{}\n" * 9))
    assert found == []


def test_a_site_with_results_without_codes_has_every_line_decoded() -> None:
    tables = MappingTables.default([{"code": "Magnesium", "analyte": "mg"}])
    assert Mapper(tables).codes_that_matter() is None


def test_a_code_that_json_may_spell_in_two_ways_is_refused() -> None:
    with pytest.raises(ValueError, match="other characters"):
        Prefilter(["LAB/MG"])


def test_without_hyperscan_every_line_is_decoded_which_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefilter, "find_spec", lambda _: None)
    prefilter._installed.cache_clear()
    with structlog.testing.capture_logs() as said:
        assert [prefilter.usable(CODES) for _ in range(3)] == [None, None, None]
    assert [line["event"] for line in said] == ["every_line_is_decoded"]
    monkeypatch.undo()
    prefilter._installed.cache_clear()
    assert prefilter.usable(CODES) == CODES
