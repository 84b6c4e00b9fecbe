"""Faults of servers and networks, and how a run ends in them: the rows of a test, and the table in the documentation.

python -m tests.faults > docs/faults.md
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from screener.base.errors import ExitCode
from screener.sandbox.app import SandboxServer
from tests.command import screener
from tests.e2e.site import RunEnded, Site
from tests.fhir_samples import observation, patient
from tests.proxy import NOTHING_FOUND, Ask, Fault, faulty, kind_of
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
    "SCREENER_BULK_LONGEST_WAIT_SECONDS": "0.1",
    "SCREENER_SERVER_ONLY_TAG": "",
}


# Which requests


def search_for(kind: str) -> Matches:
    """The first page of a search."""
    return lambda request: (
        kind_of(request) == kind
        and (request.path.endswith("/_search") or (request.method == "GET" and "?" in request.path))
    )


def further_page(request: Request) -> bool:
    """A page but the first."""
    return "_getpages=" in request.path


def batch(request: Request) -> bool:
    """A batch of writes."""
    return request.method == "POST" and request.path.rstrip("/") == "/fhir"


def metadata(request: Request) -> bool:
    """The CapabilityStatement."""
    return request.path.endswith("/metadata")


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


CANARY = "CANARY4711"  # a name, a text, a header: it must be left nowhere


def _outcome(severity: str, code: str) -> Json:
    issue = {"severity": severity, "code": code, "diagnostics": CANARY, "details": {"text": CANARY}}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


_SAID = _outcome("error", CANARY)


def status(code: int, **headers: str) -> Wrong:
    """A refusal, and the request is not passed on."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _, __: Reply(code, _SAID, {"X-Canary": CANARY, **named})


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
        if not answer.body:
            return answer
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
        answered = json.loads(bytes(ask().body)) if body["entry"] else {"resourceType": "Bundle", "entry": []}  # type: ignore[arg-type]
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
CONDITIONS, STATEMENTS, RESULTS = search_for("Condition"), search_for("MedicationStatement"), search_for("Observation")


def _passing() -> Iterator[Row]:
    """Failures that pass when the request is repeated, and that do not."""
    soon = (datetime.now(UTC) + timedelta(seconds=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    for said, headers in (
        ("in seconds", {"Retry_After": "1"}),
        ("as a date", {"Retry_After": soon}),
        ("unreadable", {"Retry_After": CANARY}),
        ("absent", {}),
    ):
        yield Row(f"429 twice, Retry-After {said}", lambda h=headers: times(2, RESULTS, status(429, **h)))
    for code in (408, 500, 502, 503, 504):
        yield Row(f"{code} twice while reading", lambda c=code: times(2, RESULTS, status(c)))
    for code in (429, 500, 503):
        yield Row(
            f"{code} for ever while reading",
            lambda c=code: always(RESULTS, status(c)),
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
        lambda: always(RESULTS, replied(Reply(body=b"<html>CANARY4711</html>"))),
        SERVER,
        "HTML or XML",
    )
    yield Row(
        "an OperationOutcome with status 200",
        lambda: always(RESULTS, replied(Reply(body=_SAID))),
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
        "a warning among the matches",
        lambda: always(RESULTS, edited(lambda b: _add(b, "warning", "suppressed") if b.get("entry") else None)),
    )
    for severity, code in (("error", "forbidden"), ("warning", "incomplete")):
        yield Row(
            f"an answer that says of itself that it is not whole ({severity}, {code})",
            lambda what=(severity, code): always(CONDITIONS, edited(lambda b: _add(b, *what))),
            SERVER,
            "is not whole",
        )
    yield Row(
        "a resource of another type among the matches",
        lambda: always(
            CONDITIONS, edited(lambda b: b.update(entry=[{"resource": {"resourceType": CANARY, "id": CANARY}}]))
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
        lambda: always(RESULTS, status(307, Location="https://elsewhere.example/CANARY4711")),
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


def _add(bundle: Json, severity: str, code: str) -> None:
    bundle.setdefault("entry", []).append({"resource": _outcome(severity, code), "search": {"mode": "outcome"}})


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
        yield Row(f"{code} to a further page, once", lambda c=code: once(further_page, status(c)))
        yield Row(
            f"{code} to every further page",
            lambda c=code: always(further_page, status(c)),
            SERVER,
            "has expired" if code == 410 else str(code),
        )
    yield Row("a new `next` link on every page, for ever", endless, SERVER, "in a circle")
    yield Row(
        "a page that links to itself",
        lambda: always(lambda r: RESULTS(r) or further_page(r), with_link("?_getpages=me")),
        SERVER,
        "",
    )
    yield Row(
        "a `next` link to another origin",
        lambda: always(RESULTS, with_link("https://elsewhere.example/CANARY4711?page=2")),
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
    yield Row("no assessment of ours is shown", lambda: hidden("RiskAssessment"), LARGE, "no RiskAssessment of ours")


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
        yield Row(f"{code[:3]} to an entry, once", lambda c=code: refused_entries(c, count=1))
        yield Row(
            f"{code[:3]} to the first entry of every batch", lambda c=code: refused_entries(c), FAILED, "write_conflict"
        )
    yield Row(
        "422 to the first entry of every batch", lambda: refused_entries("422 Unprocessable"), FAILED, "write_rejected"
    )
    yield Row("500 to an entry, once", lambda: refused_entries("500", count=1))


def _done_in_silence(request: Request, ask: Ask) -> Reply:
    ask()
    return Reply(body=b"")


ROWS = [*_passing(), *_answers(), *_pages(), *_refusals(), *_writes()]


def kick_off(request: Request) -> bool:
    """The request for an export."""
    return "$export?" in request.path


def poll(request: Request) -> bool:
    """The question whether the export is complete."""
    return "$export-poll-status" in request.path and request.method == "GET"


def download(request: Request) -> bool:
    """A file of the export."""
    return "$export-file" in request.path


def _exports() -> Iterator[Row]:
    """A backfill by an export."""
    for said, matches in (("kick-off", kick_off), ("question for the state", poll), ("file", download)):
        yield Row(f"{said}: 503 twice", lambda m=matches: times(2, m, status(503)))
        yield Row(f"{said}: 429 twice", lambda m=matches: times(2, m, status(429, Retry_After="1")))
        yield Row(f"{said}: 503 for ever", lambda m=matches: always(m, status(503)), SERVER, "503")
        yield Row(f"{said}: 401", lambda m=matches: always(m, status(401)), SERVER, "401")
        yield Row(f"{said}: 403", lambda m=matches: always(m, status(403)), SERVER, "403")
        yield Row(f"{said}: the answer is cut short, once", lambda m=matches: once(m, cut))
    yield Row("kick-off: 400", lambda: always(kick_off, status(400)), SERVER, "400")
    yield Row("kick-off: 202 without a place to ask at", lambda: always(kick_off, status(202)), SERVER, "")
    yield Row(
        "question for the state: HTML with status 200",
        lambda: always(poll, replied(Reply(body=b"<html/>"))),
        SERVER,
        "HTML or XML",
    )
    yield Row(
        "the manifest names a file of too many resources",
        lambda: always(poll, _manifest(lambda file: file.update(count=10**6))),
        SERVER,
        "the manifest says 1000000",
    )
    yield Row(
        "the manifest names a file at another origin, by plain http",
        lambda: always(poll, _manifest(lambda file: file.update(url="http://elsewhere.example/CANARY4711"))),
        SERVER,
        "",
    )
    yield Row(
        "the manifest names a type that is a path",
        lambda: always(poll, _manifest(lambda file: file.update(type="../CANARY4711"))),
        SERVER,
        "",
    )
    yield Row(
        "the manifest is from the future",
        lambda: always(
            poll, edited(lambda body: body.update(transactionTime="2099-01-01T00:00:00Z") if "output" in body else None)
        ),
        SERVER,
        "from the future",
    )
    yield Row(
        "file: HTML with status 200",
        lambda: always(download, replied(Reply(body=b"<html>CANARY4711</html>"))),
        SERVER,
        "",
    )
    yield Row("file: half of it", lambda: always(download, half), SERVER, "")


def _manifest(edit: Callable[[Json], object]) -> Wrong:
    """The manifest with its first file altered."""

    def altered(body: Json) -> None:
        if body.get("output"):
            edit(body["output"][0])

    return edited(altered)


EXPORT_ROWS = list(_exports())


# What the runs go over


def first_state(site: Site) -> None:
    """Before the backfill: six women to be assessed, and three who are excluded."""
    resources = []
    for number in range(1, 10):
        resources += [_named(site.id(f"w{number}")), *site.results(f"w{number}", DAY, mg=f"0.{80 + number}")]
    cancer = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "C50.9"}]}
    site.put_all([*resources, *(_condition(site, f"w{number}", cancer) for number in (7, 8, 9))])


def _named(name: str) -> Json:
    record = {"system": "https://ward.example/mrn", "value": CANARY}
    return {**patient(name), "name": [{"family": CANARY}], "identifier": [record], "telecom": [{"value": CANARY}]}


def _condition(site: Site, short: str, code: Json) -> Json:
    return {
        "resourceType": "Condition",
        "id": site.id(f"c-{short}"),
        "subject": {"reference": f"Patient/{site.id(short)}"},
        "code": {**code, "text": CANARY},
        "note": [{"text": CANARY}],
        "recordedDate": "2020-01-01",
    }


def one_day_later(site: Site) -> None:
    """What the night finds: a corrected result, a withdrawn one, two new women, new results of two women, one of them excluded."""
    corrected, withdrawn = (site.read(f"Observation/{site.id(f'{short}-mg-{DAY}')}") for short in ("w1", "w2"))
    site.put_all(
        [
            {**corrected, "status": "corrected", "valueQuantity": {**corrected["valueQuantity"], "value": 0.92}},
            {**withdrawn, "status": "entered-in-error"},
            *(_named(site.id(short)) for short in ("n1", "n2")),
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
    """When the server stored a result is in its evidence, and differs from test to test; so does the run that wrote."""
    if str(part.get("url", "")).endswith("/StructureDefinition/run"):
        return {"url": part["url"]}
    return {name: value for name, value in part.items() if name != "valueInstant"}


NOTHING_WRONG: Fault = lambda _, ask: ask()  # noqa: E731 - of the shape of all the others


class Ward:
    """A front at one address, and behind it a server after its first backfill and a day's changes: anew for each test.

    The server's data and the job's state are made once and copied.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._faults: list[Fault] = []
        self._behind = ""
        self._closing = stack.enter_context(ThreadPoolExecutor())
        self._front = stack.enter_context(faulty(lambda: self._behind, self._wrong_now))
        self._number = iter(range(10_000))
        folder.mkdir(exist_ok=True)
        with self._served(folder / "server.db", folder) as (site, _):
            first_state(site)
            site.run("--backfill")
            one_day_later(site)

    def _wrong_now(self, request: Request, ask: Ask) -> Reply:
        return self._faults[-1](request, ask)

    @contextmanager
    def again(self, **environment: str) -> Iterator[tuple[Site, list[Fault]]]:
        """The job with these settings beside the common ones, and the faults of its front, of which the last one holds."""
        own = self._folder / str(next(self._number))
        own.mkdir()
        database = own.with_suffix(".db")
        shutil.copy(self._folder / "server.db", database)
        shutil.copy(self._folder / "state.sqlite", own)
        with self._served(database, own, **environment) as made:
            yield made

    @contextmanager
    def _served(self, database: Path, folder: Path, **environment: str) -> Iterator[tuple[Site, list[Fault]]]:
        server = SandboxServer(db=database)
        self._behind, self._faults = server.base_url, [NOTHING_WRONG]
        try:
            yield (
                Site(self._front.base_url, folder, name="ward", environment={**MANY_REQUESTS, **environment}),
                self._faults,
            )
        finally:
            stopped = self._closing.submit(server.stop)
            if folder == self._folder:  # what is copied must be whole
                stopped.result()


def night(site: Site, expect: Any = 0) -> RunEnded:
    """A nightly run that says all it can."""
    return site.run("-v", expect=expect)


def bulk_backfill(site: Site, expect: Any = 0) -> RunEnded:
    """A backfill by an export that says all it can."""
    return site.run("--backfill", "-v", "--bulk", str(site.folder / "bulk"), expect=expect)


def night_alone(settings: dict[str, str], folder: Path) -> None:
    """A nightly run in a process of its own, which a test may kill."""
    screener("run", cwd=folder, expect=None, **settings)


# Faults of other kinds, and the tests that show how they end: (fault, the run, the next run, test).

_JOB, _OPERATIONS, _FOLDER = "tests/e2e/test_job.py", "tests/e2e/test_operations.py", "tests/e2e/test_folder.py"
_EXPORT, _STATE, _LEASE = (
    "tests/stores/bulk/test_export.py",
    "tests/state/test_database.py",
    "tests/state/test_lease.py",
)
_HERE = "tests/e2e/test_faults.py"
_LOST = "tests/e2e/test_lost_state.py"
ELSEWHERE = [
    ("`kill -9` before or after any request of a night", "killed", "0, as undisturbed", f"{_HERE}::test_killed_at_every_request"),
    ("`kill -9` of a backfill, against HAPI FHIR too", "killed", "0, as undisturbed", f"{_JOB}::test_killed_in_the_middle_and_run_again_ends_as_an_undisturbed_run"),
    ("SIGTERM or SIGINT", "1, after the batch in hand", "0", f"{_OPERATIONS}::test_a_signal_stops_a_run_between_batches_and_the_watermark_stays"),
    ("SIGTERM of `screener schedule`", "0, after the batch in hand", "0", f"{_OPERATIONS}::test_the_worker_runs_and_a_signal_ends_it_in_good_order"),
    ("the time of `--until` is up", "6", "0, goes on", f"{_OPERATIONS}::test_a_stopped_backfill_goes_on_where_it_was_and_its_watermark_is_its_beginning"),
    ("somebody adds a note between read and write", "0, the note is kept", "0", f"{_HERE}::test_a_note_between_read_and_write_is_kept"),
    ("somebody takes an assessment back between read and write", "0, it stays taken back", "0", f"{_HERE}::test_what_somebody_takes_back_between_read_and_write_stays_so"),
    ("a result that becomes visible behind the watermark", "0", "0, it is found", f"{_HERE}::test_a_result_that_becomes_visible_behind_the_watermark_is_found"),
    ("the only magnesium result is deleted", "0", "0, taken back by the full reconcile", f"{_JOB}::test_the_only_magnesium_deleted_is_found_by_the_full_reconcile"),
    ("two assessments of ours for one woman and method", "0, one is taken back", "0", f"{_JOB}::test_two_of_ours_for_one_identity_end_as_one"),
    ("an assessment that others have damaged", "3", "3, the others are right", f"{_OPERATIONS}::test_an_assessment_damaged_by_others_fails_that_patient_only"),
    ("a second run on the same destination", "5", "0", f"{_OPERATIONS}::test_a_second_run_leaves_with_5_and_says_who_is_at_work"),
    ("a lease that was lost (a machine stood still)", "5, before it writes", "0", f"{_LEASE}::test_process_that_was_stopped_too_long_finds_its_lease_lost"),
    ("a holder of the lease that was killed", "0, at once", "0", f"{_LEASE}::test_after_kill_9_the_next_run_starts_at_once"),
    ("a holder on another machine that is silent", "5, until its lease is out", "0", f"{_LEASE}::test_silent_holder_on_another_host_is_succeeded_when_its_lease_is_out"),
    ("the state is lost", "2: there has been no full run", "0 by `--backfill`, as undisturbed", f"{_HERE}::test_a_lost_state_costs_a_backfill_and_nothing_else"),
    ("a code is taken off the map by mistake", "2, or 7 with `--backfill`", "0, as undisturbed", f"{_HERE}::test_a_code_that_is_taken_off_the_map_by_mistake_changes_nothing"),
    ("a record is merged into another", "0, what stands no longer applies", "0", f"{_HERE}::test_a_merged_record_ends_what_stands_under_it_once"),
    ("an export without the Medications that prescriptions name", "0, each is read by its id", "0", "tests/e2e/test_export.py::test_a_medication_that_is_not_exported_is_read_by_its_id"),
    ("the state is locked", "2", "0", f"{_STATE}::test_locked_database_is_told"),
    ("the state is cut short", "2", "2, until it is moved aside", f"{_STATE}::test_truncated_database_is_refused"),
    ("the state is another program's file", "2", "2", f"{_STATE}::test_foreign_file_is_refused_and_left_alone"),
    ("a full disk, from folder to folder", "2, the destination is as it was", "0", "tests/stores/folder/test_engine.py::test_a_full_disk_stops_the_run_and_leaves_the_destination_as_it_was"),
    ("a full disk, for an export", "2", "0, goes on", "tests/e2e/test_full_disk.py::test_for_an_export"),
    ("a full disk, for the state", "2", "0", "tests/e2e/test_full_disk.py::test_for_the_state"),
    ("a summary that cannot be written", "1, the run is done", "0", f"{_FOLDER}::test_a_summary_that_cannot_be_written_is_said_truly"),
    ("a token that is revoked before any request", "0", "0", "tests/e2e/test_authorisation.py::test_a_token_revoked_before_any_request_is_asked_for_again"),
    ("tokens that last a second", "0", "0", "tests/e2e/test_authorisation.py::test_a_night_with_tokens_that_last_a_second"),
    ("a laboratory that changes its unit and not its label", "7", "7, or 0 with --accept-large-change", "tests/e2e/test_limits.py::test_a_laboratory_that_changes_its_unit_and_not_its_label"),
    ("a scope narrowed in silence", "7", "0", "tests/e2e/test_limits.py::test_a_scope_narrowed_in_silence_stops_the_night_before_it_writes"),
    ("clocks change, in any time zone", "no night is left out", "none comes twice", "tests/test_schedule.py::test_every_night_has_one_start_in_every_zone"),
    ("`kill -9` of an export", "killed", "0, no whole file is fetched twice", f"{_EXPORT}::test_export_killed_anywhere_goes_on_and_fetches_no_whole_file_twice"),
    ("a manifest that cannot be followed", "4, it is not written down", "0", f"{_EXPORT}::test_a_manifest_that_cannot_be_followed_is_not_written_down"),
    ("an export that is not whole", "4, no run reads it", "0", f"{_EXPORT}::test_what_is_not_whole_is_an_error_and_no_run_reads_it"),
    ("an export that never ends", "4", "4", f"{_EXPORT}::test_an_export_that_never_ends_is_given_up_with_words"),
    ("an export that was changed on disk", "2", "2", f"{_FOLDER}::test_an_export_that_was_changed_on_disk_stops_the_run"),
    ("a damaged file of a folder", "2", "2", f"{_FOLDER}::test_a_damaged_folder_stops_the_run_before_it_writes"),
    ("an entry of a folder that looks like data and cannot be read", "2", "2", f"{_FOLDER}::test_what_is_named_like_data_and_cannot_be_read_stops_the_run"),
    ("a prefetch key that holds an OperationOutcome, fewer entries than its total, or one of several pages", "the key counts as not sent: read by token, else 412", "the same", "tests/visit/test_prefetch.py::test_an_answer_that_is_not_whole_counts_as_not_sent"),
    ("a manifest of several pages", "0, every page is read", "0", f"{_EXPORT}::test_every_page_of_a_manifest_is_read"),
    ("a manifest with members that may name files or errors", "4", "4", f"{_EXPORT}::test_a_manifest_is_read_leniently_and_never_in_part"),
    ("information in the error files of an export", "0, counted", "0", f"{_EXPORT}::test_information_and_warnings_of_a_manifest_are_no_errors"),
    ("booleans and numbers of a manifest as text", "0", "0", f"{_EXPORT}::test_a_manifest_is_read_leniently_and_never_in_part"),
    ("ids of Medications above 64 characters", "0, read", "0", "tests/clinical/test_mapping.py::test_an_id_that_a_server_gives_may_be_longer_than_r4_has_it"),
    ("an entry of a folder that may hold resources and is not read", "2", "2", f"{_FOLDER}::test_what_may_hold_resources_and_is_not_read_stops_the_run"),
    ("a server that shows conditions by category only", "4, or said on every assessment where the type is optional", "the same, until the categories are confirmed", "tests/e2e/test_record_systems.py::test_what_a_server_shows_by_category_only_stops_a_run_or_is_said"),
    ("a required type that shows nothing of 50 patients, in a first or a named run", "7", "7, or 0 after --accept-large-change", "tests/run/test_limits.py::test_a_first_run_that_sees_nothing_of_a_required_type_is_stopped"),
    ("pages without a total that repeat a match", "0, asked again in a stable order or on one page; else 4", "0", "tests/fhir/test_search.py::test_pages_that_repeat_a_match_are_asked_for_in_a_stable_order"),
    ("a line that is no UTF-8, a Bundle, or nested without end", "2, with file and number", "2, or 0 with folder.bad_lines_allowed and a caveat", f"{_FOLDER}::test_a_bad_line_is_named_by_file_and_number_whatever_is_wrong"),
    ("results that name no patient", "0, counted", "0", f"{_FOLDER}::test_results_that_name_nobody_are_counted"),
    ("prescriptions that name a Medication, in `coverage`", "their codes are listed", "the same", "tests/e2e/test_coverage.py::test_codes_that_meet_the_list_are_counted_through_medications_too"),
    ("a terminology server that gives nothing for a concept", "4, the list is as it was", "4, or 0 with --accept-smaller", "tests/conformance/terminology/test_expand.py::test_a_concept_that_lost_its_codes_leaves_the_old_file"),
    ("another spelling of the server's address", "0, nothing is written twice", "0", f"{_LOST}::test_another_spelling_of_the_address_is_the_same_server"),
    ("another name of the server", "2, with what joins them", "0 with source_system", f"{_LOST}::test_another_name_of_the_server_stops_the_run_and_says_what_joins_them"),
    ("the state is lost after `retract`", "0, what was taken back stays so", "0 until it is lifted", f"{_LOST}::test_what_was_taken_back_stays_so_without_the_state_until_it_is_lifted"),
    ("`kill -9` around any write, with or without the ledger", "killed; `retract --run` finds all that it wrote", "0", f"{_LOST}::test_what_a_killed_run_wrote_is_taken_back_wherever_it_was_killed"),
    ("the state's PostgreSQL is cut off while a run writes", "2; `retract --run` finds all that it wrote", "0", f"{_LOST}::test_what_a_run_wrote_whose_database_was_cut_off_is_found"),
    ("two installations on one server, `purge` and `retract --artefact`", "0, the other's stay and are counted", "0", f"{_LOST}::test_two_installations_beside_each_other_leave_each_other_alone"),
    ("the backfill after `retract`, and after `suppressions lift`", "0", "0", f"{_LOST}::test_nothing_falls_and_nothing_rises_by_what_the_site_takes_back_and_lifts"),
    ("Tasks that the server refuses", "3", "0 when it takes them", "tests/e2e/test_tasks.py::test_a_task_that_is_refused_is_counted_and_made_the_next_night"),
    ("no server can be reached", "4, in ledger, metrics and health", "0", f"{_OPERATIONS}::test_a_run_that_reaches_no_server_is_in_ledger_metrics_and_health"),
    ("429 with Retry-After on every second request", "0, no retry is used up", "0", "tests/fhir/test_client.py::test_a_wait_that_the_server_asks_for_is_no_failure"),
    ("signed addresses of an export that expired while it was interrupted", "0, asked for again", "0", f"{_EXPORT}::test_addresses_that_expired_while_it_was_interrupted_are_asked_for_again"),
    ("`export --restart` after an interruption", "0, all that was left is removed", "0", f"{_EXPORT}::test_restart_removes_all_that_the_export_left"),
    ("an export whose status lies at another origin", "4, nothing of it is kept", "0", f"{_EXPORT}::test_a_status_at_another_origin_is_refused_and_not_remembered"),
    ("`transactionTime` stamped at the last poll", "0, the export is as old as its kick-off", "0", f"{_EXPORT}::test_an_export_is_as_old_as_its_kick_off"),
    ("conformance resources where clients may not choose ids", "0, found by url", "0", "tests/conformance/test_conformance.py::test_the_embedded_server_takes_them_by_ids_of_its_own_and_again"),
    ("a CDS client whose clock is 90 s ahead", "answered", "the same", "tests/visit/test_clients.py::test_clocks_may_differ_by_some_minutes"),
    ("a JWT with absurd numbers or nesting", "401", "401", "tests/visit/test_clients.py::test_a_jwt_that_nobody_signed_is_refused"),
    ("half-open connections to the visit's service", "closed, others are answered", "the same", "tests/visit/test_connections.py::test_half_open_connections_are_closed_and_others_answered"),
    ("the units' mask and folders", "0, metrics that node-exporter can read", "0", "tests/deployment/test_deployment.py::test_a_run_under_the_units_restrictions_leaves_metrics_that_others_can_read"),
    ("a `model.py` in the working folder", "0", "0", "tests/test_cli.py::test_a_file_of_the_working_folder_takes_the_place_of_no_package"),
    ("a small compressed file of empty lines", "0, in no time", "0", f"{_FOLDER}::test_a_small_file_of_empty_lines_costs_no_time"),
]  # fmt: skip


def page() -> str:
    """The page of the documentation."""
    lines = [
        "# Faults",
        "",
        "What goes wrong with servers, networks and machines, how a run ends in it, and what the next run does.",
        "This page is made from the tests: `python -m tests.faults > docs/faults.md`.",
        "",
        "## Of a server",
        "",
        "Each fault was done to a night with corrected, withdrawn and new results, by a proxy before the sandbox",
        "(`tests/e2e/test_faults.py`). The run ended with the exit code, and said the words. The next run, without",
        "the fault, ended with 0 and left every assessment as an undisturbed night would have, in as many versions;",
        '"amended again" marks where one that was right had said less in between. No name, text, header or',
        "patient's id was left in what the run said.",
        "",
        "| fault | exit code | it says | the next run |",
        "|---|---|---|---|",
    ]
    for row in ROWS:
        after = "0, amended again" if row.rewritten else "0, as undisturbed"
        lines.append(f"| {row.what} | {row.exit_code.value} | {row.words} | {after} |")
    lines += [
        "",
        "## Of an export",
        "",
        "The same for a backfill by `--bulk`.",
        "",
        "| fault | exit code | it says | the next run |",
        "|---|---|---|---|",
        *(f"| {row.what} | {row.exit_code.value} | {row.words} | 0, as undisturbed |" for row in EXPORT_ROWS),
    ]
    lines += ["", "## Of other kinds", "", "| fault | the run | the next run | test |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(entry[:-1])} | `{entry[-1]}` |" for entry in ELSEWHERE]
    lines += [
        "",
        "## What nothing here notices",
        "",
        "- A wrong value in a right form, of few patients: another patient's result, a wrong date, a comma in the",
        "  wrong place that stays plausible.",
        "- A source that shows less than it has and always did: no earlier run saw more.",
        "- A change that comes slowly: each night differs little from those before it.",
        "- A server that leaves out results of some patients only, and says nothing of it in `total` or `link`.",
        "- A diagnosis or a medicine that nobody recorded.",
        "- What happens while the job does not run: a result that is corrected and read by people before the night.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
