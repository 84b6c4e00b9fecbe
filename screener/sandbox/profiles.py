"""Restrictions of hospitals' record systems, as far as they are public: a sandbox that serves under one refuses what such a system does.

Sources: the vendors' public FHIR documentation (fhir.epic.com; Oracle Health's Millennium Platform R4), and threads where people met
it (CDCgov/dibbs-query-connector#1024: Epic takes searches by GET only). Where the documents leave it open, the stricter reading is taken.
"""

from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from screener.sandbox.outcome import Json, Refused, bad_request

_CLINICAL = (
    "Observation",
    "Condition",
    "Procedure",
    "MedicationRequest",
    "MedicationAdministration",
    "MedicationDispense",
)


class Profile(msgspec.Struct, frozen=True):
    """What a system restricts. `categories` are the types that want a category or a code beside the patient."""

    name: str
    most_a_page: int
    last_updated: bool = True
    categories: Collection[str] = ()
    absent: Collection[str] = ("RiskAssessment", "MedicationStatement", "Group", "Device")
    url_characters: int = 2048

    def check_search(self, kind: str, params: Sequence[tuple[str, str]]) -> None:
        """Raises Refused for a search that the system does not take."""
        self.check_type(kind)
        given = {name.partition(":")[0]: value for name, value in params if value}
        if not self.last_updated and "_lastUpdated" in given:
            raise bad_request("_lastUpdated is no search parameter here")
        if kind not in _CLINICAL or "_id" in given:
            return
        if "subject" in given or "," in given.get("patient", ",") or not given.get("patient"):
            raise bad_request("A search names one patient, by the parameter patient, or _id")
        if kind in self.categories and not {"category", "code"} & given.keys():
            raise bad_request("A search names a category, too")

    def check_type(self, kind: str) -> None:
        """Raises Refused for a type that the system does not have."""
        if kind in self.absent:
            raise Refused(HTTPStatus.NOT_FOUND, "not-supported", "This type is not offered here")

    def limited(self, params: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """The parameters with a page no larger than the system's."""
        asked = next((int(value) for name, value in params if name == "_count" and value.isdigit()), self.most_a_page)
        others = [(name, value) for name, value in params if name != "_count"]
        return [*others, ("_count", str(min(asked, self.most_a_page)))]

    def statement(self, whole: Json) -> Json:
        """The CapabilityStatement without what the system does not do."""
        rest: dict[str, Any] = whole["rest"][0]
        kept = [self._resource(entry) for entry in rest["resource"] if entry["type"] not in self.absent]
        narrowed = {"mode": "server", "security": rest["security"], "resource": kept}
        return {**whole, "software": {"name": f"screener sandbox, {self.name}"}, "rest": [narrowed]}

    def _resource(self, entry: Json) -> Json:
        hidden = {"subject", "_tag", "combo-code", "component-code"} | (
            set() if self.last_updated else {"_lastUpdated"}
        )
        params = [param for param in entry["searchParam"] if param["name"] not in hidden]
        interactions = [{"code": code} for code in ("read", "search-type")]
        return {"type": entry["type"], "interaction": interactions, "searchParam": params}


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("epic-like", most_a_page=50, last_updated=False, categories=("Observation", "Condition")),
        Profile("oracle-like", most_a_page=200),
    )
}
