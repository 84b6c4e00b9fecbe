"""What can be searched for in one resource, as keys of an inverted index."""

from collections.abc import Iterator
from typing import Any

from screener.sandbox import dates
from screener.sandbox.definitions import DEFINITIONS, Definition
from screener.sandbox.outcome import Json

# (parameter, system, code). None for "any"; "" for "none": the four forms of a token are four look-ups.
Key = tuple[str, str | None, str | None]


def keys(resource: Json) -> frozenset[Key]:
    """Everything that the resource is found by, except `_id` and dates."""
    definition = DEFINITIONS[resource["resourceType"]]
    found: set[Key] = set()
    for parameter, path in {**definition.tokens, "_tag": "meta.tag"}.items():
        implied = definition.status_system if parameter == "status" else ""
        for one in path.split(" | "):
            for system, code in _tokens(resource, one, implied):
                found |= {(parameter, system, code), (parameter, None, code), (parameter, system, None)}
    for parameter, path in definition.texts.items():
        found |= {(parameter, None, text) for text in _texts(resource, path)}
    for parameter, path in definition.subjects.items():
        found |= set(_subject_keys(parameter, references(resource, path)))
    return frozenset(found)


def date_ranges(resource: Json) -> tuple[dates.Range, ...]:
    """What `date` searches."""
    paths = DEFINITIONS[resource["resourceType"]].date
    ranges = (dates.of_element(value) for path in paths for value in walk(resource, path))
    return tuple(found for found in ranges if found is not None)


def checked_references(resource: Json, definition: Definition) -> Iterator[tuple[str, str]]:
    """(path, "Type/id") of each local reference to a type that is held here."""
    for path in definition.references:
        for target in references(resource, path):
            kind, _, name = target.partition("/")
            if kind in DEFINITIONS and name:
                yield path, f"{kind}/{name.partition('/')[0]}"


def references(resource: Json, path: str) -> Iterator[str]:
    """The `reference` of each Reference at the path."""
    for value in walk(resource, path):
        target = value.get("reference") if isinstance(value, dict) else None
        if isinstance(target, str):
            yield target


def walk(value: Any, path: str) -> Iterator[Any]:
    """What stands at a dotted path; every element of a list on the way."""
    if isinstance(value, list):
        for element in value:
            yield from walk(element, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        name, _, rest = path.partition(".")
        if name in value:
            yield from walk(value[name], rest)


def _tokens(resource: Json, path: str, implied_system: str) -> Iterator[tuple[str, str]]:
    for value in walk(resource, path):
        if isinstance(value, str):
            yield implied_system, value
        elif isinstance(value, dict):
            codings = value.get("coding", [value])
            for coding in codings if isinstance(codings, list) else ():
                code = coding.get("code", coding.get("value")) if isinstance(coding, dict) else None
                if isinstance(code, str):
                    yield str(coding.get("system", "")), code


def _texts(resource: Json, path: str) -> Iterator[str]:
    """What a concept says in words (search.html#token, the modifier :text), as it is compared."""
    for element in ("text", "coding.display"):
        for words in walk(resource, f"{path}.{element}"):
            if isinstance(words, str):
                yield plain(words)


def plain(words: str) -> str:
    """A string as searches compare it: case and spacing do not count (search.html#string)."""
    return " ".join(words.casefold().split())


def _subject_keys(parameter: str, targets: Iterator[str]) -> Iterator[Key]:
    for target in targets:
        kind, _, name = target.rpartition("/")
        if parameter == "patient" and kind.rpartition("/")[2] != "Patient":
            continue
        yield parameter, None, target
        yield parameter, None, name
