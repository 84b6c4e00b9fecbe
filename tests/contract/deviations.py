"""Where HAPI FHIR 8.8.0 answers otherwise than FHIR R4 (4.0.1) says. The tests assert both answers, so a change is noticed."""

from typing import Any, NamedTuple


class Deviation(NamedTuple):
    """One case: what is asked, where R4 says what must be answered, that answer, and HAPI's."""

    case: str
    section: str
    specified: Any
    hapi: Any


STALE_IF_MATCH = Deviation(
    "PUT by id with an If-Match that names an older version: the status",
    "http.html#concurrency",
    specified=412,
    hapi=409,
)
STALE_IF_MATCH_IN_BATCH = Deviation(
    "The same as an entry of a batch: the entry's status", "http.html#concurrency", specified=412, hapi=409
)
UNKNOWN_MODIFIER = Deviation(
    "A search with a modifier that the server does not know: the status (HAPI drops the criterion and answers everything)",
    "search.html#modifiers",
    specified=400,
    hapi=200,
)
ENTRY_ETAG = Deviation(
    "response.etag of a Bundle's entry: the form of a weak ETag",
    "bundle-definitions.html#Bundle.entry.response.etag",
    specified='W/"1"',
    hapi="1",
)
MANDATORY_ELEMENTS = Deviation(
    "_elements=subject on an Observation: whether the mandatory status and code come as well",
    "search.html#elements",
    specified={"status", "code"},
    hapi=set(),
)
IF_MATCH_OF_NOTHING = Deviation(
    "PUT with an If-Match where nothing stands under the id: the status (HAPI creates)",
    "http.html#concurrency",
    specified=412,
    hapi=201,
)
OWN_ABSOLUTE_SUBJECT = Deviation(
    "A search by the absolute URL of a subject on the server itself: how many are found",
    "search.html#reference",
    specified=1,
    hapi=0,
)
ABSOLUTE_REFERENCE = Deviation(
    "A resource that refers to another server's by an absolute URL: the status",
    "references.html#literal",
    specified=201,
    hapi=400,
)
TAGS_LEFT_OUT = Deviation(
    "A PUT that leaves out the tags of the version before: how many tags then stand (HAPI keeps them)",
    "http.html#update",
    specified=0,
    hapi=1,
)
EXPORT_DELETION = Deviation(
    "DELETE of the status of an export that is complete: the status (HAPI cancels only what still runs)",
    "https://hl7.org/fhir/uv/bulkdata/export.html#bulk-data-delete-request",
    specified=202,
    hapi=404,
)
BATCH_DECLARED = Deviation(
    "CapabilityStatement.rest.interaction: whether batch is declared (HAPI takes batches and declares only transaction)",
    "http.html#capabilities",
    specified=True,
    hapi=False,
)
