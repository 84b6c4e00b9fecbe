"""The route by which a medicine is taken: into the body as a whole (into a vein or a muscle among them), or at one place. The codes and words are in data/routes.csv."""

from collections.abc import Iterable
from functools import cache
from typing import Literal

from screener.clinical import wire
from screener.clinical.codes import TableRow, plain, read_table

Route = Literal["systemic", "parenteral", "local", ""]


class RouteRow(TableRow, frozen=True, kw_only=True):
    """One code of a route, or, without a system, a word in its text."""

    system: str = ""
    code: str
    route: Literal["systemic", "parenteral", "local"]


@cache
def _rows() -> tuple[dict[tuple[str, str], Route], tuple[tuple[str, Route], ...]]:
    rows = read_table("routes.csv", RouteRow)
    by_code: dict[tuple[str, str], Route] = {(row.system, row.code): row.route for row in rows if row.system}
    return by_code, tuple((row.code, row.route) for row in rows if not row.system)


def route_of(concepts: Iterable[wire.CodeableConcept]) -> Route:
    """The route that a statement names; the most systemic of several, "" where none is named or known."""
    found = {_one(concept) for concept in concepts}
    order: tuple[Route, ...] = ("parenteral", "systemic", "local")
    return next((route for route in order if route in found), "")


def _one(concept: wire.CodeableConcept) -> Route:
    by_code, by_word = _rows()
    codings = concept.coding or ()
    for coding in codings:
        known = by_code.get((coding.system or "", (coding.code or "").strip()))
        if known:
            return known
    texts = [plain(text) for text in (concept.text, *(coding.display for coding in codings)) if text]
    # Local words first: "intraarticular injection" is local, whatever else it says.
    order: tuple[Route, ...] = ("local", "parenteral", "systemic")
    said = {route for text in texts for word, route in by_word if word in text}
    return next((route for route in order if route in said), "")
