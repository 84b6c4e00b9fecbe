"""Paging: FHIR R4, http.html#paging, search.html#count: all matches, each once, from one moment."""

import pytest

from tests.contract.server import Server, is_outcome, next_link


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_pages_have_no_gaps_and_no_repeats(server: Server, count: int) -> None:
    """search.html#count: pages of at most `_count`; the union of all is what matched."""
    names = [f"p{number}" for number in range(7)]
    server.stored(*map(server.patient, names))
    pages = server.pages(server.search("Patient", _tag=server.tag, _count=str(count)))
    assert max(map(len, pages)) <= count
    found = [name for page in pages for name in page]
    assert sorted(found) == sorted(map(server.id, names))
    assert len(pages) == -(-7 // count)


def test_pages_of_a_post_search(server: Server) -> None:
    """http.html#paging: links are opaque and followed by GET, whatever the first request was."""
    names = [f"o{number}" for number in range(5)]
    server.stored(server.patient(), *map(server.observation, names))
    url = f"{server.base_url}/Observation/_search"
    asked = {"subject": f"Patient/{server.id('p')}", "_count": "2", "_elements": "subject"}
    answer = server.session.post(url, data=asked, timeout=60)
    found = [name for page in server.pages(answer) for name in page]
    assert sorted(found) == sorted(map(server.id, names))


def test_elements_hold_on_every_page(server: Server) -> None:
    """search.html#elements: the search, not the page, was asked for them."""
    server.stored(server.patient(), *(server.observation(f"o{n}", effectiveDateTime="2024-03-05") for n in range(3)))
    first = server.search("Observation", _tag=server.tag, _count="2", _elements="subject").json()
    second = server.session.get(next_link(first), timeout=60).json()
    (entry,) = second["entry"]
    assert "effectiveDateTime" not in entry["resource"]
    assert "subject" in entry["resource"]


def test_what_is_added_between_pages_does_not_disturb(server: Server) -> None:
    """http.html#paging leaves it to the server; both fix what a search found when it was asked."""
    names = [f"p{number}" for number in range(5)]
    server.stored(*map(server.patient, names))
    first = server.search("Patient", _tag=server.tag, _count="2")
    server.stored(server.patient("a-late-one"))
    pages = server.pages(first)
    assert sorted(name for page in pages for name in page) == sorted(map(server.id, names))


def test_what_is_changed_between_pages_is_neither_lost_nor_repeated(server: Server) -> None:
    """The same with a match that matches no more: every other one still comes once."""
    names = [f"o{number}" for number in range(5)]
    server.stored(server.patient(), *map(server.observation, names))
    first = server.search("Observation", _tag=server.tag, code=server.code("mg"), _count="2")
    shown = {entry["resource"]["id"] for entry in first.json()["entry"]}
    changed = next(name for name in names if server.id(name) in shown)
    server.stored(server.observation(changed, code="p"))
    found = [name for page in server.pages(first) for name in page]
    assert sorted(found) == sorted(map(server.id, names))


def test_total_is_there_when_asked_for(server: Server) -> None:
    """search.html#total: _total=accurate."""
    server.stored(*map(server.patient, ("a", "b", "c")))
    assert server.search("Patient", _tag=server.tag, _count="2", _total="accurate").json()["total"] == 3


def test_there_is_no_next_after_the_last_page(server: Server) -> None:
    """http.html#paging."""
    server.stored(*map(server.patient, ("a", "b")))
    assert next_link(server.search("Patient", _tag=server.tag, _count="2").json()) == ""


def test_a_link_to_pages_that_are_gone_is_410(server: Server) -> None:
    """http.html#Status-Codes: what was there and is no more; clients ask the search again."""
    answer = server.send("GET", f"?_getpages=gone-{server.own}&_getpagesoffset=2&_count=2")
    assert answer.status_code == 410
    assert is_outcome(answer)
