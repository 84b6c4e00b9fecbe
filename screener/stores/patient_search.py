"""Searches for the resources of patients: of many in one search, or of one at a time where the server takes no more.

Hospitals' record systems often search within one patient only, by `patient`, and some want a category besides. Which kind of server it
is comes from its CapabilityStatement, or from its own 400; what was found out is said once and kept for the run.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import structlog

from screener.base.errors import RequestRefused, ServerError
from screener.config.servers import ServerSettings
from screener.fhir.client import Client
from screener.fhir.connections import Connections
from screener.fhir.search import Found, Parameters, search

log = structlog.get_logger()

# The categories of a type, asked for only where the server demands one: all that may hold what our rules read (those of US Core and
# of Epic's documentation), and those of US Core alone for a server that refuses a category it does not know.
CATEGORIES = {
    "Observation": (
        "laboratory,vital-signs,survey,social-history,exam,imaging,procedure",
        "laboratory,vital-signs,survey,social-history",
    ),
    "Condition": (
        "problem-list-item,encounter-diagnosis,health-concern,medical-history,infection,genomics,reason-for-visit",
        "problem-list-item,encounter-diagnosis,health-concern",
    ),
}


class Categories(NamedTuple):
    """The categories by which a type is asked for, and whether the site says that there are no others."""

    listed: str
    confirmed: bool


class PatientSearch:
    """Searches for patients' resources. `many`: the server takes several patients in one search, as far as is known."""

    def __init__(self, client: Client, settings: ServerSettings, *, many: bool) -> None:
        self._client, self._settings = client, settings
        self._many = many
        self._categories: dict[str, str] = {}  # of the types for which the server wants one
        self._confirmed = {
            kind: listed
            for kind, listed in (
                ("Condition", settings.condition_categories),
                ("Observation", settings.observation_categories),
            )
            if listed
        }
        self._connections = Connections(client, settings.connections)

    def find(self, kind: str, patients: Sequence[str], narrowed: Parameters) -> Iterator[Found]:
        """All resources of a type of these patients, that `narrowed` fits. ServerError where the server refuses every way."""
        if self._many:
            refused = None
            try:
                yield from search(self._client, kind, [_subjects(kind, patients), *narrowed], post=True)
            except RequestRefused as error:
                refused = error
            if refused is None:
                return
            self._fall_back(kind, patients[0], narrowed, refused)
        for found in self._connections.map(lambda client, one: self._of_one(client, kind, one, narrowed), patients):
            yield from found

    def categories(self, kind: str) -> Categories | None:
        """By which categories a type was asked for; None where the server shows it without."""
        listed = self._categories.get(kind)
        return None if listed is None else Categories(listed, kind in self._confirmed)

    def close(self) -> None:
        """Give the connections back."""
        self._connections.close()

    def _fall_back(self, kind: str, patient: str, narrowed: Parameters, refused: RequestRefused) -> None:
        """Search for one patient at a time from now on, if that is what the server refused; else raise its refusal."""
        try:
            self._of_one(self._client, kind, patient, narrowed)
        except RequestRefused:
            raise refused from None
        self._many = False
        log.warning(
            "server_searches_one_patient_at_a_time",
            why=f"it refused a search for {kind} of several",
            remedy="server.connections lets several such searches run at once",
        )

    def _of_one(self, client: Client, kind: str, patient: str, narrowed: Parameters) -> list[Found]:
        by = ("_id", patient) if kind == "Patient" else ("patient", patient)
        category = self._categories.get(kind)
        if category:
            return list(search(client, kind, [by, ("category", category), *narrowed], post=True))
        try:
            return list(search(client, kind, [by, *narrowed], post=True))
        except RequestRefused as refused:
            for wanted in (self._confirmed[kind],) if kind in self._confirmed else CATEGORIES.get(kind, ()):
                with suppress(RequestRefused):
                    found = list(search(client, kind, [by, ("category", wanted), *narrowed], post=True))
                    self._categories[kind] = wanted
                    if kind not in self._confirmed:
                        log.warning(
                            "server_demands_a_category",
                            resource=kind,
                            asked_for=wanted,
                            remedy="what has another category, or none, is not seen: ask the vendor which ones there are",
                        )
                    return found
            raise refused from None


def _subjects(kind: str, patients: Sequence[str]) -> tuple[str, str]:
    if kind == "Patient":
        return "_id", ",".join(patients)
    return "subject", ",".join(f"Patient/{patient}" for patient in patients)


def needs_a_list_error(host: str, refused: RequestRefused) -> ServerError:
    """The error of a server that does not search across patients, where somebody has to say which ones."""
    return ServerError(
        f"{host} does not search across patients: {refused.what}",
        "Name the patients: --patients-from FILE (an id a line) or --patients-from Group/ID",
    )
