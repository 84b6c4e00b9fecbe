"""The online rows: a night on which 1 % of the patients changed, a backfill, and writing back, beside bare loops of the same requests.

In this process, against a server of its own (the sandbox, or a real HAPI FHIR on PostgreSQL): what is compared is the time around the
server, so each side sends the same bytes.
"""

import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import requests

from fhir_fixtures.population import generate
from model import load_artefact
from screener.assessment.identity import Canonical
from screener.assessment.reconcile import Change, Rules, reconcile
from screener.assessment.resource import AssessmentWriter
from screener.assessment.texts import Texts
from screener.clinical.judge import judge
from screener.clinical.mapping import Mapper, MappingTables
from screener.clinical.policy import Policy
from screener.clinical.records import Analyte
from screener.config.servers import ServerSettings
from screener.config.settings import ExclusionSettings, OutputSettings
from screener.fhir.bundles import ENCODER
from screener.fhir.client import Client
from screener.sandbox.app import SandboxServer
from screener.sandbox.seeding import seed
from screener.stores.patient_order import in_order
from screener.stores.protocols import Mode, Scope
from screener.stores.server_destination import ServerDestination
from screener.stores.server_source import ServerSource
from tests.benchmarks.measure import Command, once
from tests.command import screener

TODAY = date(2026, 1, 31)
NOW_US = int(datetime(2026, 1, 31, 2, tzinfo=UTC).timestamp() * 1e6)
HAPI = "HAPI FHIR on PostgreSQL"
BATCHES = (20, 50, 100, 200)  # patients asked for at once
CONNECTIONS = (1, 2, 4)


class Sent(NamedTuple):
    """A request as it went out."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | str | None


@contextmanager
def server(name: str) -> Iterator[str]:
    """A server that holds nothing yet."""
    if name == "sandbox":
        with SandboxServer() as running:
            yield running.base_url
    else:
        from tests.hapi.launcher import HapiServer  # noqa: PLC0415 - builds the server where it is not built
        from tests.postgres import cluster  # noqa: PLC0415

        with cluster() as postgres, HapiServer(jdbc_url=postgres.make_database("hapi")) as real:
            yield real.base_url


@contextmanager
def recorded() -> Iterator[list[Sent]]:
    """What is sent by requests while this lasts."""
    sent: list[Sent] = []
    send = requests.Session.send

    def recording(session: requests.Session, request: requests.PreparedRequest, **more: Any) -> requests.Response:
        sent.append(Sent(str(request.method), str(request.url), dict(request.headers), request.body))
        return send(session, request, **more)

    requests.Session.send = recording  # type: ignore[method-assign,assignment]
    try:
        yield sent
    finally:
        requests.Session.send = send  # type: ignore[method-assign]


def again(sent: list[Sent]) -> None:
    """The bare loop: the same requests on one connection, the answers read and thrown away."""
    with requests.Session() as session:
        for one in sent:
            prepared = requests.Request(one.method, one.url, one.headers, data=one.body).prepare()
            session.send(prepared, timeout=600).raise_for_status()


def seconds(work: Callable[[], object]) -> float:
    """How long it took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class Online:
    """A server with a population, and one night on it."""

    def __init__(self, name: str, base_url: str, patients: int) -> None:
        self.name, self.patients = name, patients
        self.settings = ServerSettings(base_url=base_url, timeout_seconds=600, answer_seconds=600)
        self.mapper = Mapper(MappingTables.default())
        self.client = Client(self.settings)
        self.seeding = seconds(lambda: self._seed(patients))
        self.since = ""

    def _seed(self, patients: int) -> None:
        self.resources = seed(self.client, generate(patients, 1, TODAY), lambda _: None)

    def backfill(self, canonical: str, *more: str, **settings: object) -> dict[str, Any]:
        """A whole run over everyone, as from the command line; returns its summary."""
        given = {f"SCREENER_{name.upper()}": str(value) for name, value in settings.items()}
        with tempfile.TemporaryDirectory() as scratch:
            summary = Path(scratch) / "summary.json"
            screener(
                *("run", "--backfill", "--accept-large-change", "--summary", str(summary), *more),
                cwd=Path(scratch),
                SCREENER_SERVER_BASE_URL=self.client.base_url,
                SCREENER_SERVER_TIMEOUT_SECONDS="600",
                SCREENER_SERVER_ANSWER_SECONDS="600",
                SCREENER_STATE_URL=f"sqlite:///{scratch}/state.sqlite",
                SCREENER_OUTPUT_CANONICAL=f"https://example.org/{canonical}",
                SCREENER_WRITE="on",
                SCREENER_ACKNOWLEDGE_UNCALIBRATED="true",
                **given,
            )
            found: dict[str, Any] = json.loads(summary.read_text())
        return found

    def as_a_process(self) -> Command:
        """The same, reading only, in a process of its own: for its memory."""
        environment = {
            **os.environ,
            "SCREENER_SERVER_BASE_URL": self.client.base_url,
            "SCREENER_SERVER_TIMEOUT_SECONDS": "600",
            "SCREENER_STATE_URL": "sqlite://",
        }
        return Command("screener", ["-m", "screener", "run", "--backfill", "--dry-run", "-q"], environment)

    def source(self) -> ServerSource:
        """As a run makes it."""
        needs = ExclusionSettings().needs()
        return ServerSource(self.client, self.settings, self.mapper, needs, by_code=("combo-code",))

    def change(self, share: float, salt: int) -> None:
        """New Mg results for some of the patients, stamped after `since`."""
        draw = random.Random(salt)  # noqa: S311 - the same every time
        time.sleep(1.1)
        self.since = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        time.sleep(1.1)
        for number in draw.sample(range(1, self.patients + 1), max(int(self.patients * share), 1)):
            day = (TODAY - timedelta(days=draw.randrange(1, 4))).isoformat()
            result = {
                "resourceType": "Observation",
                "id": f"night-{salt}-{number}",
                "status": "final",
                "code": {"coding": [{"system": "http://loinc.org", "code": "2601-3"}]},
                "subject": {"reference": f"Patient/pat-{number:06d}"},
                "effectiveDateTime": f"{day}T07:00:00Z",
                "valueQuantity": {
                    "value": 0.8,
                    "unit": "mmol/L",
                    "system": "http://unitsofmeasure.org",
                    "code": "mmol/L",
                },
            }
            self.client.write("PUT", f"Observation/{result['id']}", json.dumps(result).encode(), what="a result")

    def night(self) -> list[str]:
        """What a nightly run reads: who changed, and their whole records."""
        source = self.source()
        settings = self.settings.model_copy(update={"overlap_minutes": 0})
        source._settings = settings
        changed = in_order(source.population(Scope(Mode.NIGHTLY, since=self.since)))
        size = self.settings.batch_patients
        for start in range(0, len(changed), size):
            source.records(changed[start : start + size], ())
        source.close()
        return changed

    def one_by_one(self, changed: list[str]) -> None:
        """The peer: a client that asks patient by patient, type by type, as the usual libraries are used."""
        kinds = (
            "Observation",
            "Condition",
            "MedicationRequest",
            "MedicationStatement",
            "MedicationAdministration",
            "Procedure",
        )
        codes = {"code": ",".join(self.mapper.codes_for(Analyte, refused=True))}
        with requests.Session() as session:
            for patient in changed:
                session.get(f"{self.client.base_url}/Patient/{patient}", timeout=600).json()
                for kind in kinds:
                    params = {
                        "subject": f"Patient/{patient}",
                        "_count": "1000",
                        **(codes if kind == "Observation" else {}),
                    }
                    session.get(f"{self.client.base_url}/{kind}", params=params, timeout=600).json()

    def changes(self, canonical: Canonical, women: int) -> list[Change]:
        """Assessments to be made, under addresses of their own so that every round makes them anew."""
        writer = AssessmentWriter(canonical, load_artefact("shi2026-mg-category"), Texts("en"), canonical.base)
        there = self.destination(canonical)
        there.prepare(writer)
        there.begin()
        writer = msgspec.structs.replace(writer, device=there.prepare(writer))
        rules = Rules(Policy(), writer, NOW_US)
        names = [f"pat-{number:06d}" for number in range(1, self.patients + 1)]
        found: list[Change] = []
        source = self.source()
        for start in range(0, len(names), 50):
            records = source.records(names[start : start + 50], ())
            for verdict in judge(records, rules.policy, writer.artefact, NOW_US):
                found += reconcile(verdict, (), {}, rules)
            if len(found) >= women:
                break
        return found[:women]

    def destination(self, canonical: Canonical) -> ServerDestination:
        """As a run makes it."""
        return ServerDestination(self.client, self.settings, canonical, OutputSettings(canonical=canonical.base))

    def put_each(self, changes: list[Change]) -> None:
        """The peer: one PUT for each."""
        with requests.Session() as session:
            for change in changes:
                body = ENCODER.encode({**(change.resource or {}), "id": change.identity})
                url = f"{self.client.base_url}/RiskAssessment/{change.identity}"
                headers = {"Content-Type": "application/fhir+json"}
                session.put(url, data=body, headers=headers, timeout=600).raise_for_status()


def measure(name: str, patients: int, rounds: int, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Both rows against one server: {row: {way: seconds of each round}}, with counts of requests."""
    reading: dict[str, list[float]] = {"screener": [], "bare loop": [], "patient by patient": []}
    writing: dict[str, list[float]] = {"screener": [], "bare loop": [], "one PUT for each": []}
    facts: dict[str, Any] = {}
    with server(name) as base_url:
        online = Online(name, base_url, patients)
        say(f"{name}: {patients} patients seeded")
        for number in range(rounds):
            online.change(0.01, number)
            with recorded() as sent:
                changed = online.night()  # once unmeasured: the server's caches are then alike for all
            reading["screener"].append(seconds(online.night))
            reading["bare loop"].append(seconds(lambda sent=sent: again(sent)))
            reading["patient by patient"].append(seconds(lambda changed=changed: online.one_by_one(changed)))
            facts |= {"changed": len(changed), "requests": len(sent)}
            made = [
                online.changes(Canonical(f"https://example.org/{number}/{way}"), 400) for way in ("w", "a", "b", "c")
            ]
            # What a run has before it writes: the resources, which it has validated.
            _ = [change.resource for changes in made for change in changes]
            warm = online.destination(Canonical(f"https://example.org/{number}/w"))
            warm.apply(made[0])
            warm.close()
            with recorded() as sent:
                own = online.destination(Canonical(f"https://example.org/{number}/a"))
                writing["screener"].append(seconds(lambda own=own, made=made: own.apply(made[1])))
                own.close()
            posts = [one for one in sent if one.method == "POST"]
            bodies = _bodies(online, made[2], posts[0])
            writing["bare loop"].append(seconds(lambda bodies=bodies: again(bodies)))
            writing["one PUT for each"].append(seconds(lambda made=made: online.put_each(made[3])))
            say(f"{name}: round {number + 1} of {rounds}")
        rows = {
            f"seeding, {name}": {"facts": {"resources": online.resources}, "seconds": {"screener": [online.seeding]}},
            f"nightly read, {name}": {"facts": facts, "seconds": reading},
            f"write back, {name}": {"facts": {"assessments": 400}, "seconds": writing},
        }
        return {**rows, **_backfills(online, rounds, say)}  # type: ignore[dict-item]


def _backfills(online: Online, rounds: int, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Whole runs over everyone: reading only, by the size of a batch; writing all, by the connections; and once more, all unchanged."""
    rows: dict[str, dict[str, Any]] = {}
    for batch in BATCHES:
        took: dict[str, list[float]] = {"screener": [], "bare loop": []}
        for _ in range(rounds):
            with recorded() as sent:
                online.backfill("dry", "--dry-run", server_batch_patients=batch)  # unmeasured, as above
            took["screener"].append(
                seconds(lambda batch=batch: online.backfill("dry", "--dry-run", server_batch_patients=batch))
            )
            took["bare loop"].append(seconds(lambda sent=sent: again(sent)))
        facts = {"patients": online.patients, "requests": len(sent)}
        rows[f"backfill, read only, batches of {batch}, {online.name}"] = {"facts": facts, "seconds": took}
        say(f"{online.name}: batches of {batch}: {took}, {len(sent)} requests")
    took_alone, peak_mb = once(online.as_a_process())
    rows[f"backfill as a process, read only, {online.name}"] = {
        "facts": {"patients": online.patients},
        "seconds": {"screener": [took_alone]},
        "peak_mb": {"screener": peak_mb},
    }
    for connections in CONNECTIONS:
        first, second = [], []
        for number in range(rounds):
            canonical = f"backfill-{connections}-{number}"
            settings = {"output_connections": connections}
            found: dict[str, Any] = {}
            first.append(seconds(lambda c=canonical, s=settings, f=found: f.update(online.backfill(c, **s))))
            second.append(seconds(lambda c=canonical, s=settings, f=found: f.update(again=online.backfill(c, **s))))
        facts = {
            "patients": online.patients,
            "created": found["writes"]["created"],
            "requests": found["requests"],
            "requests of the second": found["again"]["requests"],
        }
        rows[f"backfill, Bundles in flight: {connections}, {online.name}"] = {
            "facts": facts,
            "seconds": {"creating all": first, "once more, all unchanged": second},
        }
        say(f"{online.name}: {connections} connections: {first}, {second}, {facts}")
    return rows


def _bodies(online: Online, changes: list[Change], pattern: Sent) -> list[Sent]:
    """The Bundles that the destination would send for these changes, made ready beforehand: they create as much."""
    (base,) = {change.draft.writer.canonical.base for change in changes if change.draft}
    own = online.destination(Canonical(base))
    size = OutputSettings().bundle_entries
    bodies = []
    for start in range(0, len(changes), size):
        entries = [own._entry(change) for change in changes[start : start + size]]
        body = ENCODER.encode({"resourceType": "Bundle", "type": "batch", "entry": entries})
        headers = {k: v for k, v in pattern.headers.items() if k.lower() != "content-length"}
        bodies.append(Sent("POST", pattern.url, headers, body))
    own.close()
    return bodies
