"""Synthetic patients into any FHIR server, tagged, and out of it again."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from fhir_fixtures.population import bundles, transactions
from screener.base.batches import batches
from screener.base.errors import ServerError
from screener.fhir import capability
from screener.fhir.bundles import EntryResult, send_batch, send_transaction
from screener.fhir.client import Client
from screener.fhir.connections import Connections
from screener.fhir.search import search

Json = dict[str, Any]

SEED_TAG = ("https://example.org/fhir/osteoporosis-screener/CodeSystem/seed", "synthetic")

# Deleted in this order, so that nothing is deleted while something still refers to it.
_OURS = (
    "RiskAssessment",
    "Observation",
    "Condition",
    "MedicationRequest",
    "MedicationStatement",
    "MedicationAdministration",
    "MedicationDispense",
    "Procedure",
    "DiagnosticReport",
    "Specimen",
    "Device",
    "Patient",
)

_ELEMENTS = ("_elements", "status")

Progress = Callable[[int], None]


def seed(
    client: Client, resources: Iterable[Json], progress: Progress, *, entries: int = 500, connections: int = 4
) -> int:
    """Send the resources, some `entries` in each Bundle; returns how many the server took. Raises ServerError where it refuses any.

    A server that takes transactions gets them on several connections at once, with whole patients in each: it then commits once for
    each Bundle and not once for each resource. Another one gets batches, one after the other.
    """
    sent = 0
    many = "transaction" in capability.read(client).interactions()
    waiting = transactions(resources, entries) if many else bundles(resources, entries)
    send = send_transaction if many else send_batch
    with Connections(client, connections if many else 1) as at_once:
        while part := list(islice(waiting, 2 * connections)):
            for results in at_once.map(
                lambda one, bundle: send(one, bundle["entry"], "a Bundle of synthetic patients"), part
            ):
                refused = [result for result in results if result.status not in (200, 201)]
                if refused:
                    raise _refused(client, refused)
                sent += len(results)
            progress(sent)
    return sent


def _refused(client: Client, refused: list[EntryResult]) -> ServerError:
    first = refused[0]
    return ServerError(
        f"{client.host} refused {len(refused)} entries, the first with {first.status}{first.codes}",
        "The server must accept ids that the client gives (PUT to a new id); take back the rest with `screener sandbox clean`",
    )


def clean(client: Client, tag: tuple[str, str], batch: int, progress: Progress) -> int:
    """Delete all that carries the tag, and every RiskAssessment of a tagged patient; returns how many there were."""
    deleted = 0
    for kind in _OURS:
        found = _tagged(client, kind, tag) if kind != "RiskAssessment" else _assessments(client, tag, batch)
        for names in batches(found, batch):
            entries = [{"request": {"method": "DELETE", "url": f"{kind}/{name}"}} for name in names]
            results = send_batch(client, entries, "a batch of deletions")
            refused = [result for result in results if result.status not in (200, 202, 204, 404, 410)]
            if refused:
                raise _refused(client, refused)
            deleted += len(names)
            progress(deleted)
    return deleted


def _tagged(client: Client, kind: str, tag: tuple[str, str]) -> list[str]:
    params = [("_tag", "|".join(tag)), _ELEMENTS, ("_count", "500")]
    return sorted({found.head.id for found in search(client, kind, params)})


def _assessments(client: Client, tag: tuple[str, str], batch: int) -> list[str]:
    found = set(_tagged(client, "RiskAssessment", tag))
    for patients in batches(_tagged(client, "Patient", tag), batch):
        subjects = ",".join(f"Patient/{patient}" for patient in patients)
        found |= {
            hit.head.id for hit in search(client, "RiskAssessment", [("subject", subjects), _ELEMENTS], post=True)
        }
    return sorted(found)
