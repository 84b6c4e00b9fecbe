"""A run from folder to folder: the same bytes in however many shards and processes, and nothing half-done."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from screener.base.errors import InputError, ScreenerError
from screener.stores.folder import destination, source
from screener.stores.folder.scratch import scratch
from screener.stores.folder.workers import Workers, cores, processes_for
from tests.command import clean_environment, screener_process
from tests.e2e.site import writes
from tests.fhir_samples import observation, patient
from tests.folders import NOW, backfill, export, run, scattered, stay, without_runs
from tests.stores.folder.tasks import dies, fails, make_two, twice


def test_the_same_bytes_however_many_processes_and_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scattered(tmp_path / "in", 40)
    alone = run(tmp_path, "alone", "--workers", "1")
    assert alone.count(b"\n") == 80
    # Small pieces and shards, by the tests' own start of the command: as a large folder is cut.
    for workers in (1, 3):
        name = f"cut{workers}"
        ended = command(tmp_path, "-c", _SMALL, "run", "--from", "in", "--to", name, "--workers", str(workers))
        assert ended.returncode == 0, ended.stderr
        assert without_runs((tmp_path / name / "RiskAssessment.ndjson").read_bytes()) == without_runs(alone)


def test_one_export_gives_the_same_bytes_and_later_what_stands_is_looked_up(tmp_path: Path) -> None:
    """Into an empty folder without traces of copies; where assessments stand, with them."""
    women = [f"w{number}" for number in range(12)]
    export(tmp_path / "in", [resource for name in women for resource in (patient(name), *stay(name))])
    one = {"SCREENER_FOLDER_ONE_EXPORT": "true"}
    found = []
    for name, settings in (("any", {}), ("one", one)):
        arguments = ("--backfill", "--from", str(tmp_path / "in"), "--to", str(tmp_path / name))
        _, summary = backfill(tmp_path, *arguments, expect=0, **settings)
        assert summary["writes"] == writes(created=24)
        found.append(without_runs((tmp_path / name / "RiskAssessment.ndjson").read_bytes()))
    assert found[0] == found[1]
    # One result turns out to be another woman's: the assessments that rest on it are found by its id, in her shard or another.
    moved = {**observation("w3-mg", "w4", "mg", "0.84", "2025-11-01T08:00:00Z"), "meta": {"versionId": "2"}}
    rows = [resource for name in women for resource in (patient(name), *stay(name)) if resource["id"] != "w3-mg"]
    export(tmp_path / "in", [*rows, moved])
    _, summary = backfill(
        tmp_path, "--backfill", "--from", str(tmp_path / "in"), "--to", str(tmp_path / "one"), expect=0, **one
    )
    assert summary["write_reasons"]["retracted"]["mg-flag"] == {"basis_changed": 1}


def command(tmp_path: Path, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """A backfill by an own start of Python."""
    own = {
        "SCREENER_STATE_URL": f"sqlite:///{tmp_path / 'own.sqlite'}",
        "SCREENER_FOLDER_COMPLETE": "true",
    }
    return subprocess.run(
        [sys.executable, *arguments, "--backfill", "--now", NOW],
        env={**clean_environment(), **own},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=tmp_path,
        **more,
    )


_SMALL = """
import sys
from screener.stores.folder import destination
from screener.stores.folder import source, workers
workers._WORTH_SHARING_BYTES = 0
source.PIECE_BYTES, source._SHARD_BYTES, destination._SHARD_BYTES = 700, 4000, 4000
from screener.commands.cli import main
if __name__ == "__main__":
    main()
"""


def test_a_second_run_finds_everything_as_it_was_and_leaves_what_is_others(tmp_path: Path) -> None:
    scattered(tmp_path / "in", 40)
    first = run(tmp_path, "out", "--workers", "1")
    foreign = (
        b'{"resourceType":"RiskAssessment","id":"theirs","subject":{"reference":"Patient/w003"},"status":"final"}\n'
    )
    file = tmp_path / "out" / "RiskAssessment.ndjson"
    file.write_bytes(foreign + first)
    (tmp_path / "in" / "z.ndjson").write_text(json.dumps(observation("new", "w001", "mg", "0.95", "2026-01-20")) + "\n")
    _, summary = backfill(tmp_path, "--backfill", "--from", str(tmp_path / "in"), "--to", str(tmp_path / "out"))
    assert summary["writes"] == writes(amended=2, unchanged=78)
    lines, before = file.read_bytes().splitlines(), set(first.splitlines())
    assert foreign.strip() in lines
    assert len(set(lines) - before) == 3  # theirs, and what the new result amended
    assert len(lines) == 81


def test_what_moved_to_another_share_is_seen_there(tmp_path: Path) -> None:
    """An Observation that now names somebody else is evidence against the assessment that rests on it, wherever she is."""
    resources = [patient("w1"), *stay("w1"), patient("w2")]
    out = str(tmp_path / "out")
    backfill(tmp_path, "--backfill", "--from", str(export(tmp_path / "a", resources)), "--to", out)
    moved = [{**r, "subject": {"reference": "Patient/w2"}} if r["id"] == "w1-mg" else r for r in resources]
    export(tmp_path / "b", moved)
    smaller = _SMALL.replace("4000", "60")
    ended = command(tmp_path, "-c", smaller, "run", "--from", "b", "--to", out, "--summary", "s.json")
    assert ended.returncode == 0, ended.stderr
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["write_reasons"]["retracted"] == {"mg-flag": {"basis_changed": 1}, "nomogram": {"basis_changed": 1}}


def test_a_full_disk_stops_the_run_and_leaves_the_destination_as_it_was(tmp_path: Path) -> None:
    scattered(tmp_path / "in", 40)
    before = run(tmp_path, "out", "--workers", "1")
    (tmp_path / "in" / "z.ndjson").write_text(json.dumps(observation("new", "w001", "mg", "0.95", "2026-01-20")) + "\n")
    small = ("run", "--backfill", "--now", NOW, "--from", "in", "--to", "out", "--workers", "1")
    own = {"SCREENER_STATE_URL": f"sqlite:///{tmp_path / 'own.sqlite'}", "SCREENER_FOLDER_COMPLETE": "true"}
    full = screener_process(*small, cwd=tmp_path, expect=2, largest_file_bytes=200_000, **own)
    assert "Cannot write" in full.stderr
    assert (tmp_path / "out" / "RiskAssessment.ndjson").read_bytes() == before
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"RiskAssessment.ndjson", "Device.ndjson"}


# Workers


@pytest.mark.parametrize("count", [1, 2])
def test_every_item_once(count: int) -> None:
    with Workers(count, make_two) as workers:
        assert sorted(workers.map(twice, range(50))) == [2 * item for item in range(50)]


@pytest.mark.parametrize("count", [1, 2])
def test_what_a_task_raises_comes_out_whole(count: int) -> None:
    with pytest.raises(InputError, match="Item 3 is bad") as raised, Workers(count, make_two) as workers:
        list(workers.map(fails, range(9)))
    assert raised.value.remedy == "Mend it"


def test_a_worker_that_is_killed_ends_the_run_in_words() -> None:
    with pytest.raises(ScreenerError, match="ended from outside"), Workers(2, make_two) as workers:
        list(workers.map(dies, range(9)))


def test_workers_end_with_the_process_that_started_them() -> None:
    program = (
        "import os, time\n"
        "from tests.stores.folder.tasks import make_two, sleeps\n"
        "from screener.stores.folder.workers import Workers\n"
        "if __name__ == '__main__':\n"
        "    with Workers(2, make_two) as workers:\n"
        "        for pid in workers.map(sleeps, [0, 0, 60, 60]):\n"
        "            print(pid, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = {int(parent.stdout.readline()), int(parent.stdout.readline())}
        parent.kill()
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


# Scratch folders


def test_a_scratch_folder_is_its_owners_only_and_gone_afterwards(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        with scratch(tmp_path) as other:
            assert folder.exists() and other != folder
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom screener.stores.folder.scratch import scratch\n"
        "with scratch(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'x.rows').write_text('patient data')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=60)
    assert len(list(tmp_path.iterdir())) == 1
    with scratch(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_the_sizes_that_the_tests_make_small_are_there() -> None:
    assert min(source.PIECE_BYTES, source._SHARD_BYTES, destination._SHARD_BYTES) > 1 << 20


def test_a_small_folder_is_worked_on_by_one_process() -> None:
    assert processes_for(1_000_000) == processes_for(1_000_000, most=3) == 1
    assert processes_for(1 << 30) == cores()
    assert processes_for(1 << 30, most=3) == 3
