"""The few elements of resources that the stores read without their clinical content."""

from functools import cache
from typing import Any, TypeVar

import msgspec

K = TypeVar("K")


def read(raw: bytes | msgspec.Raw, kind: type[K]) -> K | None:
    """The elements of `kind` in a resource; None where they are not what R4 says. A null, which R4 does not allow, counts as absent."""
    hashable: Any = kind
    try:
        found: K = _decoder(hashable).decode(raw)
    except msgspec.MsgspecError:
        return _read_without_nulls(raw, kind)
    return found


def _read_without_nulls(raw: bytes | msgspec.Raw, kind: type[K]) -> K | None:
    try:
        return msgspec.convert(_without_nulls(msgspec.json.decode(raw)), kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def leniently(raw: bytes, kind: type[K]) -> K:
    """A document of a foreign system: numbers and booleans may come as text, and null is as if it were absent. MsgspecError for what cannot
    be meant."""
    return msgspec.convert(_without_nulls(msgspec.json.decode(raw)), kind, strict=False)


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _without_nulls(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _without_nulls(value) for name, value in part.items() if value is not None}
    return [_without_nulls(value) for value in part if value is not None] if isinstance(part, list) else part


class Identifier(msgspec.Struct):
    """A business identifier."""

    system: str = ""
    value: str = ""


class Reference(msgspec.Struct):
    """A reference, literal or logical."""

    reference: str = ""
    identifier: Identifier = msgspec.field(default_factory=Identifier)


class WithSubject(msgspec.Struct):
    """A resource that is about somebody. `status` is R4's, "" where the type has none."""

    subject: Reference = msgspec.field(default_factory=Reference)
    status: str = ""


class WithIdentifiers(msgspec.Struct):
    """A resource that has business identifiers."""

    id: str = ""
    identifier: tuple[Identifier, ...] = ()
