"""The engine of a cluster: what a backfill on Spark shuffles, broadcasts and writes.

Two shuffles: the traces of resources by key (who has an older copy), and everything of a patient to one partition. The medicines are
broadcast. The output is sorted by the patients' keys, as the folder engine writes it: its parts one behind the other are the same bytes.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import structlog
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - as everybody writes it
from pyspark.storagelevel import StorageLevel

from screener.assessment.resource import Json
from screener.base.errors import InputError, ScreenerError
from screener.base.plural import counted
from screener.clinical.records import Medicine
from screener.config.settings import FolderSettings
from screener.fhir.bundles import ENCODER
from screener.run import spark_tasks as tasks
from screener.run.counts import RunTally, unpacked
from screener.run.engine import Decided, Journal, Pace, Plan
from screener.run.folder_engine import ShardTask
from screener.stores.folder.files import is_beside, unread_entry_error
from screener.stores.folder.prefilter import usable
from screener.stores.folder.scan import shard_of
from screener.stores.folder.source import lacks_error, note_types
from screener.stores.reading import Gaps, Reading

log = structlog.get_logger()

_DEVICES, _ASSESSMENTS = "Device.ndjson", "RiskAssessment.ndjson"


class Locations(NamedTuple):
    """Where to read and where to write: folders, or whatever Spark's file systems reach (s3a://..., abfss://..., hdfs://...)."""

    source: str
    destination: str


class DecidedSpark(Decided, kw_only=True):
    """The lines of all assessments as they will be, on the cluster's disks."""

    lines: DataFrame


class SparkEngine:
    """From folder to folder on a cluster."""

    def __init__(
        self,
        spark: SparkSession,
        task: ShardTask,
        locations: Locations,
        settings: FolderSettings,
        device_: Json,
        tally: RunTally,
    ) -> None:
        """`device_`: the algorithm's Device, which is written beside the assessments."""
        self.tally, self.reading = tally, Reading()
        self._spark, self._task, self._locations = spark, task, locations
        self._settings, self._device = settings, device_
        self._files = _Files(spark, locations.destination)

    def decide(self, plan: Plan, pace: Pace) -> DecidedSpark:
        """Two shuffles; the counts come back, the lines stay on the cluster."""
        with _as_screener_errors():
            lines = self._lines()
            shards = max(lines.rdd.getNumPartitions() * 4, self._spark.sparkContext.defaultParallelism)
            codes = self._task.mapper.codes_that_matter() if self._settings.one_export else None
            task = tasks.map_lines(self._task.mapper, shards, usable(codes))
            mapped = lines.mapInArrow(task, tasks.MAPPED).persist(StorageLevel.DISK_ONLY)
            gaps, medicines = self._judged_input(mapped)
            pace.progress("stages", 1, 3)
            together = self._together(self._newest(mapped), shards, plan.again)
            judged = together.mapInArrow(
                tasks.judge_partition(self._task, plan, medicines, gaps), tasks.JUDGED
            ).persist(StorageLevel.DISK_ONLY)
            for row in judged.where("shard_key = -1").select("counts").collect():
                self.tally.add(unpacked(bytes(row.counts)))
            pace.progress("stages", 2, 3)
            seen = self.tally.counts.patients
            return DecidedSpark(done=seen, total=seen, lines=judged.where("shard_key >= 0"))

    def write(self, decided: DecidedSpark, pace: Pace, journal: Journal) -> None:  # noqa: ARG002 - one step
        """Write beside what stands, then take its place. Nothing is done where nothing changed."""
        writes = self.tally.counts.writes
        if any(writes[name] for name in ("created", "amended", "retracted")):
            journal.before_write()
            with _as_screener_errors():
                self._replace(decided.lines)

    def _lines(self) -> DataFrame:
        for name in _Files(self._spark, self._locations.source).names():
            if not (name.lower().endswith((".ndjson", ".ndjson.gz")) or is_beside(name)):
                raise unread_entry_error(name, self._locations.source, "Unpack or rename it to .ndjson or .ndjson.gz")
        read = self._spark.read.option("pathGlobFilter", "*.{ndjson,ndjson.gz}").option("lineSep", "\n")
        lines = read.text(self._locations.source)
        if not lines.inputFiles():
            raise InputError(
                f"{self._locations.source} holds no .ndjson or .ndjson.gz file", "Name a bulk export after --from"
            )
        return lines.select(F.input_file_name().alias("file"), F.col("value").cast("binary").alias("value"))

    def _judged_input(self, mapped: DataFrame) -> tuple[Gaps, dict[str, Medicine]]:
        """What the first pass says of the whole input: whether it may be used, and the medicines."""
        odd = mapped.where(F.col("kind").isin(tasks.BAD, tasks.WITHOUT_PATIENT))
        counted_by_file = odd.groupBy("kind", "file").count().orderBy("file").collect()
        bad = [row for row in counted_by_file if row.kind == tasks.BAD]
        self.reading.without_patient = sum(row["count"] for row in counted_by_file if row.kind != tasks.BAD)
        self.reading.bad_lines = sum(row["count"] for row in bad)
        for row in bad:
            log.warning("bad_lines", file=row.file.rpartition("/")[2], lines=row["count"])
        if self.reading.bad_lines > self._settings.bad_lines_allowed:
            raise InputError(
                f"{counted(self.reading.bad_lines, 'unreadable line')}, the first in {bad[0].file.rpartition('/')[2]}",
                "Export again, or allow so many with folder.bad_lines_allowed; nothing was written",
            )
        kinds = {
            row.patient for row in mapped.where(F.col("kind") == tasks.KIND).select("patient").distinct().collect()
        }
        needs = self._task.needs
        note_types(self.reading, kinds, needs, complete=self._settings.complete)
        if lacking := self.reading.required(needs):
            raise lacks_error(self._locations.source, lacking)
        newest: dict[str, Medicine] = {}
        for row in mapped.where(F.col("kind") == tasks.MEDICINE).select("payload").toLocalIterator():
            medicine = msgspec.msgpack.decode(bytes(row.payload), type=Medicine)
            held = newest.get(medicine.id)
            if held is None or medicine.version >= held.version:
                newest[medicine.id] = medicine
        return self.reading.gaps(), newest

    def _newest(self, mapped: DataFrame) -> DataFrame:
        """The rows of the newest copies: first who has several versions, which are few, then without the older ones."""
        version = F.struct("updated_us", "number")
        seen = mapped.where(F.col("kind").isin(tasks.ROWS, tasks.SEEN) & (F.length("key") > 0))
        several = (
            seen.groupBy("key")
            .agg(F.max(version).alias("newest"), F.min(version).alias("oldest"))
            .where("newest <> oldest")
            .select("key", "newest")
        )
        rows = mapped.where(F.col("kind") == tasks.ROWS)
        joined = rows.join(several, "key", "left").where(F.col("newest").isNull() | (F.col("newest") == version))
        return joined.select("shard", "patient", "key", "payload")

    def _together(self, rows: DataFrame, shards: int, failed_before: frozenset[str]) -> DataFrame:
        """Everything of a patient in one partition."""
        columns = ("shard", "part", "patient", "payload")
        parts = rows.withColumn("part", F.lit(tasks.RESULT)).select(*columns)
        if self._files.exists(_ASSESSMENTS):
            texts = self._spark.read.option("lineSep", "\n").text(self._files.path(_ASSESSMENTS))
            method = self._task.rules.writer.canonical.method
            standing = texts.select(F.col("value").cast("binary").alias("value")).mapInArrow(
                tasks.standing_lines(method, shards), "shard int, patient string, payload binary"
            )
            wanted = standing.mapInArrow(tasks.rests_on, "key binary, for_patient string, for_shard int")
            elsewhere = rows.join(wanted, "key").where("patient <> for_patient")
            moved = elsewhere.select(
                F.col("for_shard").alias("shard"),
                F.lit(tasks.ELSEWHERE).alias("part"),
                F.col("for_patient").alias("patient"),
                "payload",
            )
            parts = parts.unionByName(standing.withColumn("part", F.lit(tasks.STANDING))).unionByName(moved)
        again = [(shard_of(name, shards), tasks.AGAIN, name, b"") for name in sorted(failed_before)]
        if again:
            schema = "shard int, part int, patient string, payload binary"
            parts = parts.unionByName(self._spark.createDataFrame(again, schema))
        return parts.repartition(shards, "shard").select("part", "patient", "payload")

    def _replace(self, lines: DataFrame) -> None:
        ordered = lines.orderBy("shard_key", "patient", "id")
        new = self._files.path(f"_{_ASSESSMENTS}.new")
        ordered.select(F.col("text").cast("string").alias("value")).write.mode("overwrite").text(new)
        devices = self._spark.createDataFrame([(ENCODER.encode(self._device).decode(),)], "value string").coalesce(1)
        devices.write.mode("overwrite").text(self._files.path(_DEVICES))
        self._files.replace(f"_{_ASSESSMENTS}.new", _ASSESSMENTS)


class _Files:
    """The destination by Hadoop's file systems, which Spark itself writes with."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self._root = root.rstrip("/")
        self._jvm: Any = spark._jvm  # noqa: SLF001 - PySpark has no other way to the file systems
        self._configuration = spark._jsc.hadoopConfiguration()  # noqa: SLF001

    def path(self, name: str) -> str:
        """The path of a file in the destination."""
        return f"{self._root}/{name}"

    def exists(self, name: str) -> bool:
        """Whether it is there."""
        there = self._path(name)
        return bool(there.getFileSystem(self._configuration).exists(there))

    def names(self) -> list[str]:
        """What is in the folder, without what Spark itself leaves out (names that begin with _ or a dot)."""
        root = self._jvm.org.apache.hadoop.fs.Path(self._root)
        found = [status.getPath().getName() for status in root.getFileSystem(self._configuration).listStatus(root)]
        return sorted(name for name in found if not name.startswith(("_", ".")))

    def replace(self, new: str, old: str) -> None:
        """Replace one file by the other."""
        source, target = self._path(new), self._path(old)
        system = target.getFileSystem(self._configuration)
        if system.exists(target):
            system.delete(target, True)  # noqa: FBT003 - Java's
        if not system.rename(source, target):
            raise InputError(f"Cannot put {old} in its place", f"Rename {new} to {old} in the destination: it is whole")

    def _path(self, name: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(self.path(name))


@contextmanager
def _as_screener_errors() -> Iterator[None]:
    """Spark's errors, and those of the bridge to Java, as errors for people."""
    try:
        yield
    except PySparkException as error:
        raise _spark_error(error) from error
    except Exception as error:
        if type(error).__module__.startswith("py4j"):
            raise _spark_error(error) from error
        raise


@contextmanager
def spark_session() -> Iterator[SparkSession]:
    """The session that spark-submit began, or one by Spark's own configuration."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    already = SparkSession.getActiveSession()
    with _as_screener_errors():
        spark = already or SparkSession.builder.appName("screener").getOrCreate()
    try:
        yield spark
    finally:
        if already is None:
            spark.stop()


def _spark_error(error: Exception) -> ScreenerError:
    """The error for people. Spark's messages may quote patient data, so only their kind is said."""
    kind = getattr(error, "getCondition", lambda: None)() or type(error).__name__
    return ScreenerError(
        f"Spark could not do it ({kind})",
        "Its own log says where; check the paths, the permissions, and that no compressed file is cut short",
    )
