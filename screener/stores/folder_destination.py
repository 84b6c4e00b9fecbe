"""A folder as destination: our assessments in one file, replaced as a whole when the run has ended well."""

import os
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import cast

import msgspec

from screener.assessment.identity import Canonical, device_uuid
from screener.assessment.reconcile import Action, Change
from screener.assessment.resource import Json, Voice, device, local_id
from screener.errors import InputError
from screener.fhir.bundles import ENCODER
from screener.stores.base import Fate, Receipt

_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_ASSESSMENTS = "RiskAssessment.ndjson"
_DEVICES = "Device.ndjson"


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
