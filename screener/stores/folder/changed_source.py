"""Finds whose results changed by an export of the changes (`_since`). For nights with more changes than a search should page
through.

The export only names the patients. The whole record of each is then read from the server.
"""

import gzip
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from screener.assessment.evidence import Basis
from screener.base.errors import InputError, ScreenerError
from screener.base.plural import counted
from screener.clinical.mapping import Mapper
from screener.clinical.records import LABORATORY, Fact, Medicine, PatientRecord, Refusal
from screener.fhir.reads import read
from screener.fhir.time import parse_instant
from screener.stores.bulk.export import Exporter
from screener.stores.folder.files import DELETED, Piece, blocks
from screener.stores.folder.scan import UNREADABLE
from screener.stores.protocols import FullSource, Mode, R, RowMapper, Scope


class _Request(msgspec.Struct):
    method: str = ""
    url: str = ""


class _Entry(msgspec.Struct):
    request: _Request = msgspec.field(default_factory=_Request)


class _Bundle(msgspec.Struct):
    entry: list[_Entry] = []


def _deleted_observations(file: Path) -> tuple[set[str], int]:
    """The ids in a file of the manifest's `deleted`, and how many of its lines cannot be read: Bundles whose entries are DELETE
    requests (Bulk Data Access, 2.5.7)."""
    found, bad = set(), 0
    content = file.read_bytes()
    for line in (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).splitlines():
        bundle = read(line, _Bundle) if line.strip() else _Bundle()
        bad += bundle is None
        for entry in bundle.entry if bundle else ():
            kind, _, name = entry.request.url.rpartition("/")
            if entry.request.method == "DELETE" and kind.rpartition("/")[2] == "Observation":
                found.add(name)
    return found, bad


class ChangedSource:
    """A server that is searched for whole records, and exports what changed."""

    def __init__(
        self, online: FullSource, exporter: Exporter, folder: Path, mapper: Mapper, bad_lines_allowed: int
    ) -> None:
        self._online, self._exporter, self._folder, self._mapper = online, exporter, folder, mapper
        self._bad_lines_allowed = bad_lines_allowed
        self.reading, self.needs = online.reading, online.needs

    def population(self, scope: Scope) -> Iterator[str]:
        """Patients with a laboratory result of ours in the export of what changed since the scope's instant."""
        if scope.mode is not Mode.NIGHTLY:
            yield from self._online.population(scope)
            return
        whole = self._exporter.changes(self._folder, parse_instant(scope.since), self._mapper)
        bad = 0
        for file in whole.files:
            path = self._folder / file.name
            if file.name.startswith(DELETED):
                named, unread = _deleted_observations(path)
                self.reading.deleted |= named
                bad += unread
                continue
            for block in blocks(Piece(path, 0, path.stat().st_size)):
                bad += bool(block.problem)
                for line in block.data.split(b"\n"):
                    try:
                        rows = self._mapper.map(line) if line.strip() else ()
                    except UNREADABLE:
                        bad += 1
                        continue
                    yield from (r.patient for r in rows if isinstance(r, Fact | Refusal) and r.analyte in LABORATORY)
        self.reading.bad_lines += bad
        if bad > self._bad_lines_allowed:
            raise InputError(
                f"{counted(bad, 'unreadable line')} in the export of what changed",
                "Run again, or allow so many with folder.bad_lines_allowed; the watermark has not moved",
            )

    def records(self, patients: Sequence[str], standing: Collection[str]) -> list[PatientRecord]:
        """The server's."""
        return self._online.records(patients, standing)

    def lacks(self, kinds: Mapping[str, str]) -> ScreenerError:
        """The server's."""
        return self._online.lacks(kinds)

    def basis(self, observations: Collection[str]) -> dict[str, Basis]:
        """The server's."""
        return self._online.basis(observations)

    def read_more(self, reader: RowMapper[R], patients: Sequence[str]) -> list[R]:
        """The server's."""
        return self._online.read_more(reader, patients)

    def medicines(self, names: Collection[str]) -> Mapping[str, Medicine]:
        """The server's."""
        return self._online.medicines(names)

    def women(self, born_until: str, at_most: int) -> tuple[list[str], int | None]:
        """The server's."""
        return self._online.women(born_until, at_most)
