"""Populations as files in the layout of a bulk export, and as Bundles for a server."""

import gzip
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

Json = dict[str, Any]

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def write_ndjson(
    folder: Path, resources: Iterable[Json], lines_per_file: int = 100_000, *, zipped: bool = False
) -> int:
    """Write `TYPE.NNN.ndjson` files (`.gz` where zipped); returns how many resources were written."""
    folder.mkdir(parents=True, exist_ok=True)
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
    """`batch` Bundles of PUTs of about `size` entries, cut between patients, who come first in their Bundle."""
    entries: list[Json] = []
    for resource in resources:
        if resource["resourceType"] == "Patient" and len(entries) >= size:
            yield {"resourceType": "Bundle", "type": "batch", "entry": entries}
            entries = []
        url = f"{resource['resourceType']}/{resource['id']}"
        entries.append({"resource": resource, "request": {"method": "PUT", "url": url}})
    if entries:
        yield {"resourceType": "Bundle", "type": "batch", "entry": entries}
