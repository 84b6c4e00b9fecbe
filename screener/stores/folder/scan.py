"""The first pass: maps the lines of a folder to rows, and sorts the rows into shards of the patients.

Pieces of the files are read independently, in any order, by any process, with the same result.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from screener.clinical import statements, wire
from screener.clinical.mapping import NOT_UTF8, Mapped, Mapper
from screener.clinical.patients import version
from screener.clinical.records import (
    Demographics,
    Exclusion,
    Fact,
    MalformedResource,
    Medicine,
    Menopause,
    Refusal,
    Sample,
    Unreadable,
    UnresolvedMedication,
    Version,
)
from screener.fhir.search import Head
from screener.stores.folder.files import Piece, blocks
from screener.stores.folder.prefilter import Prefilter
from screener.stores.folder.spill import Segment, Spill
from screener.stores.folder.versions import NOWHERE, Tracer
from screener.stores.patient_order import KEYS, shard_key

# What reading a line may raise, whatever is wrong with it.
UNREADABLE = (MalformedResource, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
NOT_A_RESOURCE = "not a JSON object with a resourceType"

AnyRow = Fact | Refusal | Exclusion | Menopause | Demographics | Sample | Unreadable | UnresolvedMedication

decode_head = msgspec.json.Decoder(Head).decode
decode_rows = msgspec.msgpack.Decoder(list[AnyRow]).decode
decode_medicines = msgspec.msgpack.Decoder(list[Medicine]).decode
_encode = msgspec.msgpack.Encoder().encode


class Bad(NamedTuple):
    """A line that could not be used: where it begins, and why, without its content."""

    file: Path
    offset: int
    problem: str


class Scanned(NamedTuple):
    """The result of one piece, and where it is on disk. `traces` is None where no resource comes in two copies."""

    piece: int
    bytes_read: int
    lines: int
    kinds: frozenset[str]
    bad: list[Bad]
    rows: Segment
    traces: Segment | None
    medicines: Segment
    without_patient: int  # results that name nobody


def version_of(head: Head) -> Version:
    """Which copy a line holds."""
    return version(wire.Meta(head.meta.versionId or None, head.meta.lastUpdated or None))


def _all_lines(block: bytes) -> Iterable[bytes]:
    return block.split(b"\n")


_WRAPPERS = frozenset({"Bundle", "Parameters"})  # what is in them would not be read
_TYPE_NAME = re.compile(r"[A-Z][A-Za-z]{2,63}")


def check_type(kind: str) -> None:
    """MalformedResource for a line that holds no resource of a type of its own."""
    if kind in _WRAPPERS:
        raise MalformedResource(f"a {kind} in place of one resource")
    if not _TYPE_NAME.fullmatch(kind):
        raise MalformedResource("no resource type of FHIR")


def shard_of(patient: str, shards: int) -> int:
    """The shard of a patient: one of `shards` equal ranges of keys."""
    return shard_key(patient) * shards // KEYS


class Scanner:
    """One process's part in the first pass."""

    def __init__(
        self, mapper: Mapper, scratch: Path, name: str, shards: int, codes: frozenset[str] | None, *, traced: bool
    ) -> None:
        """Files in `scratch` begin with `name`. `codes`: lines without any of them need not be decoded. `traced`: whether each
        resource leaves a trace, for the comparison of copies."""
        self._mapper, self._shards = mapper, shards
        self._lines = Prefilter(codes).lines if codes else _all_lines
        self._traces_file = scratch / f"{name}.traces"
        self._rows: Spill[Mapped] = Spill(scratch / f"{name}.rows", shards, _encode)
        self._medicines: Spill[Medicine] = Spill(scratch / f"{name}.medicines", 1, _encode)
        self._tracer = Tracer() if traced else None
        self._patient, self._shard = "", 0
        self._without_patient = 0

    def scan(self, number: int, piece: Piece) -> Scanned:
        """Read a piece. InputError for a file that cannot be read and for a full disk."""
        kinds: set[str] = set()
        bad: list[Bad] = []
        size = lines = self._without_patient = 0
        for block in blocks(piece):
            size += len(block.data)
            lines += block.data.count(b"\n")
            if block.problem:
                bad.append(Bad(piece.file, block.start, block.problem))
            if not block.data.strip():  # a small compressed file of empty lines would take minutes
                continue
            searched = 0
            for line in self._lines(block.data):
                if not line.strip():
                    continue
                try:
                    kinds.add(self._take(line))
                except UNREADABLE as error:
                    # The first such line after the last bad one: an earlier one like it would have been bad as well.
                    searched = block.data.index(line, searched)
                    why = NOT_UTF8 if isinstance(error, UnicodeDecodeError) else NOT_A_RESOURCE
                    why = str(error) if isinstance(error, MalformedResource) else why
                    bad.append(Bad(piece.file, block.start + searched, why))
                    searched += len(line)
        return Scanned(
            number,
            size,
            lines,
            frozenset(kinds),
            bad,
            self._rows.flush(),
            self._tracer.flush(self._traces_file, self._shards) if self._tracer else None,
            self._medicines.flush(),
            self._without_patient,
        )

    def _take(self, line: bytes) -> str:
        """Sort the rows of one line into shards; returns its resource type."""
        resource, rows = self._mapper.open(line)
        if resource is None:
            head = decode_head(line)
            kind = head.resourceType
            check_type(kind)
            if kind == "Medication":
                medicine = statements.medicine(line)
                if medicine is not None:
                    self._medicines.add(0, medicine)
        else:
            kind = type(resource).__name__
            self._without_patient += not rows and self._mapper.is_without_patient(resource)
        shard = NOWHERE
        for row in rows:
            # The results of a patient come together: most often it is the same string.
            if row.patient is not self._patient:
                self._patient = row.patient
                self._shard = shard_of(row.patient, self._shards)
            shard = self._shard
            self._rows.add(shard, row)
        if self._tracer is not None:
            if resource is None:
                name, copy = head.id, version_of(head)
            else:
                name, copy = resource.id or "", rows[0].version if rows else version(resource.meta)
            if name:
                self._tracer.saw(kind, name, copy, shard)
        return kind
