"""What runs in Spark's Python workers: mapping lines to rows, and taking a partition of patients through the pipeline.

Both are functions from Arrow batches to Arrow batches, made from the same pure parts as the folder engine.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter

import msgspec
import pyarrow as pa

from screener.assessment.resource import observation_ids
from screener.assessment.validate import Validator
from screener.clinical import statements
from screener.clinical.mapping import Mapper
from screener.clinical.patients import version
from screener.clinical.records import Medicine
from screener.run.counts import packed
from screener.run.deciding import Stores
from screener.run.engine import Plan
from screener.run.folder_engine import ShardTask, decide_and_write
from screener.stores.folder.destination import FolderShardDestination, Line, LineWriter, in_order, read_line
from screener.stores.folder.prefilter import Prefilter
from screener.stores.folder.scan import UNREADABLE, AnyRow, check_type, decode_head, decode_rows, shard_of, version_of
from screener.stores.folder.shards import FolderShardSource, resource_of
from screener.stores.folder.versions import key_of
from screener.stores.patient_order import shard_key
from screener.stores.reading import Gaps

# What a mapped line may be.
ROWS, SEEN, BAD, MEDICINE, KIND, WITHOUT_PATIENT = range(6)
MAPPED = "kind byte, shard int, patient string, key binary, updated_us long, number long, payload binary, file string"
# What a partition of patients is made of: rows of theirs, rows of results that moved elsewhere, assessments, who failed before.
RESULT, ELSEWHERE, STANDING, AGAIN = range(4)
JUDGED = "shard_key long, patient string, id string, text binary, counts binary"

_BATCH = 10_000
_encode = msgspec.msgpack.Encoder().encode
_decode_standing = msgspec.json.Decoder(dict).decode

Batches = Iterator[pa.RecordBatch]


def map_lines(mapper: Mapper, shards: int, codes: frozenset[str] | None) -> Callable[[Batches], Batches]:
    """From (value binary, file string) to MAPPED: a line's rows packed together, and a trace of what has none."""

    def mapped(batches: Batches) -> Batches:
        prefilter = Prefilter(codes) if codes else None
        out = _Table("kind shard patient key updated_us number payload file")
        kinds: set[str] = set()
        for batch in batches:
            pairs = zip(batch.column("file").to_pylist(), batch.column("value").to_pylist(), strict=True)
            for file, lines in groupby(pairs, itemgetter(0)):
                texts: Iterable[bytes] = (line for _, line in lines)
                if prefilter:
                    texts = prefilter.lines(b"\n".join(texts) + b"\n")
                for line in texts:
                    if line.strip():
                        kinds.add(_take(line, file, mapper, shards, out))
            yield from out.full(_BATCH)
        for kind in sorted(kinds - {""}):
            out.add(KIND, 0, kind, b"", 0, 0, b"", "")
        yield from out.full(0)

    return mapped


def _take(line: bytes, file: str, mapper: Mapper, shards: int, out: "_Table") -> str:
    try:
        resource, rows = mapper.open(line)
        if resource is None:
            head = decode_head(line)
            check_type(head.resourceType)
            kind, name, copy = head.resourceType, head.id, version_of(head)
        else:
            kind, name, copy = type(resource).__name__, resource.id or "", version(resource.meta)
    except UNREADABLE:
        out.add(BAD, 0, "", b"", 0, 0, b"", file)
        return ""
    if not rows and mapper.is_without_patient(resource):
        out.add(WITHOUT_PATIENT, 0, "", b"", 0, 0, b"", file)
    medicine = statements.medicine(line) if kind == "Medication" else None
    if medicine is not None:
        out.add(MEDICINE, 0, "", b"", 0, 0, _encode(medicine), "")
    key = key_of(kind, name) if name else b""
    if rows:
        patient = rows[0].patient
        out.add(ROWS, shard_of(patient, shards), patient, key, copy.updated_us, copy.number, _encode(rows), "")
    elif key:
        out.add(SEEN, 0, "", key, copy.updated_us, copy.number, b"", "")
    return kind


def standing_lines(method: str, shards: int) -> Callable[[Batches], Batches]:
    """From (value binary) to (shard int, patient string, payload binary): the assessments that stand, by patient."""

    def found(batches: Batches) -> Batches:
        out = _Table("shard patient payload")
        for batch in batches:
            for text in batch.column("value").to_pylist():
                if text.strip():
                    line = read_line(text, method)
                    out.add(shard_of(line.patient, shards), line.patient, _packed(line))
            yield from out.full(_BATCH)
        yield from out.full(0)

    return found


def rests_on(batches: Batches) -> Batches:
    """From standing lines to (key binary, for_patient string, for_shard int): the Observations that our assessments rest on."""
    out = _Table("key for_patient for_shard")
    for batch in batches:
        for shard, payload in zip(batch.column("shard").to_pylist(), batch.column("payload").to_pylist(), strict=True):
            line = msgspec.msgpack.decode(payload, type=Line)
            if line.ours:
                for name in observation_ids(_decode_standing(line.text)):
                    out.add(key_of("Observation", name), line.patient, shard)
        yield from out.full(_BATCH)
    yield from out.full(0)


def judge_partition(
    shard_task: ShardTask, plan: Plan, medicines: Mapping[str, Medicine], gaps: Gaps
) -> Callable[[Batches], Batches]:
    """From (part byte, patient string, payload binary), all of some patients, to JUDGED: their lines, and one row of counts."""

    def judged(batches: Batches) -> Batches:
        held = PartitionInMemory(medicines, gaps)
        again: set[str] = set()
        for batch in batches:
            for part, patient, payload in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if part == AGAIN:
                    again.add(patient)
                else:
                    held.take(part, payload)
        stores = Stores(
            FolderShardSource(held, shard_task.mapper, shard_task.needs, [0]),
            FolderShardDestination(held, [0], LineWriter(shard_task.now)),
        )
        of_partition = msgspec.structs.replace(plan, again=frozenset(again))
        counts = decide_and_write(of_partition, shard_task, stores, Validator(every=False))
        out = _Table("shard_key patient id text counts")
        for line in in_order(held.shard(0)):
            out.add(shard_key(line.patient), line.patient, line.id, line.text, b"")
        out.add(-1, "", "", b"", packed(counts))
        yield from out.full(0)

    return judged


def _packed(line: Line) -> bytes:
    # By a function of this module: what a task refers to by itself travels with it, and an encoder cannot.
    return _encode(line)


class PartitionInMemory:
    """A partition's patients in memory: a folder of one shard, as source and as destination."""

    def __init__(self, medicines: Mapping[str, Medicine], gaps: Gaps) -> None:
        self.shards, self.medicines, self.gaps = 1, medicines, gaps
        self._rows: list[AnyRow] = []
        self._elsewhere: list[AnyRow] = []
        self._lines: list[Line] = []

    def take(self, part: int, payload: bytes) -> None:
        """Rows, or an assessment that stands."""
        if part == RESULT:
            self._rows += decode_rows(payload)
        elif part == ELSEWHERE:
            self._elsewhere += decode_rows(payload)
        else:
            self._lines.append(msgspec.msgpack.decode(payload, type=Line))

    def rows(self, _shard: int) -> list[AnyRow]:
        """All of them."""
        return self._rows

    def results(self, observations: Collection[str]) -> Iterator[AnyRow]:
        """The rows of these Observations, of any patient."""
        for row in (*self._rows, *self._elsewhere):
            kind, name = resource_of(row)
            if kind == "Observation" and name in observations:
                yield row

    def shard(self, _shard: int) -> list[Line]:
        """The assessments as they are now."""
        return self._lines

    def keep(self, _shard: int, lines: list[Line]) -> None:
        """The assessments as they will be."""
        self._lines = lines


class _Table:
    """Rows gathered into Arrow batches."""

    def __init__(self, names: str) -> None:
        self._names = names.split()
        self._rows: list[tuple[object, ...]] = []

    def add(self, *row: object) -> None:
        """One row."""
        self._rows.append(row)

    def full(self, least: int) -> Batches:
        """A batch, where there are more than `least` rows."""
        if len(self._rows) > least:
            columns = zip(*self._rows, strict=True)
            schema = [(name, _TYPES[name]) for name in self._names]
            yield pa.record_batch(
                [pa.array(column, kind) for column, (_, kind) in zip(columns, schema, strict=True)], self._names
            )
            self._rows = []


_TYPES = {
    "kind": pa.int8(),
    "shard": pa.int32(),
    "for_shard": pa.int32(),
    "patient": pa.string(),
    "for_patient": pa.string(),
    "key": pa.binary(),
    "updated_us": pa.int64(),
    "number": pa.int64(),
    "payload": pa.binary(),
    "file": pa.string(),
    "shard_key": pa.int64(),
    "id": pa.string(),
    "text": pa.binary(),
    "counts": pa.binary(),
}
