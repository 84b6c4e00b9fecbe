"""Shards of the patients of a folder, after the first pass, as a source. One shard is in memory at a time."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Protocol, cast

import msgspec

from screener.assessment.evidence import Basis
from screener.base.errors import InputError
from screener.clinical.dates import last_day
from screener.clinical.mapping import Mapper, Settled
from screener.clinical.records import (
    Analyte,
    Demographics,
    Exclusion,
    Fact,
    Medicine,
    PatientRecord,
    Refusal,
    Sample,
    Unreadable,
    UnresolvedMedication,
)
from screener.stores.folder.medications import Medicines
from screener.stores.folder.scan import AnyRow, decode_rows, shard_of
from screener.stores.folder.spill import Segment, stored
from screener.stores.folder.versions import Index, Outdated, is_newest, key_of
from screener.stores.grouping import record_of
from screener.stores.protocols import Mode, Scope
from screener.stores.reading import Gaps, Reading

_decode_outdated = msgspec.msgpack.Decoder(list[tuple[bytes, int, int]]).decode


class ShardRows(Protocol):
    """The rows of a folder by shard of the patients: what the run of a shard needs."""

    @property
    def shards(self) -> int:
        """How many there are."""

    @property
    def medicines(self) -> Mapping[str, Medicine]:
        """The Medication resources, by id."""

    @property
    def gaps(self) -> Gaps:
        """What was not read whole."""

    def rows(self, shard: int) -> list[AnyRow]:
        """The rows of a shard, of the newest copies only."""

    def results(self, observations: Collection[str]) -> Iterator[AnyRow]:
        """The rows of these Observations, of any patient."""


class ScanResult(msgspec.Struct, frozen=True):
    """The result of the first pass: where everything is on disk. Every process can read it."""

    scratch: Path
    shards: int
    segments: list[Segment]
    traces: list[Segment]
    outdated: list[Segment]
    medicines: Medicines
    gaps: Gaps

    @property
    def resources(self) -> Index:
        """Which resources there are."""
        return Index(self.scratch, self.traces, self.shards)

    def rows(self, shard: int) -> list[AnyRow]:
        """The rows of a shard, of the newest copies only."""
        newest: Outdated = {}
        for part in stored(self.scratch, self.outdated, shard):
            newest |= {key: (updated_us, number) for key, updated_us, number in _decode_outdated(part)}
        rows: list[AnyRow] = []
        for part in stored(self.scratch, self.segments, shard):
            rows += decode_rows(part)
        return [row for row in rows if _counts(row, newest)] if newest else rows

    def results(self, observations: Collection[str]) -> Iterator[AnyRow]:
        """The rows of these Observations, of any patient."""
        keys = [key_of("Observation", name) for name in observations]
        for shard in sorted(self.resources.shards_with(keys)):
            yield from (row for row in self.rows(shard) if resource_of(row)[1] in observations)


class Server(Protocol):
    """The server that a folder is an export of: it is asked for what the folder does not hold."""

    def basis(self, observations: Collection[str]) -> dict[str, Basis]:
        """What became of these Observations."""

    def medicines(self, names: Collection[str]) -> Mapping[str, Medicine]:
        """The Medication resources of these ids that can be read."""


class FolderShardSource:
    """Some shards of the patients; one shard is held in memory at a time."""

    def __init__(
        self,
        rows_by_shard: ShardRows,
        mapper: Mapper,
        needs: Mapping[str, str],
        shards: Sequence[int],
        server: Server | None = None,
    ) -> None:
        self._rows_by_shard, self._mapper, self.needs = rows_by_shard, mapper, needs
        self._shards, self._server = shards, server
        self._off = tuple(kind for kind, need in needs.items() if need == "off")
        self._held: tuple[int, dict[str, list[Settled]]] = (-1, {})
        self._measured: dict[
            str, int
        ] = {}  # of the shard that is held: the last day of each patient's newest Mg result
        self.reading = Reading()

    def population(self, scope: Scope) -> Iterator[str]:
        """Patients with a Mg result, usable or not, since `oldest` or without a date: those whom a server's search would find. A folder
        has no watermark."""
        if scope.mode is Mode.NAMED:
            yield from (p for p in scope.patients if shard_of(p, self._rows_by_shard.shards) in self._shards)
            return
        oldest = date.fromisoformat(scope.oldest).toordinal() if scope.oldest else 0
        for shard in self._shards:
            self._shard(shard)
            yield from (patient for patient, day in self._measured.items() if day >= oldest)

    def records(self, patients: Sequence[str], standing: Collection[str]) -> list[PatientRecord]:  # noqa: ARG002
        """The record of each patient; it is empty where the folder holds nothing of her."""
        gaps = self._rows_by_shard.gaps
        return [record_of(patient, self._on(self._of(patient)), gaps, self.needs) for patient in patients]

    def lacks(self, kinds: Mapping[str, str]) -> InputError:
        """The error of required types; a whole folder is asked before its shards are."""
        return InputError(f"The folder holds no {', '.join(sorted(kinds))}", "Export them, too")

    def _on(self, rows: list[Settled]) -> Iterable[Settled]:
        """The rows without those of types that are switched off."""
        if not self._off:
            return rows
        return (row for row in rows if not (isinstance(row, Exclusion | Unreadable) and row.resource in self._off))

    def women(self, born_until: str, at_most: int) -> tuple[list[str], int | None]:
        """Women in the folder, by id. A partial birth date counts as its latest day."""
        latest = date.fromisoformat(born_until).toordinal()
        found = sorted(
            row.patient
            for _, rows in self._everyone()
            for row in rows
            if isinstance(row, Demographics) and row.sex == "female" and 0 < last_day(row.birth_date) <= latest
        )
        return found[:at_most], len(found)

    def basis(self, observations: Collection[str]) -> dict[str, Basis]:
        """An export may have been narrowed, so an Observation that is not in it counts as not seen, never as deleted."""
        wanted = frozenset(observations)
        found: dict[str, list[Fact | Refusal]] = {}
        for row in self._rows_by_shard.results(wanted):
            if isinstance(row, Fact | Refusal):
                found.setdefault(resource_of(row)[1], []).append(row)
        here = {name: Basis(seen=True, rows=_latest(rows)) for name, rows in found.items()}
        missing = wanted - here.keys()
        if missing and self._server:
            return {**here, **self._server.basis(missing)}
        return {**here, **dict.fromkeys(missing, Basis(seen=False))}

    def _everyone(self) -> Iterator[tuple[str, list[Settled]]]:
        for shard in self._shards:
            yield from self._shard(shard).items()

    def _of(self, patient: str) -> list[Settled]:
        return self._shard(shard_of(patient, self._rows_by_shard.shards)).get(patient, [])

    def _shard(self, shard: int) -> dict[str, list[Settled]]:
        if self._held[0] != shard:
            by_patient: dict[str, list[Settled]] = {}
            measured: dict[str, int] = {}
            for row in self._settled(self._rows_by_shard.rows(shard)):
                held = by_patient.get(row.patient)
                if held is None:
                    by_patient[row.patient] = [row]
                else:
                    held.append(row)
                if (type(row) is Fact or type(row) is Refusal) and row.analyte is Analyte.MG:
                    measured[row.patient] = max(measured.get(row.patient, 0), _last_day(row))
            self._held, self._measured = (shard, by_patient), measured
        return self._held[1]

    def _settled(self, rows: list[AnyRow]) -> Iterable[Settled]:
        """The rows, each statement about a medicine settled by its Medication resource."""
        unresolved = [row for row in rows if type(row) is UnresolvedMedication]
        if not unresolved:
            return cast("list[Settled]", rows)
        return self._mapper.resolve_medications(rows, self._medicines(unresolved))

    def _medicines(self, unresolved: Iterable[UnresolvedMedication]) -> Mapping[str, Medicine]:
        """Those of the folder, and from the server those that the rows name and the folder lacks: some servers export none."""
        here = self._rows_by_shard.medicines
        if self._server is None:
            return here
        named = {row.medicine for row in unresolved if row.medicine}
        lacking = {name for name in named if name not in here}
        there = self._server.medicines(lacking) if lacking else {}
        return {name: found[name] for name in named for found in (here, there) if name in found}


def _last_day(row: Fact | Refusal) -> int:
    """The last day on which it may have been measured; the last of all days where nothing says when."""
    day = row.moment.day if isinstance(row, Fact) else row.day
    return day or date.max.toordinal()


def _counts(row: AnyRow, newest: Outdated) -> bool:
    """Whether a row is from the newest copy of its resource. Of a resource without an id every copy counts."""
    kind, name = resource_of(row)
    latest = newest.get(key_of(kind, name)) if name else None
    return latest is None or is_newest(row.version, latest)


def resource_of(row: AnyRow) -> tuple[str, str]:
    """Type and id of the resource that a row is from; of a component, the Observation's."""
    if isinstance(row, Demographics):
        return "Patient", row.patient
    if isinstance(row, Fact | Refusal):
        return "Observation", row.id.partition("#")[0]
    if isinstance(row, Sample):
        return "Specimen", row.id
    return row.resource, row.id


def _latest(rows: list[Fact | Refusal]) -> tuple[Fact | Refusal, ...]:
    newest = max((row.version for row in rows), default=None)
    return tuple(row for row in rows if row.version == newest)
