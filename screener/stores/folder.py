"""A folder of NDJSON in the layout of a bulk export, as source.

The file name does not decide what a line holds, its `resourceType` does. A bad line is counted with its file and number, never
with its content, and the run goes on.
"""

import gzip
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from screener.assessment.evidence import Basis
from screener.bulk.journal import finished, load
from screener.clinical import statements, wire
from screener.clinical.dates import last_day
from screener.clinical.mapping import MalformedResource, Mapped, Mapper, Settled
from screener.clinical.patients import version
from screener.clinical.records import (
    Analyte,
    Demographics,
    Exclusion,
    Fact,
    Medicine,
    PatientRecord,
    Refusal,
    Unreadable,
    Version,
)
from screener.config import FolderSettings
from screener.errors import InputError
from screener.fhir.search import Head
from screener.stores.base import Mode, OfPatient, R, Reader, Reading, Scope
from screener.stores.records import gather

_HEADS = msgspec.json.Decoder(Head)


# A line: its type, its id, its meta, and its rows.
Opened = tuple[str, str, wire.Meta | None, tuple[R, ...]]
Opens = Callable[[bytes], Opened[R]]


class BadLine(msgspec.Struct, frozen=True):
    """A line that could not be used: where it stands, and why in general terms."""

    file: str
    line: int
    problem: str


class FolderSource:
    """Reads the whole folder once, and keeps what the map makes of it by patient."""

    def __init__(
        self,
        folder: Path,
        mapper: Mapper,
        needs: Mapping[str, str],
        settings: FolderSettings,
        basis: Callable[[Collection[str]], dict[str, Basis]] | None = None,
    ) -> None:
        """`needs`: required, optional or off for each excluding resource type; "off" ones are marked as not checked. `basis` asks
        the server that the folder is an export of what became of Observations that are not in it."""
        self._ask = basis
        self._folder, self._mapper = folder, mapper
        self._needs = needs
        self._off = tuple(sorted(kind for kind, need in needs.items() if need == "off"))
        self._unchecked = self._off
        self._settings = settings
        self._kinds: set[str] = set()  # resource types that the folder holds
        self._rows: dict[str, list[Settled]] | None = None
        self._medicines: dict[str, Medicine] = {}
        self._export = finished(folder)
        self._further: tuple[object, dict[str, list[OfPatient]]] | None = None
        self.bad_lines: list[BadLine] = []
        self.reading = Reading(unchecked=dict.fromkeys(self._off, "switched off"))

    def population(self, scope: Scope) -> Iterator[str]:
        """Patients with a Mg result, usable or not; a folder is the whole truth and has no watermark."""
        if scope.mode is Mode.NAMED:
            yield from scope.patients
            return
        for patient, rows in self._by_patient().items():
            if any(isinstance(row, Fact | Refusal) and row.analyte is Analyte.MG for row in rows):
                yield patient

    def records(self, patients: Sequence[str], standing: Collection[str]) -> list[PatientRecord]:  # noqa: ARG002
        """The record of each patient; one of whom the folder says nothing has an empty record."""
        held = self._by_patient()
        rows = (
            row
            for patient in patients
            for row in held.get(patient, ())
            if not (isinstance(row, Exclusion | Unreadable) and row.resource in self._off)
        )
        return gather(patients, rows, dict.fromkeys(patients, self._unchecked), self._needs)

    def further(self, reader: Reader[R], patients: Sequence[str]) -> list[R]:
        """From a second pass over the folder, made once for each reader."""
        if self._further is None or self._further[0] is not reader:
            self._further = (reader, self._second_pass(reader))
        held = cast("dict[str, list[R]]", self._further[1])
        return [row for patient in patients for row in held.get(patient, ())]

    def _second_pass(self, reader: Reader[R]) -> dict[str, list[R]]:
        self._by_patient()
        known = {(bad.file, bad.line) for bad in self.bad_lines}
        found: list[BadLine] = []
        rows: dict[str, list[R]] = {}
        for row in self._read(_opener(reader), found):
            rows.setdefault(row.patient, []).append(row)
        self.reading.bad_lines += sum((bad.file, bad.line) not in known for bad in found)
        return rows

    def women(self, born_until: str, at_most: int) -> tuple[list[str], int | None]:
        """Those whom the folder holds, by id; a partial birth date counts by its latest day."""
        latest = date.fromisoformat(born_until).toordinal()
        found = sorted(
            row.patient
            for rows in self._by_patient().values()
            for row in rows
            if isinstance(row, Demographics) and row.sex == "female" and 0 < last_day(row.birth_date) <= latest
        )
        return found[:at_most], len(found)

    def basis(self, observations: Collection[str]) -> dict[str, Basis]:
        """An export may be narrowed without a trace, so what is not in it is not seen; nothing counts as gone."""
        wanted = set(observations)
        found: dict[str, list[Fact | Refusal]] = {}
        for rows in self._by_patient().values():
            for row in rows:
                if isinstance(row, Fact | Refusal) and row.id.partition("#")[0] in wanted:
                    found.setdefault(row.id.partition("#")[0], []).append(row)
        here = {name: Basis(seen=True, rows=_latest(rows)) for name, rows in found.items()}
        missing = wanted - here.keys()
        if missing and self._ask:
            return {**here, **self._ask(missing)}
        return {**here, **dict.fromkeys(missing, Basis(seen=False))}

    def _by_patient(self) -> dict[str, list[Settled]]:
        if self._rows is None:
            self._rows = {}
            for row in self._mapper.settled(list(self._read(self._open_ours, self.bad_lines)), self._medicines):
                self._rows.setdefault(row.patient, []).append(row)
            self._judge_bad_lines()
            self._judge_missing_types()
        return self._rows

    def _judge_missing_types(self) -> None:
        """An export narrowed to some types must not turn an excluded woman into a scored one."""
        if self._settings.complete:
            return
        held = self._kinds | set(
            self._export.types if self._export else ()
        )  # what was asked for and is not there has no resources
        absent = {kind: need for kind, need in sorted(self._needs.items()) if need != "off" and kind not in held}
        required = [kind for kind, need in absent.items() if need == "required"]
        if required:
            raise InputError(
                f"The folder {self._folder.name} holds no {', '.join(required)}, and the exclusions require them",
                "If the export asked for these types and there are none, set folder.complete = true; else export them too, "
                "or set them to optional under [exclusions]: assessments then say that they were not checked",
            )
        self._unchecked = tuple(sorted({*self._off, *absent}))
        self.reading.unchecked.update(dict.fromkeys(absent, "not in the folder"))

    def _judge_bad_lines(self) -> None:
        """A lost line may be the diagnosis that excludes a woman: more than the site allows stop the run."""
        self.reading.bad_lines = len(self.bad_lines)
        if len(self.bad_lines) > self._settings.bad_lines_allowed:
            first = self.bad_lines[0]
            raise InputError(
                f"{len(self.bad_lines)} unreadable lines in {self._folder.name}, the first in {first.file}, line {first.line}: "
                f"{first.problem}",
                "Export again, or allow so many with folder.bad_lines_allowed; nothing was written",
            )

    def _read(self, opens: Opens[R], bad: list[BadLine]) -> Iterator[R]:
        """Rows of the newest copy of each resource.

        Copies are compared over the whole folder and before anything is grouped: a newer one may name another patient, or a
        code that is none of ours, and then gives no row here that could supersede the older one. Of the resources that give no row
        only a number is kept; where some resource comes twice, the folder is gone through once more for the versions of those.
        """
        seen: set[int] = set()
        repeated: set[tuple[str, str]] = set()
        found: list[tuple[tuple[str, str], Version, tuple[R, ...]]] = []
        for kind, name, meta, rows in self._opened(opens, bad):
            key = (kind, name)
            number = hash(key)
            if number in seen:
                repeated.add(key)
            else:
                seen.add(number)
            if rows:
                found.append((key, version(meta), rows))
        newest = self._newest(repeated) if repeated else {}
        for key, copy, rows in found:
            if not key[1] or copy == newest.get(key, copy):
                yield from rows

    def _newest(self, repeated: Collection[tuple[str, str]]) -> dict[tuple[str, str], Version]:
        """The newest version of each resource that comes more than once."""
        newest: dict[tuple[str, str], Version] = {}
        for _, line in self._lines([]):
            try:
                head = _HEADS.decode(line)
            except msgspec.MsgspecError:
                continue  # a bad line, counted before
            key = (head.resourceType, head.id)
            if key in repeated:
                copy = version(_meta(head))
                newest[key] = max(copy, newest.get(key, copy))
        return newest

    def _opened(self, opens: Opens[R], bad: list[BadLine]) -> Iterator[Opened[R]]:
        """Type, id, meta and rows of each line; what is no resource goes to `bad`."""
        for (file, number), line in self._lines(bad):
            self.reading.bytes_read += len(line)
            try:
                kind, name, meta, rows = opens(line)
            except (MalformedResource, msgspec.MsgspecError):
                bad.append(BadLine(file.name, number, "not a JSON object with a resourceType"))
                continue
            self._kinds.add(kind)
            if kind == "Medication":
                self._keep(statements.medicine(line))
            yield kind, name, meta, rows

    def _open_ours(self, line: bytes) -> Opened[Mapped]:
        """Decoded once: most lines are of no interest, and their decoding is the whole cost."""
        resource, rows = self._mapper.open(line)
        if resource is None:
            head = _HEADS.decode(line)
            return head.resourceType, head.id, _meta(head), rows
        return type(resource).__name__, resource.id or "", resource.meta, rows

    def _lines(self, bad: list[BadLine]) -> Iterator[tuple[tuple[Path, int], bytes]]:
        if self._export and self._export.since:
            raise InputError(
                f"The folder {self._folder.name} holds only what changed since {self._export.since}: it is not the whole truth",
                "Export without --since",
            )
        for file in ndjson_files(self._folder, empty=self._export is not None):
            for number, line in _lines(file, bad):
                yield (file, number), line

    def _keep(self, medicine: Medicine | None) -> None:
        held = self._medicines.get(medicine.id) if medicine else None
        if medicine and (held is None or medicine.version >= held.version):
            self._medicines[medicine.id] = medicine


def _opener(reader: Reader[R]) -> Opens[R]:
    def opened(line: bytes) -> Opened[R]:
        rows, head = reader.map(line), _HEADS.decode(line)
        return head.resourceType, head.id, _meta(head), rows

    return opened


def _meta(head: Head) -> wire.Meta:
    return wire.Meta(head.meta.versionId or None, head.meta.lastUpdated or None)


def _latest(rows: list[Fact | Refusal]) -> tuple[Fact | Refusal, ...]:
    newest = max((row.version for row in rows), default=None)
    return tuple(row for row in rows if row.version == newest)


def ndjson_files(folder: Path, *, empty: bool = False) -> list[Path]:
    """The `.ndjson` and `.ndjson.gz` files of a folder, by name. InputError where there are none, unless it may be `empty`, and for a
    folder that an export is still filling."""
    try:
        files = sorted(p for p in folder.iterdir() if p.name.endswith((".ndjson", ".ndjson.gz")) and p.is_file())
    except OSError as error:
        raise InputError(
            f"Cannot read the folder {folder.name}: {error.strerror}", "Check the path after --from"
        ) from error
    if load(folder) is not None:
        raise InputError(f"The folder {folder.name} is in the middle of an export", "Finish it: screener export --out")
    if not files and not empty:
        raise InputError(
            f"The folder {folder.name} holds no .ndjson or .ndjson.gz file",
            "Name the folder of a bulk export after --from",
        )
    return files


def _lines(file: Path, bad: list[BadLine]) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with _open(file) as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield number, line
    except (EOFError, gzip.BadGzipFile, zlib.error):
        bad.append(BadLine(file.name, number + 1, "the compressed file is cut short or damaged"))
    except OSError as error:
        raise InputError(f"Cannot read {file.name}: {error.strerror}", "Check its permissions") from error


def _open(file: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(file, "rb")) if file.suffix == ".gz" else file.open("rb")
