"""A folder of NDJSON in the layout of a bulk export, as source.

The file name does not decide what a line holds, its `resourceType` does. A bad line is counted with its file and number, never
with its content, and the run goes on.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec
import structlog

from screener.assessment.evidence import Basis
from screener.base.errors import InputError
from screener.base.plural import counted
from screener.clinical import statements
from screener.clinical.mapping import Mapper
from screener.clinical.records import (
    Medicine,
    PatientRecord,
    Version,
)
from screener.config.settings import FolderSettings
from screener.stores.bulk.journal import Finished, finished
from screener.stores.folder.files import NOT_READ, Piece, blocks, entries_of, line_number, pieces, plain_bytes
from screener.stores.folder.medications import Medicines, gathered
from screener.stores.folder.prefilter import usable
from screener.stores.folder.scan import (
    UNREADABLE,
    Scanned,
    Scanner,
    decode_head,
    decode_medicines,
    version_of,
)
from screener.stores.folder.scratch import Workspace
from screener.stores.folder.shards import FolderShardSource, ScanResult, Server
from screener.stores.folder.spill import Segment, append, stored
from screener.stores.folder.versions import is_newest, key_of, outdated, read_traces
from screener.stores.folder.workers import Workers, processes_for
from screener.stores.protocols import PatientRow, R, RowMapper, Scope
from screener.stores.reading import LINES, Reading

log = structlog.get_logger()

PIECE_BYTES = 32 << 20
_SHARD_BYTES = 16 << 20  # of the folder, so that what a shard makes of it fits into a process many times over
_MOST_SHARDS = 1 << 16
_BAD_LINES_TOLD = 20

_encode = msgspec.msgpack.Encoder().encode


class FolderSource:
    """Reads the whole folder once, when it is first asked for something."""

    def __init__(
        self,
        folder: Path,
        mapper: Mapper,
        needs: Mapping[str, str],
        settings: FolderSettings,
        workspace: Workspace,
        server: Server | None = None,
    ) -> None:
        """`needs`: required, optional, if_offered or off for each excluding resource type; "off" ones are marked as not checked.
        `server`: the one that the folder is an export of, which is asked for what is not in it."""
        self._folder, self._mapper, self.needs, self._settings = folder, mapper, needs, settings
        (self._scratch, self.workers), self._server = workspace, server
        self._export: Finished | None = None
        self._files: list[Path] = []
        self._table: ScanResult | None = None
        self._all: FolderShardSource | None = None
        self._medicines_read: dict[str, Medicine] | None = None
        self._second: tuple[object, dict[str, list[PatientRow]]] | None = None
        self.reading = Reading()

    # As a source: everyone

    def population(self, scope: Scope) -> Iterator[str]:
        """Patients with a Mg result, usable or not. A folder holds everything and has no watermark."""
        return self._whole().population(scope)

    def records(self, patients: Sequence[str], standing: Collection[str]) -> list[PatientRecord]:
        """The record of each patient; it is empty where the folder holds nothing of her."""
        return self._whole().records(patients, standing)

    def women(self, born_until: str, at_most: int) -> tuple[list[str], int | None]:
        """Women in the folder, by id. A partial birth date counts as its latest day."""
        return self._whole().women(born_until, at_most)

    def medicines(self, names: Collection[str]) -> Mapping[str, Medicine]:
        """The Medication resources of these ids, each with its codes, from a pass of its own over the folder: a run needs only those that a
        rule is about."""
        if self._medicines_read is None:
            self._whole_table()
            self._medicines_read = {}
            for line in self._lines():
                found = statements.medicine(line) if b'"Medication"' in line else None
                held = self._medicines_read.get(found.id) if found else None
                if found and (held is None or found.version >= held.version):
                    self._medicines_read[found.id] = found
        return {name: self._medicines_read[name] for name in names if name in self._medicines_read}

    def basis(self, observations: Collection[str]) -> dict[str, Basis]:
        """An export may have been narrowed, so an Observation that is not in it counts as not seen, never as deleted."""
        return self._whole().basis(observations)

    def read_more(self, mapper: RowMapper[R], patients: Sequence[str]) -> list[R]:
        """From a second pass over the folder, made once for each mapper."""
        if self._second is None or self._second[0] is not mapper:
            self._second = (mapper, self._second_pass(mapper, self._whole_table()))
        held = cast("dict[str, list[R]]", self._second[1])
        return [row for patient in patients for row in held.get(patient, ())]

    def _whole(self) -> FolderShardSource:
        if self._all is None:
            table = self._whole_table()
            self._all = FolderShardSource(table, self._mapper, self.needs, range(table.shards), self._server)
        return self._all

    def _whole_table(self) -> ScanResult:
        if self._table is None:
            self._table = self.scan(self.planned_shards())
        return self._table

    # The first pass

    def planned_shards(self) -> int:
        """How many shards the folder needs. InputError for a folder that cannot be used."""
        self._export = finished(self._folder)
        if self._export and self._export.since:
            raise InputError(
                f"The folder {self._folder.name} holds only what changed since {self._export.since}: it is not everything",
                "Export without --since",
            )
        self._files, left_out = entries_of(self._folder, empty=self._export is not None)
        if self._export:
            self._check_export(self._export)
        if left_out:
            log.info("entries_not_read", names=left_out)
        size_bytes = plain_bytes(self._files)
        self.workers = processes_for(size_bytes, self.workers)
        return min(_MOST_SHARDS, 1 + size_bytes // _SHARD_BYTES)

    def _check_export(self, export: Finished) -> None:
        """InputError where a file of a finished export was removed or changed since: what it held may exclude a woman."""
        sizes = {file.name: file.stat().st_size for file in self._folder.iterdir() if file.is_file()}
        for file in export.files:
            if sizes.get(file.name) != file.size_bytes:
                is_now = "missing" if file.name not in sizes else f"{sizes[file.name]} bytes long"
                raise InputError(
                    f"{file.name} of the export in {self._folder.name} is {is_now}; export.json says {file.size_bytes} bytes",
                    "Export again into an empty folder",
                )

    def scan(
        self, shards: int, progress: Callable[[int, int], None] | None = None, *, may_be_asked: bool = True
    ) -> ScanResult:
        """Read the folder, and decide whether it may be used. `progress` gets the lines read and, by the bytes, about how many there
        are. Without `may_be_asked` nobody will ask for single resources by their id (`ScanResult.resources` and `results`)."""
        work = pieces(self._files, PIECE_BYTES)
        scanned: list[Scanned] = []
        whole, done, lines = sum(piece.size_bytes for piece in work), 0, 0
        traced = may_be_asked or not self._one_export()
        context = (self._mapper, self._scratch, shards, self._codes_that_matter(), traced)
        with Workers(min(self.workers, len(work)), Context, *context) as workers:
            for found in workers.map(scan, list(enumerate(work))):
                scanned.append(found)
                done += work[found.piece].size_bytes
                lines += found.lines
                if progress:
                    progress(lines, round(lines * whole / done) if done else lines)
            scanned.sort()
            traces = [found.traces for found in scanned if found.traces is not None]
            copies = workers.map(compare, [(traces, deal) for deal in range(shards if traced else 0)])
            newest = [segment for segment in copies if segment is not None]
        self._judge_bad_lines(scanned)
        self.reading.without_patient = sum(found.without_patient for found in scanned)
        if self.reading.without_patient:
            log.warning("results_without_patient", results=self.reading.without_patient, remedy="they are left out")
        # A type that the export asked for and that has no file has no resources.
        found_kinds = frozenset[str]().union(*(found.kinds for found in scanned))
        kinds = found_kinds.union(self._export.types if self._export else ())
        if self._export and not self._settings.complete:
            asked = [kind for kind in self._export.types if kind in self.needs]
            self.reading.seen = {kind: int(kind in found_kinds) for kind in asked}
        lost = self._export.errors if self._export else 0
        note_types(self.reading, kinds, self.needs, complete=self._settings.complete, lost=lost)
        self.reading.bytes_read = sum(found.bytes_read for found in scanned)
        return ScanResult(
            scratch=self._scratch,
            shards=shards,
            segments=[found.rows for found in scanned],
            traces=traces,
            outdated=newest,
            medicines=self._medicines([found.medicines for found in scanned]),
            gaps=self.reading.gaps(),
        )

    def lacks(self, kinds: Mapping[str, str]) -> InputError:
        """The error of required types that the folder does not hold."""
        return lacks_error(self._folder.name, kinds)

    def _medicines(self, segments: Sequence[Segment]) -> Medicines:
        found = (one for part in stored(self._scratch, segments, 0) for one in decode_medicines(part))
        return gathered(found, self._mapper.matters, self._scratch / "medicines.npy")

    def _codes_that_matter(self) -> frozenset[str] | None:
        """The codes that a line has to have; None where every line has to be decoded.

        A copy of a resource may matter without any code of ours: it supersedes an older one. So lines are skipped only in one export.
        """
        return usable(self._mapper.codes_that_matter() if self._one_export() else None)

    def _one_export(self) -> bool:
        """Whether the folder is one export, whole and without other files: then no resource comes in two versions."""
        there = [(file.name, file.stat().st_size) for file in self._files]
        export = self._export
        alone = export is not None and there == sorted(
            (file.name, file.size_bytes) for file in export.files if not file.name.endswith(NOT_READ)
        )
        return alone or self._settings.one_export

    def _judge_bad_lines(self, scanned: Sequence[Scanned]) -> None:
        """A line that cannot be read may be the diagnosis that excludes a woman. More of them than the site allows stop the run."""
        bad = [line for found in scanned for line in found.bad]
        self.reading.bad_lines = len(bad)
        told = [(line.file.name, line_number(line.file, line.offset), line.problem) for line in bad[:_BAD_LINES_TOLD]]
        for file, number, problem in told:
            log.warning("bad_line", file=file, line=number, problem=problem)
        if len(bad) > self._settings.bad_lines_allowed:
            file, number, problem = told[0]
            raise InputError(
                f"{counted(len(bad), 'unreadable line')} in {self._folder.name}, the first in {file}, line {number}: {problem}",
                "Export again, or allow so many with folder.bad_lines_allowed; nothing was written",
            )

    # A second one

    def _second_pass(self, mapper: RowMapper[R], table: ScanResult) -> dict[str, list[R]]:
        bad = 0
        found: list[tuple[bytes, Version, tuple[R, ...]]] = []
        for line in self._lines():
            try:
                rows = mapper.map(line)
                if rows:
                    head = decode_head(line)
                    found.append((key_of(head.resourceType, head.id) if head.id else b"", version_of(head), rows))
            except UNREADABLE:
                bad += 1
        newest = table.resources.newest({key for key, _, _ in found if key})
        by_patient: dict[str, list[R]] = {}
        for key, copy, rows in found:
            if not key or is_newest(copy, newest[key]):
                for row in rows:
                    by_patient.setdefault(row.patient, []).append(row)
        self.reading.bad_lines = max(self.reading.bad_lines, bad)
        return by_patient

    def _lines(self) -> Iterator[bytes]:
        for piece in pieces(self._files, PIECE_BYTES):
            for block in blocks(piece):
                yield from (line for line in block.data.split(b"\n") if line.strip())


def note_types(
    reading: Reading, kinds: Collection[str], needs: Mapping[str, str], *, complete: bool, lost: int = 0
) -> None:
    """How the reading of each excluding type ended, of a folder that holds `kinds`. `lost`: resources that the server could not export."""
    for kind, need in needs.items():
        if need == "off":
            reading.cannot(kind, "switched off")
        elif kind in kinds or complete:
            reading.whole(kind)
        elif need == "if_offered":
            reading.not_offered.add(kind)
        else:
            reading.cannot(kind, "not in the folder")
    missing = (
        [f"{counted(reading.bad_lines, 'unreadable line')} (folder.bad_lines_allowed)"] if reading.bad_lines else []
    )
    missing += [f"{counted(lost, 'resource')} that the server could not export (bulk.errors_allowed)"] if lost else []
    if missing:
        reading.in_part(LINES, f"{' and '.join(missing)} were let pass")


def lacks_error(folder: str, kinds: Mapping[str, str]) -> InputError:
    """The error of required types that a folder does not hold: an export narrowed to some types must not turn an excluded woman into a
    scored one."""
    return InputError(
        f"The folder {folder} holds no {', '.join(sorted(kinds))}, and the exclusions require them",
        "If the export asked for these types and there are none, set folder.complete = true; else export them too, "
        "or set them to optional under [exclusions]: assessments then say that they were not checked",
    )


class Context:
    """What a process needs for the first pass."""

    def __init__(
        self,
        mapper: Mapper,
        scratch: Path,
        shards: int,
        codes: frozenset[str] | None,
        traced: bool,  # noqa: FBT001 - arguments of a pool are positional
    ) -> None:
        self.scratch, self.shards = scratch, shards
        self.name = f"{os.getpid()}"
        self.scanner = Scanner(mapper, scratch, self.name, shards, codes, traced=traced)


def scan(context: Context, item: tuple[int, Piece]) -> Scanned:
    """The first pass over one piece."""
    return context.scanner.scan(*item)


def compare(context: Context, item: tuple[Sequence[Segment], int]) -> Segment | None:
    """Find the outdated copies in one group of traces, and sort them into the shards that hold them."""
    segments, deal = item
    found = outdated(read_traces(context.scratch, segments, deal))
    if not found:
        return None
    parts = (_encode(found[shard]) if shard in found else b"" for shard in range(context.shards))
    return append(context.scratch / f"{context.name}.outdated", parts)
