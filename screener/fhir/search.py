"""Searches whose answers are whole, or an error: no page is lost, repeated for ever, or taken from elsewhere.

A resource may come twice (on two pages, or because an expired search was asked again): callers merge by id and version.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from urllib.parse import urlencode

import msgspec
import structlog

from screener.base.errors import NotWhole, PageExpired, RequestRefused, ServerError
from screener.fhir.answer import Answer, decode
from screener.fhir.client import Client
from screener.fhir.outcomes import outcome_codes, type_name
from screener.fhir.reads import read

log = structlog.get_logger()

Parameters = Sequence[tuple[str, str]]

_URL_CHARACTERS = 2000  # IIS takes 2048 of a query, other servers and proxies more
_NO_POST = frozenset({404, 405, 415, 501})  # how servers refuse POST [type]/_search
_COMMA = re.compile(r"(?<!\\),")  # between values; an escaped one is part of a value
_ASK_AGAIN = 3  # how often an expired search is started again
# After so many pages without a new id the server is taken to page for ever, as HAPI does with _count=-1.
_PAGES_WITHOUT_NEW = 5
_LARGEST_PAGE = 10_000
_COUNTED_TOO_MANY = 5  # matches, or one in a hundred: more is no miscount


class Meta(msgspec.Struct, frozen=True):
    """The part of `meta` that paging and identity need."""

    versionId: str = ""  # noqa: N815 - FHIR's name
    lastUpdated: str = ""  # noqa: N815


class Head(msgspec.Struct, frozen=True):
    """Which resource an entry holds."""

    resourceType: str = ""  # noqa: N815
    id: str = ""
    meta: Meta = Meta()


class _Mode(msgspec.Struct):
    mode: str | None = "match"


class _Entry(msgspec.Struct):
    resource: msgspec.Raw = msgspec.Raw(b"")
    search: _Mode | None = None


class _Link(msgspec.Struct):
    relation: str = ""
    url: str = ""


class _Bundle(msgspec.Struct):
    resourceType: str = ""  # noqa: N815
    total: int | None = None
    link: list[_Link] | None = None
    entry: list[_Entry] | None = None


class _Issue(msgspec.Struct):
    severity: str = "error"
    code: str = ""


class _Outcome(msgspec.Struct):
    issue: list[_Issue] = []


def says_not_whole(outcome: bytes | msgspec.Raw) -> bool:
    """Whether an OperationOutcome beside the matches says that something is missing among them: an error, or a source that could not be
    reached. Warnings such as Epic's, which stand in every answer, do not."""
    found = read(outcome, _Outcome)
    issues = found.issue if found else [_Issue()]
    return any(one.severity in ("error", "fatal") or one.code in ("incomplete", "timeout") for one in issues)


class Found(msgspec.Struct, frozen=True):
    """One entry of a search: its head, and its bytes as they came."""

    head: Head
    raw: msgspec.Raw


def search(client: Client, resource_type: str, params: Parameters, *, post: bool = False) -> Iterator[Found]:
    """All matches, page after page.

    `post` sends the parameters in the body of [type]/_search, where the server takes that: the patients' ids are then in no access log.
    In a URL long lists of values are divided over several searches. Raises ServerError where the answer cannot be the whole: a loop of
    pages, another type than asked for, fewer matches than the server itself counted.
    """
    if post and client.search_by_post:
        try:
            yield from _whole(client, resource_type, params, post=True)
        except RequestRefused as refused:
            if refused.status not in _NO_POST:
                raise
        else:
            return
    for part in _in_urls(f"{client.base_url}/{resource_type}?", params):
        yield from _whole(client, resource_type, part, post=False)
    if post and client.search_by_post:
        client.search_by_post = False
        log.warning(
            "server_searches_by_get_only",
            why=f"it refused POST {resource_type}/_search",
            remedy="patients' ids are in URLs now: keep the access logs of server and proxies as patient data",
        )


def escaped(value: str) -> str:
    """A value in a token search: R4 (search.html#escaping) escapes these by a backslash."""
    return "".join(f"\\{character}" if character in "\\,|$" else character for character in value)


def _in_urls(start: str, params: Parameters) -> Iterator[Parameters]:
    """The parameters, divided until each URL is short enough: the values of a list mean "or" (search.html#combining)."""
    lists = [(len(value), place) for place, (name, value) in enumerate(params) if _is_list(name, value)]
    if len(start) + len(urlencode(params)) <= _URL_CHARACTERS or not lists:
        yield params
        return
    _, place = max(lists)
    name, value = params[place]
    values = _COMMA.split(value)
    middle = len(values) // 2
    for half in (values[:middle], values[middle:]):
        yield from _in_urls(start, [*params[:place], (name, ",".join(half)), *params[place + 1 :]])


def _is_list(name: str, value: str) -> bool:
    """Whether the values of a parameter may be asked for one after the other: not those of `_elements`, nor of `:not`."""
    either = (not name.startswith("_") or name == "_id") and not name.endswith(":not")
    return either and _COMMA.search(value) is not None


def _whole(client: Client, resource_type: str, params: Parameters, *, post: bool) -> Iterator[Found]:
    """All pages. An expired search is asked again."""
    for attempt in range(_ASK_AGAIN):
        try:
            yield from _pages(client, resource_type, params, post=post)
        except PageExpired:
            if attempt == _ASK_AGAIN - 1:
                raise
        else:
            return


def _pages(client: Client, resource_type: str, params: Parameters, *, post: bool) -> Iterator[Found]:
    what = f"the search for {resource_type}"
    walk = _Walk(client.host, what)
    yield from _walked(client, resource_type, params, walk, post=post)
    if walk.is_doubtful:
        yield from _in_order(client, resource_type, params, walk, post=post)
    if not walk.falls_short:
        return
    smaller = _Walk(client.host, what, page_size=max(walk.first_page // 2, 1))
    fewer = [*(pair for pair in params if pair[0] != "_count"), ("_count", str(smaller.page_size))]
    for _ in _walked(client, resource_type, fewer, smaller, post=post):
        pass
    walk.check_whole(smaller)
    if resource_type not in client.counts_too_high:
        log.warning(
            "server_counts_more_than_it_shows",
            type=resource_type,
            why="its total was higher than its last page allows, and smaller pages gave the same resources",
        )
    client.counts_too_high[resource_type] += 1


def _in_order(client: Client, resource_type: str, params: Parameters, walk: "_Walk", *, post: bool) -> Iterator[Found]:
    """The same search once more after pages without a total repeated a match: one that moves between pages may also be left out
    (medplum/medplum#4608). In a stable order, and where that repeats matches or is refused, on one page. ServerError where neither
    proves that all is here."""
    what = f"the search for {resource_type}"
    size = min(2 * len(walk.ids) + 1, _LARGEST_PAGE)
    without_count = [pair for pair in params if pair[0] != "_count"]
    for again in ([*params, ("_sort", "_id")], [*without_count, ("_count", str(size))]):
        other = _Walk(client.host, what)
        with suppress(RequestRefused):
            yield from _walked(client, resource_type, again, other, post=post)
            if not other.is_doubtful and other.ids >= walk.ids:
                log.info("search_asked_again", type=resource_type, why="its pages repeated a match")
                return
    raise ServerError(
        f"{client.host} repeats matches on the pages of {what} and may leave others out",
        "Nothing was concluded from them; raise server.page_size or lower server.batch_patients, so that one page holds all, and tell "
        "the server's vendor",
    )


def _walked(client: Client, resource_type: str, params: Parameters, walk: "_Walk", *, post: bool) -> Iterator[Found]:
    """One walk through all pages."""
    what = f"the search for {resource_type}"
    answer = client.post_search(resource_type, params) if post else client.get(resource_type, params, what=what)
    while True:
        bundle = _bundle(answer, what, client.host)
        yield from walk.matches(bundle, resource_type)
        following = walk.following(bundle)
        if not following:
            return
        try:
            answer = client.get(following, what=what)
        except RequestRefused as error:
            # The first page was answered, so this says nothing of the search: pages expire by 400 and 404 too (samply/blaze#1029).
            raise PageExpired(error.what, "Ask again") from error


def _bundle(answer: Answer, what: str, host: str) -> _Bundle:
    bundle: _Bundle = decode(answer, _Bundle, what, host)
    if bundle.resourceType != "Bundle":
        raise ServerError(f"{host} answered a {type_name(bundle.resourceType)} instead of a Bundle to {what}")
    return bundle


class _Walk:
    """What has been seen on the pages of one search."""

    def __init__(self, host: str, what: str, page_size: int = 0) -> None:
        """`page_size`: what the pages must not exceed, 0 where that does not matter."""
        self._host, self._what, self.page_size = host, what, page_size
        self.first_page = 0  # matches on it
        self._pages = 0
        self._larger = False  # whether a page was larger than asked for
        self.ids: set[str] = set()
        self._repeats = False  # whether a page held a match of an earlier one
        self._links: set[str] = set()
        self._without_new = 0  # pages in a row
        self._total: int | None = None

    def matches(self, bundle: _Bundle, resource_type: str) -> Iterator[Found]:
        self._total = bundle.total if self._total is None else self._total
        known, here = len(self.ids), 0
        on_this_page: set[str] = set()
        for entry in bundle.entry or ():
            mode = entry.search.mode if entry.search else None
            if bytes(entry.resource) in (b"", b"null") or mode not in ("match", "outcome", None):
                continue
            head = self._head(entry.resource)
            if head.resourceType == "OperationOutcome":
                self._check_outcome(entry.resource)
                continue
            if mode == "outcome":
                continue
            if head.resourceType != resource_type:
                raise ServerError(f"{self._host} answered a {type_name(head.resourceType)} to {self._what}")
            self._repeats |= head.id in self.ids and head.id not in on_this_page
            on_this_page.add(head.id)
            self.ids.add(head.id)
            here += 1
            yield Found(head, entry.resource)
        self.first_page = self.first_page if self._pages else here
        self._pages += 1
        self._larger |= bool(self.page_size) and here > self.page_size
        self._without_new = 0 if len(self.ids) > known else self._without_new + 1

    def _check_outcome(self, outcome: msgspec.Raw) -> None:
        if says_not_whole(outcome):
            raise NotWhole(
                f"{self._host} says that its answer to {self._what} is not whole{outcome_codes(bytes(outcome))}",
                "Look at the server: a part of it may not have been reached",
            )

    def _head(self, resource: msgspec.Raw) -> Head:
        head = read(resource, Head)
        if head is None:
            raise ServerError(
                f"{self._host} answered a resource whose id or meta is not FHIR JSON to {self._what}",
                "Tell the server's vendor; nothing may be concluded from such an answer",
            )
        return head

    def following(self, bundle: _Bundle) -> str:
        """The next page's link, "" after the last one."""
        following = next((link.url for link in bundle.link or () if link.relation == "next"), "")
        if following in self._links or (following and self._without_new >= _PAGES_WITHOUT_NEW):
            raise ServerError(
                f"{self._host} pages {self._what} in a circle",
                "Lower server.page_size; if it stays, tell the server's vendor",
            )
        self._links.add(following)
        return following

    @property
    def is_doubtful(self) -> bool:
        """Whether a match came on two pages, and no total says that all came."""
        return self._repeats and self._total is None

    @property
    def falls_short(self) -> bool:
        """Whether the server counted more matches than it sent."""
        return self._total is not None and len(self.ids) < self._total

    def check_whole(self, smaller: "_Walk") -> None:
        """ServerError unless a second walk by smaller pages shows that all is here: then the server counts what it does not show,
        deleted resources most often (hapifhir/hapi-fhir#3693).

        A server that cuts its answers short would have cut the smaller pages elsewhere. One with a fixed limit would not, but what it
        leaves out is rarely so little.
        """
        total = self._total or 0
        little = total - len(self.ids) <= max(_COUNTED_TOO_MANY, total // 100)
        if smaller.ids == self.ids and not smaller._larger and little:  # noqa: SLF001 - of the same class
            return
        raise ServerError(
            f"{self._host} counted {total} matches for {self._what} but sent {len(self.ids)}",
            "Nothing was written for them; run again, and lower server.page_size if it stays",
        )
