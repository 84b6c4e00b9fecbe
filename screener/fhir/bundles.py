"""Bundles of requests (FHIR R4, http.html#transaction). In a batch each entry stands alone, and its own status is read."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from screener.base.errors import RequestRefused, ServerError
from screener.fhir.answer import decode
from screener.fhir.client import Client
from screener.fhir.outcomes import outcome_codes

# Decimals are written as JSON numbers, digit for digit.
ENCODER = msgspec.json.Encoder(decimal_format="number")


class EntryResult(msgspec.Struct, frozen=True):
    """What the server said of one entry. `status` 0 means that it said nothing that can be read.

    `again`: the entry was sent twice, so 200, 409 or 412 may be the answer to what our first sending has done.
    """

    status: int
    id: str = ""
    version: str = ""
    codes: str = ""
    again: bool = False


class _Response(msgspec.Struct):
    status: str = ""
    location: str = ""
    etag: str = ""
    outcome: msgspec.Raw = msgspec.Raw(b"")


class _Entry(msgspec.Struct):
    response: _Response | None = None


class _Bundle(msgspec.Struct):
    resourceType: str = ""  # noqa: N815 - FHIR's name
    entry: list[_Entry] = []


def create(kind: str, resource: Mapping[str, Any] | msgspec.Raw, identifier: str) -> dict[str, Any]:
    """An entry that creates a resource of type `kind` unless one with this `system|value` exists."""
    request = {"method": "POST", "url": kind, "ifNoneExist": f"identifier={identifier}"}
    return {"resource": resource, "request": request}


def update(address: str, resource: Mapping[str, Any] | msgspec.Raw, version: str) -> dict[str, Any]:
    """An entry that updates the resource at `Type/id`, only from the version that was read."""
    request = {"method": "PUT", "url": address}
    if version:
        request["ifMatch"] = f'W/"{version}"'
    return {"resource": resource, "request": request}


def send_batch(
    client: Client, entries: Sequence[Mapping[str, Any]], what: str, *, minimal: bool = True
) -> list[EntryResult]:
    """Post the entries as one batch; a result for each, in the same order.

    `minimal` asks for results without the resources. A server that then leaves out the results as well (an empty 2xx) is sent the
    same again without asking. A batch that is too large for the server (413) is sent in halves; an entry that is too large alone has
    413 as its result. Raises ServerError where the server refuses the Bundle as a whole or answers another number of entries.
    """
    try:
        return _sent(client, entries, what, minimal=minimal)
    except RequestRefused as refused:
        if refused.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise
    if len(entries) == 1:
        return [EntryResult(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)]
    middle = len(entries) // 2
    halves = (entries[:middle], entries[middle:])
    return [result for half in halves for result in send_batch(client, half, what, minimal=minimal)]


def send_transaction(client: Client, entries: Sequence[Mapping[str, Any]], what: str) -> list[EntryResult]:
    """Post the entries as one transaction: all of them or none. A result for each, in the same order. Raises ServerError where the
    server refuses it."""
    return _sent(client, entries, what, minimal=True, kind="transaction")


def _sent(
    client: Client, entries: Sequence[Mapping[str, Any]], what: str, *, minimal: bool, kind: str = "batch"
) -> list[EntryResult]:
    body = ENCODER.encode({"resourceType": "Bundle", "type": kind, "entry": entries})
    headers = {"Prefer": "return=minimal"} if minimal else {}
    answer = client.write("POST", client.base_url, body, what=what, headers=headers)
    again = minimal and answer.status < 300 and not answer.body.strip()
    if again:
        answer = client.write("POST", client.base_url, body, what=what)
    bundle: _Bundle = decode(answer, _Bundle, what, client.host)
    if bundle.resourceType != "Bundle" or len(bundle.entry) != len(entries):
        raise ServerError(
            f"{client.host} answered {len(bundle.entry)} results to {what} of {len(entries)} entries",
            "Run again: what was written is found and left as it is",
        )
    return [_result(entry.response, again=again) for entry in bundle.entry]


def _result(response: _Response | None, *, again: bool) -> EntryResult:
    if response is None:
        return EntryResult(0, again=again)
    digits = response.status.split(" ")[0]
    location, _, version = response.location.partition("/_history/")
    return EntryResult(
        status=int(digits) if digits.isdigit() else 0,
        id=location.rpartition("/")[2],
        version=version or response.etag.removeprefix("W/").strip('"'),
        codes=outcome_codes(bytes(response.outcome)),
        again=again,
    )
