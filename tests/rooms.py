"""The rooms of the code, the imports between them, and their picture in the documentation.

ARROWS is what exists: a test compares it with the code, so a new arrow is a line that a reviewer sees.

python -m tests.rooms --arrows        prints the table as the code has it
python -m tests.rooms --lines         prints the lines of each room, and those of a nightly run against a server
python -m tests.rooms > docs/architecture.svg
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterable
from functools import cache
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("model", "screener", "fhir_fixtures")

# Which room imports which. A room is a package or a module at the top; a package's own face (`model`, `screener`) is one, too.
ARROWS: dict[str, tuple[str, ...]] = {
    "fhir_fixtures": (),
    "model": (
        "model.artefact",
        "model.errors",
        "model.nomogram",
        "model.odds",
        "model.predictors",
    ),
    "model.artefact": (
        "model.atomic",
        "model.errors",
        "model.predictors",
    ),
    "model.atomic": (),
    "model.card": (
        "model.artefact",
        "model.errors",
        "model.evidence",
        "model.odds",
        "model.predictors",
        "model.reconstruction",
        "model.stats",
    ),
    "model.errors": (),
    "model.estimator": (
        "model.artefact",
        "model.errors",
        "model.nomogram",
        "model.predictors",
    ),
    "model.evidence": (
        "model.odds",
        "model.predictors",
        "model.stats",
    ),
    "model.frames": (
        "model.artefact",
        "model.errors",
        "model.nomogram",
        "model.predictors",
    ),
    "model.local": (
        "model.artefact",
        "model.errors",
        "model.nomogram",
        "model.odds",
        "model.predictors",
        "model.stats",
    ),
    "model.nomogram": (
        "model.artefact",
        "model.errors",
        "model.odds",
    ),
    "model.odds": (),
    "model.page": (
        "model.artefact",
        "model.predictors",
    ),
    "model.predictors": (),
    "model.reconstruction": (
        "model.artefact",
        "model.errors",
        "model.evidence",
        "model.odds",
        "model.predictors",
        "model.stats",
    ),
    "model.report": (
        "model.artefact",
        "model.atomic",
        "model.errors",
        "model.evidence",
        "model.local",
        "model.nomogram",
        "model.odds",
        "model.predictors",
        "model.reconstruction",
        "model.stats",
    ),
    "model.stats": (
        "model.errors",
        "model.odds",
    ),
    "screener": (),
    "screener.__main__": ("screener.commands",),
    "screener.analysis": (
        "model.atomic",
        "screener",
        "screener.assessment",
        "screener.base",
        "screener.clinical",
        "screener.run",
        "screener.stores",
    ),
    "screener.assessment": (
        "model",
        "screener.clinical",
    ),
    "screener.base": (),
    "screener.clinical": (
        "model",
        "screener.base",
    ),
    "screener.commands": (
        "fhir_fixtures",
        "model",
        "model.artefact",
        "model.atomic",
        "model.card",
        "model.errors",
        "model.evidence",
        "model.local",
        "model.odds",
        "model.page",
        "model.predictors",
        "model.reconstruction",
        "model.report",
        "screener",
        "screener.analysis",
        "screener.assessment",
        "screener.base",
        "screener.clinical",
        "screener.config",
        "screener.conformance",
        "screener.fhir",
        "screener.operations",
        "screener.run",
        "screener.sandbox",
        "screener.state",
        "screener.stores",
        "screener.visit",
    ),
    "screener.config": (
        "screener.assessment",
        "screener.base",
        "screener.clinical",
    ),
    "screener.conformance": (
        "model",
        "model.atomic",
        "screener.assessment",
        "screener.base",
        "screener.clinical",
        "screener.fhir",
    ),
    "screener.fhir": (
        "model.atomic",
        "screener.base",
        "screener.config",
    ),
    "screener.operations": (
        "model",
        "model.atomic",
        "screener",
        "screener.assessment",
        "screener.base",
        "screener.clinical",
        "screener.config",
        "screener.fhir",
        "screener.run",
        "screener.state",
        "screener.stores",
    ),
    "screener.run": (
        "model",
        "model.atomic",
        "screener",
        "screener.assessment",
        "screener.base",
        "screener.clinical",
        "screener.config",
        "screener.fhir",
        "screener.state",
        "screener.stores",
    ),
    "screener.sandbox": (
        "fhir_fixtures",
        "screener.base",
        "screener.fhir",
    ),
    "screener.state": ("screener.base",),
    "screener.stores": (
        "model.atomic",
        "screener.assessment",
        "screener.base",
        "screener.clinical",
        "screener.config",
        "screener.fhir",
    ),
    "screener.visit": (
        "screener.assessment",
        "screener.base",
        "screener.clinical",
        "screener.config",
        "screener.fhir",
        "screener.run",
        "screener.stores",
    ),
}

# What is in a room, for the picture; from the top down.
PURPOSE = {
    "screener.commands": "one file a command",
    "screener.analysis": "verdicts in words and counts",
    "screener.visit": "CDS Hooks service",
    "screener.operations": "doctor, report, schedule",
    "screener.run": "a run, top to bottom",
    "screener.stores": "servers, folders, exports",
    "screener.conformance": "profiles, value sets",
    "screener.sandbox": "embedded FHIR server",
    "screener.fhir": "HTTP, search, Bundles",
    "screener.config": "settings, site's tables",
    "screener.assessment": "what ought to stand",
    "screener.clinical": "rules: codes, units, who",
    "screener.state": "watermark, lease, ledger",
    "screener.base": "errors, exit codes",
    "model": "the paper's model",
    "fhir_fixtures": "synthetic patients",
}


def modules() -> dict[str, Path]:
    """Every module of the product, by its name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def room_of(module: str) -> str:
    """The first two names of a module; of fhir_fixtures, which is one room, the first."""
    parts = module.split(".")
    return parts[0] if parts[0] == "fhir_fixtures" else ".".join(parts[:2])


@cache
def imports(path: Path) -> frozenset[str]:
    """The modules that a file names, at its top or inside a function; of a name in a module the module. A module that is named as a string
    (`"screener.commands.run:run"`) is an import, too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = node.value.partition(":")[0]
            found |= {named} if "." in named and named in MODULES else set()
    return frozenset(found)


def arrows() -> dict[str, tuple[str, ...]]:
    """Which room imports which, as the code has it."""
    found: dict[str, set[str]] = {room_of(module): set() for module in MODULES}
    for module, path in MODULES.items():
        ours = {room_of(other) for other in imports(path) if other.split(".")[0] in PACKAGES}
        found[room_of(module)] |= ours - {room_of(module)}
    return {room: tuple(sorted(others)) for room, others in sorted(found.items())}


_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 190, 46, 16, 44


@cache
def reached(room: str) -> frozenset[str]:
    """All rooms that a room may use, at however many removes."""
    return frozenset(ARROWS[room]).union(*(reached(other) for other in ARROWS[room]))


def drawn_below(room: str) -> set[str]:
    """The rooms of the picture that a room imports; a part of `model` counts as `model`."""
    below = {other if other in PURPOSE else other.split(".")[0] for other in ARROWS[room]}
    return {other for other in below if other in PURPOSE and other != room}


@cache
def floor_of(room: str) -> int:
    """0 for a room that imports none of the picture."""
    return max((floor_of(other) + 1 for other in drawn_below(room)), default=0)


def nearest(room: str) -> list[str]:
    """The rooms below it that no other room below it imports: the lines of the picture."""
    below = drawn_below(room)
    return sorted(other for other in below if not any(other in reached(third) for third in below))


def _file_name(room: str) -> str:
    path = ROOT / room.replace(".", "/")
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


# What a night against a server does without: folders, exports, Spark, and what only other commands read.
_NOT_OF_A_NIGHT = (
    "screener.stores.folder.",
    "screener.stores.bulk.",
    "screener.run.folder_engine",
    "screener.run.spark_",
)


def nightly() -> set[str]:
    """The modules that `screener run` needs for a night against a server, by its imports."""
    found: set[str] = set()
    waiting = {"screener.commands.run", "screener.commands.cli", "screener.run.job", "screener.stores.folder.workers"}
    while waiting:
        module = waiting.pop()
        found.add(module)
        ours = {other for other in imports(MODULES[module]) if other in MODULES}
        ours = {other for other in ours if not other.startswith((*_NOT_OF_A_NIGHT, "screener.commands."))}
        waiting |= ours - found
    return found


def lines_of(modules_: Iterable[str]) -> Counter[str]:
    """The lines of these modules by room of the picture."""
    counts: Counter[str] = Counter()
    for module in modules_:
        room = room_of(module)
        counts[room if room in PURPOSE else room.split(".")[0]] += len(MODULES[module].read_text().splitlines())
    return counts


def line_table() -> str:
    """Rooms with their lines, as Markdown."""
    whole, night = lines_of(MODULES), lines_of(nightly())
    rows = [f"| `{_file_name(room)}` | {whole[room]:,} | {night[room]:,} |" for room in PURPOSE]
    return "\n".join(
        ["| room | lines | for a night |", "|---|---:|---:|", *rows, f"| all | {whole.total():,} | {night.total():,} |"]
    )


if __name__ == "__main__":
    if "--lines" in sys.argv:
        sys.stdout.write(f"{line_table()}\n")
        sys.exit()
    if "--arrows" in sys.argv:
        for room, others in arrows().items():
            sys.stdout.write(f'    "{room}": ({"".join(f"{other!r}, " for other in others)}),\n')
    else:
        sys.stdout.write(picture())
