"""Another FHIR server as destination: many record systems take no RiskAssessment.

The patient is found there by a business identifier that both servers know. What the assessment rests on stays at the source and is named
by logical references: `basis` by the Observation's address there, `subject` by the destination's own Patient with the source's beside it.
Within a run assessments look as if they stood at the source; they are put into other words where they are read and written.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from screener.assessment.identity import Canonical, assessment_uuid
from screener.assessment.reconcile import ACTIVE, Change
from screener.assessment.resource import Json
from screener.base.errors import ConfigurationError
from screener.clinical.records import Method
from screener.config.servers import DestinationSettings
from screener.config.settings import OutputSettings
from screener.fhir.client import Client
from screener.fhir.reads import Identifier, WithIdentifiers, WithSubject, read
from screener.fhir.search import escaped, search
from screener.stores.server_destination import DECODER, ServerDestination

log = structlog.get_logger()

Identify = Callable[[Sequence[str], str], Mapping[str, str]]


class OtherServerDestination(ServerDestination):
    """Assessments on another server than the one that the patients are read from."""

    def __init__(
        self,
        client: Client,
        settings: DestinationSettings,
        canonical: Canonical,
        output: OutputSettings,
        source_system: str,
        identify: Identify,
        *,
        beside_others: bool = False,
    ) -> None:
        """`source_system` names the source in logical references. `identify` gives for patients of the source, and a system, their
        business identifiers, as far as they have exactly one. `beside_others`: assessments of other sources may stand there, too."""
        super().__init__(client, settings, canonical, output)
        self._system, self._source_system, self._identify = settings.patient_identifier, source_system, identify
        self._beside_others = beside_others
        self._subjects: dict[str, str] = {}  # what stands of the batch: its id, and the Patient there
        self._there: dict[str, str] = {}  # patients of the batch: the Patient there

    def patients(self) -> Iterator[str]:
        """Ids at the source, from the logical reference in our assessments."""
        params = [("method", self._methods()), ("_elements", "subject"), *self._common()]
        for found in search(self._client, "RiskAssessment", params):
            about = read(found.raw, WithSubject)
            named = about.subject.identifier if about else Identifier()
            if named.system == self._source_system and named.value.startswith("Patient/"):
                yield named.value.removeprefix("Patient/")

    def standing(self, patients: Sequence[str]) -> dict[str, list[Json]]:
        """Searches by the identities of our assessments of these patients."""
        names = [
            f"{self._canonical.identifier}|urn:uuid:{assessment_uuid(self._source_system, patient, method)}"
            for patient in patients
            for method in Method
        ]
        by_patient: dict[str, dict[str, Json]] = {}
        self._subjects = {}
        for found in search(
            self._client, "RiskAssessment", [("identifier", ",".join(names)), *self._common()], post=True
        ):
            resource: Json = DECODER.decode(found.raw)
            try:
                here = self._as_at_the_source(resource)
                patient = str(here["subject"].get("reference", "")).removeprefix("Patient/")
                self._subjects[found.head.id] = str(resource["subject"].get("reference", ""))
            except (AttributeError, TypeError, KeyError):  # elements that are not what R4 says
                log.error("assessment_unreadable", why="its references cannot be read", remedy="mend it on the server")
                continue
            by_patient.setdefault(patient, {})[found.head.id] = here
        return {patient: list(by_patient[patient].values()) for patient in patients if patient in by_patient}

    def unknown(self, patients: Collection[str]) -> Collection[str]:
        """Patients without a business identifier, or whom the server does not show exactly once under it."""
        asked = sorted(patients)
        values = self._identify(asked, self._system)
        there: dict[str, set[str]] = {}
        wanted = sorted(set(values.values()))
        if wanted:
            names = ",".join(f"{self._system}|{escaped(value)}" for value in wanted)
            params = [("identifier", names), *self._common()]
            for found in search(self._client, "Patient", params, post=True):
                for name in (read(found.raw, WithIdentifiers) or WithIdentifiers()).identifier:
                    if name.system == self._system:
                        there.setdefault(name.value, set()).add(found.head.id)
        known = {patient: there.get(value, set()) for patient, value in values.items()}
        self._there = {patient: f"Patient/{next(iter(ids))}" for patient, ids in known.items() if len(ids) == 1}
        self._look_for_others()
        return [patient for patient in asked if patient not in self._there]

    def _look_for_others(self) -> None:
        """ConfigurationError where assessments of another source stand for those who are about to get their first one."""
        if not self._there or self._beside_others:
            return
        subjects = ",".join(sorted(set(self._there.values())))
        params = [("subject", subjects), ("method", self._methods()), *self._common()]
        for found in search(self._client, "RiskAssessment", params, post=True):
            about = read(found.raw, WithSubject)
            system = about.subject.identifier.system if about else ""
            if about and about.status in ACTIVE and system and system != self._source_system:
                raise ConfigurationError(
                    f"{self._client.host} has assessments of another source for patients of this run",
                    f'If this site wrote them, set source_system = "{system}". If another installation did, set '
                    "beside_other_sources = true, or give each its own output.canonical; nothing was written",
                )

    def with_destination_references(self, changes: Sequence[Change]) -> Sequence[Change]:
        """With the references that hold at this server."""
        return [self._to_logical_references(change) for change in changes]

    def _to_logical_references(self, change: Change) -> Change:
        resource = change.resource or {}
        subject = self._subjects[change.target] if change.target else self._there[change.patient]
        words = _with_references(resource, self._logical)
        words["subject"] = {"reference": subject, "identifier": self._named(f"Patient/{change.patient}")}
        return msgspec.structs.replace(change, draft=None, altered=words)

    def _named(self, address: str) -> Json:
        return {"system": self._source_system, "value": address}

    def _logical(self, reference: Json) -> Json:
        address = str(reference.get("reference", ""))
        if not address.startswith("Observation/"):
            return reference
        return {"type": "Observation", "identifier": self._named(address)}

    def _literal(self, reference: Json) -> Json:
        name = reference.get("identifier", {})
        if name.get("system") != self._source_system:
            return reference
        return {"reference": name.get("value", "")}

    def _as_at_the_source(self, resource: Json) -> Json:
        here = _with_references(resource, self._literal)
        return {**here, "subject": self._literal(resource.get("subject", {}))}


def _with_references(resource: Json, put: Callable[[Json], Json]) -> Json:
    """The resource with `put` applied to the references to its evidence, in `basis` and in the extensions."""

    def of(extension: Json) -> Json:
        parts = [
            {**part, "valueReference": put(part["valueReference"])} if "valueReference" in part else part
            for part in extension.get("extension", ())
        ]
        return {**extension, "extension": parts} if parts else extension

    found: dict[str, Any] = dict(resource)
    if "basis" in resource:
        found["basis"] = [put(reference) for reference in resource["basis"]]
    if "extension" in resource:
        found["extension"] = [of(extension) for extension in resource["extension"]]
    return found
