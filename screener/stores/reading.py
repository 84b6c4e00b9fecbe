"""How the reading of each resource type ended. Every source answers in this form, and only WHOLE may mean that a patient has none."""

from collections.abc import Collection, Mapping
from enum import StrEnum

import msgspec

# Each says which medicines a patient takes: one that a server does not have is not missed while one of them was read whole.
MEDICINE_TYPES = frozenset(
    {"MedicationRequest", "MedicationStatement", "MedicationAdministration", "MedicationDispense"}
)
_CARRY_MEDICINES = frozenset({"MedicationRequest", "MedicationStatement"})  # what was prescribed, or is taken
LINES = "records"  # in place of a type: lines that could not be read may be of any


class Ending(StrEnum):
    """How the reading of a resource type ended."""

    WHOLE = "whole"
    IN_PART = "in_part"
    NOT_READABLE = "not_readable"


class TypeReading(msgspec.Struct, frozen=True):
    """`why` says in words what is missing. `categories`: those that a type was asked for by, where the server shows it by category
    only."""

    ending: Ending
    why: str = ""
    categories: str = ""


class Gaps(msgspec.Struct, frozen=True):
    """What each assessment has to say of the reading. `not_checked` are resource types; the others are "TYPE:CATEGORIES", or a type
    alone."""

    not_checked: tuple[str, ...] = ()
    in_part: tuple[str, ...] = ()
    by_category: tuple[str, ...] = ()


class Reading(msgspec.Struct):
    """What a source read, and could not read. It grows while the source is read."""

    types: dict[str, TypeReading] = {}  # the excluding types that were asked for, "off" ones, and LINES
    not_offered: set[str] = set()  # types that the server does not list, or refuses though nobody requires them
    bad_lines: int = 0
    without_patient: int = 0  # results that name no patient
    bytes_read: int = 0
    by_result_date: bool = (
        False  # a night's patients were found by the dates of their results, not by when these changed
    )
    seen: dict[str, int] = {}  # resources of each excluding type that was asked for, whoever they are about
    asked: dict[str, int] = {}  # of how many patients it was asked for; none where all are in one export
    deleted: set[str] = set()  # ids of Observations that the source says were deleted

    def whole(self, kind: str, categories: str = "") -> None:
        """A type was read whole, as far as is known yet. What ended otherwise stays so."""
        self.types.setdefault(kind, TypeReading(Ending.WHOLE, categories=categories))

    def in_part(self, kind: str, why: str, categories: str = "") -> None:
        """A type was read in part."""
        if kind not in self.not_readable:
            self.types[kind] = TypeReading(Ending.IN_PART, why, categories)

    def cannot(self, kind: str, why: str) -> None:
        """A type cannot be read here."""
        self.types[kind] = TypeReading(Ending.NOT_READABLE, why)

    @property
    def not_readable(self) -> dict[str, str]:
        """The types that cannot be read here, and why."""
        return {kind: one.why for kind, one in self.types.items() if one.ending is Ending.NOT_READABLE}

    @property
    def not_whole(self) -> dict[str, str]:
        """What is not read whole, and why, sorted."""
        said = {Ending.NOT_READABLE: "", Ending.IN_PART: "read in part: "}
        return {
            kind: f"{said[one.ending]}{one.why}"
            for kind, one in sorted(self.types.items())
            if one.ending is not Ending.WHOLE and kind not in self.carried
        }

    @property
    def carried(self) -> frozenset[str]:
        """The types that the server does not have, and whose facts another type carries that is read whole, as far as is known."""
        lost = {kind for kind, one in self.types.items() if one.ending is not Ending.WHOLE}
        return frozenset(self.not_offered & MEDICINE_TYPES) if _CARRY_MEDICINES - lost else frozenset()

    def required(self, needs: Mapping[str, str]) -> dict[str, str]:
        """The required types that were not read whole, and why: a run must not go on without them."""
        return {
            kind: why
            for kind, why in self.not_whole.items()
            if {"Observation": "required", **needs}.get(kind) == "required"
        }

    def silent(self, needs: Mapping[str, str]) -> dict[str, int]:
        """The required types that were asked for and showed nothing at all, and of how many patients they were asked for (0 for all of
        them). One type of medicines that shows something speaks for all."""
        nothing = {kind for kind, count in self.seen.items() if not count and needs.get(kind) == "required"}
        medicines = any(self.seen.get(kind) for kind in MEDICINE_TYPES)
        return {kind: self.asked.get(kind, 0) for kind in sorted(nothing - MEDICINE_TYPES if medicines else nothing)}

    def gaps(self) -> Gaps:
        """What each assessment has to say."""
        gone = self.not_whole
        endings = [(kind, one) for kind, one in sorted(self.types.items())]
        return Gaps(
            tuple(kind for kind, one in endings if kind in gone and one.ending is Ending.NOT_READABLE),
            tuple(_named(kind, one) for kind, one in endings if one.ending is Ending.IN_PART),
            tuple(_named(kind, one) for kind, one in endings if one.ending is Ending.WHOLE and one.categories),
        )


def _named(kind: str, one: TypeReading) -> str:
    return f"{kind}:{one.categories}" if one.categories else kind


def required_of(needs: Mapping[str, str], offered: Collection[str]) -> set[str]:
    """The required types that a server has to offer. Of the types of medicines one that says what is prescribed or taken is enough."""
    required = {kind for kind, need in needs.items() if need == "required"}
    spared = MEDICINE_TYPES - set(offered) if _CARRY_MEDICINES & set(offered) else frozenset()
    return required - spared
