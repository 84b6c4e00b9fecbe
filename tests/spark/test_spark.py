"""A backfill on a real Spark cluster of two executors: the same as the folder engine's, byte for byte."""

import json
from pathlib import Path

import pytest

from tests.command import Ended, screener, screener_process
from tests.e2e.site import writes
from tests.fhir_samples import observation, patient
from tests.folders import NOW, Json, scattered, stay, without_runs
from tests.folders import run as by_folder_engine

pytestmark = pytest.mark.spark

# Two executors, each a process of its own with Python workers of its own.
CLUSTER = "local-cluster[2,1,1024]"
ALONE = "local[2]"  # one process: what the executors do is the same
JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # a short job spends its time on compiling
SUBMIT = (
    "--master {master} --conf spark.ui.enabled=false --conf spark.driver.host=127.0.0.1 "
    f"--conf spark.driver.bindAddress=127.0.0.1 --conf spark.sql.shuffle.partitions=4 --driver-java-options '{JAVA}' "
    f"--conf 'spark.executor.extraJavaOptions={JAVA}' pyspark-shell"
)


def on_spark(tmp_path: Path, source: str, out: str, *more: str, master: str = ALONE) -> tuple[Ended, Json]:
    summary = tmp_path / "spark.json"
    summary.unlink(missing_ok=True)
    ended = screener_process(
        *("run", "--backfill", "--engine", "spark", "--now", NOW),
        *("--from", str(tmp_path / source), "--to", str(tmp_path / out), "--summary", str(summary), *more),
        cwd=tmp_path,
        expect=None,
        timeout=280,
        SCREENER_STATE_URL=f"sqlite:///{tmp_path / 'spark.sqlite'}",
        SCREENER_FOLDER_COMPLETE="true",
        PYSPARK_SUBMIT_ARGS=SUBMIT.format(master=master),
        SPARK_LOCAL_IP="127.0.0.1",
        SPARK_WORKER_DIR=str(tmp_path / "work"),
    )
    assert "Traceback (most recent call last)" not in ended.stderr.partition("Error: ")[0], ended.stderr
    return ended, json.loads(summary.read_text()) if summary.exists() else {}


def text(folder: Path) -> bytes:
    return without_runs(b"".join(part.read_bytes() for part in sorted(folder.glob("part-*"))))


def test_it_writes_what_the_folder_engine_writes_and_then_nothing_more(tmp_path: Path) -> None:
    scattered(tmp_path / "in", 40)
    expected = without_runs(by_folder_engine(tmp_path, "folder"))
    ended, first = on_spark(tmp_path, "in", "spark", master=CLUSTER)
    assert ended.exit_code == 0, ended.stderr
    assert first["writes"] == writes(created=80)
    assert text(tmp_path / "spark" / "RiskAssessment.ndjson") == expected
    assert json.loads(text(tmp_path / "spark" / "Device.ndjson"))["resourceType"] == "Device"
    # Again: one woman has a newer result, one a result that turned out to be somebody else's, everybody else is as she was.
    news = [observation("new", "w001", "mg", "0.95", "2026-01-20")]
    news.append({**observation("w003-mg", "w004", "mg", "0.84", "2025-11-01T08:00:00Z"), "meta": {"versionId": "9"}})
    (tmp_path / "in" / "z.ndjson").write_text("".join(json.dumps(r) + "\n" for r in news))
    second = without_runs(by_folder_engine(tmp_path, "folder"))
    _, summary = on_spark(tmp_path, "in", "spark")
    assert summary["write_reasons"]["retracted"]["mg-flag"] == {"basis_changed": 1}
    assert text(tmp_path / "spark" / "RiskAssessment.ndjson") == second != expected


def test_bad_lines_stop_it_before_it_writes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    lines = [json.dumps(resource) for resource in (patient("w1"), *stay("w1"))]
    (tmp_path / "in" / "a.ndjson").write_text("\n".join([*lines, '{"resourceType": "Obs']))
    ended, _ = on_spark(tmp_path, "in", "out")
    assert ended.exit_code == 2
    assert "1 unreadable line, the first in a.ndjson" in ended.stderr
    assert not (tmp_path / "out").exists()
    (tmp_path / "in" / "Condition.ndjson.zst").write_bytes(b"")
    ended, _ = on_spark(tmp_path, "in", "out")
    assert (ended.exit_code, "Condition.ndjson.zst" in ended.stderr) == (2, True)
    (tmp_path / "in" / "Condition.ndjson.zst").rename(tmp_path / "in" / "notes.md")
    lone = {name: value for name, value in stay("w1")[0].items() if name != "subject"}
    (tmp_path / "in" / "a.ndjson").write_text("\n".join([*lines, json.dumps({**lone, "id": "lone"})]))
    ended, summary = on_spark(tmp_path, "in", "out")
    assert ended.exit_code == 0, ended.stderr
    assert (summary["outcomes"]["scored"], summary["writes"]["created"]) == ({"complete": 1}, 2)
    assert summary["results_without_patient"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--engine", "spark", "--backfill", "--from", "in"), "from folder to folder"),
    ],
)
def test_what_spark_does_not_do_is_said(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    ended = screener("run", *arguments, cwd=tmp_path, expect=2)
    assert words in ended.stderr
