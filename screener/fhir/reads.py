"""The few elements of resources that the stores read without their clinical content."""

import msgspec


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
