"""The order in which patients are worked on: spread evenly, and the same in every run, for every source, on any machine.

By a hash of the id and not by the id, so that a range of the keys holds its fair share of the patients: a folder is worked on shard by
shard, and the first hundred patients are not those of one ward.
"""

import zlib
from collections.abc import Iterable

KEYS = 1 << 32


def shard_key(patient: str) -> int:
    """The patient's key in the order: 0 .. `KEYS` - 1."""
    return zlib.crc32(patient.encode())


def in_order(patients: Iterable[str]) -> list[str]:
    """Each of the patients once, by key and, where two have the same, by id."""
    return sorted(set(patients), key=_key)


def is_after(patient: str, other: str) -> bool:
    """Whether a patient comes after another one in the order; after "" comes everyone."""
    return not other or _key(patient) > _key(other)


def _key(patient: str) -> tuple[int, str]:
    return shard_key(patient), patient
