"""An answer of a FHIR server, and what its headers and its body say."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from screener.base.errors import ServerError


class Answer(msgspec.Struct, frozen=True):
    """A response that was read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def decode(answer: Answer, kind: type[Any], what: str, host: str) -> Any:
    """The body as `kind`; ServerError where it is not FHIR JSON."""
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except RecursionError as error:
        raise ServerError(
            f"{host} answered JSON that is nested more deeply than any resource to {what}",
            "Find the resource on the server: it is damaged, or somebody attacks",
        ) from error
    except msgspec.MsgspecError as error:
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
