"""A FHIR server as source and as destination."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec
import structlog

from screener.assessment.evidence import Basis
from screener.assessment.identity import Canonical, device_uuid
from screener.assessment.owned import difference
from screener.assessment.reconcile import Action, Change
from screener.assessment.resource import Json, Voice, device, local_id
from screener.clinical import eligibility, statements
from screener.clinical.dates import instant_us
from screener.clinical.mapping import MalformedResource, Mapped, Mapper
from screener.clinical.records import (
    LABORATORY,
    Analyte,
    Demographics,
    Fact,
    Medicine,
    Method,
    PatientRecord,
    Refusal,
    Unsettled,
)
from screener.config import OutputSettings, ServerSettings
from screener.errors import AuthorisationError, RequestRefused, ServerError
from screener.fhir import bundles
from screener.fhir.client import Answer, Client, decode
from screener.fhir.search import Found, Meta, search
from screener.stores.base import Fate, Maps, Mode, R, Reader, Reading, Receipt, Scope
from screener.stores.records import gather

log = structlog.get_logger()

# Whole resources, decimals digit for digit.
DECODER = msgspec.json.Decoder(float_hook=Decimal)


class _Reference(msgspec.Struct):
    reference: str = ""


class _Result(msgspec.Struct):
    status: str = ""
    meta: Meta = Meta()


class _Subject(msgspec.Struct):
    subject: _Reference = msgspec.field(default_factory=_Reference)
    status: str = ""


class ServerSource:
    """Reads whole records by FHIR search, some hundred patients at a time."""

    def __init__(
        self,
        client: Client,
        settings: ServerSettings,
        mapper: Mapper,
        needs: Mapping[str, str],
        may_matter: "MayMatter",
    ) -> None:
        """`needs`: required, optional or off for each excluding resource type. `may_matter` says from the rows read
        so far whether a patient's exclusions can still make a difference."""
        self._client, self._settings, self._mapper = client, settings, mapper
        self._needs, self._may_matter = needs, may_matter
        self.reading = Reading()
        self._control = ""  # the id of some Observation that the server has shown us
        self._components_searchable = True
        self._medicines: dict[str, Medicine] = {}
        self._medicines_readable = True

    def population(self, scope: Scope) -> Iterator[str]:
        """Patients from one paged search that asks for no more than whose result it is."""
        if scope.mode is Mode.NAMED:
            yield from scope.patients
        elif scope.mode is Mode.BACKFILL:
            yield from self._with_results((Analyte.MG,), [("date", f"ge{scope.oldest}")])
            yield from self._undated()
        else:
            # Results are stamped before they are visible: a late commit lands behind the watermark.
            since = datetime.fromisoformat(scope.since) - timedelta(minutes=self._settings.overlap_minutes)
            asked = since.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            yield from self._with_results(LABORATORY, [("_lastUpdated", f"ge{asked}")], not_before=since)

    def _undated(self) -> Iterator[str]:
        """Results that say only when they were issued: a search by date does not find them."""
        try:
            yield from self._with_results((Analyte.MG,), [("date:missing", "true")])
        except RequestRefused:
            log.warning(
                "undated_results_not_searched", remedy="the server takes no date:missing; nightly runs see them"
            )

    def _with_results(
        self, analytes: Iterable[Analyte], window: Sequence[tuple[str, str]], not_before: datetime | None = None
    ) -> Iterator[str]:
        codes = ",".join(self._mapper.codes_for(analytes))
        params = [("code", codes), *window, ("_elements", "subject,status"), *self._common()]
        for found in search(self._client, "Observation", params):
            if not_before is not None and found.head.meta.lastUpdated:
                self._check_window(found, not_before)
            patient = self._mapper.patient_id(msgspec.json.decode(found.raw, type=_Subject).subject.reference)
            if patient:
                yield patient

    def _check_window(self, found: Found, not_before: datetime) -> None:
        """A server that ignores a parameter answers everything, in silence: look whether it did."""
        slack_us = 1_000_000
        updated_us = instant_us(found.head.meta.lastUpdated)
        if updated_us and updated_us < int(not_before.timestamp() * 1_000_000) - slack_us:
            raise _ignored(self._client.host, "_lastUpdated")

    def records(self, patients: Sequence[str], standing: Collection[str]) -> list[PatientRecord]:
        """Patients first, then the results of those who may be assessed, then the exclusions of those with a result."""
        rows: list[Mapped] = list(self._rows("Patient", "_id", patients))
        known = {row.patient: row for row in rows if isinstance(row, Demographics)}
        eligible = [p for p in patients if p in standing or not eligibility.who(known.get(p))]
        rows += self._rows("Observation", "subject", eligible, codes=True)
        matter = self._may_matter(rows, eligible, standing)
        unchecked: dict[str, list[str]] = {patient: [] for patient in patients}
        for kind, need in self._needs.items():
            read = self._excluding(kind, need, matter)
            rows += read or ()
            if read is None:
                for patient in matter:
                    unchecked[patient].append(kind)
        settled = self._mapper.settled(rows, self._known_medicines(rows))
        return gather(patients, settled, unchecked, self._needs)

    def _known_medicines(self, rows: Iterable[Mapped]) -> Mapping[str, Medicine]:
        """The Medication resources that statements among `rows` name; each is asked for once a run."""
        wanted = {row.medicine for row in rows if isinstance(row, Unsettled) and row.medicine}
        lacking = sorted(wanted - self._medicines.keys()) if self._medicines_readable else []
        for start in range(0, len(lacking), self._settings.batch_patients):
            names = ",".join(lacking[start : start + self._settings.batch_patients])
            try:
                for found in search(self._client, "Medication", [("_id", names), *self._common()], post=True):
                    medicine = statements.medicine(found.raw)
                    if medicine:
                        self._medicines[medicine.id] = medicine
            except (AuthorisationError, RequestRefused):
                self._medicines_readable = False
                log.warning(
                    "medications_not_readable", remedy="grant Medication: prescriptions that name one are unread"
                )
                break
        return self._medicines

    def _excluding(self, kind: str, need: str, patients: Sequence[str]) -> list[Mapped] | None:
        """The rows of one excluding type; None where it is off, or optional and not readable."""
        if need == "off":
            self.reading.unchecked[kind] = "switched off"
            return None
        if need == "optional" and kind in self.reading.unchecked:
            return None
        try:
            return list(self._rows(kind, "subject", patients))
        except (AuthorisationError, ServerError) as error:
            if need == "required":
                raise type(error)(
                    f"{error.what}, and exclusions.{_setting(kind)} is required",
                    f"{error.remedy}. To go on without it, set it to optional: every assessment will then say so",
                ) from error
            self.reading.unchecked[kind] = error.what
            return None

    def further(self, reader: Reader[R], patients: Sequence[str]) -> list[R]:
        """One search for each resource type; of Observations also one for those whose components have the codes."""
        rows: list[R] = []
        for kind, codes in reader.kinds.items():
            listed = ",".join(codes)
            rows += self._read(reader, kind, "subject", patients, [("code", listed)] if listed else [])
            if kind == "Observation" and listed and self._components_searchable:
                rows += self._with_components(reader, patients, listed)
        return rows

    def _with_components(self, reader: Reader[R], patients: Sequence[str], codes: str) -> list[R]:
        try:
            return list(self._read(reader, "Observation", "subject", patients, [("component-code", codes)]))
        except RequestRefused:
            self._components_searchable = False
            log.warning("components_not_searched", remedy="the server takes no component-code: panels are not found")
            return []

    def _rows(self, kind: str, by: str, patients: Sequence[str], *, codes: bool = False) -> Iterator[Mapped]:
        wanted = (*self._mapper.codes_for(Analyte), *self._mapper.menopause_tokens()) if codes else ()
        return self._read(self._mapper, kind, by, patients, [("code", ",".join(wanted))] if wanted else [])

    def _read(
        self, mapper: Maps[R], kind: str, by: str, patients: Sequence[str], narrowed: Sequence[tuple[str, str]]
    ) -> Iterator[R]:
        if not patients:
            return
        asked = set(patients)
        named = ",".join(patients if by == "_id" else (f"Patient/{patient}" for patient in patients))
        for found in search(self._client, kind, [(by, named), *self._common(), *narrowed], post=True):
            if kind == "Observation":
                self._control = self._control or found.head.id
            for row in self._mapped(mapper, found):
                if row.patient not in asked:
                    raise _ignored(self._client.host, by)
                yield row

    def _mapped(self, mapper: Maps[R], found: Found) -> tuple[R, ...]:
        try:
            return mapper.map(found.raw)
        except MalformedResource:
            self.reading.bad_lines += 1
            return ()

    def _common(self) -> list[tuple[str, str]]:
        tag = [("_tag", self._settings.only_tag)] if self._settings.only_tag else []
        return [("_count", str(self._settings.page_size)), *tag]

    def basis(self, observations: Collection[str]) -> dict[str, Basis]:
        """Each Observation by its id; gone (404, 410) counts only while a control read succeeds."""
        return {name: self._basis(name) for name in sorted(observations)}

    def _basis(self, name: str) -> Basis:
        answer = self._client.get(f"Observation/{name}", what="an Observation by its id", allow=(404, 410))
        if answer.status in (404, 410):
            return Basis(seen=True, gone=True) if self._control_read() else Basis(seen=False)
        head: _Result = decode(answer, _Result, "an Observation by its id", self._client.host)
        try:
            rows = self._mapper.map(answer.body)
        except MalformedResource:
            return Basis(seen=False)
        measured = tuple(row for row in rows if isinstance(row, Fact | Refusal))
        withdrawn = head.status in ("entered-in-error", "cancelled")
        return Basis(seen=True, withdrawn=withdrawn, updated_us=instant_us(head.meta.lastUpdated), rows=measured)

    def _control_read(self) -> bool:
        """Whether the server still shows us an Observation: else "gone" may only mean that we may not see it."""
        if not self._control:
            params = [("_count", "1"), ("_elements", "status")]
            found = next(search(self._client, "Observation", params), None)
            if found is None:
                return False
            self._control = found.head.id
        read = self._client.get(f"Observation/{self._control}", what="a control read", allow=(404, 410))
        return read.status == 200


MayMatter = Callable[[Sequence[Mapped], Sequence[str], Collection[str]], list[str]]


def with_magnesium(rows: Sequence[Mapped], patients: Sequence[str], standing: Collection[str]) -> list[str]:
    """The patients whose exclusions can make a difference: those with a usable Mg result, or with an assessment."""
    measured = {row.patient for row in rows if isinstance(row, Fact) and row.analyte is Analyte.MG}
    return [patient for patient in patients if patient in measured or patient in standing]


def _setting(kind: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in kind).lstrip("_")


def _ignored(host: str, parameter: str) -> ServerError:
    return ServerError(
        f"{host} ignores the search parameter {parameter}: it answered what was not asked for",
        "Nothing may be concluded from its answers; ask its vendor, or read from a bulk export (--from DIR)",
    )


class ServerDestination:
    """Finds and writes RiskAssessments on a FHIR server."""

    def __init__(self, client: Client, settings: ServerSettings, canonical: Canonical, output: OutputSettings) -> None:
        self._client, self._settings, self._canonical, self._output = client, settings, canonical, output
        self._keeps_what_is_sent = False

    def prepare(self, voice: Voice, *, dry: bool) -> str:
        """Find the Device by its identifier; create it, or bring its version up to date, unless the run is dry."""
        identifier = f"{self._canonical.identifier}|urn:uuid:{device_uuid(voice.source_system)}"
        found = [_plain(f) for f in search(self._client, "Device", [("identifier", identifier)])]
        wanted = device(voice)
        if not found:
            if dry:
                return f"Device/{device_uuid(voice.source_system)}"
            answer = self._client.write(
                "POST",
                "Device",
                bundles.ENCODER.encode(wanted),
                what="the Device of the algorithm",
                headers={"If-None-Exist": f"identifier={identifier}"},
            )
            return f"Device/{_written_id(answer, self._client.host)}"
        held = min(found, key=lambda resource: str(resource["id"]))
        if not dry and any(held.get(name) != wanted[name] for name in ("version", "modelNumber", "deviceName")):
            body = bundles.ENCODER.encode({**held, **wanted, "meta": held.get("meta", {}), "id": held["id"]})
            self._client.write("PUT", f"Device/{held['id']}", body, what="the Device of the algorithm")
        return f"Device/{held['id']}"

    def patients(self) -> Iterator[str]:
        """From one paged search by our method codes; where only tagged patients count, by the tag of what we write."""
        params = [("method", self._methods()), ("_elements", "subject"), *self._common()]
        if self._settings.only_tag and self._output.tag:
            params.append(("_tag", self._output.tag))
        for found in search(self._client, "RiskAssessment", params):
            reference = msgspec.json.decode(found.raw, type=_Subject).subject.reference
            if reference:
                yield local_id(reference)

    def standing(self, patients: Sequence[str]) -> dict[str, list[Json]]:
        """From one search for all of them, by POST."""
        subjects = ",".join(f"Patient/{patient}" for patient in patients)
        params = [("subject", subjects), ("method", self._methods()), *self._common()]
        by_patient: dict[str, dict[str, Json]] = {}
        asked = set(patients)
        for found in search(self._client, "RiskAssessment", params, post=True):
            resource = _plain(found)
            patient = local_id(resource.get("subject", {}).get("reference", ""))
            if patient not in asked:
                raise _ignored(self._client.host, "subject")
            by_patient.setdefault(patient, {})[found.head.id] = resource
        return {patient: list(held.values()) for patient, held in by_patient.items()}

    def apply(self, changes: Sequence[Change]) -> list[Receipt]:
        """In batches; a batch may be sent twice, for creation is conditional and updates name the version read."""
        receipts: list[Receipt] = []
        for start in range(0, len(changes), self._output.bundle_entries):
            part = changes[start : start + self._output.bundle_entries]
            results = bundles.send_batch(self._client, [self._entry(change) for change in part], "a batch of writes")
            receipts += [_receipt(change, result) for change, result in zip(part, results, strict=True)]
        if not self._keeps_what_is_sent:
            self._check_what_is_kept(receipts)
        return receipts

    def _check_what_is_kept(self, receipts: Sequence[Receipt]) -> None:
        """Once a run: a server that alters what we own would have every assessment rewritten every night."""
        sent = next((r for r in receipts if r.fate is Fate.DONE and r.change.action is not Action.RETRACT), None)
        if sent is None or sent.change.resource is None:
            return
        answer = self._client.get(f"RiskAssessment/{sent.id}", what="an assessment just written", allow=(404, 410))
        if answer.status != 200:
            return  # somebody removed it at once: the next run sees to it
        kept: Json = DECODER.decode(answer.body)
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
        """A server keeps what it was sent."""

    def _entry(self, change: Change) -> dict[str, object]:
        assert change.resource is not None  # noqa: S101 - only changes that write come here
        if change.action is Action.CREATE:
            return bundles.create(change.resource, f"{self._canonical.identifier}|urn:uuid:{change.identity}")
        return bundles.update(change.resource, change.version)

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
        fate = Fate.DONE
    elif result.status in (200, 404, 409, 410, 412):
        fate = Fate.CONFLICT
    else:
        fate = Fate.REJECTED
    return Receipt(change, fate, result.status, result.id or change.target, result.version, result.codes)
