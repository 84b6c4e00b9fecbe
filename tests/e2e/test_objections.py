"""Women who objected, and women whom the site took back: every command that judges leaves them out, and counts them."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from model import load_artefact
from screener.config.loading import load
from screener.run.site import open_site
from screener.sandbox.app import SandboxServer
from screener.state import State
from screener.visit.hooks import read_call
from screener.visit.service import Service
from tests.command import Ended, screener
from tests.fhir_samples import patient
from tests.folders import export, stay
from tests.rooms import MODULES

Json = dict[str, Any]
NOW = ("--now", "2026-01-31T02:00:00Z")
WOMEN = ("w1", "w2", "w3")  # w1 and w2 are left out
SERVER = "http://127.0.0.1:9/fhir"  # nobody listens there: only its name counts


class Kept(NamedTuple):
    """A folder with three women, two of whom are kept out for `reason`."""

    folder: Path
    reason: str
    environment: dict[str, str]

    def call(self, *arguments: str, expect: int = 0) -> Ended:
        return screener(*arguments, cwd=self.folder, expect=expect, **self.environment)


@pytest.fixture(params=["opted_out", "suppressed"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """The day is that of a closed quarter, so that outcomes can follow the women."""
    export(tmp_path / "export", [r for name in WOMEN for r in (patient(name), *stay(name, "2025-05-10"), dxa(name))])
    environment = {
        "SCREENER_FOLDER_COMPLETE": "true",
        "SCREENER_SERVER_BASE_URL": SERVER,
        "SCREENER_STATE_URL": f"sqlite:///{tmp_path / 'state.sqlite'}",
    }
    if request.param == "opted_out":
        (tmp_path / "objections.txt").write_text("w1\nw2\n")
        environment["SCREENER_OPTED_OUT"] = str(tmp_path / "objections.txt")
    else:
        suppress(Kept(tmp_path, request.param, environment), SERVER)
    return Kept(tmp_path, request.param, environment)


def dxa(woman: str) -> Json:
    return {
        "resourceType": "Observation",
        "id": f"{woman}-dxa",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "38267-1"}]},
        "subject": {"reference": f"Patient/{woman}"},
        "effectiveDateTime": "2025-06-01",
        "valueQuantity": {"value": -3.0, "unit": "{T-score}"},
    }


@contextmanager
def on_a_server(kept: Kept) -> Iterator[Kept]:
    """The same women on a server of their own, which is the destination, too."""
    with SandboxServer() as server:
        entries = [
            {"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}}
            for name in WOMEN
            for r in (patient(name), *stay(name, "2025-05-10"))
        ]
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
        assert requests.post(server.base_url, json=bundle, timeout=60).status_code == 200
        if kept.reason == "suppressed":
            suppress(kept, server.base_url)
        yield kept._replace(environment={**kept.environment, "SCREENER_SERVER_BASE_URL": server.base_url})


def suppress(kept: Kept, destination: str) -> None:
    with State.open(kept.environment["SCREENER_STATE_URL"]) as state:
        for name in ("w1", "w2"):
            state.suppress(destination, "patient", name, "2026-01-01T00:00:00Z")


def run(kept: Kept) -> None:
    with on_a_server(kept) as there:
        there.call("run", "--backfill", "--dry-run", *NOW, "--summary", "summary.json")
    counted = json.loads((kept.folder / "summary.json").read_text())["outcomes"]
    assert (counted["scored"], counted["not_eligible"]) == ({"complete": 1}, {kept.reason: 2})


def explain(kept: Kept) -> None:
    with on_a_server(kept) as there:
        found = [json.loads(there.call("explain", name, "--json", *NOW).stdout) for name in WOMEN]
    assert [one["reason"] for one in found] == [kept.reason, kept.reason, "complete"]


def coverage(kept: Kept) -> None:
    found = json.loads(kept.call("coverage", "--from", "export", "--json", "--least-count", "1", *NOW).stdout)
    assert found["outcomes"]["scored"] == {"complete": 1}
    assert found["outcomes"]["not_eligible"] == {kept.reason: 2}
    assert (found["women_eligible_with_magnesium"], found["flagged"]) == (1, 1)


def cohort(kept: Kept) -> None:
    for as_of in ("occasion", "run"):
        call = ("model", "cohort", "--from", "export", "--least-count", "1", *NOW)
        kept.call(*call, "--as-of", as_of, "--out", f"{as_of}.csv")
        rows = (kept.folder / f"{as_of}.csv").read_text().splitlines()
        assert len(rows) == 2  # the head, and w3
        told = json.loads((kept.folder / f"{as_of}.csv.json").read_text())
        assert told["counts"]["left_out"]["not_eligible"] == {kept.reason: 2}


def outcomes(kept: Kept) -> None:
    call = ("outcomes", "--from", "export", "--json", "--least-count", "1", "--out", "followed.csv", *NOW)
    found = json.loads(kept.call(*call, "--within-days", "90").stdout)
    assert (found["together"]["assessed"], found["together"]["with_dxa"]) == (1, 1)
    assert len((kept.folder / "followed.csv").read_text().splitlines()) == 2


def visit(kept: Kept) -> None:
    """By a prefetch that holds all of her."""
    settings = load(None, environment={**kept.environment, "HOME": str(kept.folder)})
    with ExitStack() as stack:
        service = Service(open_site(settings, stack), settings.visit, settings.server, settings.output)
        shown = {name: len(service.cards(read_call(json.dumps(called(service, name)).encode()))) for name in WOMEN}
    assert shown == {"w1": 0, "w2": 0, "w3": 1}


def called(service: Service, woman: str) -> Json:
    empty = {"resourceType": "Bundle", "type": "searchset", "entry": []}
    keys = service.discovery()["services"][0]["prefetch"]
    results = {
        "resourceType": "Bundle",
        "type": "searchset",
        "entry": [{"resource": r} for r in stay(woman, "2025-11-01")],
    }
    held: Json = {}
    for key, query in keys.items():
        held[key] = patient(woman) if query.startswith("Patient/") else results if "Observation" in query else empty
    return {
        "hook": "patient-view",
        "hookInstance": "2a0a0a0a-0000-4000-8000-000000000001",
        "context": {"userId": "Practitioner/1", "patientId": woman},
        "prefetch": held,
    }


WAYS: dict[str, Callable[[Kept], None]] = {
    "screener.run.batch_engine": run,
    "screener.analysis.explain": explain,
    "screener.analysis.coverage.report": coverage,
    "screener.analysis.cohort.pull": cohort,
    "screener.analysis.cohort.outcomes": outcomes,
    "screener.visit.service": visit,
}


@pytest.mark.parametrize("way", WAYS)
def test_women_who_are_kept_out_are_in_no_result(way: str, kept: Kept) -> None:
    WAYS[way](kept)


def test_every_module_that_judges_is_tried() -> None:
    judging = re.compile(r"from screener\.run\.deciding import [^\n]*\b(judge|decide)\b")
    found = {name for name, path in MODULES.items() if judging.search(path.read_text(encoding="utf-8"))}
    assert found == WAYS.keys()


def test_suppressed_model_keeps_nobody_out_of_a_cohort(tmp_path: Path) -> None:
    """What was taken back because of its model is no reason to leave her out where the next model is made."""
    export(tmp_path / "export", [r for name in WOMEN for r in (patient(name), *stay(name, "2025-05-10"), dxa(name))])
    state_url = f"sqlite:///{tmp_path / 'state.sqlite'}"
    with State.open(state_url) as state:
        state.suppress(SERVER, "artefact", load_artefact().name_and_version, "2026-01-01T00:00:00Z")
    environment = {
        "SCREENER_STATE_URL": state_url,
        "SCREENER_SERVER_BASE_URL": SERVER,
        "SCREENER_FOLDER_COMPLETE": "true",
    }
    call = ("--from", "export", *NOW)
    screener("model", "cohort", *call, "--out", "women.csv", cwd=tmp_path, **environment)
    assert len((tmp_path / "women.csv").read_text().splitlines()) == 1 + len(WOMEN)
    foreseen = json.loads(
        screener("coverage", *call, "--json", "--least-count", "1", cwd=tmp_path, **environment).stdout
    )
    assert foreseen["outcomes"]["flag_only"] == {"suppressed": len(WOMEN)}
