"""Folders of NDJSON: made, gone through by the command line, and read."""

import gzip
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.command import Ended, screener
from tests.fhir_samples import observation, patient

Json = dict[str, Any]
NOW = "2026-01-31T02:00:00Z"
STAY = {"mg": "0.84", "p": "1.10", "ctx": "0.47", "p1np": "54.0", "weight": "60.0", "height": "158.0"}


def private_file(file: Path, text: str) -> Path:
    """A file that only its owner may read."""
    file.touch(0o600)
    file.write_text(text)
    return file


def stay(subject: str, day: str = "2025-11-01") -> list[Json]:
    return [observation(f"{subject}-{name}", subject, name, value, f"{day}T08:00:00Z") for name, value in STAY.items()]


def export(folder: Path, resources: Sequence[Json], *, zipped: bool = False) -> Path:
    """A bulk export: a file for each type."""
    folder.mkdir(exist_ok=True)
    for kind in {resource["resourceType"] for resource in resources}:
        lines = "".join(json.dumps(r) + "\n" for r in resources if r["resourceType"] == kind)
        if zipped:
            (folder / f"{kind}.000.ndjson.gz").write_bytes(gzip.compress(lines.encode()))
        else:
            (folder / f"{kind}.000.ndjson").write_text(lines)
    return folder


def backfill(
    tmp_path: Path, *arguments: str, complete: str = "true", expect: Any = None, **environment: str
) -> tuple[Ended, Json]:
    """`screener run` away from any configuration; what it said, and its summary."""
    summary = tmp_path / "summary.json"
    summary.unlink(missing_ok=True)
    state = {"SCREENER_STATE_URL": f"sqlite:///{tmp_path / 'state.sqlite'}", "SCREENER_FOLDER_COMPLETE": complete}
    own = ("run", "--now", NOW, "--summary", str(summary))
    ended = screener(*own, *arguments, cwd=tmp_path, expect=expect, **state, **environment)
    return ended, json.loads(summary.read_text()) if summary.exists() else {}


def without_runs(written: bytes) -> bytes:
    """Assessments of a folder without the names of the runs that wrote them: two runs write the same but for these."""
    return re.sub(rb'\{"url":"[^"]*/StructureDefinition/run","valueString":"[0-9a-f-]{36}"\}', b"{}", written)


def assessments(folder: Path) -> list[Json]:
    return [json.loads(line) for line in (folder / "RiskAssessment.ndjson").read_text().splitlines()]


SCATTER = random.Random(7)  # noqa: S311 - the same every time


def scattered(folder: Path, patients: int, *, markers: int = 3) -> Path:
    """A folder in which everybody's lines are strewn over all files; some come in older copies, or moved to somebody else."""
    resources: list[Json] = []
    for number in range(patients):
        name = f"w{number:03}"
        resources += [patient(name), *stay(name)]
        if number % 5 == 0:
            old = {**observation(f"{name}-x", name, "mg", "0.70", "2025-12-01"), "meta": {"versionId": "1"}}
            elsewhere = {"subject": {"reference": f"Patient/w{(number + 1) % patients:03}"}, "meta": {"versionId": "2"}}
            resources += [old, {**old, **elsewhere}]
    SCATTER.shuffle(resources)
    folder.mkdir()
    for file in range(markers):
        lines = "".join(json.dumps(r) + "\n" for r in resources[file::markers])
        (folder / f"part.{file}.ndjson").write_text(lines)
    return folder


def run(tmp_path: Path, name: str, *arguments: str) -> bytes:
    ended, summary = backfill(
        tmp_path, "--backfill", "--from", str(tmp_path / "in"), "--to", str(tmp_path / name), *arguments
    )
    assert ended.exit_code == 0, ended.stderr
    assert summary["patients_seen"] == 40
    return (tmp_path / name / "RiskAssessment.ndjson").read_bytes()
