"""The route by which a medicine is taken: into the body as a whole, or at one place. The codes and words are in data/routes.csv."""

from collections.abc import Iterable
from functools import cache
from typing import Literal

from screener.clinical import wire
from screener.clinical.codes import TableRow, plain, read_table

Route = Literal["systemic", "local", ""]


class RouteRow(TableRow, frozen=True, kw_only=True):
    """One code of a route, or, without a system, a word in its text."""

    system: str = ""
    code: str
    route: Literal["systemic", "local"]


@cache
def _rows() -> tuple[dict[tuple[str, str], Route], tuple[tuple[str, Route], ...]]:
    rows = read_table("routes.csv", RouteRow)
    by_code: dict[tuple[str, str], Route] = {(row.system, row.code): row.route for row in rows if row.system}
    return by_code, tuple((row.code, row.route) for row in rows if not row.system)


def route_of(concepts: Iterable[wire.CodeableConcept]) -> Route:
    """The route that a statement names; "systemic" where one of several is, "" where none is named or known."""
    found = {_one(concept) for concept in concepts}
    return "systemic" if "systemic" in found else "local" if "local" in found else ""


def _one(concept: wire.CodeableConcept) -> Route:
    by_code, by_word = _rows()
    codings = concept.coding or ()
    for coding in codings:
        known = by_code.get((coding.system or "", (coding.code or "").strip()))
        if known:
            return known
    texts = [plain(text) for text in (concept.text, *(coding.display for coding in codings)) if text]
    # Local words first: "intraarticular injection" is local, whatever else it says.
    for wanted in ("local", "systemic"):
        if any(word in text for text in texts for word, route in by_word if route == wanted):
            return "local" if wanted == "local" else "systemic"
    return ""
