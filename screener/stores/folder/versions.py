"""Finds the newest copy of each resource: of a resource that comes several times in a folder only the newest copy counts.

Every resource that is read leaves a trace: a hash of its type and id, its version, and the shard in which its rows are (or none). The
traces are dealt by hash, so that all copies of a resource come together, and are compared there. What is told to the shards is only
which of their resources are outdated.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from screener.clinical.records import Version
from screener.stores.folder.spill import Segment, append, stored

NOWHERE = -1  # the shard of a resource without rows
_TRACE_KEY = np.dtype([("key", "<u8"), ("check", "<u4")])
_TRACE = np.dtype([("key", "<u8"), ("check", "<u4"), ("updated_us", "<i8"), ("number", "<i4"), ("shard", "<i4")])
_LARGEST = (
    2**31 - 1
)  # a version number beyond it counts as this one: the order among those is left to the rows themselves

Traces = np.ndarray[Any, np.dtype[np.void]]
Outdated = dict[bytes, tuple[int, int]]  # by key: updated_us and number of the newest copy


def key_of(kind: str, name: str) -> bytes:
    """96 bits that stand for a resource. Two of a hundred million resources have the same with a probability of 1e-13."""
    return xxhash.xxh3_128_digest(name.encode(), _seed(kind))[:12]


@cache
def _seed(kind: str) -> int:
    return zlib.crc32(kind.encode())


class Tracer:
    """Collects the traces of one process."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[list[str], list[Version], list[int]]] = {}

    def saw(self, kind: str, name: str, version: Version, shard: int) -> None:
        """A resource with an id was read; its rows went to a shard, or `NOWHERE`."""
        names, versions, shards = self._seen.get(kind) or self._seen.setdefault(kind, ([], [], []))
        names.append(name)
        versions.append(version)
        shards.append(shard)

    def flush(self, file: Path, shards: int) -> Segment:
        """Append the traces to a file, dealt by key."""
        traces = np.concatenate([_traces(kind, *seen) for kind, seen in self._seen.items()] or [np.empty(0, _TRACE)])
        self._seen = {}
        dealt = _dealt(traces["key"], shards)
        order = np.argsort(dealt, kind="stable")
        bounds = np.searchsorted(dealt[order], np.arange(shards + 1))
        traces = traces[order]
        return append(file, (traces[bounds[i] : bounds[i + 1]].tobytes() for i in range(shards)))


def _traces(kind: str, names: list[str], versions: list[Version], shards: list[int]) -> Traces:
    digest, seed = xxhash.xxh3_128_digest, _seed(kind)
    keys = np.frombuffer(b"".join([digest(name.encode(), seed)[:12] for name in names]), dtype=_TRACE_KEY)
    traces = np.empty(len(names), dtype=_TRACE)
    traces["key"], traces["check"] = keys["key"], keys["check"]
    traces["updated_us"] = [version.updated_us for version in versions]
    traces["number"] = [min(version.number, _LARGEST) for version in versions]
    traces["shard"] = shards
    return traces


def outdated(traces: Traces) -> dict[int, list[tuple[bytes, int, int]]]:
    """By shard, the resources of which the shard holds an older copy, each with the version of the newest. `traces` are all traces
    of some keys.
    """
    order = np.lexsort((traces["number"], traces["updated_us"], traces["check"], traces["key"]))
    traces = traces[order]
    if len(traces) < 2:
        return {}
    as_next = (traces["key"][1:] == traces["key"][:-1]) & (traces["check"][1:] == traces["check"][:-1])
    if not as_next.any():
        return {}
    # The last of each run of one key is the newest copy.
    group = np.concatenate(([0], np.cumsum(~as_next)))
    newest = traces[np.concatenate((np.flatnonzero(~as_next), [len(traces) - 1]))][group]
    older = (traces["updated_us"] != newest["updated_us"]) | (traces["number"] != newest["number"])
    found: dict[int, list[tuple[bytes, int, int]]] = {}
    for trace, last in zip(
        traces[older & (traces["shard"] != NOWHERE)], newest[older & (traces["shard"] != NOWHERE)], strict=True
    ):
        key = np.array((trace["key"], trace["check"]), dtype=_TRACE_KEY).tobytes()
        found.setdefault(int(trace["shard"]), []).append((key, int(last["updated_us"]), int(last["number"])))
    return found


def is_newest(version: Version, newest: tuple[int, int]) -> bool:
    """Whether a copy is the newest one."""
    return (version.updated_us, min(version.number, _LARGEST)) == newest


def read_traces(folder: Path, segments: Iterable[Segment], deal: int) -> Traces:
    """The traces of one group."""
    return np.frombuffer(b"".join(stored(folder, segments, deal)), dtype=_TRACE)


class Index:
    """The traces of a whole folder, for questions about single resources."""

    def __init__(self, folder: Path, segments: Sequence[Segment], shards: int) -> None:
        self._folder, self._segments, self._shards = folder, segments, shards

    def shards_with(self, keys: Iterable[bytes]) -> set[int]:
        """The shards in which there are rows of some of these resources."""
        found: set[int] = set()
        for traces in self._of(keys):
            found.update(int(shard) for shard in np.unique(traces["shard"]) if shard != NOWHERE)
        return found

    def newest(self, keys: Iterable[bytes]) -> Outdated:
        """The version of the newest copy of each of these resources."""
        found: Outdated = {}
        for traces in self._of(keys):
            for trace in traces:
                key = np.array((trace["key"], trace["check"]), dtype=_TRACE_KEY).tobytes()
                found[key] = max(found.get(key, (0, 0)), (int(trace["updated_us"]), int(trace["number"])))
        return found

    def _of(self, keys: Iterable[bytes]) -> Iterator[Traces]:
        wanted = np.frombuffer(b"".join(keys), dtype=_TRACE_KEY)
        dealt = _dealt(wanted["key"], self._shards)
        for deal in np.unique(dealt):
            traces = read_traces(self._folder, self._segments, int(deal))
            yield traces[np.isin(traces["key"], wanted["key"][dealt == deal])]


def _dealt(keys: np.ndarray[Any, np.dtype[np.uint64]], shards: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return (keys % np.uint64(shards)).astype(np.int64)
