"""A FHIR server as destination: our RiskAssessments, found and written."""

from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal

import msgspec
import structlog

from screener.assessment.identity import Canonical, device_uuid
from screener.assessment.owned_fields import difference
from screener.assessment.reconcile import Action, Change
from screener.assessment.resource import AssessmentWriter, Json, device, local_id
from screener.base.batches import batches
from screener.base.errors import ServerError
from screener.clinical.records import Method
from screener.config.servers import ServerSettings
from screener.config.settings import OutputSettings
from screener.fhir import bundles
from screener.fhir.answer import Answer, decode
from screener.fhir.client import Client
from screener.fhir.connections import Connections
from screener.fhir.reads import WithIdentifiers, WithSubject, read
from screener.fhir.search import Found, search
from screener.stores.protocols import Receipt, WriteResult
from screener.stores.server_source import ignored_parameter_error

log = structlog.get_logger()

# Whole resources, decimals digit for digit.
DECODER = msgspec.json.Decoder(float_hook=Decimal)


class ServerDestination:
    """Finds and writes RiskAssessments on a FHIR server."""

    keeps_until_finish = False

    def __init__(self, client: Client, settings: ServerSettings, canonical: Canonical, output: OutputSettings) -> None:
        self._client, self._settings, self._canonical, self._output = client, settings, canonical, output
        self._device: Json = {}
        self._held_device: Json | None = None
        self._device_name = self._to_come = self._created_device = ""
        self._keeps_what_is_sent = False
        self._minimal = True  # whether the server answers a batch whose results are asked for without resources
        self._connections = Connections(client, output.connections)

    def close(self) -> None:
        """Give the connections back."""
        self._connections.close()

    def prepare(self, writer: AssessmentWriter) -> str:
        """Find the Device by its identifier. Where it does not exist yet, the reference is a placeholder that `apply` replaces."""
        self._device, self._held_device = device(writer), None
        self._device_name = f"{self._canonical.identifier}|urn:uuid:{device_uuid(writer.source_system)}"
        self._to_come = f"Device/{device_uuid(writer.source_system)}"
        found = [_plain(f) for f in search(self._client, "Device", [("identifier", self._device_name)])]
        if not found:
            return self._to_come
        self._held_device = min(found, key=lambda resource: str(resource["id"]))
        return f"Device/{self._held_device['id']}"

    def begin(self) -> None:
        """Create the Device, or bring its version up to date."""
        held, wanted = self._held_device, self._device
        if held is None:
            answer = self._client.write(
                "POST",
                "Device",
                bundles.ENCODER.encode(wanted),
                what="the Device of the algorithm",
                headers={"If-None-Exist": f"identifier={self._device_name}"},
            )
            self._created_device = f"Device/{_written_id(answer, self._client.host)}"
        elif any(held.get(name) != wanted[name] for name in ("version", "modelNumber", "deviceName")):
            body = bundles.ENCODER.encode({**held, **wanted, "meta": held.get("meta", {}), "id": held["id"]})
            version = held.get("meta", {}).get("versionId")
            # Some servers demand If-Match on every PUT (beda-software/fhir-py#139).
            headers = {"If-Match": f'W/"{version}"'} if version else {}
            answer = self._client.write(
                "PUT", f"Device/{held['id']}", body, what="the Device of the algorithm", headers=headers
            )
            if answer.status not in (200, 201):
                raise ServerError(
                    f"{self._client.host} answered {answer.status} to the Device of the algorithm: another run wrote it",
                    "Run again; nothing was written",
                )

    def patients(self) -> Iterator[str]:
        """One paged search by our method codes, and by the tag of what we write where only tagged patients count."""
        for found in search(self._client, "RiskAssessment", self._of_ours("subject")):
            named = read(found.raw, WithSubject)
            if named is not None and named.subject.reference:
                yield local_id(named.subject.reference)

    def resting_on(self, observations: Collection[str]) -> Iterator[str]:
        """One paged search for the evidence of all our assessments: R4 has no search parameter for it."""
        for found in search(self._client, "RiskAssessment", self._of_ours("subject,basis")):
            try:
                yield from self._resting_on(self._as_at_the_source(_plain(found)), observations)
            except (AttributeError, TypeError):  # elements that are not what R4 says
                log.error("assessment_unreadable", why="its references cannot be read", remedy="mend it on the server")

    def _resting_on(self, resource: Json, observations: Collection[str]) -> Iterator[str]:
        patient = local_id(resource.get("subject", {}).get("reference", ""))
        basis = {local_id(reference.get("reference", "")) for reference in resource.get("basis", ())}
        if patient and not basis.isdisjoint(observations):
            yield patient

    def _of_ours(self, elements: str) -> list[tuple[str, str]]:
        params = [("method", self._methods()), ("_elements", elements), *self._common()]
        if self._settings.only_tag and self._output.tag:
            params.append(("_tag", self._output.tag))
        return params

    def _as_at_the_source(self, resource: Json) -> Json:
        """The resource as it is: the results are on this server."""
        return resource

    def standing(self, patients: Sequence[str]) -> dict[str, list[Json]]:
        """One search for all of them, by POST."""
        subjects = ",".join(f"Patient/{patient}" for patient in patients)
        params = [("subject", subjects), ("method", self._methods()), *self._common()]
        by_patient: dict[str, dict[str, Json]] = {}
        asked = set(patients)
        for found in search(self._client, "RiskAssessment", params, post=True):
            named = read(found.raw, WithSubject)
            if named is None:
                log.error("assessment_unreadable", why="its subject is no reference", remedy="mend it on the server")
                continue
            patient = local_id(named.subject.reference)
            if patient not in asked:
                raise ignored_parameter_error(self._client.host, "subject")
            by_patient.setdefault(patient, {})[found.head.id] = _plain(found)
        return {patient: list(held.values()) for patient, held in by_patient.items()}

    def of_identities(self, identities: Collection[str]) -> Iterator[Json]:
        """The assessments with these identities (UUIDs); one may stand twice."""
        for part in batches(sorted(identities), self._settings.batch_patients):
            names = ",".join(f"{self._canonical.identifier}|urn:uuid:{identity}" for identity in part)
            for found in search(self._client, "RiskAssessment", [("identifier", names), *self._common()], post=True):
                yield _plain(found)

    def ours(self) -> Iterator[Json]:
        """Every assessment of ours: by one of our methods, and with an identifier of our system."""
        for found in search(self._client, "RiskAssessment", [("method", self._methods()), *self._common()]):
            if self._is_ours(found):
                yield _plain(found)

    def flagged(self) -> Iterator[Json]:
        """The assessments of ours that say that magnesium is at or below the cut-off; only what a Task needs of each."""
        elements = "subject,status,occurrenceDateTime,performer,extension"
        wanted = [
            ("method", f"{self._canonical.method}|{Method.FLAG.value}"),
            ("risk", f"{self._canonical.side}|at-or-below"),
            ("_elements", elements),
            *self._common(),
        ]
        for found in search(self._client, "RiskAssessment", wanted):
            yield _plain(found)

    def tasks(self) -> Iterator[Json]:
        """Every Task of ours."""
        wanted = [("identifier", f"{self._canonical.identifier}|"), *self._common()]
        for found in search(self._client, "Task", wanted):
            if self._is_ours(found):
                yield _plain(found)

    def write_tasks(self, entries: Sequence[Json]) -> list[bundles.EntryResult]:
        """Write one batch of Tasks; a result for each, in the same order."""
        return bundles.send_batch(self._client, entries, "a batch of Tasks")

    def devices(self) -> Iterator[Json]:
        """Every Device of ours."""
        for found in search(
            self._client, "Device", [("identifier", f"{self._canonical.identifier}|"), *self._common()]
        ):
            if self._is_ours(found):
                yield _plain(found)

    def _is_ours(self, found: Found) -> bool:
        named = read(found.raw, WithIdentifiers)
        return named is not None and any(name.system == self._canonical.identifier for name in named.identifier)

    def delete(self, addresses: Sequence[str]) -> list[bundles.EntryResult]:
        """Delete resources, each by `Type/id`; a result for each. 404 and 410 are what another call has deleted."""
        entries = [{"request": {"method": "DELETE", "url": address}} for address in addresses]
        return bundles.send_batch(self._client, entries, "a batch of deletions", minimal=False)

    def unknown(self, patients: Collection[str]) -> Collection[str]:  # noqa: ARG002
        """Nobody: the patients are on this server."""
        return ()

    def with_destination_references(self, changes: Sequence[Change]) -> Sequence[Change]:
        """As they are: the results are on this server."""
        return changes

    def apply(self, changes: Sequence[Change]) -> list[Receipt]:
        """Write in batches. A batch may be sent twice: creation is conditional, and updates name the version that was read."""
        size = self._output.bundle_entries
        changes = [self._by_our_device(change) for change in changes]
        parts = self._connections.map(self._send, list(batches(changes, size)))
        receipts = [receipt for part in parts for receipt in part]
        if not self._keeps_what_is_sent:
            self._check_what_is_kept(receipts)
        return receipts

    def _by_our_device(self, change: Change) -> Change:
        """The change with the id that the server gave to the Device."""
        if not self._created_device:
            return change
        encoded = change.encoded or bundles.ENCODER.encode(change.resource)
        # The placeholder holds a UUID of ours: it occurs nowhere else in the resource.
        named = encoded.replace(b'"%s"' % self._to_come.encode(), b'"%s"' % self._created_device.encode())
        return msgspec.structs.replace(change, encoded=named)

    def _send(self, client: Client, part: Sequence[Change]) -> list[Receipt]:
        entries = [self._entry(change) for change in part]
        results = bundles.send_batch(client, entries, "a batch of writes", minimal=self._minimal)
        if any(result.again for result in results):
            self._minimal = False
        return [self._receipt(client, change, result) for change, result in zip(part, results, strict=True)]

    def _receipt(self, client: Client, change: Change, result: bundles.EntryResult) -> Receipt:
        """A conflict of an entry that was sent twice may be with our own first sending: then what stands is what we sent."""
        receipt = _receipt(change, result)
        if not result.again or receipt.result is not WriteResult.CONFLICT or not receipt.id:
            return receipt
        kept = self._kept(client, receipt.id)
        if kept is None or change.resource is None or difference(change.resource, kept, self._canonical):
            return receipt
        return msgspec.structs.replace(
            receipt, result=WriteResult.DONE, version=str(kept.get("meta", {}).get("versionId", ""))
        )

    def _kept(self, client: Client, name: str) -> Json | None:
        answer = client.get(f"RiskAssessment/{name}", what="an assessment just written", allow=(404, 410))
        return DECODER.decode(answer.body) if answer.status == 200 else None

    def _check_what_is_kept(self, receipts: Sequence[Receipt]) -> None:
        """Read one assessment back, once a run: a server that alters our fields would make every run rewrite every assessment."""
        sent = next(
            (r for r in receipts if r.result is WriteResult.DONE and r.change.action is not Action.RETRACT), None
        )
        if sent is None or sent.change.resource is None:
            return
        kept = self._kept(self._client, sent.id)
        if kept is None:
            return  # somebody removed it at once: the next run sees to it
        if str(kept.get("meta", {}).get("versionId", "")) != sent.version:
            return
        altered = difference(sent.change.resource, kept, self._canonical)
        if altered:
            raise ServerError(
                f"{self._client.host} does not keep RiskAssessment as it was sent: it altered {', '.join(sorted(altered))}",
                "Every run would write it again. Ask its vendor; until then work with a folder (--to DIR)",
            )
        self._keeps_what_is_sent = True

    def finish(self) -> None:
        """Nothing to do: a server has stored what it was sent."""

    def _entry(self, change: Change) -> dict[str, object]:
        body = msgspec.Raw(change.encoded or bundles.ENCODER.encode(change.resource))
        if change.action is Action.CREATE:
            return bundles.create("RiskAssessment", body, f"{self._canonical.identifier}|urn:uuid:{change.identity}")
        return bundles.update(f"RiskAssessment/{change.target}", body, change.version)

    def _methods(self) -> str:
        return ",".join(f"{self._canonical.method}|{method.value}" for method in Method)

    def _common(self) -> list[tuple[str, str]]:
        return [("_count", str(self._settings.page_size))]


def _plain(found: Found) -> Json:
    resource: Json = DECODER.decode(found.raw)
    return resource


def _written_id(answer: Answer, host: str) -> str:
    location = answer.headers.get("Location", "")
    if "Device/" in location:
        return location.partition("/_history/")[0].rpartition("/")[2]
    written: Json = decode(answer, dict, "the Device of the algorithm", host)
    if "id" not in written:
        raise ServerError(f"{host} did not say which id it gave the Device of the algorithm", "Run again")
    return str(written["id"])


def _receipt(change: Change, result: bundles.EntryResult) -> Receipt:
    """200 to a conditional creation means that one was there already: somebody else was faster."""
    if result.status == 201 or (result.status == 200 and change.action is not Action.CREATE):
        written = WriteResult.DONE
    elif result.status in (200, 404, 409, 410, 412):
        written = WriteResult.CONFLICT
    else:
        written = WriteResult.REJECTED
    return Receipt(change, written, result.status, result.id or change.target, result.version, result.codes)
