"""Changes that are decided and not written yet.

Beyond some megabytes they are in a temporary file, which has no name: nobody else can open it, and nothing is left of it after a crash.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Self

import msgspec

from screener.assessment.reconcile import Action, Change
from screener.base.errors import InputError
from screener.clinical.records import Method
from screener.fhir.bundles import ENCODER
from screener.run.counts import PatientCounts

# Of some batches: the last of their patients, the counts of those with changes, and the changes.
Part = tuple[str, dict[str, PatientCounts], list[Change]]

_IN_MEMORY_BYTES = 32 << 20
_LENGTH_BYTES = 8


class _Row(msgspec.Struct, array_like=True):
    """A Change, its resource as JSON."""

    action: Action
    patient: str
    method: Method
    identity: str
    reason: str
    resource: bytes
    target: str
    version: str


class _Batch(msgspec.Struct, array_like=True):
    last_patient: str
    counts: dict[str, PatientCounts]
    rows: list[_Row]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Batch).decode


class Pending:
    """Batches of changes, in the order in which they were added."""

    def __init__(self) -> None:
        self._stream = SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - closed by __exit__
        self.changes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def add(self, last_patient: str, counts: Mapping[str, PatientCounts], changes: Sequence[Change]) -> None:
        """Add one batch; `last_patient` is the last of its patients, also of those without changes. InputError where the disk is full."""
        if not changes:
            return
        self.changes += len(changes)
        batch = _encode(_Batch(last_patient, dict(counts), [_row(change) for change in changes]))
        packed = zlib.compress(batch, level=1)
        try:
            self._stream.write(len(packed).to_bytes(_LENGTH_BYTES, "big"))
            self._stream.write(packed)
        except OSError as error:
            raise InputError(
                f"The changes that the run decided on cannot be kept: {error.strerror or 'no space'}",
                "Make room where TMPDIR points and run again; nothing was written",
            ) from error

    def __iter__(self) -> Iterator[Part]:
        self._stream.seek(0)
        while length := self._stream.read(_LENGTH_BYTES):
            batch = _decode(zlib.decompress(self._stream.read(int.from_bytes(length, "big"))))
            yield batch.last_patient, batch.counts, [_change(row) for row in batch.rows]

    def together(self, at_most: int) -> Iterator[Part]:
        """The batches, as many of them as one as have at most so many changes together; a larger one stays alone."""
        last, counts, changes = "", dict[str, PatientCounts](), list[Change]()
        for last_patient, more_counts, more in self:
            if changes and len(changes) + len(more) > at_most:
                yield last, counts, changes
                counts, changes = {}, []
            last = last_patient
            counts |= more_counts
            changes += more
        if changes:
            yield last, counts, changes


def _row(change: Change) -> _Row:
    resource = change.encoded or ENCODER.encode(change.resource)
    return _Row(
        change.action,
        change.patient,
        change.method,
        change.identity,
        change.reason,
        resource,
        change.target,
        change.version,
    )


def _change(row: _Row) -> Change:
    return Change(
        row.action,
        row.patient,
        row.method,
        row.identity,
        row.reason,
        target=row.target,
        version=row.version,
        encoded=row.resource,
    )
