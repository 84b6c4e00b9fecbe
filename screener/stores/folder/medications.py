"""The Medication resources of a folder. Some servers make one for every prescription, so there may be more than memory should hold.

Those that a rule is about are few and are kept whole. Of all others only a hash of the id is kept, in a file that every process
maps.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from screener.clinical.records import Medicine, Version

_KNOWN = np.dtype([("key", "<u8"), ("updated_us", "<i8"), ("number", "<i8")])
_CHUNK = 100_000


class Medicines(Mapping[str, Medicine]):
    """By id: the newest copy of each. One that no rule is about has an empty concept; iteration gives only the others."""

    def __init__(self, file: Path, matter: dict[str, Medicine]) -> None:
        """`file` holds the sorted hashes of the ids of all; `matter` those that a rule is about."""
        self._file, self._matter = file, matter
        self._keys: np.ndarray[Any, np.dtype[np.uint64]] | None = None

    def __reduce__(self) -> tuple[Callable[..., "Medicines"], tuple[Path, dict[str, Medicine]]]:
        """For another process, which maps the file itself."""
        return Medicines, (self._file, self._matter)

    def __getitem__(self, name: str) -> Medicine:
        found = self._matter.get(name)
        if found is not None:
            return found
        if self._keys is None:
            self._keys = np.load(self._file, mmap_mode="r")
        place = int(np.searchsorted(self._keys, _key(name)))
        if place == len(self._keys) or int(self._keys[place]) != _key(name):
            raise KeyError(name)
        return Medicine(name, Version(), b"")

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and bool(self[name].id)
        except KeyError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._matter)

    def __len__(self) -> int:
        return len(self._matter)


def gathered(found: Iterable[Medicine], matters: Callable[[Medicine], bool], file: Path) -> Medicines:
    """The medicines in any order, in several copies perhaps; `file` is written."""
    newest: dict[str, Medicine] = {}
    parts: list[np.ndarray[Any, np.dtype[np.void]]] = []
    chunk: list[tuple[int, int, int]] = []
    for medicine in found:
        if matters(medicine):
            held = newest.get(medicine.id)
            if held is None or medicine.version >= held.version:
                newest[medicine.id] = medicine
        else:
            chunk.append((_key(medicine.id), medicine.version.updated_us, medicine.version.number))
            if len(chunk) == _CHUNK:
                parts.append(np.array(chunk, dtype=_KNOWN))
                chunk = []
    harmless = np.concatenate([*parts, np.array(chunk, dtype=_KNOWN)])
    # A Medication may have been of interest in one copy and not in another: of equal versions the one of interest
    # counts.
    order = np.lexsort((harmless["number"], harmless["updated_us"], harmless["key"]))
    harmless = harmless[order]
    for name, medicine in list(newest.items()):
        end = int(np.searchsorted(harmless["key"], _key(name), side="right"))
        if end and int(harmless["key"][end - 1]) == _key(name):
            later = Version(int(harmless["updated_us"][end - 1]), int(harmless["number"][end - 1]))
            if later > medicine.version:
                del newest[name]
    with file.open("wb") as stream:
        np.save(stream, np.unique(harmless["key"]))
    return Medicines(file, newest)


def _key(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode())
