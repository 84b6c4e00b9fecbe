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
from screener.base.errors import InputError, RequestRefused, ServerError
from screener.base.progress import Progress
from screener.clinical.codes import TableRow, read_table
from screener.clinical.exclusions import shipped_rules, value_set
from screener.fhir.answer import decode
from screener.fhir.client import Client

PAGE = 1000
_MOST_CODES = 1_000_000  # a server that never ends
_SOURCE = "$expand is-a "
_MOST_LOST = 0.1  # of the codes that the file has from a root
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
    """The result: how many codes were found, how many of them no shipped value set has, and how many rows of the old file are gone."""

    found: int
    new: int
    gone: int


def expand(client: Client, file: Path, today: date, progress: Progress, *, accept_smaller: bool = False) -> Expanded:
    """Ask for every root, and write the codes that are new into `file` when all were answered.

    ServerError where the server cannot expand, and, unless `accept_smaller`, where a root has no codes or has lost more than a tenth of
    those that the file has from it: the file is then as it was before.
    """
    roots = read_table("roots.csv", RootRow)
    found: dict[str, dict[tuple[str, str], str]] = {}
    empty: list[str] = []
    smaller: list[str] = []
    before = _before(file)
    for done, root in enumerate(roots):
        progress(done, len(roots))
        codes = list(_descendants(client, root))
        if not codes:
            empty.append(root.code)
        earlier = before.get(root.code, set())
        lost = len(earlier - set(codes))
        if lost > _MOST_LOST * len(earlier):
            smaller.append(f"{root.code} ({lost} of {len(earlier)})")
        source = f"{_SOURCE}{root.code} at {client.host}, {today.isoformat()}"
        for system, code in codes:
            found.setdefault(root.value_set, {}).setdefault((system, code), source)
    progress(len(roots), len(roots))
    if not found or (empty and not accept_smaller):
        raise ServerError(
            f"{client.host} expands {', '.join(empty)} to nothing: {file.name} is as it was",
            "Load SNOMED CT into it, or ask another server; a list that lacks a concept would let women with it through. "
            "--accept-smaller writes what there is",
        )
    if smaller and not accept_smaller:
        raise ServerError(
            f"{client.host} no longer gives codes that {file.name} has, of {', '.join(smaller)}: the file is as it was",
            "Look at the edition that it holds; --accept-smaller writes the smaller list",
        )
    rows = list(_new_rows(found))
    text = io.StringIO()
    text.write(f"# version: {today.isoformat()}\n# reviewed by:\n# reviewed:\n")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    table.writerows(rows)
    write_whole(file, [text.getvalue().encode()])
    gone = set().union(*before.values()) - {key for codes in found.values() for key in codes}
    return Expanded(sum(map(len, found.values())), len(rows), len(gone))


def _before(file: Path) -> dict[str, set[tuple[str, str]]]:
    """The codes of the file as it is, by the root that they are from; {} where there is none."""
    try:
        lines = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if not line.startswith("#")]
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {file.name}: {type(error).__name__}", "Name a new file after --out") from error
    found: dict[str, set[tuple[str, str]]] = {}
    for row in csv.DictReader(lines):
        source = row.get("source") or ""
        if source.startswith(_SOURCE):
            root = source.removeprefix(_SOURCE).partition(" ")[0]
            found.setdefault(root, set()).add((row.get("system") or "", row.get("code") or ""))
    return found


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
        if page.total is not None and len(seen) >= page.total:
            return
        if not fresh:
            if page.total is not None:
                raise ServerError(
                    f"{client.host} counts {page.total} codes below {root.code} and gives {len(seen)}",
                    "Nothing was written; ask another terminology server",
                )
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
    except RequestRefused as refused:
        raise ServerError(
            f"{refused.what} (below {root.code})", "The file is as it was; load SNOMED CT, or ask another server"
        ) from refused
    found: _ValueSet = decode(answer, _ValueSet, what, client.host)
    return found.expansion
