"""Search parameters into a query, and a query into the versions it finds (FHIR R4, search.html).

Unknown parameters, modifiers and prefixes are refused with 400, for a search that drops one in silence answers too much. A
parameter with an empty value is ignored.
"""

import re
from collections.abc import Callable, Iterator, Sequence

import msgspec

from screener.sandbox import dates
from screener.sandbox.definitions import DEFINITIONS, Definition
from screener.sandbox.index import Key, plain
from screener.sandbox.outcome import Json, Refused, bad_request, printable
from screener.sandbox.store import Store, Version

Parameters = Sequence[tuple[str, str]]

DEFAULT_COUNT, MAXIMUM_COUNT = 20, 1000
SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}

_ALWAYS = ("resourceType", "id", "meta", "implicitRules", "modifierExtension")
_IGNORED = frozenset({"_format", "_pretty"})
_DATE_VALUE = re.compile(r"([a-z]{2})?(\d.*)", re.DOTALL)

Test = Callable[[Version], bool]


class Query(msgspec.Struct):
    """A search of one type: what must hold (all of `groups`, `ids`, `tests`), and how to answer."""

    kind: str
    groups: list[list[Key]] = []
    ids: list[frozenset[str]] = []
    tests: list[Test] = []
    count: int = DEFAULT_COUNT
    elements: tuple[str, ...] = ()
    total: bool = True
    count_only: bool = False

    @property
    def selective(self) -> bool:
        """Whether anything but results parameters was asked."""
        return bool(self.groups or self.ids or self.tests)


def parse(kind: str, params: Parameters, base_url: str) -> Query:
    """The query that the parameters ask. Raises Refused (400) for what is unknown or cannot be read."""
    query, definition = Query(kind), DEFINITIONS[kind]
    for name, value in params:
        if not value or name in _IGNORED:
            continue
        try:
            known = _criterion(query, definition, name, value, base_url) or _result_parameter(query, name, value)
        except ValueError as error:
            raise bad_request(f"The value of the search parameter {printable(name)} cannot be read: {error}") from None
        if not known:
            raise _unknown(kind, name)
    return query


def _unknown(kind: str, name: str) -> Refused:
    base, _, modifier = name.partition(":")
    if modifier:
        return Refused(400, "not-supported", f"No modifier of the search parameter {printable(base)} is supported")
    return Refused(400, "not-supported", f"{kind} has no search parameter {printable(name)} here; /metadata lists them")


def _criterion(query: Query, definition: Definition, name: str, value: str, base_url: str) -> bool:
    if name == "_id":
        query.ids.append(frozenset(_split(value, ",")))
    elif name in definition.tokens or name == "_tag":
        query.groups.append([_token(name, one) for one in _split(value, ",")])
    elif name in definition.texts:
        query.tests.append(_text_test(name, [plain(one) for one in _split(value, ",")]))
    elif name in definition.subjects:
        query.groups.append([_reference(name, one, base_url) for one in _split(value, ",")])
    elif name == f"{definition.date_name}:missing" and definition.date:
        missing = _choice(value, ("true", "false")) == "true"
        query.tests.append(lambda version: missing is not bool(version.dates))
    elif name == "_lastUpdated" or (name == definition.date_name and definition.date):
        query.tests.append(_date_test(name, list(_split(value, ","))))
    else:
        return False
    return True


def _result_parameter(query: Query, name: str, value: str) -> bool:
    if name == "_count":
        query.count = _whole_number(value)
        query.count_only = query.count_only or query.count == 0
    elif name == "_elements":
        query.elements = tuple(element for element in value.split(",") if element)
    elif name == "_total":
        query.total = _choice(value, ("accurate", "estimate", "none")) != "none"
    elif name == "_summary":
        query.count_only = _choice(value, ("count", "false")) == "count" or query.count_only
    else:
        return False
    return True


def _whole_number(value: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise ValueError("it is no whole number")
    return min(int(value[:9]), MAXIMUM_COUNT)


def _choice(value: str, choices: Sequence[str]) -> str:
    if value not in choices:
        raise ValueError(f"supported are {', '.join(choices)}")
    return value


def _split(value: str, separator: str) -> Iterator[str]:
    """Parts between separators that no backslash escapes (search.html#escaping); escapes of the separator removed."""
    for part in re.split(rf"(?<!\\){re.escape(separator)}", value):
        if part:
            yield part.replace(f"\\{separator}", separator)


def _token(name: str, value: str) -> Key:
    """`code`, `system|code`, `|code` or `system|` (search.html#token)."""
    found = re.split(r"(?<!\\)\|", value, maxsplit=1)
    plain = [re.sub(r"\\([,|$\\])", r"\1", part) for part in found]
    if len(plain) == 1:
        return name, None, plain[0]
    system, code = plain
    if not system and not code:
        raise ValueError("it is an empty token")
    return name, system, code or None


def _reference(name: str, value: str, base_url: str) -> Key:
    """`Type/id`, a bare id, or this server's own URL of it; for `patient`, a bare id is a Patient's."""
    return name, None, value.removeprefix(f"{base_url}/")


def _text_test(name: str, beginnings: Sequence[str]) -> Test:
    """A string search: what begins with one of these."""

    def holds(version: Version) -> bool:
        said = [text for parameter, _, text in version.keys if parameter == name and text]
        return any(text.startswith(beginning) for text in said for beginning in beginnings)

    return holds


def _date_test(name: str, values: Sequence[str]) -> Test:
    asked = [_prefixed(value) for value in values]

    def holds(version: Version) -> bool:
        targets = _updated(version) if name == "_lastUpdated" else version.dates
        return any(test(target, wanted) for test, wanted in asked for target in targets)

    return holds


def _prefixed(value: str) -> tuple[Callable[[dates.Range, dates.Range], bool], dates.Range]:
    found = _DATE_VALUE.fullmatch(value)
    prefix = (found[1] or "eq") if found else ""
    if found is None or prefix not in dates.PREFIXES:
        raise ValueError(f"a date with one of the prefixes {', '.join(dates.PREFIXES)} is expected")
    return dates.PREFIXES[prefix], dates.parse(found[2])


def _updated(version: Version) -> tuple[dates.Range, ...]:
    return ((version.updated_ms * 1000, version.updated_ms * 1000 + 1000),)


def run(store: Store, query: Query) -> list[Version]:
    """All that the query finds, in the order of creation."""
    ids = frozenset[str].intersection(*query.ids) if query.ids else None
    found = store.select(query.kind, query.groups, ids)
    found = [version for version in found if all(test(version) for test in query.tests)]
    return sorted(found, key=lambda version: version.rank)


def subset(resource: Json, elements: Sequence[str]) -> Json:
    """The elements asked for, the mandatory ones and meta, marked SUBSETTED (search.html#elements)."""
    wanted = (*elements, *DEFINITIONS[resource["resourceType"]].mandatory)
    kept = {name: value for name, value in resource.items() if name in _ALWAYS or _asked(name, wanted)}
    meta = kept.get("meta", {})
    kept["meta"] = {**meta, "tag": [*meta.get("tag", []), SUBSETTED]}
    return kept


def _asked(name: str, wanted: Sequence[str]) -> bool:
    """Whether an element, the extensions of one (`_name`) or one of a choice (`valueQuantity` for `value`) is wanted."""
    plain = name.removeprefix("_")
    return any(plain == element or (plain.startswith(element) and plain[len(element)].isupper()) for element in wanted)
