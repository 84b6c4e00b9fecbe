"""The order in which patients are gone through: spread evenly, and the same in every run, for every source, on any machine.

By a hash of the id and not by the id, so that a range of the order is a fair share of the patients: a folder is worked on share by
share, and a list of the first hundred is no ward's.
"""

import zlib
from collections.abc import Iterable

PLACES = 1 << 32


def place(patient: str) -> int:
    """Where a patient comes in the order: 0 .. `PLACES` - 1."""
    return zlib.crc32(patient.encode())


def in_order(patients: Iterable[str]) -> list[str]:
    """Each of the patients once, by place and, where two share one, by id."""
    return sorted(set(patients), key=_key)


def comes_after(patient: str, other: str) -> bool:
    """Whether a patient comes after another one in the order; after "" comes everyone."""
    return not other or _key(patient) > _key(other)


def _key(patient: str) -> tuple[int, str]:
    return place(patient), patient
