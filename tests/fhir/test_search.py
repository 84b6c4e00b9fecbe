"""Searches whose answers are whole, or an error. Paging as in FHIR R4, http.html#paging."""

import re
from collections.abc import Callable
from itertools import count
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import structlog

from screener.base.errors import RequestRefused, ServerError
from screener.config.servers import ServerSettings
from screener.fhir.client import Client
from screener.fhir.search import search
from tests.scripted import Reply, Request, Script, bundle, named, scripted


def found(script: Script, *, post: bool = False) -> tuple[list[str], int]:
    """Ids that a search finds on a scripted server, and how many requests it took."""
    with scripted(script) as server, Client(ServerSettings(base_url=server.base_url, attempts=2)) as client:
        return [hit.head.id for hit in search(client, "Observation", [("code", "x")], post=post)], len(server.asked)


def refused(script: Script) -> str:
    with pytest.raises(ServerError) as caught:
        found(script)
    return str(caught.value)


def test_relative_and_absolute_next_links_are_followed() -> None:
    def script(request: Request) -> Reply:
        if "page=2" in request.path:
            return Reply(body=bundle(*named("b"), following=f"http://{request.headers['Host']}/fhir?page=3"))
        if "page=3" in request.path:
            return Reply(body=bundle(*named("c")))
        return Reply(body=bundle(*named("a"), following="?page=2"))

    assert found(script) == (["a", "b", "c"], 3)


def test_post_sends_no_parameter_in_the_url() -> None:
    def script(request: Request) -> Reply:
        assert (request.method, request.path, request.body) == ("POST", "/fhir/Observation/_search", "code=x")
        return Reply(body=bundle(*named("a")))

    assert found(script, post=True) == (["a"], 1)


def test_an_expired_page_begins_the_search_anew() -> None:
    expired = iter([True])

    def script(request: Request) -> Reply:
        if "page=2" in request.path:
            return Reply(410) if next(expired, False) else Reply(body=bundle(*named("b")))
        return Reply(body=bundle(*named("a"), following="?page=2"))

    assert found(script) == (["a", "a", "b"], 4)


def test_a_page_that_always_expires_is_an_error() -> None:
    def script(request: Request) -> Reply:
        return Reply(410) if "page=2" in request.path else Reply(body=bundle(*named("a"), following="?page=2"))

    assert "expired (410)" in refused(script)


def test_a_repeated_next_link_is_an_error() -> None:
    assert "in a circle" in refused(lambda _: Reply(body=bundle(*named("a"), following="?page=2")))


def test_endless_empty_pages_are_an_error() -> None:
    number = iter(range(1000))
    assert "in a circle" in refused(lambda _: Reply(body=bundle(following=f"?page={next(number)}")))


def test_one_empty_page_in_the_middle_is_passed() -> None:
    def script(request: Request) -> Reply:
        if "page=2" in request.path:
            return Reply(body=bundle(following="?page=3"))
        return Reply(body=bundle(*named("b")) if "page=3" in request.path else bundle(*named("a"), following="?page=2"))

    assert found(script) == (["a", "b"], 3)


def test_fewer_matches_than_the_server_counted_are_an_error() -> None:
    assert "counted 3 matches" in refused(lambda _: Reply(body=bundle(*named("a", "b"), total=3)))


def counting(total: int, *ids: str, cut_at: int = 0) -> Callable[[Request], Reply]:
    """A server that pages by `_count`, says that there are `total`, and (where `cut_at` is given) sends no more and no link."""

    def script(request: Request) -> Reply:
        asked = parse_qs(request.path.partition("?")[2])
        size, start = int(asked.get("_count", ["4"])[0]), int(asked.get("start", ["0"])[0])
        if cut_at:
            return Reply(body=bundle(*named(*ids[: min(size, cut_at)]), total=total))
        following = f"Observation?_count={size}&start={start + size}" if start + size < len(ids) else ""
        return Reply(body=bundle(*named(*ids[start : start + size]), following=following, total=total))

    return script


@pytest.mark.parametrize(("total", "ids"), [(4, "abc"), (7, "abcdef"), (1, ""), (10, "abcde")])
def test_a_total_that_counts_what_is_deleted_is_told_once(total: int, ids: str) -> None:
    """hapifhir/hapi-fhir#3693."""
    with (
        scripted(counting(total, *ids)) as server,
        Client(ServerSettings(base_url=server.base_url)) as client,
        structlog.testing.capture_logs() as lines,
    ):
        for _ in range(2):
            assert [found.head.id for found in search(client, "Observation", [])] == list(ids)
        assert client.counts_too_high == {"Observation": 2}
    assert [line["event"] for line in lines] == ["server_counts_more_than_it_shows"]


@pytest.mark.parametrize(
    "script",
    [
        counting(4, *"abcd", cut_at=3),  # pages of 3, then of 1, and never a link: the second walk ends elsewhere
        counting(11, *"abcde"),  # six more than there are
        counting(500, *"abcd"),
    ],
)
def test_an_answer_that_is_cut_short_is_an_error(script: Callable[[Request], Reply]) -> None:
    assert "matches for the search for Observation but sent" in refused(script)


def test_duplicates_across_pages_do_not_hide_a_missing_one() -> None:
    def script(request: Request) -> Reply:
        if "page=2" in request.path:
            return Reply(body=bundle(*named("b")))
        return Reply(body=bundle(*named("a", "b"), following="?page=2", total=3))

    assert "counted 3 matches" in refused(script)


def test_an_operation_outcome_among_the_matches_is_passed_over() -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "informational"}]}
    assert found(lambda _: Reply(body=bundle(outcome, *named("a")))) == (["a"], 1)


@pytest.mark.parametrize(
    ("severity", "code"), [("error", "forbidden"), ("fatal", "exception"), ("warning", "incomplete")]
)
def test_an_answer_that_says_it_is_not_whole_is_an_error(severity: str, code: str) -> None:
    said = {"resourceType": "OperationOutcome", "issue": [{"severity": severity, "code": code}]}
    assert "is not whole" in refused(lambda _: Reply(body=bundle(*named("a"), said)))


def repeating(in_order: list[list[str]], size: int = 2) -> Script:
    """Pages without a total: "b" comes twice and "c" is left out; with _sort the pages `in_order`, the first page always holds at most
    `size` matches."""

    def script(request: Request) -> Reply:
        asked = parse_qs(urlsplit(request.path).query)
        pages = in_order if "_sort" in asked or "sorted" in asked else [["a", "b"], ["b", "d"]]
        if int(asked.get("_count", ["2"])[0]) > size:
            pages = [sorted({"c", *(name for page in pages for name in page)})] if size > 2 else pages
        number = int(asked.get("page", ["0"])[0])
        more = f"?page={number + 1}{'&sorted=1' if pages is in_order else ''}" if number + 1 < len(pages) else ""
        return Reply(body=bundle(*named(*pages[number]), following=more))

    return script


def test_pages_that_repeat_a_match_are_asked_for_in_a_stable_order() -> None:
    names, requests = found(repeating([["a", "b"], ["c", "d"]]))
    assert (set(names), requests) == ({"a", "b", "c", "d"}, 4)


def test_pages_that_repeat_a_match_in_any_order_are_asked_for_on_one_page() -> None:
    names, requests = found(repeating([["a", "b"], ["b", "d"]], size=6))
    assert (set(names), requests) == ({"a", "b", "c", "d"}, 5)


def test_pages_that_repeat_a_match_whatever_is_asked_are_an_error() -> None:
    assert "repeats matches" in refused(repeating([["a", "b"], ["b", "d"]]))


def test_a_repeated_match_is_no_sign_where_the_total_is_reached() -> None:
    pages = {"0": bundle(*named("a", "b"), following="?page=1", total=3), "1": bundle(*named("b", "c"), total=3)}
    names, requests = found(lambda request: Reply(body=pages["1" if "page=1" in request.path else "0"]))
    assert (set(names), requests) == ({"a", "b", "c"}, 2)


def test_another_type_than_asked_for_is_an_error() -> None:
    assert "answered a Patient" in refused(lambda _: Reply(body=bundle({"resourceType": "Patient", "id": "p"})))


def test_a_next_link_to_another_origin_is_not_followed() -> None:
    page = bundle(*named("a"), following="http://127.0.0.1:9/fhir?page=2")
    assert "another origin" in refused(lambda _: Reply(body=page))


def test_html_with_status_200_is_an_error() -> None:
    assert "HTML" in refused(lambda _: Reply(body=b"<html>Please log in</html>"))


def test_half_a_json_body_is_an_error() -> None:
    assert "not the JSON expected" in refused(lambda _: Reply(body=b'{"resourceType": "Bundle", "entry": ['))


@pytest.mark.parametrize("status", [400, 404, 410])
def test_a_page_that_is_refused_has_expired(status: int) -> None:
    """samply/blaze#1029, microsoft/fhir-server#674: the search itself was answered, so it is asked again."""
    refusals = iter([True])

    def script(request: Request) -> Reply:
        if "page=2" not in request.path:
            return Reply(body=bundle(*named("a"), following="?page=2"))
        return Reply(status) if next(refusals, False) else Reply(body=bundle(*named("b")))

    assert found(script) == (["a", "a", "b"], 4)


def test_new_links_without_new_ids_are_an_error() -> None:
    number = count()
    said = refused(lambda _: Reply(body=bundle(*named("a"), following=f"?page={next(number)}")))
    assert "in a circle" in said
    assert next(number) < 10


# Servers without search by POST


@pytest.mark.parametrize("status", [404, 405, 415, 501])
def test_where_post_is_refused_get_takes_its_place_from_then_on(status: int) -> None:
    def script(request: Request) -> Reply:
        return Reply(status) if request.method == "POST" else Reply(body=bundle(*named("a")))

    with scripted(script) as server, Client(ServerSettings(base_url=server.base_url)) as client:
        for _ in range(2):
            assert [hit.head.id for hit in search(client, "Observation", [("code", "x")], post=True)] == ["a"]
    assert [request.method for request in server.asked] == ["POST", "GET", "GET"]


def test_a_refusal_of_the_search_itself_is_not_one_of_post() -> None:
    with scripted(lambda _: Reply(400)) as server, Client(ServerSettings(base_url=server.base_url)) as client:
        with pytest.raises(RequestRefused, match="400"):
            list(search(client, "Observation", [("code", "x")], post=True))
        assert client.search_by_post
    assert len(server.asked) == 1


@pytest.mark.parametrize(("name", "value"), [("subject", "Patient/{}"), ("_id", "p{}"), ("code:text", r"mg\,{}")])
def test_a_long_list_is_divided_and_nothing_else(name: str, value: str) -> None:
    """Each value is asked for once, beside all other parameters; commas within a value, `:not` and `_elements` stay."""
    values = [value.format(f"{number:012}") for number in range(400)]
    whole = {"code": "1,2", "_elements": "id,meta", "status:not": "entered-in-error,cancelled"}

    def script(request: Request) -> Reply:
        return Reply(414 if len(request.path) > 2048 else 200, bundle(*named("a")))

    with scripted(script) as server, Client(ServerSettings(base_url=server.base_url)) as client:
        list(search(client, "Observation", [(name, ",".join(values)), *whole.items()]))
    asked = [dict(parse_qsl(urlsplit(request.path).query)) for request in server.asked]
    assert [one for query in asked for one in re.split(r"(?<!\\),", query.pop(name))] == values
    assert asked == [whole] * len(asked)
    assert len(asked) >= 4
