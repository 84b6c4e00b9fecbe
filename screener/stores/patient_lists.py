"""Reads lists of patients: for servers that do not search across patients, and for a ward or a study."""

import re
from pathlib import Path

import msgspec

from screener.clinical.mapping import Mapper
from screener.errors import InputError
from screener.fhir.client import Client, decode
from screener.fhir.reads import Reference

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


def is_id(text: str) -> bool:
    """Whether this can be a logical id (R4, datatypes.html#id)."""
    return bool(_ID.fullmatch(text))


def patients_of_file(file: Path, named_by: str = "--patients-from") -> tuple[str, ...]:
    """One logical id a line. Empty lines and lines that begin with # are skipped. InputError names a line that holds no id."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {file.name}: {type(error).__name__}", f"Check the path in {named_by}") from error
    found: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if not is_id(text):
            raise InputError(
                f"{file.name}, line {number}: no logical id of a Patient (letters, digits, - and .)",
                "One id a line, without `Patient/` and without any URL",
            )
        found[text] = None
    if not found:
        raise InputError(f"{file.name} holds no id", "One logical id of a Patient a line")
    return tuple(found)


class _Member(msgspec.Struct):
    entity: Reference = msgspec.field(default_factory=Reference)
    inactive: bool = False


class _Group(msgspec.Struct):
    resourceType: str = ""  # noqa: N815 - FHIR's name
    member: list[_Member] = []


def patients_of_group(client: Client, group: str, mapper: Mapper) -> tuple[str, ...]:
    """The Patients that are active members of a Group of the server. ServerError where it cannot be read, InputError where it has none."""
    found: _Group = decode(client.get(group, what="a Group"), _Group, "a Group", client.host)
    members = (mapper.patient_id(member.entity.reference) for member in found.member if not member.inactive)
    patients = dict.fromkeys(patient for patient in members if patient)
    if found.resourceType != "Group" or not patients:
        raise InputError("The Group has no active member that is a Patient", "Check its id, or give a file of ids")
    return tuple(patients)
