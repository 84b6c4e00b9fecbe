"""The requests and answers of an export (hl7.org/fhir/uv/bulkdata, export): kick-off, status, deletion."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec
import structlog

from screener.base.errors import RequestRefused, ServerError
from screener.fhir.answer import decode_document
from screener.fhir.client import Client
from screener.fhir.time import parse_instant

log = structlog.get_logger()

_NDJSON = "application/fhir+ndjson"
_TYPE = re.compile(r"[A-Za-z]{1,64}")
_PRINTABLE = re.compile(r"[^\w %./:,-]")


class ExportRequest(msgspec.Struct, frozen=True):
    """What is exported. `level`: "" for the whole system, "Patient", or "Group/ID". `since` is an instant as FHIR text."""

    level: str = ""
    types: tuple[str, ...] = ()
    since: str = ""
    filters: tuple[str, ...] = ()


class Output(msgspec.Struct, frozen=True):
    """One file of the export; `count` is None where the server does not say how many resources it holds."""

    type: str = ""
    url: str = ""
    count: int | None = None


class Link(msgspec.Struct, frozen=True):
    """A link of a manifest; `next` names its next page (Bulk Data Access 3, manifest)."""

    relation: str = ""
    url: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """What the server says of a complete export, all pages together."""

    transactionTime: str = ""  # noqa: N815 - the standard's names
    requiresAccessToken: bool = True  # noqa: N815
    output: tuple[Output, ...] = ()
    deleted: tuple[Output, ...] = ()
    error: tuple[Output, ...] = ()
    link: tuple[Link, ...] = ()

    @property
    def following(self) -> str:
        """The address of the next page, "" after the last one."""
        return next((link.url for link in self.link if link.relation == "next"), "")

    def and_page(self, page: "Manifest") -> "Manifest":
        """This manifest with one more page; it is as old as its oldest page."""
        older = min(self.transactionTime, page.transactionTime, key=parse_instant)
        return Manifest(
            older,
            self.requiresAccessToken or page.requiresAccessToken,
            (*self.output, *page.output),
            (*self.deleted, *page.deleted),
            (*self.error, *page.error),
            page.link,
        )


# Members of a manifest that are known: of Bulk Data Access 1 to 3.
_KNOWN = frozenset({*Manifest.__struct_fields__, "request", "outputOrganizedBy"})


def _unknown_members(document: object) -> list[str]:
    """Members that we do not know and that could name files or errors: lists with something in them, and objects that hold such a list or
    an address. Words, numbers and empty ones do no harm."""
    members = document.items() if isinstance(document, dict) else ()
    return sorted(str(name) for name, value in members if name not in _KNOWN and _may_carry(value))


def _may_carry(value: object) -> bool:
    if isinstance(value, dict):
        return any(_may_carry(part) or (isinstance(part, str) and "://" in part) for part in value.values())
    return isinstance(value, list) and bool(value)


class Waiting(msgspec.Struct, frozen=True):
    """The export goes on. `seconds` is what the server asks to wait (None where it does not), `progress` its own words."""

    seconds: float | None
    progress: str = ""


def kick_off(client: Client, request: ExportRequest) -> str:
    """Start the export; returns the address of its status. Filters that the server refuses are left out, and that is said."""
    try:
        return _kick_off(client, request, request.filters)
    except RequestRefused:
        if not request.filters:
            raise
        log.warning(
            "export_unfiltered", why="the server takes no _typeFilter: the export will hold more than is needed"
        )
        return _kick_off(client, request, ())


def _kick_off(client: Client, request: ExportRequest, filters: Sequence[str]) -> str:
    path = f"{request.level}/$export" if request.level else "$export"
    params = [("_outputFormat", _NDJSON)]
    params += [("_type", ",".join(request.types))] if request.types else []
    params += [("_since", request.since)] if request.since else []
    params += [("_typeFilter", one) for one in filters]
    answer = client.get(path, params, what="an export", headers={"Prefer": "respond-async"})
    where = answer.headers.get("Content-Location", "")
    if answer.status != 202 or not where:
        raise ServerError(
            f"{client.host} answered {answer.status} to an export and no address of its status",
            "It does not know Bulk Data Access: read it by search, without --bulk",
        )
    if not client.is_ours(where):
        raise ServerError(
            f"{client.host} gives the status of the export at another origin: the token is sent nowhere else",
            "Have its base URL mended and call again; nothing was kept of this export",
        )
    return where


def status(client: Client, where: str) -> Manifest | Waiting:
    """Whether the export is complete. ServerError where the server has lost or failed it."""
    answer = client.get(
        where, what="the status of an export", allow=(404, 410, 429), headers={"Accept": "application/json"}
    )
    if answer.status in (404, 410):
        raise ServerError(
            f"{client.host} does not know this export any more ({answer.status})",
            "It was deleted or has expired; begin again with --restart",
        )
    if answer.status in (202, 429):
        asked = answer.headers.get("Retry-After", "")
        said = _PRINTABLE.sub("?", answer.headers.get("X-Progress", ""))[:80]
        return Waiting(float(asked) if asked.isascii() and asked.isdigit() else None, said)
    what = "the manifest of an export"
    found = decode_document(answer, Manifest, what, client.host)
    unknown = _unknown_members(msgspec.json.decode(answer.body))
    if unknown:
        named = ", ".join(_PRINTABLE.sub("?", name)[:40] for name in unknown[:5])
        raise ServerError(
            f"{client.host} gave a manifest with members that this program does not know: {named}",
            "They may name further files or errors, so the export is not read. Please report it; until then read by search, without --bulk",
        )
    _check(found, client)
    return found


def _check(manifest: Manifest, client: Client) -> None:
    """Before it is written down: ServerError for a manifest that cannot be followed. A `type` becomes part of a file's name."""
    host = client.host
    try:
        parse_instant(manifest.transactionTime)
    except ValueError as error:
        raise ServerError(
            f"{host} gave a manifest without a transactionTime that is an instant", "Ask its vendor"
        ) from error
    for file in (*manifest.output, *manifest.deleted, *manifest.error):
        if not _TYPE.fullmatch(file.type) or urlsplit(file.url).scheme not in ("http", "https"):
            raise ServerError(f"{host} gave a manifest with a file that has no type or no address", "Ask its vendor")
        client.check_download(file.url)


def discard(client: Client, where: str) -> None:
    """Tell the server that the export is no longer needed. A server that refuses does no harm."""
    try:
        client.delete(where, what="an export that is done")
    except ServerError as error:
        log.info("export_not_deleted", why=error.what)
