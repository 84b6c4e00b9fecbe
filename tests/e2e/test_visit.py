"""`screener serve`: a record system asks at the visit (CDS Hooks), over HTTP, against the embedded server and a real HAPI."""

import json
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

from screener.fhir import keys
from screener.sandbox.app import SandboxServer
from screener.visit.hooks import Card, read_call
from tests.e2e.site import Site
from tests.fhir_samples import observation
from tests.proxy import Ask, faulty
from tests.scripted import Reply, Request

Json = dict[str, Any]
DAY = (datetime.now(UTC) - timedelta(days=30)).date().isoformat()
SERVICE = "/cds-services/osteoporosis-screening"


@contextmanager
def serving(site: Site, port: int, **environment: str) -> Iterator[str]:
    """The service as a process of its own; gives its address."""
    site.environment |= {"SCREENER_VISIT_ADDRESS": f"127.0.0.1:{port}", **environment}
    process = site.start("serve", "--log-format", "json", stderr=subprocess.PIPE)
    address, until = f"http://127.0.0.1:{port}", time.monotonic() + 120
    while time.monotonic() < until:
        try:
            requests.get(f"{address}/live", timeout=5)
            break
        except requests.ConnectionError:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.1)
    try:
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
        assert "Traceback" not in said
        # What it says names no patient.
        assert not any(name in said for name in (site.id("w1"), site.id("w2")))


def call(site: Site, patient: str = "w1", **changes: Any) -> Json:
    """A call as a record system makes it, with an access token of its own."""
    return {
        "hook": "patient-view",
        "hookInstance": str(uuid.uuid4()),
        "fhirServer": site.base_url,
        "fhirAuthorization": {
            "access_token": "a-token-of-the-user",
            "token_type": "Bearer",
            "expires_in": 300,
            "scope": "user/*.rs",
            "subject": "cds-service",
        },
        "context": {"userId": "Practitioner/example", "patientId": site.id(patient)},
        **changes,
    }


def asked(address: str, body: Json, **headers: str) -> requests.Response:
    return requests.post(f"{address}{SERVICE}", json=body, headers=headers, timeout=30)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Site]:
    """A server of this test's own with three women: flagged, not flagged, and one who takes a bisphosphonate."""
    with SandboxServer() as server:
        site = Site(server.base_url, tmp_path)
        for woman, mg in (("w1", "0.80"), ("w2", "0.95")):
            site.woman(woman)
            site.stay(woman, DAY, mg=mg)
        site.woman("w3", gender="male")
        site.stay("w3", DAY)
        site.environment["SCREENER_SERVER_ONLY_TAG"] = ""
        yield site


def test_a_card_says_what_the_assessment_says(site: Site, unused_port: int) -> None:
    """Before and after a run wrote it: then with a link to it. Nothing is written by the service."""
    site.woman("w1")
    site.stay("w1", DAY, mg="0.80")
    with serving(site, unused_port) as address:
        (card,) = asked(address, call(site)).json()["cards"]
        assert site.assessments("w1") == []
        site.run("--backfill")
        (again,) = asked(address, call(site)).json()["cards"]
    nomogram = site.assessments("w1", "nomogram")[0]
    (prediction,) = nomogram["prediction"]
    # The published model, and a site that says nothing of its women: her rank comes first, on the card as in the coded value.
    (rank,) = prediction["qualitativeRisk"]["coding"]
    assert card["summary"].startswith(
        f"Osteoporosis screening: {rank['display']} of the study's women, not calibrated here."
    )
    assert "Magnesium at or below" in card["summary"]
    assert f"The published model gives {prediction['probabilityDecimal']} %" in card["detail"].replace("\\", "")
    assert len(card["summary"]) < 140
    assert card["indicator"] == "info"
    plain = card["detail"].replace("\\", "")
    assert prediction["rationale"] in plain
    assert all(note["text"] in plain for note in nomogram["note"])
    assert "links" not in card
    links = {link["url"] for link in again["links"]}
    assert links == {f"{site.base_url}/RiskAssessment/{resource['id']}" for resource in site.assessments("w1")}


def test_discovery_names_the_service_and_what_to_prefetch(small: Site, unused_port: int) -> None:
    with serving(small, unused_port) as address:
        answer = requests.get(f"{address}/cds-services", headers={"Origin": "https://ehr.example"}, timeout=10)
    (service,) = answer.json()["services"]
    assert (service["hook"], service["id"]) == ("patient-view", "osteoporosis-screening")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert service["prefetch"]["patient"] == "Patient/{{context.patientId}}"
    assert {"results", "condition", "medicationRequest", "procedure"} <= set(service["prefetch"])


def prefetched(site: Site, address: str, patient: str = "w1") -> Json:
    """What a client sends along: the queries of the discovery, asked by the client."""
    (service,) = requests.get(f"{address}/cds-services", timeout=10).json()["services"]
    return {
        key: requests.get(
            f"{site.base_url}/{query.replace('{{context.patientId}}', site.id(patient))}", timeout=30
        ).json()
        for key, query in service["prefetch"].items()
    }


def test_a_prefetch_gives_the_same_card_and_asks_nobody(small: Site, unused_port: int) -> None:
    with serving(small, unused_port, SCREENER_VISIT_FHIR_SERVER="http://127.0.0.1:9/fhir") as address:
        sent = prefetched(small, address)
        alone = {key: part for key, part in call(small).items() if not key.startswith("fhir")}
        answer = asked(address, {**alone, "prefetch": sent})
        assert answer.status_code == 200, answer.text
        (card,) = answer.json()["cards"]
        other = asked(address, {**alone, "prefetch": {**sent, "results": prefetched(small, address, "w2")["results"]}})
        lacking = asked(address, {**alone, "prefetch": {k: part for k, part in sent.items() if k != "condition"}})
        failed = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]}
        outcome = asked(address, {**alone, "prefetch": {**sent, "condition": failed}})
        page = {**sent["results"], "link": [{"relation": "next", "url": "https://x.example/2"}]}
        paged = asked(address, {**alone, "prefetch": {**sent, "results": page}})
        nonsense = asked(address, {**alone, "prefetch": {**sent, "results": "nonsense"}})
    small.environment["SCREENER_VISIT_FHIR_SERVER"] = ""
    with serving(small, unused_port) as address:
        (by_token,) = asked(address, call(small)).json()["cards"]
    assert {**card, "uuid": ""} == {**by_token, "uuid": ""}
    assert (other.status_code, other.json()["error"]) == (
        400,
        "The prefetch holds resources of another patient than context.patientId",
    )
    assert (lacking.status_code, "lacks condition" in lacking.json()["error"]) == (412, True)
    assert (outcome.status_code, "lacks condition" in outcome.json()["error"]) == (412, True)
    assert (paged.status_code, "lacks results" in paged.json()["error"]) == (412, True)
    assert nonsense.status_code in (400, 412)


def test_where_there_is_nothing_to_say_there_is_no_card(small: Site, unused_port: int) -> None:
    with serving(small, unused_port, SCREENER_VISIT_RISK_PERCENT="99") as address:
        answers = {name: asked(address, call(small, name)) for name in ("w1", "w2", "w3")}
    assert {name: len(answer.json()["cards"]) for name, answer in answers.items()} == {"w1": 1, "w2": 0, "w3": 0}
    assert {answer.status_code for answer in answers.values()} == {200}


def test_calls_at_the_same_time_do_not_mix_patients(small: Site, unused_port: int) -> None:
    names = [("w1", "w2", "w3")[n % 3] for n in range(30)]
    with serving(small, unused_port) as address, ThreadPoolExecutor(8) as pool:
        alone = {name: asked(address, call(small, name)).json()["cards"] for name in ("w1", "w2", "w3")}
        together = list(pool.map(lambda name: asked(address, call(small, name)).json()["cards"], names))
    summaries = {name: [card["summary"] for card in cards] for name, cards in alone.items()}
    assert len({tuple(said) for said in summaries.values()}) == 3
    assert [[card["summary"] for card in cards] for cards in together] == [summaries[name] for name in names]


def test_who_objected_has_no_card(small: Site, unused_port: int) -> None:
    (small.folder / "objections.txt").write_text(f"{small.id('w2')}\n")
    with serving(small, unused_port, SCREENER_OPTED_OUT=str(small.folder / "objections.txt")) as address:
        before = asked(address, call(small)).json()["cards"]
        (small.folder / "objections.txt").write_text(f"{small.id('w1')}\n")
        after = asked(address, call(small)).json()["cards"]
    assert (len(before), after) == (1, [])


def without(body: Json, *names: str) -> Json:
    return {name: part for name, part in body.items() if name not in names}


@pytest.mark.parametrize(
    ("spoil", "status", "words"),
    [
        (lambda c: {**c, "hook": "order-select"}, 400, "answers the hook patient-view"),
        (lambda c: {**c, "hookInstance": "1"}, 400, "hookInstance is no UUID"),
        (lambda c: {**c, "context": {"userId": "P/1", "patientId": ["a", "b"]}}, 400, "one Patient"),
        (lambda c: {**c, "context": {"userId": "P/1", "patientId": "a,b"}}, 400, "one Patient"),
        (lambda c: {**c, "context": {"patientId": "a"}}, 400, "userId is missing"),
        (lambda c: {**c, "context": {"userId": "P/1", "patientId": "nobody"}}, 404, "no such patient"),
        (lambda c: {**c, "fhirServer": "https://elsewhere.example/fhir"}, 403, "another FHIR server"),
        (lambda c: without(c, "fhirAuthorization"), 412, "brings no fhirServer with fhirAuthorization"),
        (lambda c: without(c, "context"), 400, "one Patient"),
    ],
)
def test_a_call_that_cannot_be_answered(
    spoil: Callable[[Json], Json], status: int, words: str, small: Site, unused_port: int
) -> None:
    with serving(small, unused_port) as address:
        answer = asked(address, spoil(call(small)))
        broken = requests.post(f"{address}{SERVICE}", data=b"{", timeout=10)
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert (broken.status_code, "no call of a CDS Hooks service" in broken.json()["error"]) == (400, True)


@pytest.mark.parametrize(("refusal", "status"), [(401, 403), (403, 403), (500, 502)])
def test_a_token_that_does_not_suffice(refusal: int, status: int, small: Site, unused_port: int) -> None:
    seen: list[str] = []

    def fault(request: Request, ask: Ask) -> Reply:
        seen.append(request.headers.get("Authorization", ""))
        return Reply(refusal) if "Condition" in request.path else ask()

    with faulty(lambda: small.base_url, fault) as front:
        small.environment |= {"SCREENER_SERVER_BASE_URL": front.base_url, "SCREENER_SERVER_TOKEN": "the-jobs-own"}
        with serving(small, unused_port) as address:
            answer = asked(address, {**call(small), "fhirServer": front.base_url})
    assert answer.status_code == status
    assert set(seen) == {"Bearer a-token-of-the-user"}  # never the job's own


def test_a_slow_server_is_given_up(small: Site, unused_port: int) -> None:
    def slow(request: Request, ask: Ask) -> Reply:
        reply = ask()
        return (
            Reply(reply.status, reply.body, reply.headers, hang_seconds=3) if "Observation" in request.path else reply
        )

    with faulty(lambda: small.base_url, slow) as front:
        small.environment["SCREENER_SERVER_BASE_URL"] = front.base_url
        with serving(small, unused_port, SCREENER_VISIT_SECONDS="1") as address:
            began = time.monotonic()
            answer = asked(address, {**call(small), "fhirServer": front.base_url})
    assert answer.status_code in (502, 504)
    assert time.monotonic() - began < 8


def test_the_example_of_the_specification(small: Site, unused_port: int) -> None:
    """cds-hooks.hl7.org/2.0: a call with the access token, and with a prefetch for another service. The patient is a man."""
    man = {"resourceType": "Patient", "gender": "male", "birthDate": "1925-12-23", "id": "1288992", "active": True}
    small.put(man)
    body = {
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "fhirServer": small.base_url,
        "hook": "patient-view",
        "fhirAuthorization": {
            "access_token": "some-opaque-fhir-access-token",
            "token_type": "Bearer",
            "expires_in": 300,
            "scope": "user/Patient.read user/Observation.read",
            "subject": "cds-service4",
        },
        "context": {"userId": "Practitioner/example", "patientId": "1288992", "encounterId": "89284"},
        "prefetch": {"patientToGreet": man},
    }
    with serving(small, unused_port) as address:
        answer = asked(address, body)
    assert (answer.status_code, answer.json()) == (200, {"cards": []})


def test_the_exchange_in_the_documentation_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "visit.md").read_text(encoding="utf-8")
    sent, got = re.findall(r"^```json\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert read_call(sent.encode()).patient == "4711"
    (card,) = msgspec.json.decode(got, type=dict[str, list[Card]])["cards"]
    assert len(card.summary) < 140


# Who may call


def signed(key: Json, address: str, **changes: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": "https://ehr.example",
        "aud": f"{address}{SERVICE}",
        "exp": now + 300,
        "iat": now,
        "jti": str(uuid.uuid4()),
        **changes,
    }
    return f"Bearer {keys.signed(claims, key)}"


def test_only_clients_that_are_known_are_answered(small: Site, unused_port: int) -> None:
    ours, theirs = keys.new("ES384"), keys.new("ES384")
    file = small.folder / "clients.json"
    file.write_text(json.dumps({"https://ehr.example": keys.public([ours])}))
    now = int(time.time())
    with serving(small, unused_port, SCREENER_VISIT_CLIENT_KEYS=str(file)) as address:
        good = signed(ours, address)
        statuses = {
            "good": asked(address, call(small), Authorization=good).status_code,
            "again": asked(address, call(small), Authorization=good).status_code,
            "none": asked(address, call(small)).status_code,
            "another key": asked(address, call(small), Authorization=signed(theirs, address)).status_code,
            "another issuer": asked(
                address, call(small), Authorization=signed(ours, address, iss="https://x.example")
            ).status_code,
            "another service": asked(address, call(small), Authorization=signed(ours, "https://x.example")).status_code,
            "expired": asked(
                address, call(small), Authorization=signed(ours, address, exp=now - 60, iat=now - 90)
            ).status_code,
            "too long": asked(address, call(small), Authorization=signed(ours, address, exp=now + 86_400)).status_code,
            "unnamed": asked(address, call(small), Authorization=signed(ours, address, jti="")).status_code,
            "not yet": asked(
                address, call(small), Authorization=signed(ours, address, iat=now + 3600, exp=now + 3700)
            ).status_code,
            "feedback": requests.post(f"{address}{SERVICE}/feedback", json={"feedback": []}, timeout=10).status_code,
        }
        told = asked(address, call(small), Authorization="Bearer nonsense")
    assert statuses == {"good": 200} | dict.fromkeys(list(statuses)[1:], 401)
    assert (told.status_code, told.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_the_whole_network_is_not_served_without_keys(small: Site) -> None:
    ended = small.call("serve", expect=2, SCREENER_VISIT_ADDRESS="0.0.0.0:8099")
    assert "visit.client_keys" in ended.stderr
    wrong = small.folder / "wrong.json"
    wrong.write_text('{"a": {"keys": [{"kty": "nothing"}]}}')
    said = small.call("serve", expect=2, SCREENER_VISIT_CLIENT_KEYS=str(wrong)).stderr
    assert "wrong.json holds no public keys of CDS clients" in said


def test_words_of_a_sender_have_no_meaning_in_a_card(small: Site, unused_port: int) -> None:
    """A diagnosis in words is repeated in the card: as words."""
    hostile = {
        "resourceType": "Condition",
        "id": small.id("c"),
        "subject": {"reference": f"Patient/{small.id('w1')}"},
        "code": {"text": "Breast cancer <script>alert(1)</script> [x](https://evil.example)"},
    }
    small.put(hostile)
    with serving(small, unused_port) as address:
        (card,) = asked(address, call(small)).json()["cards"]
    assert "Breast cancer" in card["detail"]
    assert "<script>" not in card["detail"].replace("\\<", "")
    assert "[x](" not in card["detail"]


@pytest.mark.hapi
def test_a_call_asks_for_each_type_once(hapi: str, tmp_path: Path, unused_port: int) -> None:
    """A patient with 200 results costs one round of searches, no more than one with few. The benchmarks measure the time."""
    site = Site(hapi, tmp_path)
    site.woman("w1")
    for number in range(20):
        day = (datetime.now(UTC) - timedelta(days=30 + 10 * number)).date().isoformat()
        site.stay("w1", day, mg="0.80")
    more = [observation(site.id(f"na{n}"), site.id("w1"), "mg", "0.9", f"{DAY}T08:00:00Z") for n in range(80)]
    site.put_all(more)
    paths: list[str] = []

    def watch(request: Request, ask: Ask) -> Reply:
        paths.append(request.path.partition("?")[0].removeprefix("/fhir/"))
        return ask()

    with faulty(lambda: hapi, watch) as front:
        site.environment["SCREENER_SERVER_BASE_URL"] = front.base_url
        with serving(site, unused_port) as address:
            asked(address, {**call(site), "fhirServer": front.base_url})  # the first asks for /metadata, too
            paths.clear()
            assert len(asked(address, {**call(site), "fhirServer": front.base_url}).json()["cards"]) == 1
    assert len(paths) == len(set(paths)) <= 10
