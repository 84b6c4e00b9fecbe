"""`screener export`: from the sandbox and a real HAPI, through every interruption, and never half an export taken for a whole one."""

import copy
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from screener.base.errors import InputError, ScreenerError, ServerError
from screener.clinical.mapping import Mapper, MappingTables
from screener.config.servers import ServerSettings
from screener.config.settings import BulkSettings, FolderSettings, Settings
from screener.sandbox.app import SandboxServer
from screener.stores.bulk.export import Exporter
from screener.stores.bulk.journal import FINISHED, JOURNAL, Finished, finished, load
from screener.stores.bulk.protocol import ExportRequest
from screener.stores.bulk.request import needed
from screener.stores.folder.scratch import Workspace
from screener.stores.folder.source import FolderSource
from screener.stores.protocols import Mode, Scope
from tests.fhir_samples import observation, patient
from tests.scripted import Reply, Request, scripted

Json = dict[str, Any]
MANY = 2_300  # more than two files of the sandbox


def settings(base_url: str, **bulk: Any) -> Settings:
    server = ServerSettings(base_url=base_url, attempts=2, longest_wait_seconds=0.05)
    return Settings(server=server, bulk=BulkSettings(longest_wait_seconds=0.05, **bulk))


def export(
    site: Settings, request: ExportRequest, folder: Path, progress: Callable[[int, int], None], *, restart: bool = False
) -> Finished:
    return Exporter(site.server, site.bulk).export(request, folder, progress, restart=restart)


def asked(*, relevant: bool = False) -> ExportRequest:
    """What a run asks for with the default configuration."""
    return needed(Settings().exclusions.needs(), "", mapper=Mapper(MappingTables.default()) if relevant else None)


def quiet(done: int, total: int) -> None: ...


def held(folder: Path) -> list[Json]:
    """Every resource in the files that a run reads."""
    found = []
    for file in sorted(folder.glob("*.ndjson*")):
        if not file.name.endswith(".not-read"):
            raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
            found += [json.loads(line) for line in raw.splitlines() if line.strip()]
    return found


@pytest.fixture(scope="module")
def filled() -> Iterator[str]:
    """A sandbox with some thousand results."""
    with SandboxServer() as server:
        rows = [patient("p1"), *(observation(f"o{n}", "p1", "mg", "0.84", "2025-11-01") for n in range(MANY))]
        entries = [{"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}} for r in rows]
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
        assert requests.post(server.base_url, json=bundle, timeout=60).status_code == 200
        yield server.base_url


def test_results_of_a_further_predictor_are_asked_for_where_the_model_has_it() -> None:
    for further in (False, True):
        mapper = Mapper(MappingTables.default(), further=further)
        filters = needed({}, "", types=("Observation",), mapper=mapper).filters
        assert len(filters) == 2
        assert ["2697-1" in one for one in filters] == [further, further]


def test_everything_arrives_once_and_is_the_owners_only(filled: str, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    whole = export(settings(filled), asked(), tmp_path / "e", lambda done, total: told.append((done, total)))
    resources = held(tmp_path / "e")
    assert sorted(r["id"] for r in resources) == sorted(["p1", *(f"o{n}" for n in range(MANY))])
    assert {file.name: file.resources for file in whole.files} == {
        "Observation.00000.ndjson": 1000,
        "Observation.00001.ndjson": 1000,
        "Observation.00002.ndjson": 300,
        "Patient.00003.ndjson": 1,
    }
    assert told[-1] == (4, 4)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "e").iterdir()} == {0o600}
    assert finished(tmp_path / "e") == whole
    assert load(tmp_path / "e") is None
    assert "http" not in (tmp_path / "e" / FINISHED).read_text()


def test_only_our_codes_where_the_server_can(filled: str, tmp_path: Path) -> None:
    sodium = observation("sodium", "p1", "mg", "140", "2025-11-01")
    sodium["code"]["coding"][0]["code"] = "2951-2"
    assert requests.put(f"{filled}/Observation/sodium", json=sodium, timeout=30).status_code in (200, 201)
    for relevant, there in ((False, True), (True, False)):
        folder = tmp_path / str(relevant)
        export(settings(filled), asked(relevant=relevant), folder, quiet)
        assert ("sodium" in {r["id"] for r in held(folder)}) is there
    requests.delete(f"{filled}/Observation/sodium", timeout=30)


# Interruptions


class Killed(Exception):
    """What a test puts where a process would end."""


@dataclass
class Bulk:
    """A server of Bulk Data that a test can make do anything; it counts what is fetched."""

    files: dict[str, bytes] = field(default_factory=dict)
    manifest: Json = field(default_factory=dict)
    waits: int = 1
    fetched: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    odd: Callable[[str], Reply | None] = lambda _: None
    base_url: str = ""

    def __call__(self, request: Request) -> Reply:
        path = request.path.partition("?")[0].removeprefix("/fhir/")
        self.asked.append(f"{request.method} {path}")
        strange = self.odd(f"{request.method} {path}")
        if strange is not None:
            return strange
        if path.endswith("$export"):
            return Reply(202, headers={"Content-Location": f"{self.base_url}/status/1"})
        if request.method == "DELETE":
            return Reply(202)
        if path == "status/1":
            self.waits -= 1
            return Reply(202, headers={"Retry-After": "120"}) if self.waits >= 0 else Reply(body=self.manifest)
        if path.startswith("status/"):
            return Reply(body=self.files[path])
        self.fetched.append(path)
        return Reply(body=self.files[path], headers={"Content-Type": "application/fhir+ndjson"})


def line(number: int) -> bytes:
    return json.dumps(observation(f"o{number}", "p1", "mg", "0.84", "2025-11-01")).encode() + b"\n"


@pytest.fixture
def bulk() -> Iterator[Bulk]:
    """Four files of two results each."""
    server = Bulk()
    with scripted(server) as running:
        server.base_url = running.base_url
        server.files = {f"file/{n}": line(2 * n) + line(2 * n + 1) for n in range(4)}
        output = [{"type": "Observation", "url": f"{running.base_url}/{name}", "count": 2} for name in server.files]
        server.manifest = {
            "transactionTime": "2026-01-31T02:00:00Z",
            "requiresAccessToken": False,
            "output": output,
            "error": [],
        }
        yield server


REQUEST = ExportRequest(types=("Observation",))


@pytest.mark.parametrize("stage", ["kick-off", "status", "first file", "third file", "deletion"])
def test_export_killed_anywhere_goes_on_and_fetches_no_whole_file_twice(bulk: Bulk, tmp_path: Path, stage: str) -> None:
    ended = threading.Event()

    def strange(what: str) -> Reply | None:
        if ended.is_set():
            return None
        now = {
            "kick-off": what.endswith("$export"),
            "status": "status/1" in what and what.startswith("GET"),
            "first file": "file/" in what,
            "third file": "file/2" in what,
            "deletion": what.startswith("DELETE"),
        }[stage]
        return Reply(cut_short=True, body=b"x" * 100) if now else None

    bulk.odd = strange
    folder = tmp_path / "e"
    one = settings(bulk.base_url, connections=1)
    if stage == "deletion":  # a server that will not hear of it does no harm
        export(one, REQUEST, folder, quiet)
    else:
        with pytest.raises(ServerError, match="Cannot reach"):
            export(one, REQUEST, folder, quiet)
        assert not (folder / FINISHED).exists()
        assert (folder / JOURNAL).exists()
        before = list(bulk.fetched)
        ended.set()
        export(one, REQUEST, folder, quiet)
        assert len(set(bulk.fetched)) == len(bulk.fetched) == 4
        assert bulk.fetched[: len(before)] == before
        # A kick-off whose answer was lost may have started an export that nobody knows; all others are started once.
        assert sum(what.endswith("$export") for what in bulk.asked) == (3 if stage == "kick-off" else 1)
    assert sorted(r["id"] for r in held(folder)) == [f"o{n}" for n in range(8)]
    assert finished(folder) is not None


def test_killed_between_a_file_and_its_entry_in_the_journal(
    bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is there under its name and not in the journal: it is fetched again over itself, and there once."""
    from screener.stores.bulk import journal as journals  # noqa: PLC0415

    saved = journals.save
    calls = 0

    def dying(folder: Path, journal: journals.Journal) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:  # begun, status, manifest, first file
            raise Killed
        saved(folder, journal)

    monkeypatch.setattr(journals, "save", dying)
    with pytest.raises(Killed):
        export(settings(bulk.base_url, connections=1), REQUEST, tmp_path / "e", quiet)
    monkeypatch.setattr(journals, "save", saved)
    export(settings(bulk.base_url, connections=1), REQUEST, tmp_path / "e", quiet)
    assert sorted(r["id"] for r in held(tmp_path / "e")) == [f"o{n}" for n in range(8)]
    assert not list((tmp_path / "e").glob(".*"))


def test_what_the_server_asks_to_wait_is_capped(bulk: Bulk, tmp_path: Path) -> None:
    bulk.waits = 5
    export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet)  # 120 s each, as HAPI says: 10 min without the cap
    assert bulk.asked.count("GET status/1") == 6


def test_an_export_that_never_ends_is_given_up_with_words(bulk: Bulk, tmp_path: Path) -> None:
    bulk.waits = 10**6
    with pytest.raises(ServerError, match="has not finished the export within 5e-05 h"):
        export(settings(bulk.base_url, give_up_hours=0.00005), REQUEST, tmp_path / "e", quiet)
    bulk.waits = 0
    export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet)  # and is still there when asked again
    assert sum(what.endswith("$export") for what in bulk.asked) == 1


# Not whole


def short(bulk: Bulk) -> None:
    bulk.files["file/1"] = line(2)


def long(bulk: Bulk) -> None:
    bulk.files["file/1"] += line(99)


def cut(bulk: Bulk) -> None:
    bulk.files["file/1"] = line(2) + line(3)[:-40]


def cut_gzip(bulk: Bulk) -> None:
    bulk.files["file/1"] = gzip.compress(line(2) + line(3))[:-9]


def errors(bulk: Bulk) -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
    bulk.files["errors"] = json.dumps(outcome).encode() + b"\n"
    bulk.manifest["error"] = [{"type": "OperationOutcome", "url": f"{bulk.base_url}/errors", "count": 1}]


def test_information_and_warnings_of_a_manifest_are_no_errors(bulk: Bulk, tmp_path: Path) -> None:
    """smart-on-fhir/cumulus-etl#169."""
    lines = [
        {"resourceType": "OperationOutcome", "issue": [{"severity": s, "code": "informational"}]}
        for s in ("information", "warning")
    ]
    bulk.files["errors"] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    bulk.manifest["error"] = [{"type": "OperationOutcome", "url": f"{bulk.base_url}/errors", "count": 2}]
    whole = export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet)
    assert (whole.errors, whole.remarks) == (0, 2)
    mapper, folder = Mapper(MappingTables.default()), FolderSettings()
    read = FolderSource(tmp_path / "e", mapper, {}, folder, Workspace(tmp_path, 1))
    assert list(read.population(Scope(Mode.BACKFILL))) == ["p1"]  # again and again
    assert read.reading.not_whole == {}


def test_errors_that_are_let_pass_are_said_of_everyone(bulk: Bulk, tmp_path: Path) -> None:
    errors(bulk)
    export(settings(bulk.base_url, errors_allowed=1), REQUEST, tmp_path / "e", quiet)
    read = FolderSource(tmp_path / "e", Mapper(MappingTables.default()), {}, FolderSettings(), Workspace(tmp_path, 1))
    (found,) = read.records(["p1"], ())
    assert found.in_part == ("records",)


# Manifests


def in_pages(bulk: Bulk) -> None:
    """The manifest on three pages of which the last one is the oldest."""
    output = bulk.manifest["output"]
    for number, (files, instant) in enumerate([(output[1:3], "02:00"), (output[3:], "01:00")], start=2):
        more = [{"relation": "next", "url": f"{bulk.base_url}/status/3"}] if number == 2 else []
        page = {**bulk.manifest, "output": files, "link": more, "transactionTime": f"2026-01-31T{instant}:00Z"}
        bulk.files[f"status/{number}"] = json.dumps(page).encode()
    bulk.manifest["output"] = output[:1]
    bulk.manifest["link"] = [{"relation": "next", "url": f"{bulk.base_url}/status/2"}]


def test_every_page_of_a_manifest_is_read(bulk: Bulk, tmp_path: Path) -> None:
    """HL7/bulk-data#143."""
    in_pages(bulk)
    whole = export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet)
    assert sorted(r["id"] for r in held(tmp_path / "e")) == [f"o{n}" for n in range(8)]
    assert whole.transaction_time == "2026-01-31T01:00:00Z"


def test_a_manifest_that_pages_in_a_circle_is_an_error(bulk: Bulk, tmp_path: Path) -> None:
    bulk.manifest["link"] = [{"relation": "next", "url": f"{bulk.base_url}/status/1"}]
    with pytest.raises(ServerError, match="in a circle"):
        export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet)


@pytest.mark.parametrize(
    ("member", "value", "taken"),
    [
        ("requiresAccessToken", "true", True),
        ("requiresAccessToken", "False", True),
        ("deleted", None, True),
        ("msg", "done", True),
        ("warnings", [], True),
        ("extension", {"https://vendor.example/job": {"id": 5}}, True),
        ("errors", [{"type": "OperationOutcome", "url": "https://x.example/1"}], False),
        ("failed", [{"id": "1"}], False),
        ("extension", {"more": [{"url": "https://x.example/1"}]}, False),
        ("rest", {"href": "https://x.example/2"}, False),
    ],
)
def test_a_manifest_is_read_leniently_and_never_in_part(
    bulk: Bulk,
    tmp_path: Path,
    member: str,
    value: object,
    taken: bool,  # noqa: FBT001
) -> None:
    bulk.manifest[member] = value
    for file in bulk.manifest["output"]:
        file["count"] = str(file["count"])
    if taken:
        assert len(export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet).files) == 4
        return
    with pytest.raises(ServerError, match=f"does not know: {member}"):
        export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet)


def test_an_export_is_as_old_as_its_kick_off(bulk: Bulk, tmp_path: Path) -> None:
    """torch#914: stamped at the last poll, it would pass over what changed meanwhile."""
    bulk.manifest["transactionTime"] = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    before = datetime.now(UTC) + timedelta(seconds=2)
    whole = export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet)
    assert datetime.fromisoformat(whole.transaction_time) <= before


def test_a_status_at_another_origin_is_refused_and_not_remembered(bulk: Bulk, tmp_path: Path) -> None:
    away = Reply(202, headers={"Content-Location": "https://elsewhere.example/status/1"})
    bulk.odd = lambda what: away if what.endswith("$export") else None
    with pytest.raises(ServerError, match="another origin"):
        export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet)
    bulk.odd = lambda _: None
    assert export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet).files


@pytest.mark.parametrize("status", [403, 410, 404])
def test_addresses_that_expired_while_it_was_interrupted_are_asked_for_again(
    bulk: Bulk, tmp_path: Path, status: int
) -> None:
    """HeliosSoftware/hfs#145."""
    one = settings(bulk.base_url, connections=1)
    bulk.odd = lambda what: Reply(cut_short=True, body=b"x") if what.endswith("file/2") else None
    with pytest.raises(ServerError):
        export(one, REQUEST, tmp_path / "e", quiet)
    bulk.odd = lambda what: Reply(status) if "file/" in what else None
    for file in bulk.manifest["output"]:
        file["url"] = file["url"].replace("/file/", "/signed/")
    bulk.files |= {name.replace("file/", "signed/"): content for name, content in bulk.files.items()}
    before = list(bulk.fetched)
    export(one, REQUEST, tmp_path / "e", quiet)
    assert sorted(r["id"] for r in held(tmp_path / "e")) == [f"o{n}" for n in range(8)]
    assert [name for name in bulk.fetched[len(before) :] if "signed" in name] == ["signed/2"]


def test_files_of_another_manifest_do_not_stay_beside_those_of_a_new_one(bulk: Bulk, tmp_path: Path) -> None:
    one = settings(bulk.base_url, connections=1)
    bulk.odd = lambda what: Reply(cut_short=True, body=b"x") if what.endswith("file/3") else None
    with pytest.raises(ServerError):
        export(one, REQUEST, tmp_path / "e", quiet)
    bulk.odd = lambda what: Reply(403) if "file/3" in what else None
    bulk.manifest["transactionTime"] = "2026-02-01T02:00:00Z"
    del bulk.manifest["output"][1:]
    export(one, REQUEST, tmp_path / "e", quiet)
    assert sorted(r["id"] for r in held(tmp_path / "e")) == ["o0", "o1"]


def test_restart_removes_all_that_the_export_left(bulk: Bulk, tmp_path: Path) -> None:
    bulk.odd = lambda what: Reply(cut_short=True, body=b"x") if what.endswith("file/2") else None
    with pytest.raises(ServerError):
        export(settings(bulk.base_url, connections=1), REQUEST, tmp_path / "e", quiet)
    (tmp_path / "e" / "Observation.00003.ndjson").write_text("killed before it was noted")
    assert list((tmp_path / "e").glob(".*.part"))
    bulk.odd = lambda _: None
    whole = export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet, restart=True)
    assert {file.name for file in whole.files} | {FINISHED} == {entry.name for entry in (tmp_path / "e").iterdir()}


def elsewhere(bulk: Bulk) -> None:
    bulk.manifest["output"][1]["url"] = "http://elsewhere.example/file"


def timeless(bulk: Bulk) -> None:
    del bulk.manifest["transactionTime"]


def climbing(bulk: Bulk) -> None:
    bulk.manifest["output"][1]["type"] = "/somewhere/else"


def no_instant(bulk: Bulk) -> None:
    bulk.manifest["transactionTime"] = "yesterday"


@pytest.mark.parametrize("damage", [climbing, no_instant, timeless], ids=lambda value: value.__name__)
def test_a_manifest_that_cannot_be_followed_is_not_written_down(
    bulk: Bulk, tmp_path: Path, damage: Callable[[Bulk], None]
) -> None:
    whole = copy.deepcopy(bulk.manifest)
    damage(bulk)
    with pytest.raises(ServerError, match="gave a manifest with"):
        export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet)
    assert not list(tmp_path.glob("*.ndjson"))
    bulk.manifest.clear()
    bulk.manifest.update(whole)
    assert export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet).files


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (short, "File 2 of the export .Observation. holds 1 resource, and the manifest says 2"),
        (long, "holds 3 resources, and the manifest says 2"),
        (cut, "is cut short or damaged"),
        (cut_gzip, "is cut short or damaged"),
        (errors, "reports 1 errors in this export: it is not whole"),
        (elsewhere, "names a file of the export elsewhere and not by https"),
        (timeless, "manifest without a transactionTime"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_not_whole_is_an_error_and_no_run_reads_it(
    bulk: Bulk, tmp_path: Path, damage: Callable[[Bulk], None], words: str
) -> None:
    damage(bulk)
    with pytest.raises(ServerError, match=words) as caught:
        export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet)
    assert "http" not in str(caught.value).replace("https", "")
    assert finished(tmp_path / "e") is None
    with pytest.raises(InputError, match="in the middle of an export"):
        ndjson(tmp_path / "e")


def ndjson(folder: Path) -> list[Path]:
    from screener.stores.folder.files import entries_of  # noqa: PLC0415

    return entries_of(folder).files


def test_errors_can_be_allowed_and_are_kept_beside(bulk: Bulk, tmp_path: Path) -> None:
    errors(bulk)
    export(settings(bulk.base_url, errors_allowed=1), REQUEST, tmp_path / "e", quiet)
    assert [path.name for path in (tmp_path / "e").glob("*.not-read")] == [
        "error-OperationOutcome.00000.ndjson.not-read"
    ]
    assert len(ndjson(tmp_path / "e")) == 4


def test_compressed_files_stay_compressed(bulk: Bulk, tmp_path: Path) -> None:
    bulk.files = {name: gzip.compress(content) for name, content in bulk.files.items()}
    export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet)
    assert {path.suffix for path in ndjson(tmp_path / "e")} == {".gz"}
    assert len(held(tmp_path / "e")) == 8


def test_a_server_without_filters_is_asked_without(bulk: Bulk, tmp_path: Path) -> None:
    refused: list[str] = []

    def strange(what: str) -> Reply | None:
        if what.endswith("$export") and not refused:
            refused.append(what)
            return Reply(400, {"resourceType": "OperationOutcome"})
        return None

    bulk.odd = strange
    export(
        settings(bulk.base_url),
        ExportRequest(types=("Observation",), filters=("Observation?code=x",)),
        tmp_path / "e",
        quiet,
    )
    assert len(held(tmp_path / "e")) == 8


def test_a_server_without_bulk_data_is_said_to_be(bulk: Bulk, tmp_path: Path) -> None:
    bulk.odd = lambda what: Reply(200, {"resourceType": "Bundle"}) if what.endswith("$export") else None
    with pytest.raises(ServerError, match="does not know Bulk Data Access"):
        export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet)


def test_restart_begins_an_export_that_the_server_forgot(bulk: Bulk, tmp_path: Path) -> None:
    bulk.odd = lambda what: Reply(404) if what == "GET status/1" else None
    with pytest.raises(ServerError, match=r"does not know this export any more \(404\)"):
        export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet)
    bulk.odd = lambda _: None
    export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet, restart=True)
    assert len(held(tmp_path / "e")) == 8


# Folders


def test_a_folder_of_something_else_is_left_alone(bulk: Bulk, tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "Patient.ndjson").write_text("{}")
    with pytest.raises(InputError, match="is not empty"):
        export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet)
    assert (tmp_path / "e" / "Patient.ndjson").read_text() == "{}"
    assert bulk.asked == []


def test_another_export_is_not_mixed_into_one_in_progress(bulk: Bulk, tmp_path: Path) -> None:
    bulk.odd = lambda what: Reply(cut_short=True, body=b"x") if "file/2" in what else None
    with pytest.raises(ServerError):
        export(settings(bulk.base_url), REQUEST, tmp_path / "e", quiet)
    with pytest.raises(InputError, match="in the middle of another export"):
        export(settings(bulk.base_url), ExportRequest(types=("Patient",)), tmp_path / "e", quiet)


def test_what_only_changed_is_never_the_whole_truth(bulk: Bulk, tmp_path: Path) -> None:
    request = ExportRequest(types=("Observation",), since="2026-01-01T00:00:00.000Z")
    export(settings(bulk.base_url), request, tmp_path / "e", quiet)
    source = FolderSource(tmp_path / "e", Mapper(MappingTables.default()), {}, FolderSettings(), Workspace(tmp_path))
    with pytest.raises(InputError, match="holds only what changed since 2026-01-01"):
        list(source.population(Scope(Mode.BACKFILL)))


def test_the_token_goes_to_our_server_only_and_only_where_the_manifest_asks(tmp_path: Path) -> None:
    bulk = Bulk()
    with scripted(bulk) as running:
        bulk.base_url = running.base_url
        bulk.files = {"file/0": line(0)}
        output = [{"type": "Observation", "url": f"{running.base_url}/file/0"}]
        for required in (True, False):
            bulk.waits = 0
            bulk.manifest = {
                "transactionTime": "2026-01-31T02:00:00Z",
                "requiresAccessToken": required,
                "output": output,
            }
            server = ServerSettings(base_url=running.base_url, token="canary", attempts=1)
            export(Settings(server=server), REQUEST, tmp_path / str(required), quiet)
        tokens = {request.headers.get("Authorization") for request in running.asked if "/file/0" in request.path}
    assert tokens == {"Bearer canary", None}


def test_errors_are_those_of_the_program(tmp_path: Path) -> None:
    with pytest.raises(ScreenerError, match="Cannot reach"):
        export(settings("http://127.0.0.1:9/fhir"), REQUEST, tmp_path / "e", quiet)
