"""A folder as destination. Our assessments are in one file, which is replaced as a whole when the run has ended well.

The file is in the order of the patients' keys, so that each shard can be worked on alone and the file is the same for any number of
processes. Lines of others stay as they are, byte for byte.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Protocol, cast

import msgspec

from model.atomic import remove_leftovers, write_whole
from screener.assessment.draft import Templates
from screener.assessment.identity import Canonical, device_uuid
from screener.assessment.reconcile import Action, Change
from screener.assessment.resource import AssessmentWriter, Json, device, local_id
from screener.base.errors import InputError
from screener.fhir.bundles import ENCODER
from screener.fhir.reads import Reference
from screener.stores.folder.files import Piece, blocks
from screener.stores.folder.scan import UNREADABLE, shard_of
from screener.stores.folder.spill import Segment, Spill, cannot_spill, open_private, stored
from screener.stores.patient_order import shard_key
from screener.stores.protocols import Receipt, WriteResult

ASSESSMENTS = "RiskAssessment.ndjson"
_DEVICES = "Device.ndjson"
_SHARD_BYTES = 32 << 20
_FLUSH_BYTES = 32 << 20

_decode = msgspec.json.Decoder(float_hook=Decimal).decode


class _Coding(msgspec.Struct):
    system: str = ""


class _Method(msgspec.Struct):
    coding: tuple[_Coding, ...] = ()


class _Head(msgspec.Struct):
    id: str
    subject: Reference = msgspec.field(default_factory=Reference)
    method: _Method = msgspec.field(default_factory=_Method)


class Line(msgspec.Struct, array_like=True, gc=False):
    """One line of the file: the patient, the id, and whether one of our methods made it."""

    patient: str
    id: str
    ours: bool
    text: bytes


def read_line(text: bytes, method: str) -> Line:
    """A line of the file; `method` is the code system of our methods. MsgspecError for what is no assessment."""
    head = _decode_head(text)
    return Line(
        local_id(head.subject.reference), head.id, any(coding.system == method for coding in head.method.coding), text
    )


_decode_head = msgspec.json.Decoder(_Head).decode
_decode_lines = msgspec.msgpack.Decoder(list[Line]).decode
_encode_lines = msgspec.msgpack.Encoder().encode


class ShardAssessments(Protocol):
    """The assessments of a folder by shard of the patients: as they were when the run began, and as they will be."""

    @property
    def shards(self) -> int:
        """How many there are."""

    def shard(self, shard: int) -> list[Line]:
        """The lines of one shard as they are now."""

    def keep(self, shard: int, lines: list[Line]) -> None:
        """The lines of a shard as they will be, in order."""


class StandingFile(msgspec.Struct, frozen=True):
    """Where the assessments are on disk: those from before the run in the spill, each shard that was worked on in a file of its
    own."""

    scratch: Path
    shards: int
    lines: list[Segment]
    method: str  # the code system of our methods

    def shard(self, shard: int) -> list[Line]:
        """The lines of one shard as they are now."""
        worked_on = self.worked_on(shard)
        if worked_on.exists():
            return [read_line(text, self.method) for text in worked_on.read_bytes().splitlines()]
        return [line for part in stored(self.scratch, self.lines, shard) for line in _decode_lines(part)]

    def keep(self, shard: int, lines: list[Line]) -> None:
        """The lines of a shard as they will be, in order. InputError where the disk is full."""
        try:
            with open_private(self.worked_on(shard)) as stream:
                stream.write(_text(lines))
        except OSError as error:
            raise cannot_spill(error) from error

    def worked_on(self, shard: int) -> Path:
        """The file of a shard that was worked on."""
        return self.scratch / f"standing.{shard}"


class LineWriter:
    """Writes changes as JSON, with what a server would set: ids, versions, times. Keep one: it remembers its templates."""

    def __init__(self, now: str) -> None:
        self._now = now
        self._templates = Templates(self._with_server_fields)

    def written(self, change: Change) -> tuple[str, str, bytes]:
        """Id, version and text of what a change writes."""
        if change.draft is not None:
            return change.identity, "1", self._templates.encode(change.draft)
        assert change.altered is not None  # noqa: S101 - only changes that write come here
        version = str(int(change.version) + 1 if change.version.isdecimal() else 1)
        return change.target, version, ENCODER.encode(self._with_server_fields(change.altered, change.target, version))

    def _with_server_fields(self, resource: Json, name: str, version: str = "1") -> Json:
        meta = {**resource.get("meta", {}), "versionId": version, "lastUpdated": self._now}
        return {"resourceType": "RiskAssessment", "id": name, **resource, "meta": meta}


class _OfFolder:
    """What a folder does with every patient: it takes her assessments as they are."""

    def resting_on(self, observations: Collection[str]) -> Iterator[str]:  # noqa: ARG002
        """Nobody: the patients of a folder are all looked at."""
        yield from ()

    def unknown(self, patients: Collection[str]) -> Collection[str]:  # noqa: ARG002
        """Nobody: a folder takes assessments of any patient."""
        return ()

    def with_destination_references(self, changes: Sequence[Change]) -> Sequence[Change]:
        """As they are."""
        return changes


class FolderShardDestination(_OfFolder):
    """Some shards of the assessments; one shard is held in memory at a time."""

    keeps_until_finish = True

    def __init__(self, standing: ShardAssessments, shards: Sequence[int], line_writer: LineWriter) -> None:
        self._standing, self._shards, self._line_writer = standing, shards, line_writer
        self._shard = -1
        self._held: dict[str, Line] = {}
        self._names: dict[str, list[str]] = {}  # ids of our assessments by patient
        self._dirty = False
        self.changed = False

    def patients(self) -> Iterator[str]:
        """Patients with an assessment by one of our methods."""
        for shard in self._shards:
            self._turn_to(shard)
            yield from self._names

    def standing(self, patients: Sequence[str]) -> dict[str, list[Json]]:
        """Our assessments of these patients."""
        found: dict[str, list[Json]] = {}
        for patient in patients:
            self._turn_to(shard_of(patient, self._standing.shards))
            if patient in self._names:
                found[patient] = [cast("Json", _decode(self._held[name].text)) for name in self._names[patient]]
        return found

    def begin(self) -> None:
        """Nothing to do."""

    def apply(self, changes: Sequence[Change]) -> list[Receipt]:
        """Keep the changes in memory until another shard is worked on or the run ends."""
        return [self._apply(change) for change in changes]

    def _apply(self, change: Change) -> Receipt:
        self._turn_to(shard_of(change.patient, self._standing.shards))
        name, version, text = self._line_writer.written(change)
        self._held[name] = Line(change.patient, name, ours=True, text=text)
        if change.action is Action.CREATE:
            self._names.setdefault(change.patient, []).append(name)
        self._dirty = self.changed = True
        return Receipt(change, WriteResult.DONE, id=name, version=version)

    def finish(self) -> None:
        """Write the shard in memory to the disk."""
        self._turn_to(-1)

    def _turn_to(self, shard: int) -> None:
        if shard == self._shard:
            return
        if self._dirty:
            self._standing.keep(self._shard, in_order(self._held.values()))
        self._shard, self._dirty = shard, False
        self._held, self._names = {}, {}
        for line in self._standing.shard(shard) if shard >= 0 else ():
            self._held[line.id] = line
            if line.ours:
                self._names.setdefault(line.patient, []).append(line.id)


class FolderDestination(_OfFolder):
    """The assessments of a folder. Versions and times are set here as a server would set them; earlier versions are not kept."""

    keeps_until_finish = True

    def __init__(self, folder: Path, canonical: Canonical, now: str, scratch: Path) -> None:
        """`scratch` takes temporary files."""
        self._folder, self._canonical, self._now, self._scratch = folder, canonical, now, scratch
        self._devices: list[Json] = []
        self._new_device = False
        self._all: FolderShardDestination | None = None
        self._standing: StandingFile | None = None

    def prepare(self, writer: AssessmentWriter) -> str:
        """Keep the Device, to be put beside the assessments. No server gives it an id, so its id is its identity."""
        for file in (ASSESSMENTS, _DEVICES):
            remove_leftovers(self._folder / file)
        name = device_uuid(writer.source_system)
        wanted = {"id": name, **device(writer)}
        self._devices = _load(self._folder / _DEVICES)
        held = next((resource for resource in self._devices if resource.get("id") == name), None)
        if held != wanted:
            self._devices = [r for r in self._devices if r.get("id") != name] + [wanted]
            self._new_device = True
        return f"Device/{name}"

    def patients(self) -> Iterator[str]:
        """Patients with an assessment by one of our methods."""
        return self._whole().patients()

    def standing(self, patients: Sequence[str]) -> dict[str, list[Json]]:
        """Our assessments of these patients."""
        return self._whole().standing(patients)

    def begin(self) -> None:
        """Nothing to do: `finish` writes the Device, too."""

    def apply(self, changes: Sequence[Change]) -> list[Receipt]:
        """Keep the changes; `finish` writes them to the file."""
        return self._whole().apply(changes)

    def finish(self) -> None:
        """Replace the file. Where that fails, the folder stays as it was."""
        whole = self._whole()
        whole.finish()
        self.replace(changed=whole.changed)

    def _whole(self) -> FolderShardDestination:
        if self._all is None:
            standing = self.scan(self.planned_shards())
            self._all = FolderShardDestination(standing, range(standing.shards), LineWriter(self._now))
        return self._all

    def planned_shards(self) -> int:
        """How many shards the assessments need."""
        return 1 + self._size_bytes() // _SHARD_BYTES

    def is_empty(self) -> bool:
        """Whether no assessment stands."""
        return not self._size_bytes()

    def _size_bytes(self) -> int:
        file = self._folder / ASSESSMENTS
        return file.stat().st_size if file.exists() else 0

    def scan(self, shards: int) -> StandingFile:
        """Sort the assessments that stand into shards."""
        spill: Spill[Line] = Spill(self._scratch / "standing", shards, _encode_lines)
        segments: list[Segment] = []
        held = 0
        for line in self._lines():
            spill.add(shard_of(line.patient, shards), line)
            held += len(line.text)
            if held > _FLUSH_BYTES:
                segments.append(spill.flush())
                held = 0
        segments.append(spill.flush())
        self._standing = StandingFile(self._scratch, shards, segments, self._canonical.method)
        return self._standing

    def replace(self, *, changed: bool) -> None:
        """Write the new files whole and then take the place of the old ones; do nothing where nothing changed."""
        if not (changed or self._new_device):
            return
        standing = self._standing
        assert standing is not None  # noqa: S101 - scan comes first
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(
                self._folder / _DEVICES, (ENCODER.encode(device) + b"\n" for device in self._devices), private=True
            )
            write_whole(self._folder / ASSESSMENTS, _parts(standing), private=True)
        except OSError as error:
            raise InputError(
                f"Cannot write to the folder {self._folder.name}: {error.strerror}",
                "Check its permissions and the space left; what it held is as it was",
            ) from error
        self._new_device = False

    def _lines(self) -> Iterator[Line]:
        file = self._folder / ASSESSMENTS
        if not file.exists():
            return
        for block in blocks(Piece(file, 0, file.stat().st_size)):
            if block.problem:
                raise _damaged(file)
            for text in block.data.split(b"\n"):
                if text.strip():
                    try:
                        yield read_line(text, self._canonical.method)
                    except UNREADABLE as error:
                        raise _damaged(file) from error


def in_order(lines: Iterable[Line]) -> list[Line]:
    """Sorted as a destination has them: by the patient's key, then by ids."""
    return sorted(lines, key=lambda line: (shard_key(line.patient), line.patient, line.id))


def _text(lines: Iterable[Line]) -> bytes:
    return b"\n".join([*(line.text for line in lines), b""])


def _parts(standing: StandingFile) -> Iterator[bytes | Path]:
    for shard in range(standing.shards):
        worked_on = standing.worked_on(shard)
        yield worked_on if worked_on.exists() else _text(in_order(standing.shard(shard)))


def _load(file: Path) -> list[Json]:
    if not file.exists():
        return []
    try:
        return [cast("Json", _decode(line)) for line in file.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"Cannot read {file.name}: {error.strerror}", "Check its permissions") from error
    except UNREADABLE as error:
        raise _damaged(file) from error


def _damaged(file: Path) -> InputError:
    return InputError(
        f"{file.name} in the destination folder is damaged", "Restore it, or name another folder after --to"
    )
