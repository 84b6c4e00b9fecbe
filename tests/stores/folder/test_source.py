"""A folder read: of every resource the newest copies' rows, as if all were decoded and compared, and no more memory than that takes."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from screener.clinical.mapping import Mapper, MappingTables
from screener.clinical.records import Fact, Refusal, Version
from screener.config.settings import FolderSettings
from screener.stores.folder.scratch import Workspace
from screener.stores.folder.source import FolderSource
from screener.stores.protocols import Mode, Scope
from tests.fhir_samples import observation

Json = dict[str, Any]
SODIUM = {"coding": [{"system": "http://loinc.org", "code": "2951-2"}]}


@st.composite
def copies(draw: st.DrawFn) -> Json:
    """A copy of one of few results: perhaps of another patient, of no code of ours, withdrawn, odd, or without a version."""
    value = draw(st.sampled_from(["0.80", "0.90"]))
    name, subject = draw(st.sampled_from(["o1", "o2", "o3"])), draw(st.sampled_from(["p1", "p2"]))
    found = observation(name, subject, "mg", value, "2025-11-01T08:00:00Z")
    what = draw(st.sampled_from(["ours", "ours", "recoded", "withdrawn", "odd", "nobody", "encounter"]))
    if what == "recoded":
        found["code"] = SODIUM
    elif what == "withdrawn":
        found["status"] = "entered-in-error"
    elif what == "odd":
        found["effectiveDateTime"] = 7
    elif what == "nobody":
        del found["subject"]
    elif what == "encounter":
        found = {"resourceType": "Encounter", "id": name, "status": "finished"}
    number = draw(st.integers(0, 3))
    if number:
        found["meta"] = {"versionId": str(number), "lastUpdated": f"2025-11-0{number}T00:00:00Z"}
    return found


def expected(resources: list[Json]) -> dict[str, list[str]]:
    """Every line decoded, the newest version of each resource taken, by the plainest of means."""
    mapper = Mapper(MappingTables.default())

    def rank(resource: Json) -> int:
        return int(resource.get("meta", {}).get("versionId", 0))

    newest: dict[tuple[str, str], int] = {}
    for resource in resources:
        key = (resource["resourceType"], resource["id"])
        newest[key] = max(rank(resource), newest.get(key, 0))
    found: dict[str, list[str]] = {}
    for resource in resources:
        if rank(resource) == newest[resource["resourceType"], resource["id"]]:
            for row in mapper.map(json.dumps(resource).encode()):
                found.setdefault(row.patient, []).append(repr(row))
    return {patient: sorted(rows) for patient, rows in found.items()}


@given(st.lists(copies(), min_size=1, max_size=12), st.integers(0, 12))
def test_what_is_read_is_what_the_newest_copies_say(resources: list[Json], cut: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, part in (("b.ndjson", resources[:cut]), ("a.ndjson", resources[cut:])):
            (folder / file).write_text("".join(json.dumps(resource) + "\n" for resource in part))
        scratch = folder / "work"
        scratch.mkdir()
        source = FolderSource(folder, Mapper(MappingTables.default()), {}, FolderSettings(), Workspace(scratch))
        patients = sorted(set(source.population(Scope(Mode.BACKFILL))))
        records = source.records(patients, ())
    found = {record.patient: sorted(repr(row) for row in (*record.facts, *record.refusals)) for record in records}
    assert found == expected(resources)
    for record in records:
        assert all(isinstance(row, Fact | Refusal) and isinstance(row.version, Version) for row in record.facts)
