"""Proves that the job may write: a Device and a RiskAssessment without a patient, marked as a test, are written, found and taken back."""

import uuid
from contextlib import suppress
from typing import Any

from screener.assessment.identity import Canonical
from screener.base.errors import ScreenerError, ServerError
from screener.fhir import bundles
from screener.fhir.client import Client
from screener.fhir.search import search
from screener.operations.doctor.findings import Findings

Json = dict[str, Any]
TEST_TAG = "write-test"  # in a code system below our canonical base
_GONE = (200, 202, 204, 404, 410)


def prove(client: Client, canonical: Canonical, findings: Findings, owner: str = "") -> None:
    """Write, find and take back. What cannot be deleted stays as `entered-in-error`, and is said. `owner`: who gets Tasks, where the site
    wants them: one is tried, too."""
    test = str(uuid.uuid4())
    resources = _resources(canonical, test, owner)
    try:
        addresses = _written(client, canonical, test, resources)
    except ScreenerError as error:
        findings.error("write", error)
        return
    found = _is_found(client, canonical, test)
    left = _taken_back(client, resources, addresses)
    if not found:
        findings.yellow(
            "write",
            "what was written is not found at once",
            "The next run may write it twice: wait an hour between runs",
        )
    if left:
        findings.yellow(
            "write",
            f"create and update work; the server deletes nothing, so {', '.join(left)} stay, entered in error and tagged {TEST_TAG}",
            "Have them deleted, if it matters: no run reads them",
        )
    elif found:
        kinds = "a Device, a RiskAssessment and a Task" if owner else "a Device and a RiskAssessment"
        findings.green("write", f"{kinds} were created, found, updated and deleted again")


def _resources(canonical: Canonical, test: str, owner: str) -> list[Json]:
    shared = {
        "meta": {"tag": [{"system": f"{canonical.base}/CodeSystem/test", "code": TEST_TAG}]},
        "identifier": [{"system": f"{canonical.base}/identifier/test", "value": f"urn:uuid:{test}"}],
    }
    about = {"display": "Nobody: a test of write access"}
    return [
        {
            "resourceType": "Device",
            **shared,
            "status": "inactive",
            "deviceName": [{"name": "write test", "type": "other"}],
        },
        {"resourceType": "RiskAssessment", **shared, "status": "preliminary", "subject": about},
        *(
            [{"resourceType": "Task", **shared, "status": "draft", "intent": "proposal", "owner": {"reference": owner}}]
            if owner
            else []
        ),
    ]


def _written(client: Client, canonical: Canonical, test: str, resources: list[Json]) -> list[str]:
    """Their addresses. ServerError for the first that is refused; what was written before it is taken back."""
    entries = [
        bundles.create(resource["resourceType"], resource, f"{canonical.base}/identifier/test|urn:uuid:{test}")
        for resource in resources
    ]
    results = bundles.send_batch(client, entries, "a test of write access")
    addresses = [f"{r['resourceType']}/{result.id}" for r, result in zip(resources, results, strict=True) if result.id]
    for resource, result in zip(resources, results, strict=True):
        if result.status not in (200, 201):
            _taken_back(client, resources, addresses)
            raise ServerError(
                f"{client.host} answered {result.status} to the create of a {resource['resourceType']}{result.codes}",
                f"Grant create, update and search of {resource['resourceType']}; docs/servers.md has other destinations",
            )
    return addresses


def _is_found(client: Client, canonical: Canonical, test: str) -> bool:
    name = f"{canonical.base}/identifier/test|urn:uuid:{test}"
    with suppress(ScreenerError):
        return len(list(search(client, "RiskAssessment", [("identifier", name)]))) == 1
    return False


def _taken_back(client: Client, resources: list[Json], addresses: list[str]) -> list[str]:
    """Update each to entered-in-error, then delete it; returns those that stay."""
    statuses = {resource["resourceType"]: resource for resource in resources}
    left = []
    for address in addresses:
        kind, _, name = address.partition("/")
        body = {**statuses[kind], "id": name, "status": "entered-in-error"}
        with suppress(ScreenerError):
            client.write("PUT", address, bundles.ENCODER.encode(body), what=f"an update of a {kind}")
        try:
            deleted = client.delete(address, what=f"a deletion of a {kind}").status in _GONE
        except ScreenerError:
            deleted = False
        if not deleted:
            left.append(address)
    return left
