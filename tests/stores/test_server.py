"""A FHIR server as source and destination, where it does what no well-behaved server does."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from urllib.parse import parse_qs

import pytest

from screener.assessment.reconcile import Change, Rules, reconcile
from screener.assessment.resource import device
from screener.assessment.validate import Validator
from screener.base.errors import ServerError
from screener.clinical.judge import judge
from screener.clinical.mapping import Mapper, MappingTables
from screener.clinical.policy import Policy
from screener.clinical.records import Method
from screener.config.servers import ServerSettings
from screener.config.settings import OutputSettings
from screener.fhir.client import Client
from screener.run import deciding
from screener.run.batch_engine import BatchEngine
from screener.run.counts import RunTally
from screener.run.deciding import Stores
from screener.run.engine import NoJournal, NoPace, Plan
from screener.run.pending import Pending
from screener.stores.protocols import Mode, Receipt, Scope, WriteResult
from screener.stores.reading import Reading
from screener.stores.server_destination import ServerDestination
from screener.stores.server_source import ServerSource
from tests.builders import NOW_US, complete, record, writer
from tests.fhir_samples import observation, patient
from tests.scripted import Json, Reply, Request, Script, bundle, scripted

WRITER = writer()
RULES = Rules(Policy(), WRITER, NOW_US)
CANCER = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "C50.9"}]}
NEEDS = {"Condition": "required"}


@contextmanager
def source(script: Script, needs: Mapping[str, str] = NEEDS, *, components: bool = False) -> Iterator[ServerSource]:
    with scripted(script) as server:
        settings = ServerSettings(base_url=server.base_url, attempts=1)
        with Client(settings) as client:
            yield ServerSource(
                client,
                settings,
                Mapper(MappingTables.default()),
                needs,
                by_code=("code", "component-code") if components else ("code",),
            )


@contextmanager
def destination(script: Script) -> Iterator[ServerDestination]:
    with scripted(script) as server:
        settings = ServerSettings(base_url=server.base_url, attempts=1)
        with Client(settings) as client:
            yield ServerDestination(client, settings, WRITER.canonical, OutputSettings())


def created() -> list[Change]:
    (verdict,) = judge([record(*complete())], RULES.policy, WRITER.artefact, NOW_US)
    return reconcile(verdict, [], {}, RULES)


def accepted(name: str, version: str = "1") -> Json:
    return {"response": {"status": "201 Created", "location": f"RiskAssessment/{name}/_history/{version}"}}


def test_an_exclusion_that_names_the_server_by_another_address_counts() -> None:
    """Behind a proxy a server's own address is often not the one that we ask."""
    elsewhere = "https://inside.hospital.example/fhir/Patient/w1"

    def script(request: Request) -> Reply:
        kind = request.path.split("/")[2]
        found: dict[str, list[Json]] = {
            "Patient": [patient("w1")],
            "Observation": [observation("mg1", "w1", "mg", "0.80", "2025-06-01T08:00:00Z")],
            "Condition": [
                {"resourceType": "Condition", "id": "c1", "subject": {"reference": elsewhere}, "code": CANCER}
            ],
        }
        return Reply(body=bundle(*found[kind]))

    with source(script) as read:
        (found,) = read.records(["w1"], frozenset())
    assert [row.rule for row in found.exclusions] == ["malignancy"]


def prescriptions(medication: Reply) -> tuple[list[Request], Script]:
    """A woman with a result and a prescription that names Medication/m7; `medication` answers the search for it."""
    asked: list[Request] = []

    def script(request: Request) -> Reply:
        kind = request.path.partition("?")[0].split("/")[2]
        if kind == "Medication":
            asked.append(request)
            return medication
        named = {"status": "active", "intent": "order", "medicationReference": {"reference": "Medication/m7"}}
        about = {"subject": {"reference": "Patient/w1"}}
        found: dict[str, list[Json]] = {
            "Patient": [patient("w1")],
            "Observation": [observation("mg1", "w1", "mg", "0.80", "2025-06-01T08:00:00Z")],
            "MedicationRequest": [{"resourceType": "MedicationRequest", "id": "r1", **about, **named}],
        }
        return Reply(body=bundle(*found[kind]))

    return asked, script


def test_a_medication_is_asked_for_once_a_run() -> None:
    code = {"coding": [{"system": "http://www.whocc.no/atc", "code": "M05BA04"}]}
    asked, script = prescriptions(Reply(body=bundle({"resourceType": "Medication", "id": "m7", "code": code})))
    with source(script, {"MedicationRequest": "required"}) as read:
        first, second = (read.records(["w1"], frozenset())[0] for _ in range(2))
    assert [row.rule for row in first.exclusions] == [row.rule for row in second.exclusions] == ["antiresorptive"]
    assert [parse_qs(request.body)["_id"] for request in asked] == [["m7"]]


@pytest.mark.parametrize("status", [400, 403, 404])
def test_medications_that_may_not_be_read_leave_the_prescription_unread(status: int) -> None:
    refusal = Reply(status, {"resourceType": "OperationOutcome", "issue": [{"code": "forbidden"}]})
    asked, script = prescriptions(refusal)
    with source(script, {"MedicationRequest": "required"}) as read:
        for _ in range(2):
            (found,) = read.records(["w1"], frozenset())
            assert (found.exclusions, found.unreadable) == ((), ("MedicationRequest",))
    # The search, by GET too where POST may be what is refused, and then once by its id.
    assert [request.method for request in asked] == ["POST", *(["GET"] if status == 404 else []), "GET"]
    assert asked[-1].path.endswith("/Medication/m7")
    with source(script, {"MedicationRequest": "optional"}) as read:
        (found,) = read.records(["w1"], frozenset())
    assert (found.unreadable, found.unchecked) == ((), ("MedicationRequest",))


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_medication_that_cannot_be_searched_is_read_by_its_id(status: int) -> None:
    code = {"coding": [{"system": "http://www.whocc.no/atc", "code": "M05BA04"}]}
    _, script = prescriptions(Reply(status))

    def by_id(request: Request) -> Reply:
        if request.path.endswith("/Medication/m7"):
            return Reply(body={"resourceType": "Medication", "id": "m7", "code": code})
        return script(request)

    with source(by_id, {"MedicationRequest": "required"}) as read:
        (found,) = read.records(["w1"], frozenset())
    assert [row.rule for row in found.exclusions] == ["antiresorptive"]


def test_a_server_that_takes_no_date_missing_is_still_asked_by_date() -> None:
    def script(request: Request) -> Reply:
        if "date%3Amissing" in request.path:
            return Reply(400, {"resourceType": "OperationOutcome", "issue": [{"code": "not-supported"}]})
        return Reply(body=bundle(observation("mg1", "w1", "mg", "0.80", "2025-06-01T08:00:00Z")))

    with source(script) as read:
        assert list(read.population(Scope(Mode.BACKFILL, oldest="2024-01-01"))) == ["w1"]


def test_a_server_that_alters_what_is_ours_is_named_with_the_field() -> None:
    changes = created()

    def script(request: Request) -> Reply:
        if request.method == "POST":
            return Reply(body={"resourceType": "Bundle", "entry": [accepted("a"), accepted("b")]})
        kept = {
            **(changes[0].resource or {}),
            "id": "a",
            "meta": {**(changes[0].resource or {})["meta"], "versionId": "1"},
        }
        return Reply(body=_json({**kept, "code": {"text": "something shorter"}}))

    with destination(script) as write, pytest.raises(ServerError) as caught:
        write.apply(changes)
    assert "does not keep RiskAssessment as it was sent: it altered code" in str(caught.value)


def test_a_server_that_keeps_what_it_was_sent_is_asked_once() -> None:
    changes = created()

    def script(request: Request) -> Reply:
        if request.method == "POST":
            return Reply(body={"resourceType": "Bundle", "entry": [accepted("a"), accepted("b")]})
        resource = changes[0].resource or {}
        return Reply(body=_json({**resource, "id": "a", "meta": {**resource["meta"], "versionId": "1"}}))

    with scripted(script) as server:
        settings = ServerSettings(base_url=server.base_url, attempts=1)
        with Client(settings) as client:
            write = ServerDestination(client, settings, WRITER.canonical, OutputSettings())
            for _ in range(2):
                assert [receipt.result for receipt in write.apply(changes)] == [WriteResult.DONE, WriteResult.DONE]
    assert [request.method for request in server.asked] == ["POST", "GET", "POST"]


def _json(resource: Json) -> bytes:
    from screener.fhir.bundles import ENCODER  # noqa: PLC0415 - decimals as the job writes them

    return ENCODER.encode(resource)


class _OneWoman:
    """A source that shows one woman, complete."""

    def __init__(self) -> None:
        self.reading, self.needs = Reading(), dict[str, str]()

    def population(self, scope: Scope) -> Iterator[str]:
        yield "p1"

    def records(self, patients: list[str], standing: object) -> list[object]:
        return [record(*complete()) for _ in patients]

    def basis(self, observations: object) -> dict[str, object]:
        return {}


class _Conflicts:
    """A destination where somebody else is faster, the first time that anything is written."""

    keeps_until_finish = False

    def __init__(self) -> None:
        self.applied: list[list[Method]] = []

    def patients(self) -> Iterator[str]:
        yield from ()

    def standing(self, patients: list[str]) -> dict[str, list[Json]]:
        return {}

    def unknown(self, patients: list[str]) -> list[str]:
        return []

    def with_destination_references(self, changes: list[Change]) -> list[Change]:
        return changes

    def begin(self) -> None: ...

    def apply(self, changes: list[Change]) -> list[Receipt]:
        self.applied.append([change.method for change in changes])
        written = WriteResult.CONFLICT if len(self.applied) == 1 else WriteResult.DONE
        return [Receipt(change, written) for change in changes]

    def finish(self) -> None: ...


def test_two_conflicts_of_one_woman_are_looked_at_once_and_counted_once() -> None:
    store, tally = _Conflicts(), RunTally()
    plan = Plan(Scope(Mode.BACKFILL, oldest="2024-01-01"), 10, dry=False)
    with Pending() as pending:
        engine = BatchEngine(Stores(_OneWoman(), store), RULES, Validator(every=True), tally, pending)  # type: ignore[arg-type]
        engine.write(engine.decide(plan, NoPace()), NoPace(), NoJournal())
    assert tally.counts.writes_by_column == {
        "created": 2,
        "amended": 0,
        "retracted": 0,
        "unchanged": 0,
        "stands": 0,
        "failed": 0,
    }
    assert store.applied == [[Method.NOMOGRAM, Method.FLAG], [Method.NOMOGRAM], [Method.FLAG]]
    assert (tally.counts.flagged, tally.counts.outcomes_by_reason["scored"]) == (1, {"complete": 1})


def test_where_the_server_can_search_them_panels_are_asked_for_their_components_too() -> None:
    asked: list[dict[str, list[str]]] = []
    panel = {**observation("o1", "p1", "mg", "0.84", "2025-11-01"), "code": {"text": "Electrolytes"}}
    value = panel.pop("valueQuantity")
    panel["component"] = [
        {"code": {"coding": [{"system": "http://loinc.org", "code": "2601-3"}]}, "valueQuantity": value}
    ]

    def script(request: Request) -> Reply:
        query = parse_qs(request.path.partition("?")[2] or request.body)
        asked.append(query)
        if "Patient" in request.path:
            return Reply(body=bundle(patient("p1")))
        return Reply(body=bundle(panel) if "component-code" in query else bundle())

    with source(script, {}, components=True) as read:
        assert list(read.population(Scope(Mode.BACKFILL, oldest="2024-01-01"))) == ["p1", "p1"]
        (found,) = read.records(["p1"], ())
    assert [(fact.id, fact.value) for fact in found.facts] == [("o1#0", Decimal("0.84"))]
    by_code = [query for query in asked if "code" in query]
    by_component = [query for query in asked if "component-code" in query]
    assert len(by_code) == len(by_component) == 3
    assert [query["code"] for query in by_code] == [query["component-code"] for query in by_component]


def test_the_query_for_undated_results_asks_for_magnesium_only() -> None:
    asked: list[str] = []

    def script(request: Request) -> Reply:
        asked.append(request.path)
        return Reply(body=bundle())

    with source(script) as read:
        assert list(read.population(Scope(Mode.BACKFILL, oldest="2024-01-01"))) == []
    queries = [parse_qs(path.partition("?")[2]) for path in asked]
    assert [query.get("date") for query in queries] == [["ge2024-01-01"], None]
    assert queries[1]["date:missing"] == ["true"]
    assert queries[0]["code"] == queries[1]["code"]


class _OneAtATime:
    """A record system that searches within one patient only, and for Conditions wants a category."""

    def __init__(self, *, refuses: int = 400) -> None:
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self._refuses = refuses
        self._held: dict[str, dict[str, list[Json]]] = {
            name: {
                "Patient": [patient(name)],
                "Observation": [observation(f"{name}-mg", name, "mg", "0.80", "2025-06-01T08:00:00Z")],
                "Condition": [
                    {
                        "resourceType": "Condition",
                        "id": f"{name}-c",
                        "subject": {"reference": f"Patient/{name}"},
                        "code": CANCER,
                    }
                ],
            }
            for name in ("w1", "w2", "w3")
        }

    def __call__(self, request: Request) -> Reply:
        path, _, query = request.path.partition("?")
        kind, asked = path.split("/")[2], parse_qs(query or request.body)
        self.asked.append((kind, asked))
        names = asked.get("_id" if kind == "Patient" else "patient", [])
        if len(names) != 1 or "," in names[0] or (kind == "Condition" and "category" not in asked):
            return Reply(status=self._refuses, body={"resourceType": "OperationOutcome", "issue": []})
        return Reply(body=bundle(*self._held[names[0]][kind]))


@pytest.mark.parametrize("known", [False, True], ids=["by its refusal", "by its statement"])
def test_a_server_that_searches_one_patient_at_a_time_is_asked_so(known: bool) -> None:  # noqa: FBT001
    script = _OneAtATime()
    with scripted(script) as server:
        settings = ServerSettings(base_url=server.base_url, attempts=1)
        with Client(settings) as client:
            mapper = Mapper(MappingTables.default())
            read = ServerSource(client, settings, mapper, NEEDS, many=not known)
            found = {name: read.records([name, "w3"], ()) for name in ("w1", "w2")}
            read.close()
    for name, records in found.items():
        assert [record.patient for record in records] == [name, "w3"]
        for one in records:
            assert [fact.value for fact in one.facts] == [Decimal("0.80")]
            assert {row.rule for row in one.exclusions} == {"malignancy"}
    several = [kind for kind, asked in script.asked if "," in "".join(asked.get("_id", asked.get("subject", [])))]
    assert several == ([] if known else ["Patient"])  # refused once, and not tried again
    without_category = [asked for kind, asked in script.asked if kind == "Condition" and "category" not in asked]
    assert 1 <= len(without_category) <= 2  # two at once may find out
    assert all("code" in asked for kind, asked in script.asked if kind == "Observation")


def test_a_server_that_does_not_search_across_patients_wants_a_list_of_them() -> None:
    with source(_OneAtATime()) as read, pytest.raises(ServerError, match="Name the patients: --patients-from"):
        list(read.population(Scope(Mode.BACKFILL, oldest="2024-01-01")))


def test_what_is_refused_for_one_patient_as_for_many_stays_refused() -> None:
    def script(request: Request) -> Reply:
        return Reply(status=400, body={"resourceType": "OperationOutcome", "issue": []})

    with source(script) as read, pytest.raises(ServerError, match="400"):
        read.records(["w1", "w2"], ())


def test_server_that_empties_a_batch_is_not_asked_for_minimal_answers_again() -> None:
    """Medplum: `Prefer: return=minimal` leaves nothing of the Bundle, and the writes have landed."""
    stored: dict[str, Json] = {}

    def script(request: Request) -> Reply:
        if request.method == "GET":
            return Reply(body=stored[request.path.rpartition("/")[2]])
        entries = json.loads(request.body)["entry"]
        answers = []
        for number, entry in enumerate(entries):
            name = f"a{number}"
            status = "200 OK" if name in stored else "201 Created"
            resource = entry["resource"]
            meta = {**resource["meta"], "versionId": "v1"}
            stored.setdefault(name, {**resource, "id": name, "meta": meta})
            answers.append({"response": {"status": status, "location": f"RiskAssessment/{name}"}})
        empty = "return=minimal" in request.headers.get("Prefer", "")
        return Reply(body=b"" if empty else {"resourceType": "Bundle", "type": "batch-response", "entry": answers})

    with scripted(script) as server:
        settings = ServerSettings(base_url=server.base_url, attempts=1)
        with Client(settings) as client:
            there = ServerDestination(client, settings, WRITER.canonical, OutputSettings(connections=1))
            receipts = there.apply(created())
            assert [(r.result, r.id, r.version) for r in receipts] == [
                (WriteResult.DONE, "a0", "v1"),
                (WriteResult.DONE, "a1", "v1"),
            ]
            # Whoever stands there with other contents was not written by us.
            stored["a1"] = {**stored["a1"], "prediction": []}
            assert [r.result for r in there.apply(created())] == [WriteResult.CONFLICT, WriteResult.CONFLICT]
    batches = [request.headers.get("Prefer", "") for request in server.asked if request.method == "POST"]
    assert batches == ["return=minimal", "", ""]


@pytest.mark.parametrize("need", ["required", "optional", "if_offered"])
@pytest.mark.parametrize(
    ("status", "about_the_type"), [(401, False), (408, False), (429, False), (503, False), (403, True), (404, True)]
)
def test_only_a_refusal_of_the_type_says_something_of_the_type(need: str, status: int, about_the_type: bool) -> None:  # noqa: FBT001
    """smart-on-fhir/cumulus-etl#334: one 503 on an optional type must not let excluded women through."""

    def script(request: Request) -> Reply:
        kind = request.path.split("/")[2].partition("?")[0]
        if kind == "Condition":
            return Reply(status, {"resourceType": "OperationOutcome", "issue": [{"code": "processing"}]})
        result = observation("mg1", "w1", "mg", "0.80", "2025-06-01T08:00:00Z")
        return Reply(body=bundle(patient("w1") if kind == "Patient" else result))

    with source(script, {"Condition": need}) as read:
        if about_the_type and need != "required":
            (found,) = deciding.read(read, ["w1"])
            assert found.unchecked == (("Condition",) if need == "optional" else ())
            return
        with pytest.raises(ServerError) as caught:
            deciding.read(read, ["w1"])
    assert ("set it to optional" in str(caught.value)) is about_the_type


@pytest.mark.parametrize(("status", "words"), [(200, ""), (412, "another run wrote it"), (409, "another run wrote it")])
def test_the_device_is_updated_from_the_version_that_was_read(status: int, words: str) -> None:
    """beda-software/fhir-py#139: some servers demand If-Match on every PUT."""
    held = {**device(WRITER), "id": "d1", "version": [{"value": "0.0.1"}], "meta": {"versionId": "7"}}

    def script(request: Request) -> Reply:
        if request.method == "PUT":
            return Reply(status if request.headers.get("If-Match") == 'W/"7"' else 428)
        return Reply(body=bundle(held))

    with destination(script) as write:
        assert write.prepare(WRITER) == "Device/d1"
        if words:
            with pytest.raises(ServerError, match=words):
                write.begin()
        else:
            write.begin()
