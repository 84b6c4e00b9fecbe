"""Reads lists of patients: for servers that do not search across patients, and for a ward or a study."""

import re
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from screener.base.batches import batches
from screener.base.errors import InputError
from screener.clinical.mapping import Mapper
from screener.clinical.patients import ID
from screener.fhir.answer import decode
from screener.fhir.client import Client
from screener.fhir.reads import Reference, WithIdentifiers, read
from screener.fhir.search import escaped, search

log = structlog.get_logger()

_ID = re.compile(ID)


def is_id(text: str) -> bool:
    """Whether this can be a logical id. It may be longer than R4 has it (datatypes.html#id): servers give such ids."""
    return bool(_ID.fullmatch(text))


def patients_of_file(file: Path, named_by: str = "--patients-from") -> tuple[str, ...]:
    """One logical id a line. Empty lines and lines that begin with # are skipped. InputError names a line that holds no id."""
    found: dict[str, None] = {}
    for number, text in _lines(file, named_by):
        if not is_id(text):
            raise InputError(
                f"{file.name}, line {number}: no logical id of a Patient (letters, digits, and - . _ ~ : = + @ ! *)",
                "One id a line, without `Patient/` and without any URL; record numbers need --identifier-system URI",
            )
        found[text] = None
    if not found:
        raise InputError(f"{file.name} holds no id", "One logical id of a Patient a line")
    return tuple(found)


class NamedPatients(NamedTuple):
    """The patients that a list names, and how many of its lines name none."""

    patients: tuple[str, ...]
    left_out: int = 0


def patients_of_numbers(client: Client, file: Path, system: str, batch_patients: int) -> NamedPatients:
    """The ids of the Patients that have these business identifiers (one a line) in a system.

    A number that no Patient has, or that several have, is left out and counted. InputError where none is left.
    """
    numbers = tuple(dict.fromkeys(text for _, text in _lines(file, "--patients-from")))
    owners: dict[str, set[str]] = {number: set() for number in numbers}
    for part in batches(numbers, batch_patients):
        listed = ",".join(f"{system}|{escaped(number)}" for number in part)
        for found in search(client, "Patient", [("identifier", listed), ("_elements", "identifier")], post=True):
            for name in (read(found.raw, WithIdentifiers) or WithIdentifiers()).identifier:
                if name.system == system and name.value in owners:
                    owners[name.value].add(found.head.id)
    unknown = sum(not ids for ids in owners.values())
    shared = sum(len(ids) > 1 for ids in owners.values())
    if unknown or shared:
        log.warning(
            "record_numbers_left_out",
            without_a_patient=unknown,
            with_several=shared,
            of=len(numbers),
            remedy="compare the file with the server; a number that several Patients have is a merge to be finished",
        )
    patients = tuple(dict.fromkeys(next(iter(ids)) for ids in owners.values() if len(ids) == 1))
    if not patients:
        raise InputError(
            f"{client.host} has no Patient with a number of {file.name} in the identifier system that was given",
            "Look at Patient.identifier.system of one patient on the server",
        )
    return NamedPatients(patients, unknown + shared)


def _lines(file: Path, named_by: str) -> list[tuple[int, str]]:
    """The lines that say something, with their numbers."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {file.absolute()}: {_why(error)}", f"Check the path in {named_by}") from error
    said = ((number, line.strip()) for number, line in enumerate(lines, start=1))
    return [(number, text) for number, text in said if text and not text.startswith("#")]


def _why(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or "") if isinstance(error, OSError) else "it is no text in UTF-8"


class _Member(msgspec.Struct):
    entity: Reference = msgspec.field(default_factory=Reference)
    inactive: bool = False


class _Group(msgspec.Struct):
    resourceType: str = ""  # noqa: N815 - FHIR's name
    member: list[_Member] = []


def patients_of_group(client: Client, group: str, mapper: Mapper) -> tuple[str, ...]:
    """The Patients that are active members of a Group of the server. ServerError where it cannot be read, InputError where it has none."""
    answer = client.get(group, what="a Group", allow=(404, 410))
    if answer.status in (404, 410):
        raise InputError(f"{client.host} has no {group} (HTTP {answer.status})", "Check its id, or give a file of ids")
    found: _Group = decode(answer, _Group, "a Group", client.host)
    members = (mapper.patient_id(member.entity.reference) for member in found.member if not member.inactive)
    patients = dict.fromkeys(patient for patient in members if patient)
    if found.resourceType != "Group" or not patients:
        raise InputError("The Group has no active member that is a Patient", "Check its id, or give a file of ids")
    return tuple(patients)
