"""Hypothesis strategies: the resources of the cases, made odd in ways that nobody listed."""

import copy
import json
from typing import Any

from hypothesis import strategies as st

from fhir_fixtures import cases

Json = dict[str, Any]

# Every resource of every case, about one woman.
POOL: list[Json] = [
    resource
    for case in cases.load()
    for resource in json.loads(json.dumps(case.resources, default=float))
    if resource["resourceType"] != "Patient"
]
PEOPLE: list[Json] = [
    resource
    for case in cases.load()
    for resource in json.loads(json.dumps(case.resources, default=float))
    if resource["resourceType"] == "Patient"
]
COMPLETE: list[Json] = next(
    json.loads(json.dumps(case.resources, default=float))
    for case in cases.load()
    if case.name == "complete-in-one-stay"
)
LEAVES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1e308,
    0.845,
    0.8450001,
    10**30,
    "",
    " ",
    "0.84",
    "mmol/L",
    "mg/dL",
    "entered-in-error",
    "final",
    "2025-06-01",
    "2025-06",
    "0000-00-00",
    "2025-06-01T08:00:00",
    "9999-12-31T23:59:59Z",
    "Patient/p1",
    "Patient/p2",
    "http://loinc.org",
    "2601-3",
    "2598-1",
    "female",
    "\u0000",
    "é" * 300,
    [],
    {},
    [None],
    [[]],
    {"coding": None},
    {"coding": [{"system": "http://loinc.org", "code": "2601-3"}]},
    {"value": 0.84, "unit": "mmol/L"},
    {"reference": "#inner"},
]


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document, inner ones last."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in items:
        found += paths(part, (*path, name))
    return found


@st.composite
def odd(draw: st.DrawFn, resource: Json) -> Json:
    """The resource with up to three places replaced, removed, doubled or added; its type and id stay."""
    changed = copy.deepcopy(resource)
    for _ in range(draw(st.integers(0, 3))):
        places = [path for path in paths(changed) if path[0] not in ("resourceType", "id")]
        if not places:
            break
        *parents, last = draw(st.sampled_from(places))
        holder: Any = changed
        for name in parents:
            holder = holder[name]
        what = draw(st.sampled_from(["replace", "remove", "wrap", "add"]))
        if what == "replace":
            holder[last] = draw(st.sampled_from(LEAVES).map(copy.deepcopy))
        elif what == "remove":
            del holder[last]
        elif what == "wrap":
            holder[last] = [holder[last]]
        elif isinstance(holder, dict):
            holder[
                draw(st.sampled_from(["component", "focus", "note", "issued", "value", "text", "code", "extension"]))
            ] = draw(st.sampled_from(LEAVES).map(copy.deepcopy))
    return changed


@st.composite
def records(draw: st.DrawFn, *, oddly: bool = True) -> list[Json]:
    """What a source may hold of one woman: a Patient, every other time a whole stay, and some resources of the cases, each under an
    id of its own."""
    whole = draw(st.booleans())
    found = COMPLETE if whole else [draw(st.sampled_from(PEOPLE))]
    found = [*found, *draw(st.lists(st.sampled_from(POOL), max_size=8))]
    named = [{**resource, "id": "p1" if i == 0 else f"r{i}"} for i, resource in enumerate(found)]
    return [draw(odd(resource)) if oddly else resource for resource in named]
