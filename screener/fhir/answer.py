"""An answer of a FHIR server, and what its headers and its body say."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import msgspec

from screener.base.errors import ServerError
from screener.fhir.reads import leniently

K = TypeVar("K")


class Answer(msgspec.Struct, frozen=True):
    """A response that was read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def decode(answer: Answer, kind: type[Any], what: str, host: str) -> Any:
    """The body as `kind`; ServerError where it is not FHIR JSON."""
    return _decoded(answer, lambda body: msgspec.json.decode(body, type=kind), what, host)


def decode_document(answer: Answer, kind: type[K], what: str, host: str) -> K:
    """The body as `kind`, read leniently (see `reads.leniently`): what a server says of itself and of an export. ServerError as in
    `decode`."""
    return _decoded(answer, lambda body: leniently(body, kind), what, host)


def _decoded(answer: Answer, read: Callable[[bytes], K], what: str, host: str) -> K:
    try:
        return read(answer.body)
    except RecursionError as error:
        raise ServerError(
            f"{host} answered JSON that is nested more deeply than any resource to {what}",
            "Find the resource on the server: it is damaged, or somebody attacks",
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        html = answer.body.lstrip()[:1] == b"<"
        said = "HTML or XML" if html else "what is not the JSON expected"
        raise ServerError(
            f"{host} answered {said} to {what}",
            "Check that server.base_url is the FHIR base (a login page or a proxy may stand before it)",
        ) from error


def retry_after(answer: Answer, cap_seconds: float) -> float | None:
    """Seconds to wait as the server asks (RFC 9110, 10.2.3: seconds or a date), up to the cap; None where it does not."""
    value = answer.headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return min(float(value), cap_seconds)
    until = http_date(value)
    return None if until is None else min(max(until.timestamp() - time.time(), 0.0), cap_seconds)


def http_date(value: str) -> datetime | None:
    """The instant of a Date header, in UTC; None where the header holds no date."""
    try:
        return parsedate_to_datetime(value).astimezone(UTC)
    except (ValueError, TypeError):
        return None
