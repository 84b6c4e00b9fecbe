"""A folder of NDJSON in the layout of a bulk export, as source and as destination.

The file name does not decide what a line holds, its `resourceType` does. A bad line is counted with its file and number, never
with its content, and the run goes on.
"""

import gzip
import os
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from screener.assessment.evidence import Basis
from screener.assessment.identity import Canonical, device_uuid
from screener.assessment.reconcile import Action, Change
from screener.assessment.resource import Json, Voice, device, local_id
from screener.bulk.journal import finished, load
from screener.clinical import statements
from screener.clinical.dates import instant_us, last_day
from screener.clinical.mapping import MalformedResource, Mapper, Settled
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
from screener.fhir.bundles import ENCODER
from screener.fhir.search import Head
from screener.stores.base import Fate, Maps, Mode, OfPatient, R, Reader, Reading, Receipt, Scope
from screener.stores.records import gather

_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_HEADS = msgspec.json.Decoder(Head)
_ASSESSMENTS = "RiskAssessment.ndjson"
_DEVICES = "Device.ndjson"


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
        for row in self._read(reader, found):
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
            for row in self._mapper.settled(list(self._read(self._mapper, self.bad_lines)), self._medicines):
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

    def _read(self, mapper: Maps[R], bad: list[BadLine]) -> Iterator[R]:
        """Rows of the newest copy of each resource.

        Copies are compared over the whole folder and before anything is grouped: a newer one may name another patient, or a
        code that is none of ours, and then gives no row here that could supersede the older one.
        """
        newest: dict[tuple[str, str], Version] = {}
        found: list[tuple[tuple[str, str], Version, tuple[R, ...]]] = []
        for head, rows in self._mapped(mapper, bad):
            self._kinds.add(head.resourceType)
            key = (head.resourceType, head.id)
            copy = Version(instant_us(head.meta.lastUpdated), _number(head.meta.versionId))
            if key not in newest or copy >= newest[key]:
                newest[key] = copy
                found.append((key, copy, rows))
        for key, copy, rows in found:
            if not key[1] or copy == newest[key]:
                yield from rows

    def _mapped(self, mapper: Maps[R], bad: list[BadLine]) -> Iterator[tuple[Head, tuple[R, ...]]]:
        if self._export and self._export.since:
            raise InputError(
                f"The folder {self._folder.name} holds only what changed since {self._export.since}: it is not the whole truth",
                "Export without --since",
            )
        for file in ndjson_files(self._folder, empty=self._export is not None):
            for number, line in _lines(file, bad):
                self.reading.bytes_read += len(line)
                try:
                    rows, head = mapper.map(line), _HEADS.decode(line)
                    if head.resourceType == "Medication":
                        self._keep(statements.medicine(line))
                    yield head, rows
                except (MalformedResource, msgspec.MsgspecError):
                    bad.append(BadLine(file.name, number, "not a JSON object with a resourceType"))

    def _keep(self, medicine: Medicine | None) -> None:
        held = self._medicines.get(medicine.id) if medicine else None
        if medicine and (held is None or medicine.version >= held.version):
            self._medicines[medicine.id] = medicine


def _number(version_id: str) -> int:
    return int(version_id) if version_id.isdecimal() else 0


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


class FolderDestination:
    """Keeps the assessments of a folder in one file, replaced as a whole when the run has ended well.

    Versions and times are set here as a server would set them; earlier versions are not kept.
    """

    def __init__(self, folder: Path, canonical: Canonical, now: str) -> None:
        self._folder, self._canonical, self._now = folder, canonical, now
        self._held: dict[str, Json] | None = None
        self._names: dict[str, list[str]] = {}  # ids of our assessments by patient
        self._devices: list[Json] = []
        self._dirty = False

    def prepare(self, voice: Voice, *, dry: bool) -> str:
        """Put the Device beside the assessments; its id is its identity, for no server gives it one."""
        name = device_uuid(voice.source_system)
        wanted = {"id": name, **device(voice)}
        self._devices = _load(self._folder / _DEVICES)
        held = next((resource for resource in self._devices if resource.get("id") == name), None)
        if held != wanted and not dry:
            self._devices = [r for r in self._devices if r.get("id") != name] + [wanted]
            self._dirty = True
        return f"Device/{name}"

    def patients(self) -> Iterator[str]:
        """Patients with an assessment by one of our methods."""
        self._assessments()
        yield from self._names

    def standing(self, patients: Sequence[str]) -> dict[str, list[Json]]:
        """Our assessments of these patients."""
        held = self._assessments()
        found = {patient: [held[name] for name in self._names.get(patient, ())] for patient in patients}
        return {patient: resources for patient, resources in found.items() if resources}

    def apply(self, changes: Sequence[Change]) -> list[Receipt]:
        """In memory; `finish` writes them."""
        return [self._apply(change) for change in changes]

    def _apply(self, change: Change) -> Receipt:
        assert change.resource is not None  # noqa: S101 - only changes that write come here
        held = self._assessments()
        name = change.identity if change.action is Action.CREATE else change.target
        version = str(int(change.version) + 1 if change.version.isdecimal() else 1)
        meta = {**change.resource.get("meta", {}), "versionId": version, "lastUpdated": self._now}
        held[name] = {"resourceType": "RiskAssessment", "id": name, **change.resource, "meta": meta}
        if change.action is Action.CREATE:
            self._names.setdefault(change.patient, []).append(name)
        self._dirty = True
        return Receipt(change, Fate.DONE, id=name, version=version)

    def finish(self) -> None:
        """Write to a temporary file, flush it to the disk, put it in place of the old one."""
        if not self._dirty:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _replace(self._folder / _DEVICES, self._devices)
            _replace(self._folder / _ASSESSMENTS, [self._assessments()[name] for name in sorted(self._assessments())])
        except OSError as error:
            raise InputError(
                f"Cannot write to the folder {self._folder.name}: {error.strerror}",
                "Check its permissions and the space left; what it held is as it was",
            ) from error
        self._dirty = False

    def _assessments(self) -> dict[str, Json]:
        if self._held is None:
            self._held = {str(resource["id"]): resource for resource in _load(self._folder / _ASSESSMENTS)}
            for name, resource in self._held.items():
                if self._ours(resource):
                    patient = local_id(resource.get("subject", {}).get("reference", ""))
                    self._names.setdefault(patient, []).append(name)
        return self._held

    def _ours(self, resource: Json) -> bool:
        codings = resource.get("method", {}).get("coding", ())
        return any(coding.get("system") == self._canonical.method for coding in codings)


def _load(file: Path) -> list[Json]:
    if not file.exists():
        return []
    try:
        return [cast("Json", _DECODER.decode(line)) for line in file.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"Cannot read {file.name}: {error.strerror}", "Check its permissions") from error
    except msgspec.MsgspecError as error:
        raise InputError(
            f"{file.name} in the destination folder is damaged", "Restore it, or name another folder after --to"
        ) from error


def _replace(file: Path, resources: Sequence[Json]) -> None:
    """0600 from its first byte: assessments are patient data."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            for resource in resources:
                stream.write(ENCODER.encode(resource) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
