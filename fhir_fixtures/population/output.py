"""Populations as files in the layout of a bulk export, and as Bundles for a server."""

import gzip
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

Json = dict[str, Any]

_Block = tuple[list[Json], list[Json], list[Json]]

# How many Bundles of results are gathered behind one Bundle of Patients.
_BLOCK_BUNDLES = 10

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def write_ndjson(
    folder: Path, resources: Iterable[Json], lines_per_file: int = 100_000, *, zipped: bool = False
) -> int:
    """Write `TYPE.NNN.ndjson` files (`.gz` where zipped); returns how many resources were written.

    Raises FileExistsError where the folder holds NDJSON already: two populations in one folder would be read as one.
    """
    if lines_per_file < 1:
        raise ValueError(f"Files of {lines_per_file} lines hold nothing: give 1 or more")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("*.ndjson*")):
        raise FileExistsError(f"{folder} holds NDJSON files already: name an empty folder")
    counts: dict[str, int] = {}
    with ExitStack() as stack:
        streams: dict[str, BinaryIO] = {}
        for resource in resources:
            kind = resource["resourceType"]
            count = counts.get(kind, 0)
            if count % lines_per_file == 0:
                if kind in streams:
                    streams[kind].close()
                name = f"{kind}.{count // lines_per_file:03d}.ndjson"
                streams[kind] = stack.enter_context(_open(folder / name, zipped=zipped))
            streams[kind].write(_ENCODER.encode(resource) + b"\n")
            counts[kind] = count + 1
    return sum(counts.values())


def _open(path: Path, *, zipped: bool) -> BinaryIO:
    if zipped:
        # No time stamp inside: the same population is the same bytes.
        return cast("BinaryIO", gzip.GzipFile(path.with_name(f"{path.name}.gz"), "wb", mtime=0))
    return path.open("wb")


def bundles(resources: Iterable[Json], size: int) -> Iterator[Json]:
    """`batch` Bundles of at most `size` PUTs, in which nothing refers to anything in its own Bundle or in a later one.

    R4 (http.html, batch) forbids entries that depend on each other, and a server with referential integrity refuses what comes
    before its Patient. So the Patients of a block come in a Bundle of their own, and the rest of the block after it; a block is
    some Bundles long, so that memory does not grow with the population.
    """
    if size < 1:
        raise ValueError(f"A Bundle of {size} entries holds nothing: give a size of 1 or more")
    block: _Block = ([], [], [])
    for resource in resources:
        turn = _turn(resource)
        if turn < 2 and (len(block[0]) == size or len(block[2]) >= _BLOCK_BUNDLES * size):
            yield from _packed(block, size)
            block = ([], [], [])
        block[turn].append(resource)
    yield from _packed(block, size)


def transactions(resources: Iterable[Json], size: int) -> Iterator[Json]:
    """`transaction` Bundles of some `size` PUTs, each of whole patients: nothing refers to anything in another Bundle, so they may be
    sent in any order, several at once. `resources` are in the order of the patients.
    """
    if size < 1:
        raise ValueError(f"A Bundle of {size} entries holds nothing: give a size of 1 or more")
    held: list[Json] = []
    for resource in resources:
        # A Patient merged into the one before stays with that one.
        if len(held) >= size and _turn(resource) == 0:
            yield {"resourceType": "Bundle", "type": "transaction", "entry": [_put(one) for one in held]}
            held = []
        held.append(resource)
    if held:
        yield {"resourceType": "Bundle", "type": "transaction", "entry": [_put(one) for one in held]}


def _turn(resource: Json) -> int:
    """Patients, then Patients merged into others, then what is said of Patients."""
    if resource["resourceType"] != "Patient":
        return 2
    return 1 if "link" in resource else 0


def _packed(block: _Block, size: int) -> Iterator[Json]:
    for resources in block:
        for start in range(0, len(resources), size):
            entries = [_put(resource) for resource in resources[start : start + size]]
            yield {"resourceType": "Bundle", "type": "batch", "entry": entries}


def _put(resource: Json) -> Json:
    url = f"{resource['resourceType']}/{resource['id']}"
    return {"resource": resource, "request": {"method": "PUT", "url": url}}
