"""Faults of servers and networks, and how a run ends in them: the rows of a test, and the table in the documentation.

python -m tests.faults > docs/faults.md
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

from screener.errors import ExitCode
from screener.sandbox.app import SandboxServer
from tests.e2e.site import RunEnded, Site
from tests.fhir_samples import observation, patient
from tests.proxy import NOTHING_FOUND, Ask, Fault, faulty, kind_of, parameters_of
from tests.scripted import Json, Reply, Request

Matches = Callable[[Request], bool]
Wrong = Callable[[Request, Ask], Reply]

DAY, LATER = ((datetime.now(UTC) - timedelta(days=days)).date().isoformat() for days in (200, 20))
MANY_REQUESTS = {
    "SCREENER_SERVER_BATCH_PATIENTS": "3",
    "SCREENER_SERVER_PAGE_SIZE": "4",
    "SCREENER_OUTPUT_BUNDLE_ENTRIES": "3",
    "SCREENER_SERVER_ATTEMPTS": "3",
    "SCREENER_SERVER_LONGEST_WAIT_SECONDS": "0",
    "SCREENER_SERVER_TIMEOUT_SECONDS": "1",
    "SCREENER_SERVER_ANSWER_SECONDS": "1",
    "SCREENER_SERVER_OVERLAP_MINUTES": "0",
    "SCREENER_EXCLUSIONS_MEDICATION_STATEMENT": "optional",
}


# Which requests


def search_for(kind: str) -> Matches:
    """The first page of a search."""
    return lambda request: (
        kind_of(request) == kind
        and (request.path.endswith("/_search") or (request.method == "GET" and "?" in request.path))
    )


def first_search(request: Request) -> bool:
    """The search for the night's patients."""
    return search_for("Observation")(request) and "_elements" in parameters_of(request)


def further_page(request: Request) -> bool:
    """A page but the first."""
    return "_getpages=" in request.path


def batch(request: Request) -> bool:
    """A batch of writes."""
    return request.method == "POST" and request.path.rstrip("/") == "/fhir"


def metadata(request: Request) -> bool:
    """The CapabilityStatement."""
    return request.path.endswith("/metadata")


def anything(request: Request) -> bool:
    """Every request."""
    return bool(request.path)


# What is wrong with the answer


def always(matches: Matches, wrong: Wrong) -> Fault:
    """Wrong every time."""
    return lambda request, ask: wrong(request, ask) if matches(request) else ask()


def times(count: int, matches: Matches, wrong: Wrong) -> Fault:
    """Wrong the first `count` times."""
    left = iter(range(count))

    def fault(request: Request, ask: Ask) -> Reply:
        return wrong(request, ask) if matches(request) and next(left, None) is not None else ask()

    return fault


def once(matches: Matches, wrong: Wrong) -> Fault:
    """Wrong the first time."""
    return times(1, matches, wrong)


def status(code: int, **headers: str) -> Wrong:
    """An answer without a body of FHIR, and the request is not passed on."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _, __: Reply(code, b"", named)


def replied(reply: Reply) -> Wrong:
    """This answer."""
    return lambda _, __: reply


def cut(_: Request, ask: Ask) -> Reply:
    """The connection is closed in the middle of the body."""
    answer = ask()
    return replace(answer, cut_short=True)


def half(_: Request, ask: Ask) -> Reply:
    """Half of the JSON, as if it were the whole."""
    answer = ask()
    assert isinstance(answer.body, bytes)
    return replace(answer, body=answer.body[: len(answer.body) // 2])


def edited(edit: Callable[[Json], object]) -> Wrong:
    """The answer, altered."""

    def wrong(_: Request, ask: Ask) -> Reply:
        answer = ask()
        assert isinstance(answer.body, bytes)
        body = json.loads(answer.body)
        edit(body)
        return replace(answer, body=json.dumps(body).encode())

    return wrong


def with_link(url: str) -> Wrong:
    """A link to a next page."""
    return edited(lambda bundle: bundle.update(link=[{"relation": "next", "url": url}]))


def hidden(*kinds: str) -> Fault:
    """Nothing of these types is found."""
    return lambda request, ask: NOTHING_FOUND if kind_of(request) in kinds and not further_page(request) else ask()


def endless() -> Fault:
    """Each page is empty, and has a new link."""
    number = iter(range(10_000))

    def fault(request: Request, ask: Ask) -> Reply:
        if not (RESULTS(request) or "_getpages=x" in request.path):
            return ask()
        links = [{"relation": "next", "url": f"?_getpages=x{next(number)}"}]
        return Reply(body={"resourceType": "Bundle", "type": "searchset", "link": links})

    return fault


def refused_entries(code: str, *, count: int = 0) -> Fault:
    """The first entry of each batch (of the first `count`) is refused, and the others are passed on."""
    left = iter(range(count or 10_000))

    def fault(request: Request, ask: Ask) -> Reply:
        if not batch(request) or next(left, None) is None:
            return ask()
        body = json.loads(request.body)
        first, body["entry"] = body["entry"][0], body["entry"][1:]
        assert first
        request.body = json.dumps(body)
        answered = json.loads(bytes(ask().body)) if body["entry"] else {"resourceType": "Bundle", "entry": []}
        answered["entry"] = [{"response": {"status": code}}, *answered.get("entry", [])]
        return Reply(body=answered)

    return fault


def clock(**off: float) -> Fault:
    """The Date header is off by so much."""
    date = format_datetime(datetime.now(UTC) + timedelta(**off), usegmt=True)

    def fault(_: Request, ask: Ask) -> Reply:
        answer = ask()
        return replace(answer, headers={**answer.headers, "Date": date})

    return fault


# The rows


@dataclass(frozen=True)
class Row:
    """One fault. `fault` makes it anew; `exit_code` and `words` are what the run under it ends with.

    The next run, without the fault, ends with 0 and leaves the server as an undisturbed one would. `rewritten` is set where an
    assessment was right, and said less, in between: it then has a version more.
    """

    what: str
    fault: Callable[[], Fault]
    exit_code: ExitCode = ExitCode.DONE
    words: str = ""
    rewritten: bool = False
    environment: dict[str, str] = field(default_factory=dict)


SERVER, FAILED, LARGE = ExitCode.SERVER, ExitCode.SOME_PATIENTS_FAILED, ExitCode.TOO_LARGE
OUTCOME: Json = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
CONDITIONS, STATEMENTS, RESULTS = search_for("Condition"), search_for("MedicationStatement"), search_for("Observation")


def _passing() -> Iterator[Row]:
    """Failures that pass when the request is repeated, and that do not."""
    soon = (datetime.now(UTC) + timedelta(seconds=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    for said, headers in (
        ("in seconds", {"Retry_After": "1"}),
        ("as a date", {"Retry_After": soon}),
        ("unreadable", {"Retry_After": "soon"}),
        ("absent", {}),
    ):
        yield Row(f"429 twice, Retry-After {said}", lambda h=headers: times(2, RESULTS, status(429, **h)))  # type: ignore[misc]
    for code in (408, 500, 502, 503, 504):
        yield Row(f"{code} twice while reading", lambda c=code: times(2, RESULTS, status(c)))  # type: ignore[misc]
    for code in (429, 500, 503):
        yield Row(
            f"{code} for ever while reading",
            lambda c=code: always(RESULTS, status(c)),  # type: ignore[misc]
            SERVER,
            f"kept answering {code}",
        )
    yield Row("503 for ever on an optional type", lambda: always(STATEMENTS, status(503)), SERVER, "kept answering 503")
    yield Row(
        "every second request fails",
        _every_second,
        SERVER,
        "used up its 10 retries",
        environment={"SCREENER_SERVER_RETRIES_PER_RUN": "10"},
    )
    yield Row("the connection is closed in the middle of a body, twice", lambda: times(2, RESULTS, cut))
    yield Row(
        "the connection is always closed in the middle of a body", lambda: always(RESULTS, cut), SERVER, "Cannot reach"
    )
    yield Row(
        "no answer within the time", lambda: always(RESULTS, replied(Reply(hang_seconds=1.5))), SERVER, "did not answer"
    )
    yield Row(
        "an answer that drips in",
        lambda: always(RESULTS, replied(Reply(body=b"x" * 99, drip_seconds=0.05))),
        SERVER,
        "had not answered",
    )


def _every_second() -> Fault:
    number = iter(range(10_000))
    return lambda request, ask: status(503)(request, ask) if next(number) % 2 else ask()


def _answers() -> Iterator[Row]:
    """Answers that are no answer."""
    yield Row("half of the JSON", lambda: always(RESULTS, half), SERVER, "not the JSON expected")
    yield Row(
        "HTML with status 200",
        lambda: always(RESULTS, replied(Reply(body=b"<html>log in</html>"))),
        SERVER,
        "HTML or XML",
    )
    yield Row(
        "an OperationOutcome with status 200",
        lambda: always(RESULTS, replied(Reply(body=OUTCOME))),
        SERVER,
        "instead of a Bundle",
    )
    yield Row(
        "an empty body with status 200",
        lambda: always(RESULTS, replied(Reply(body=b""))),
        SERVER,
        "not the JSON expected",
    )
    yield Row(
        "an OperationOutcome among the matches",
        lambda: always(RESULTS, edited(lambda b: b["entry"].append({"resource": OUTCOME}) if b.get("entry") else None)),
    )
    yield Row(
        "a resource of another type among the matches",
        lambda: always(
            CONDITIONS, edited(lambda b: b.update(entry=[{"resource": {"resourceType": "Basic", "id": "b"}}]))
        ),
        SERVER,
        "answered a",
    )
    yield Row(
        "a search parameter is ignored", lambda: always(RESULTS, _everybody), SERVER, "ignores the search parameter"
    )
    yield Row("an Observation whose subject and status are null", lambda: always(RESULTS, edited(_with_nulls)))
    yield Row(
        "a redirect",
        lambda: always(RESULTS, status(307, Location="https://elsewhere.example/fhir")),
        SERVER,
        "redirects",
    )
    yield Row("CapabilityStatement: 503 twice", lambda: times(2, metadata, status(503)))
    yield Row("CapabilityStatement: 404", lambda: always(metadata, status(404)), SERVER, "404")
    yield Row(
        "CapabilityStatement: HTML", lambda: always(metadata, replied(Reply(body=b"<html/>"))), SERVER, "HTML or XML"
    )
    yield Row("the server's clock is two hours ahead", lambda: clock(hours=2), SERVER, "ahead of")
    yield Row("the server's clock is two hours behind", lambda: clock(hours=-2), SERVER, "behind")


def _everybody(request: Request, ask: Ask) -> Reply:
    found = observation("o", "somebody-else", "mg", "0.8", f"{DAY}T08:00:00Z")
    stale = {**found, "meta": {"lastUpdated": "2020-01-01T00:00:00Z"}}
    return Reply(body={"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": stale}]})


def _with_nulls(bundle: Json) -> None:
    odd = {"resourceType": "Observation", "id": "odd", "status": None, "subject": None, "code": None}
    if bundle.get("entry"):
        bundle["entry"].append({"resource": odd})


def _pages() -> Iterator[Row]:
    """Pages."""
    for code in (410, 404, 400):
        yield Row(f"{code} to a further page, once", lambda c=code: once(further_page, status(c)))  # type: ignore[misc]
        yield Row(
            f"{code} to every further page",
            lambda c=code: always(further_page, status(c)),
            SERVER,
            "has expired" if code == 410 else str(code),
        )  # type: ignore[misc]
    yield Row("a new `next` link on every page, for ever", endless, SERVER, "in a circle")
    yield Row(
        "a page that links to itself",
        lambda: always(lambda r: RESULTS(r) or further_page(r), with_link("?_getpages=me")),
        SERVER,
        "",
    )
    yield Row(
        "a `next` link to another origin",
        lambda: always(RESULTS, with_link("https://elsewhere.example/fhir?page=2")),
        SERVER,
        "another origin",
    )
    yield Row(
        "an empty page with a `next` link",
        _empty_first,
    )
    yield Row(
        "a match twice on a page",
        lambda: always(RESULTS, edited(lambda b: b.get("entry", []).extend(b.get("entry", [])[:1]))),
    )
    yield Row(
        "a total that counts a deleted resource",
        lambda: always(CONDITIONS, edited(lambda b: b.update(total=b.get("total", 0) + 1))),
    )
    yield Row(
        "a total far above what is sent",
        lambda: always(CONDITIONS, edited(lambda b: b.update(total=500))),
        SERVER,
        "counted 500 matches",
    )


def _empty_first() -> Fault:
    """Each first page of results is empty, and links to the page that would have been the first."""
    held: dict[str, Reply] = {}

    def fault(request: Request, ask: Ask) -> Reply:
        key = request.path.partition("_getpages=held")[2]
        if key in held:
            return held[key]
        if not RESULTS(request):
            return ask()
        name = str(len(held))
        held[name] = ask()
        links = [{"relation": "next", "url": f"?_getpages=held{name}"}]
        return Reply(body={"resourceType": "Bundle", "type": "searchset", "link": links})

    return fault


def _refusals() -> Iterator[Row]:
    """What may not be read, or no longer."""
    yield Row("401 in the middle of the run", lambda: always(CONDITIONS, status(401)), SERVER, "401")
    yield Row("403 on the results", lambda: always(RESULTS, status(403)), SERVER, "403")
    yield Row("403 on patients", lambda: always(search_for("Patient"), status(403)), SERVER, "403")
    yield Row("403 on a required type", lambda: always(CONDITIONS, status(403)), SERVER, "set it to optional")
    yield Row("403 on an optional type", lambda: always(STATEMENTS, status(403)), rewritten=True)
    yield Row("404 on an optional type", lambda: always(STATEMENTS, status(404)), rewritten=True)
    yield Row("401 on an optional type", lambda: always(STATEMENTS, status(401)), SERVER, "401")
    yield Row(
        "nothing is shown of the excluding types",
        lambda: hidden("Condition", "Procedure", "MedicationRequest"),
        LARGE,
        "shows no Condition at all",
    )
    yield Row("no result is shown", lambda: hidden("Observation"), LARGE, "shows no Observation at all")
    yield Row("no patient is shown", lambda: hidden("Patient"), FAILED, "most_patients_missing", rewritten=True)
    yield Row(
        "no assessment of ours is shown", lambda: hidden("RiskAssessment"), FAILED, "write_conflict", rewritten=True
    )


def _writes() -> Iterator[Row]:
    """Writes."""
    yield Row("503 twice to a batch", lambda: times(2, batch, status(503)))
    yield Row("503 to every batch", lambda: always(batch, status(503)), SERVER, "kept answering 503")
    yield Row("400 to a batch as a whole", lambda: always(batch, status(400)), SERVER, "400")
    yield Row("403 to a batch as a whole", lambda: always(batch, status(403)), SERVER, "403")
    yield Row("the answer to a batch is lost, once", lambda: once(batch, cut))
    yield Row("the answer to every batch is lost", lambda: always(batch, cut), SERVER, "Cannot reach")
    yield Row("a batch is answered with half of the JSON", lambda: always(batch, half), SERVER, "not the JSON expected")
    yield Row(
        "a batch is answered without its last entry",
        lambda: always(batch, edited(lambda b: b["entry"].pop())),
        SERVER,
        "results to a batch of writes",
    )
    yield Row(
        "a batch is answered by an empty 200 where no resources are asked for",
        lambda: always(lambda r: batch(r) and r.headers.get("Prefer") == "return=minimal", _done_in_silence),
    )
    yield Row(
        "a batch is too large (413): more than one entry",
        lambda: always(lambda r: batch(r) and len(json.loads(r.body)["entry"]) > 1, status(413)),
    )
    yield Row("each entry is too large (413)", lambda: always(batch, status(413)), FAILED, "write_rejected")
    for code in ("409 Conflict", "412 Precondition Failed"):
        yield Row(f"{code[:3]} to an entry, once", lambda c=code: refused_entries(c, count=1))  # type: ignore[misc]
        yield Row(
            f"{code[:3]} to the first entry of every batch", lambda c=code: refused_entries(c), FAILED, "write_conflict"
        )  # type: ignore[misc]
    yield Row(
        "422 to the first entry of every batch", lambda: refused_entries("422 Unprocessable"), FAILED, "write_rejected"
    )
    yield Row("500 to an entry, once", lambda: refused_entries("500", count=1))


def _done_in_silence(request: Request, ask: Ask) -> Reply:
    ask()
    return Reply(body=b"")


ROWS = [*_passing(), *_answers(), *_pages(), *_refusals(), *_writes()]


# What the runs go over


def first_state(site: Site) -> None:
    """Before the backfill: six women to be assessed, and three who are excluded."""
    resources = []
    for number in range(1, 10):
        resources += [patient(site.id(f"w{number}")), *site.results(f"w{number}", DAY, mg=f"0.{80 + number}")]
    cancer = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "C50.9"}]}
    site.put_all([*resources, *(_condition(site, f"w{number}", cancer) for number in (7, 8, 9))])


def _condition(site: Site, short: str, code: Json) -> Json:
    return {
        "resourceType": "Condition",
        "id": site.id(f"c-{short}"),
        "subject": {"reference": f"Patient/{site.id(short)}"},
        "code": code,
        "recordedDate": "2020-01-01",
    }


def one_day_later(site: Site) -> None:
    """What the night finds: a corrected result, a withdrawn one, two new women, new results of two women, one of them excluded."""
    corrected, withdrawn = (site.read(f"Observation/{site.id(f'{short}-mg-{DAY}')}") for short in ("w1", "w2"))
    site.put_all(
        [
            {**corrected, "status": "corrected", "valueQuantity": {**corrected["valueQuantity"], "value": 0.92}},
            {**withdrawn, "status": "entered-in-error"},
            *(patient(site.id(short)) for short in ("n1", "n2")),
            *site.results("n1", LATER),
            *site.results("n2", LATER),
            *site.results("w3", LATER, mg="0.79"),
            *site.results("w7", LATER, mg="0.79"),
        ]
    )


def kept(site: Site) -> list[Json]:
    """What stands, without what the server chose: in an order of its own, ids, times, and the Device's id left out."""
    found = []
    for resource in site.search("RiskAssessment", _count="1000"):
        meta = {name: value for name, value in resource["meta"].items() if name != "lastUpdated"}
        plain = {**resource, "id": "", "meta": meta, "performer": {}}
        found.append(json.loads(json.dumps(plain), object_hook=_without_instants))
    return sorted(found, key=lambda resource: str(resource["identifier"]))


def but_for_rewriting(resources: Sequence[Json]) -> list[Json]:
    """The same without version and status (one that said less in between is then "amended")."""
    return [
        {**{name: value for name, value in resource.items() if name != "status"}, "meta": resource["meta"]["tag"]}
        for resource in resources
    ]


def _without_instants(part: Json) -> Json:
    """When the server stored a result is in its evidence, and differs from test to test."""
    return {name: value for name, value in part.items() if name != "valueInstant"}


NOTHING_WRONG: Fault = lambda _, ask: ask()  # noqa: E731 - of the shape of all the others


@contextmanager
def ward(folder: Path, **environment: str) -> Iterator[tuple[Site, list[Fault]]]:
    """A server of its own after its first backfill and a day's changes, and the fault of its front (the last of the list)."""
    faults: list[Fault] = [NOTHING_WRONG]

    def wrong_now(request: Request, ask: Ask) -> Reply:
        return faults[-1](request, ask)

    with SandboxServer() as behind, faulty(behind.base_url, wrong_now) as front:
        site = Site(front.base_url, folder, name="ward", environment={**MANY_REQUESTS, **environment})
        site.environment["SCREENER_SOURCE_SYSTEM"] = "https://ward.example/fhir"
        first_state(site)
        site.run("--backfill")
        one_day_later(site)
        yield site, faults


def night(site: Site, expect: int | None = 0) -> RunEnded:
    """A nightly run."""
    return site.run(expect=expect)  # type: ignore[arg-type]


def table(rows: Sequence[Row]) -> str:
    """The rows for the documentation."""
    lines = ["| fault | the run | it says |", "|---|---|---|"]
    lines += [f"| {row.what} | {row.exit_code.value} | {row.words} |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table(ROWS) + "\n")
