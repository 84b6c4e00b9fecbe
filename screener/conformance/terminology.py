"""Codes of the value sets from a terminology server: all descendants of some concepts, asked for once and then used offline.

The shipped value sets enumerate; what a newer or a national edition of SNOMED CT adds is in none of them. `ValueSet/$expand` with an
`is-a` filter (R4, valueset-operation-expand.html) gives it.
"""

import csv
import io
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import msgspec

from model.atomic import write_whole
from screener.base.errors import RequestRefused, ServerError
from screener.base.progress import Progress
from screener.clinical.codes import TableRow, read_table
from screener.clinical.exclusions import shipped_rules, value_set
from screener.fhir.answer import decode
from screener.fhir.client import Client

PAGE = 1000
_MOST_CODES = 1_000_000  # a server that never ends
_COLUMNS = ("value_set", "system", "code", "source")


class RootRow(TableRow, frozen=True, kw_only=True):
    """A concept whose descendants, and itself, belong to a value set."""

    value_set: str
    system: str
    code: str


class _Contains(msgspec.Struct):
    system: str = ""
    code: str = ""
    abstract: bool = False


class _Parameter(msgspec.Struct):
    name: str = ""


class _Expansion(msgspec.Struct):
    contains: list[_Contains] = []
    total: int | None = None
    parameter: list[_Parameter] = []


class _ValueSet(msgspec.Struct):
    expansion: _Expansion = msgspec.field(default_factory=_Expansion)


class Expanded(msgspec.Struct, frozen=True):
    """The result: how many codes were found, how many of them no shipped value set has, and the concepts that the server does not
    know."""

    found: int
    new: int
    unknown: tuple[str, ...]


def expand(client: Client, file: Path, today: date, progress: Progress) -> Expanded:
    """Ask for every root, and write the codes that are new into `file` when all were answered.

    ServerError where the server cannot expand: the file is then as it was before.
    """
    roots = read_table("roots.csv", RootRow)
    found: dict[str, dict[tuple[str, str], str]] = {}
    unknown: list[str] = []
    for done, root in enumerate(roots):
        progress(done, len(roots))
        codes = list(_descendants(client, root))
        if not codes:
            unknown.append(f"{root.system}|{root.code}")
        source = f"$expand is-a {root.code} at {client.host}, {today.isoformat()}"
        for system, code in codes:
            found.setdefault(root.value_set, {}).setdefault((system, code), source)
    progress(len(roots), len(roots))
    if not found:
        raise ServerError(f"{client.host} knows none of our concepts", "Load SNOMED CT into it, or ask another server")
    rows = list(_new_rows(found))
    text = io.StringIO()
    text.write(f"# version: {today.isoformat()}\n# reviewed by:\n# reviewed:\n")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    table.writerows(rows)
    write_whole(file, [text.getvalue().encode()])
    return Expanded(sum(map(len, found.values())), len(rows), tuple(unknown))


def _new_rows(found: dict[str, dict[tuple[str, str], str]]) -> Iterator[tuple[str, str, str, str]]:
    """What no shipped value set has. A code of a set without effect (skin cancer) is kept out of the sets that would exclude by it."""
    without_effect = {rule.value_set for rule in shipped_rules() if rule.effect == "none"}
    harmless = {key for name in without_effect for key in (*found.get(name, ()), *_codes_of(name))}
    shipped = {key for rule in shipped_rules() for key in _codes_of(rule.value_set)}
    for name in sorted(found):
        for key in sorted(found[name].keys() - shipped - (set() if name in without_effect else harmless)):
            yield name, *key, found[name][key]


def _codes_of(name: str) -> set[tuple[str, str]]:
    return {(row.system, row.code) for row in value_set(name)}


def _descendants(client: Client, root: RootRow) -> Iterator[tuple[str, str]]:
    seen: set[tuple[str, str]] = set()
    while len(seen) < _MOST_CODES:
        page = _page(client, root, len(seen))
        codes = [(entry.system or root.system, entry.code) for entry in page.contains if entry.code]
        fresh = [key for key in codes if key not in seen]
        seen.update(fresh)
        yield from fresh
        if not fresh or (page.total is not None and len(seen) >= page.total):
            return
    raise ServerError(f"{client.host} does not come to the end of an expansion", "Ask another terminology server")


def _page(client: Client, root: RootRow, offset: int) -> _Expansion:
    include = {"system": root.system, "filter": [{"property": "concept", "op": "is-a", "value": root.code}]}
    wanted = {"resourceType": "ValueSet", "status": "active", "compose": {"include": [include]}}
    parameters = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "valueSet", "resource": wanted},
            {"name": "offset", "valueInteger": offset},
            {"name": "count", "valueInteger": PAGE},
        ],
    }
    what = "the expansion of a value set"
    try:
        answer = client.write("POST", "ValueSet/$expand", msgspec.json.encode(parameters), what=what)
    except RequestRefused:
        return _Expansion()  # a concept or a code system that the server does not know
    found: _ValueSet = decode(answer, _ValueSet, what, client.host)
    return found.expansion
