"""The rooms of the code, what each may import, and their picture in the documentation.

python -m tests.rooms > docs/architecture.svg
"""

import sys
from functools import cache
from html import escape
from pathlib import Path

# What each room may import, beside itself. Names are the first two of a module's; a package's own face is its first.
_MODEL = (
    "model",
    "model.artefact",
    "model.atomic",
    "model.errors",
    "model.nomogram",
    "model.predictors",
    "model.odds",
    "model.stats",
)
_BASE = (
    "screener",
    "screener.batches",
    "screener.errors",
    "screener.plural",
    "screener.small_counts",
    "screener.table_files",
    "model.atomic",
)
_RULES = (*_BASE, "model", "screener.clinical", "screener.assessment")
_SERVER = (*_RULES, "screener.config", "screener.fhir")
_STORES = (*_SERVER, "screener.stores", "screener.bulk")
_RUN = (*_STORES, "screener.ndjson", "screener.state", "screener.run")
ROOMS: dict[str, tuple[str, ...]] = {
    "model.errors": (),
    "model.predictors": (),
    "model.odds": (),
    "model.stats": ("model.errors", "model.odds"),
    "model.artefact": ("model.atomic", "model.errors", "model.predictors"),
    "model.nomogram": ("model.errors", "model.artefact", "model.odds"),
    "model": ("model.artefact", "model.errors", "model.nomogram", "model.predictors", "model.odds"),
    "model.frames": _MODEL,
    "model.estimator": _MODEL,
    "model.evidence": ("model.predictors", "model.odds", "model.stats"),
    "model.reconstruction": (*_MODEL, "model.evidence"),
    "model.local": _MODEL,
    "model.page": _MODEL,
    "model.report": (*_MODEL, "model.evidence", "model.reconstruction", "model.local"),
    "model.card": (*_MODEL, "model.evidence", "model.reconstruction"),
    "fhir_fixtures": (),
    "screener": (),
    "screener.errors": (),
    "model.atomic": (),
    "screener.batches": (),
    "screener.plural": (),
    "screener.table_files": ("screener.errors",),
    "screener.small_counts": (),
    "screener.clinical": (*_BASE, "model"),
    "screener.assessment": (*_BASE, "model", "screener.clinical"),
    "screener.config": _RULES,
    "screener.fhir": (*_BASE, "screener.config"),
    "screener.state": _BASE,
    "screener.stores": _SERVER,
    "screener.bulk": _SERVER,
    "screener.ndjson": _STORES,
    "screener.run": (*_STORES, "screener.ndjson", "screener.state"),
    "screener.report": _RUN,
    "screener.operations": (*_RUN, "screener.report"),
    "screener.visit": _RUN,
    "screener.doctor": _RUN,
    "screener.explain": _RUN,
    "screener.coverage": _RUN,
    "screener.cohort": _RUN,
    "screener.terminology": _SERVER,
    "screener.conformance": _SERVER,
    "screener.sandbox": (*_BASE, "screener.fhir", "fhir_fixtures"),
    "screener.commands": (
        *_RUN,
        *_MODEL,
        "fhir_fixtures",
        "model.card",
        "model.evidence",
        "model.local",
        "model.page",
        "model.reconstruction",
        "model.report",
        "screener.cohort",
        "screener.conformance",
        "screener.coverage",
        "screener.doctor",
        "screener.explain",
        "screener.operations",
        "screener.report",
        "screener.sandbox",
        "screener.terminology",
        "screener.visit",
    ),
    "screener.cli": (*_BASE, "screener.commands"),
    "screener.__main__": ("screener.cli",),
}

# What is in a room, for the picture.
PURPOSE = {
    "model": "the paper's model",
    "fhir_fixtures": "synthetic patients",
    "screener.errors": "errors, exit codes",
    "screener.clinical": "rules: codes, units, who",
    "screener.assessment": "what ought to stand",
    "screener.config": "settings, site's tables",
    "screener.fhir": "HTTP, search, Bundles",
    "screener.state": "watermark, lease, ledger",
    "screener.stores": "servers as stores",
    "screener.bulk": "Bulk Data export",
    "screener.ndjson": "folders as stores",
    "screener.run": "a run, top to bottom",
    "screener.report": "a run as a page",
    "screener.operations": "metrics, health, webhook",
    "screener.visit": "CDS Hooks service",
    "screener.doctor": "is it ready?",
    "screener.explain": "one patient",
    "screener.coverage": "what a source holds",
    "screener.cohort": "validation cohort",
    "screener.terminology": "value sets from a server",
    "screener.conformance": "profiles, extensions",
    "screener.sandbox": "embedded FHIR server",
    "screener.commands": "one file a command",
    "screener.cli": "command table, errors",
}
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 190, 46, 16, 44


@cache
def reached(room: str) -> frozenset[str]:
    """All rooms that a room may use, at however many removes."""
    return frozenset(ROOMS[room]).union(*(reached(other) for other in ROOMS[room]))


@cache
def floor_of(room: str) -> int:
    """0 for a room that imports none of the picture."""
    return max((floor_of(other) + 1 for other in ROOMS[room] if other in PURPOSE), default=0)


def nearest(room: str) -> list[str]:
    """The rooms below it that no other room below it imports: the lines of the picture."""
    below = {other for other in ROOMS[room] if other in PURPOSE}
    return sorted(other for other in below if not any(other in reached(third) for third in below))


def _file_name(room: str) -> str:
    path = Path(__file__).parents[1] / room.replace(".", "/")
    return room.removeprefix("screener.") + ("/" if path.is_dir() else ".py")


def picture() -> str:
    """The rooms as SVG, the lowest floor at the bottom."""
    floors: dict[int, list[str]] = {}
    for room in PURPOSE:
        floors.setdefault(floor_of(room), []).append(room)
    widest = max(map(len, floors.values()))
    width = widest * (_WIDTH + _GAP_X) + _GAP_X
    height = len(floors) * (_HEIGHT + _GAP_Y)
    at = {}
    for row, floor in enumerate(sorted(floors, reverse=True)):
        left = (width - len(floors[floor]) * (_WIDTH + _GAP_X) + _GAP_X) / 2
        for column, room in enumerate(floors[floor]):
            at[room] = (left + column * (_WIDTH + _GAP_X), row * (_HEIGHT + _GAP_Y) + _GAP_Y / 2)
    lines = [
        f'<line x1="{at[room][0] + _WIDTH / 2:g}" y1="{at[room][1] + _HEIGHT:g}" '
        f'x2="{at[other][0] + _WIDTH / 2:g}" y2="{at[other][1]:g}"/>'
        for room in PURPOSE
        for other in nearest(room)
    ]
    boxes = [
        f'<g transform="translate({x:g} {y:g})"><rect width="{_WIDTH}" height="{_HEIGHT}" rx="4"/>'
        f'<text x="10" y="19" class="name">{escape(_file_name(room))}</text>'
        f'<text x="10" y="36">{escape(PURPOSE[room])}</text></g>'
        for room, (x, y) in at.items()
    ]
    style = (
        "text{font:12px sans-serif;fill:#333}.name{font-weight:bold;fill:#111}"
        "rect{fill:#f6f6f4;stroke:#777}line{stroke:#aaa}"
    )
    parts = "\n".join([*lines, *boxes])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="The rooms of the code; each imports only rooms below it">\n<style>{style}</style>\n{parts}\n</svg>\n'
    )


if __name__ == "__main__":
    sys.stdout.write(picture())
