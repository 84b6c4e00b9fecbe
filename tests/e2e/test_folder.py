"""Folders of NDJSON as source and destination, through the command line."""

import bz2
import fcntl
import gzip
import json
import lzma
import os
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.command import screener
from tests.e2e.site import writes
from tests.fhir_samples import observation, patient
from tests.folders import NOW, Json, assessments, backfill, export, stay


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
def test_the_second_run_leaves_every_byte_as_it_was(tmp_path: Path, zipped: bool) -> None:  # noqa: FBT001
    source = export(tmp_path / "export", [patient("p1"), *stay("p1"), patient("p2"), *stay("p2")], zipped=zipped)
    out = tmp_path / "out"
    arguments = ("--backfill", "--from", str(source), "--to", str(out))
    _, first = backfill(tmp_path, *arguments)
    assert first["writes"] == writes(created=4)
    written = {file.name: file.read_bytes() for file in out.iterdir()}
    assert written.keys() == {"RiskAssessment.ndjson", "Device.ndjson"}
    _, second = backfill(tmp_path, *arguments)
    assert second["writes"] == writes(unchanged=4)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == written


def test_what_is_written_is_for_its_owner_only(tmp_path: Path) -> None:
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    backfill(tmp_path, "--backfill", "--from", str(source), "--to", str(tmp_path / "out"))
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "out").iterdir()} == {0o600}
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


def test_what_a_killed_run_left_beside_the_assessments_is_removed_by_the_next(tmp_path: Path) -> None:
    export(tmp_path / "in", [patient("w1"), *stay("w1")])
    call = ("--backfill", "--from", "in", "--to", "out")
    backfill(tmp_path, *call, expect=0)
    left, held = (tmp_path / "out" / f".RiskAssessment.ndjson.{number}.tmp" for number in (1, 2))
    left.write_text("half a wom")
    with held.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # somebody is at work on it
        _, summary = backfill(tmp_path, *call, expect=0)
    assert summary["writes"]["unchanged"] == 2  # nothing is written, and it is removed all the same
    assert (left.exists(), held.exists()) == (False, True)


def test_a_withdrawn_result_retracts_and_a_missing_one_does_not(tmp_path: Path) -> None:
    resources = [patient("p1"), *stay("p1"), patient("p2"), *stay("p2")]
    out = str(tmp_path / "out")
    backfill(tmp_path, "--backfill", "--from", str(export(tmp_path / "export", resources)), "--to", out)
    withdrawn = [
        {**r, "status": "entered-in-error"} if r["id"] == "p1-mg" else r for r in resources if r["id"] != "p2-mg"
    ]
    _, summary = backfill(tmp_path, "--backfill", "--from", str(export(tmp_path / "later", withdrawn)), "--to", out)
    assert summary["writes"] == writes(retracted=2, stands=2)
    assert summary["write_reasons"]["stands"]["nomogram"] == {"evidence_not_visible": 1}
    status = {(r["subject"]["reference"], r["status"]) for r in assessments(tmp_path / "out")}
    assert status == {("Patient/p1", "entered-in-error"), ("Patient/p2", "final")}


@pytest.mark.parametrize(("code", "label"), [("R", "R"), ("N", "N"), ("V", "V")])
def test_what_a_caveat_is_from_makes_the_assessment_as_confidential(code: str, label: str, tmp_path: Path) -> None:
    """An assessment that tells of a restricted diagnosis is as restricted."""
    system = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
    known = {
        "resourceType": "Condition",
        "id": "c1",
        "meta": {"security": [{"system": system, "code": code}]},
        "subject": {"reference": "Patient/w1"},
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "M81.0"}]},
        "recordedDate": "2020-01-01",
    }
    export(tmp_path / "in", [patient("w1"), *stay("w1"), known])
    backfill(tmp_path, "--backfill", "--from", "in", "--to", "out", expect=0)
    for assessment in assessments(tmp_path / "out"):
        assert "osteoporosis" in str(assessment["note"])
        assert assessment["meta"]["security"] == [{"system": system, "code": label}]


def test_the_version_rises_with_an_amendment(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for value, version in (("0.84", "1"), ("0.95", "2")):
        results = [observation("o1", "p1", "mg", value, "2025-11-01")]
        source = export(tmp_path / "export", [patient("p1"), *results])
        backfill(tmp_path, "--backfill", "--from", str(source), "--to", str(out))
        assert [r["meta"]["versionId"] for r in assessments(out)] == [version]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "z.ndjson").write_text('{"resourceType": "Obs'), "1 unreadable line in"),
        (lambda folder: [file.unlink() for file in folder.iterdir()], "holds no NDJSON file"),
        (
            lambda folder: (folder / "z.ndjson.gz").write_bytes(
                gzip.compress(b'{"resourceType": "Device"}\n' * 99)[:-12]
            ),
            "cut short",
        ),
    ],
    ids=["half a line", "empty folder", "gzip cut short"],
)
def test_a_damaged_folder_stops_the_run_before_it_writes(tmp_path: Path, damage: Any, words: str) -> None:
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    damage(source)
    ended, _ = backfill(tmp_path, "--backfill", "--from", str(source), "--to", str(tmp_path / "out"))
    assert (ended.exit_code, words in ended.stderr) == (2, True), ended.stderr
    assert not (tmp_path / "out").exists()


def test_no_such_folder(tmp_path: Path) -> None:
    ended, _ = backfill(tmp_path, "--backfill", "--from", "nowhere", "--to", "out")
    assert ended.exit_code == 2
    assert "Cannot read the folder nowhere: No such file or directory" in ended.stderr


def test_a_folder_needs_backfill(tmp_path: Path) -> None:
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    ended, _ = backfill(tmp_path, "--from", str(source), "--to", "out")
    assert (ended.exit_code, "Add --backfill" in ended.stderr) == (2, True)


def test_a_dry_run_leaves_no_folder(tmp_path: Path) -> None:
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    _, summary = backfill(tmp_path, "--backfill", "--dry-run", "--from", str(source), "--to", str(tmp_path / "out"))
    assert (summary["writes"], summary["dry_run"]) == (writes(created=2), True)
    assert not (tmp_path / "out").exists()


def test_an_export_without_a_required_type_stops_the_run(tmp_path: Path) -> None:
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    arguments = ("--backfill", "--from", str(source), "--to", str(tmp_path / "out"))
    ended, _ = backfill(tmp_path, *arguments, complete="false")
    assert (ended.exit_code, "holds no Condition, MedicationAdministration" in ended.stderr) == (2, True), ended.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"subject": {"reference": "Patient/p2"}},
        {"code": {"coding": [{"system": "http://loinc.org", "code": "2951-2"}]}},
        {"status": "entered-in-error", "subject": None},
    ],
    ids=["moved to another patient", "recoded", "withdrawn without a subject"],
)
def test_a_newer_copy_that_is_no_longer_hers_supersedes_the_older(tmp_path: Path, change: Json) -> None:
    old = {
        **observation("o1", "p1", "mg", "0.7", "2025-11-01"),
        "meta": {"versionId": "1", "lastUpdated": "2025-11-01T10:00:00Z"},
    }
    new = {**old, **change, "meta": {"versionId": "2", "lastUpdated": "2025-11-02T10:00:00Z"}}
    copies = [{k: v for k, v in new.items() if v is not None}, old]
    source = export(tmp_path / "export", [patient("p1"), patient("p2"), *copies])
    _, summary = backfill(tmp_path, "--patient", "p1", "--from", str(source), "--to", str(tmp_path / "out"))
    assert summary["outcomes"]["not_scorable"] == {"no_magnesium": 1}


def test_where_the_patients_of_most_results_are_missing_the_run_says_so(tmp_path: Path) -> None:
    """A scope or an export without Patient: nobody can be assessed, and that must not look like success."""
    source = export(tmp_path / "export", [patient("p1"), *stay("p1"), *stay("p2"), *stay("p3")])
    ended, summary = backfill(tmp_path, "--backfill", "--from", str(source), "--to", "out")
    assert (ended.exit_code, summary["exit_code"]) == (3, 3)
    assert summary["outcomes"]["not_scorable"] == {"patient_missing": 2}
    assert "most_patients_missing" in ended.stderr
    assert summary["writes"] == writes(created=2)
    fewer = export(tmp_path / "fewer", [patient("p1"), *stay("p1"), patient("p2"), *stay("p2"), *stay("p3")])
    ended, _ = backfill(tmp_path, "--backfill", "--from", str(fewer), "--to", "out2")
    assert ended.exit_code == 0


CANCER = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "C50.9"}]}


def cancer(name: str, **fields: Any) -> Json:
    return {"resourceType": "Condition", "id": name, "subject": {"reference": "Patient/p1"}, "code": CANCER, **fields}


def test_a_diagnosis_that_does_not_say_whose_it_is_stops_the_run(tmp_path: Path) -> None:
    by_number = cancer("c1", subject={"identifier": {"system": "urn:mrn", "value": "1"}})
    source = export(tmp_path / "export", [patient("p1"), *stay("p1"), by_number])
    ended, _ = backfill(tmp_path, "--backfill", "--from", str(source), "--to", str(tmp_path / "out"), expect=2)
    assert "Condition.000.ndjson, line 1: it does not say which patient it is about" in ended.stderr
    assert not (tmp_path / "out").exists()
    environment = ("--backfill", "--from", str(source), "--to", str(tmp_path / "out"))
    ended = screener(
        "run",
        *environment,
        "--now",
        NOW,
        cwd=tmp_path,
        SCREENER_FOLDER_COMPLETE="true",
        SCREENER_FOLDER_BAD_LINES_ALLOWED="1",
    )
    assert ended.exit_code == 0


@pytest.mark.parametrize("name", ["Condition.001.jsonl", "Condition.001.NDJSON", "condition.ndjson.GZ", "c.JSONL.gz"])
def test_data_by_any_common_name_are_read(tmp_path: Path, name: str) -> None:
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    line = json.dumps(cancer("c1")).encode() + b"\n"
    (source / name).write_bytes(gzip.compress(line) if name.lower().endswith("gz") else line)
    _, summary = backfill(tmp_path, "--backfill", "--from", str(source), "--to", str(tmp_path / "out"), expect=0)
    assert summary["outcomes"]["not_eligible"] == {"excluded_malignancy": 1}


@pytest.mark.parametrize(
    ("ending", "pack"), [("bz2", bz2.compress), ("xz", lzma.compress), ("zst", zstandard.compress)]
)
def test_data_in_any_common_compression_are_read(tmp_path: Path, ending: str, pack: Any) -> None:
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    # Two parts in one file, as `cat` makes it.
    packed = pack(json.dumps(cancer("c0")).encode() + b"\n") + pack(json.dumps(cancer("c1")).encode() + b"\n")
    (source / f"Condition.001.ndjson.{ending}").write_bytes(packed)
    asked = ("--backfill", "--from", str(source), "--to", str(tmp_path / "out"))
    _, summary = backfill(tmp_path, *asked, expect=0)
    assert summary["outcomes"]["not_eligible"] == {"excluded_malignancy": 1}
    (source / f"Condition.001.ndjson.{ending}").write_bytes(packed[:-9])
    ended, _ = backfill(tmp_path, *asked, expect=2)
    assert "is cut short or damaged" in ended.stderr


CANCERS = b'{"resourceType": "Condition", "id": "c1"}\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("Condition.001.ndjson.lz4", b"\x04\x22"),
        ("Condition.001.ndjson.bak", CANCERS),
        ("Condition.ndjson.txt", CANCERS),
        ("conditions.txt", CANCERS),
        ("Condition.json", CANCERS),
        ("Condition", CANCERS),
        ("part-0000.snappy.parquet", b"PAR1"),
        ("export.zip", b"PK"),
        ("export.tgz", b"\x1f\x8b"),
        ("more/Condition.ndjson", CANCERS),
        (".output-3.part", CANCERS),
    ],
)
def test_what_may_hold_resources_and_is_not_read_stops_the_run(tmp_path: Path, name: str, content: bytes) -> None:
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    (source / name).parent.mkdir(exist_ok=True)
    (source / name).write_bytes(content)
    ended, _ = backfill(tmp_path, "--backfill", "--from", str(source), "--to", str(tmp_path / "out"), expect=2)
    assert f"{name.partition('/')[0]} in export may hold resources and is not read" in ended.stderr


def test_what_is_known_not_to_be_data_does_no_harm(tmp_path: Path) -> None:
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    for name in (
        "README.md",
        "summary.json",
        "Condition.ndjson.sha256",
        ".DS_Store",
        "notes.txt",
        "plot.png",
        "err.not-read",
    ):
        (source / name).write_text("{}")
    (source / "logs").mkdir()
    ended, summary = backfill(tmp_path, "--backfill", "--from", str(source), "--to", str(tmp_path / "out"), expect=0)
    assert summary["patients_seen"] == 1
    assert ended.stderr.count("summary.json") == 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            b'{"resourceType": "Condition", "id": "\xff\xfe", "subject": {"reference": "Patient/p1"}}',
            "not text in UTF-8",
        ),
        (b'{"resourceType": "Observation", "id": "o\xff"}', "not text in UTF-8"),
        (b'{"resourceType": "Provenance", "id": "\xff"}', "not text in UTF-8"),
        (b'{"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Condition"}}]}', "a Bundle in place of"),
        (b'{"resourceType": "Parameters"}', "a Parameters in place of"),
        (b'{"resourceType": "condition"}', "no resource type of FHIR"),
        (b'{"resourceType": ""}', "no resource type of FHIR"),
        (b'{"id": "x"}', "not a JSON object"),
        (b'"Condition"', "not a JSON object"),
        (b"[" * 5000 + b"]" * 5000, "not a JSON object"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number_whatever_is_wrong(tmp_path: Path, line: bytes, problem: str) -> None:
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    (source / "Condition.001.ndjson").write_bytes(b'{"resourceType": "Location", "id": "l1"}\n\n' + line + b"\n")
    asked = ("--backfill", "--from", str(source), "--to", str(tmp_path / "out"))
    ended, _ = backfill(tmp_path, *asked, expect=2)
    assert f"the first in Condition.001.ndjson, line 3: {problem}" in ended.stderr
    environment = {"SCREENER_FOLDER_COMPLETE": "true", "SCREENER_FOLDER_BAD_LINES_ALLOWED": "1"}
    ended = screener("run", *asked, "--now", NOW, "--summary", "summary.json", cwd=tmp_path, expect=0, **environment)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert "1 unreadable line" in summary["exclusions_not_checked"]["records"]
    assert summary["caveats"]["read_in_part"] == 1


def test_results_that_name_nobody_are_counted(tmp_path: Path) -> None:
    lone = observation("lone", "p1", "mg", "0.8", "2025-11-01")
    del lone["subject"]
    source = export(tmp_path / "export", [patient("p1"), *stay("p1"), lone])
    ended, summary = backfill(tmp_path, "--backfill", "--from", str(source), "--to", str(tmp_path / "out"), expect=0)
    assert (summary["results_without_patient"], summary["patients_seen"]) == (1, 1)
    assert "Results that name no patient, left out: 1" in ended.stdout


def test_a_small_file_of_empty_lines_costs_no_time(tmp_path: Path) -> None:
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    (source / "Condition.001.ndjson.gz").write_bytes(gzip.compress(b"\n" * 100_000_000))
    began = os.times().children_user
    backfill(tmp_path, "--backfill", "--from", str(source), "--to", str(tmp_path / "out"), expect=0)
    assert os.times().children_user - began < 60


@pytest.mark.parametrize("kind", ["folder", "dangling link", "pipe"])
def test_what_is_named_like_data_and_cannot_be_read_stops_the_run(tmp_path: Path, kind: str) -> None:
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    entry = source / "Condition.001.ndjson"
    make = {
        "folder": entry.mkdir,
        "dangling link": lambda: entry.symlink_to("nowhere"),
        "pipe": lambda: os.mkfifo(entry),
    }
    make[kind]()  # type: ignore[no-untyped-call]
    ended, _ = backfill(tmp_path, "--backfill", "--from", str(source), "--to", str(tmp_path / "out"), expect=2)
    assert "Condition.001.ndjson is named like data and is no file that can be read" in ended.stderr


def test_other_entries_are_named_once(tmp_path: Path) -> None:
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    (source / "Condition.csv").write_text("id\n")
    ended, _ = backfill(tmp_path, "--backfill", "--from", str(source), "--to", str(tmp_path / "out"), expect=0)
    assert ended.stderr.count("Condition.csv") == 1


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda file: file.write_bytes(b""), lambda file: file.write_bytes(file.read_bytes()[:-9])]
)
def test_an_export_that_was_changed_on_disk_stops_the_run(tmp_path: Path, damage: Any) -> None:
    source = export(tmp_path / "export", [patient("p1"), *stay("p1"), cancer("c1")])
    files = [{"name": f.name, "resources": 1, "size_bytes": f.stat().st_size} for f in sorted(source.iterdir())]
    kinds = [
        "Patient",
        "Observation",
        "Condition",
        "Procedure",
        "MedicationRequest",
        "MedicationStatement",
        "MedicationAdministration",
        "MedicationDispense",
        "DiagnosticReport",
    ]
    about = {"host": "h", "transaction_time": NOW, "level": "", "types": kinds, "since": "", "files": files}
    (source / "export.json").write_text(json.dumps(about))
    asked = ("--backfill", "--from", str(source), "--to", str(tmp_path / "out"))
    backfill(tmp_path, *asked, complete="false", expect=0)
    damage(source / "Condition.000.ndjson")
    ended, _ = backfill(tmp_path, *asked, complete="false", expect=2)
    assert "Condition.000.ndjson of the export in export is " in ended.stderr


def test_a_summary_that_cannot_be_written_is_said_truly(tmp_path: Path) -> None:
    source = export(tmp_path / "export", [patient("p1"), *stay("p1")])
    asked = ("--backfill", "--from", str(source), "--to", str(tmp_path / "out"), "--now", NOW)
    ended = screener("run", *asked, "--summary", "/dev/full/x", cwd=tmp_path, expect=2, SCREENER_FOLDER_COMPLETE="true")
    assert "The folder for x does not exist" in ended.stderr
    (tmp_path / "summary.json").mkdir()
    ended = screener(
        "run", *asked, "--summary", "summary.json", cwd=tmp_path, expect=1, SCREENER_FOLDER_COMPLETE="true"
    )
    assert "The run is done, but its summary could not be written to summary.json: Is a directory" in ended.stderr
    assert "scored" in ended.stdout
    assert len(assessments(tmp_path / "out")) == 2
