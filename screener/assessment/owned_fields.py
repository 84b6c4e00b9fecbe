"""Which fields of an assessment are ours: they are compared and written; everything else belongs to others.

Decimals are compared as numbers (58.0 equals 58), because a server may drop a trailing zero; times as instants to the
millisecond, because it may move them to its own zone; references without base and version. Foreign notes, mitigation, extensions, tags and security labels are neither compared nor lost.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from screener.assessment.identity import PRODUCT, Canonical
from screener.assessment.resource import COPY_USED, Json, without_run
from screener.clinical.dates import moment

_WHOLE = ("code", "method", "prediction")

_META = frozenset({"id", "extension", "versionId", "lastUpdated", "source", "profile", "security", "tag"})  # R4, Meta


def difference(wanted: Json, kept: Json, canonical: Canonical) -> frozenset[str]:
    """Names of the owned fields in which what stands differs from what ought to."""
    want, have = _projection(wanted, canonical), _projection(kept, canonical)
    changed = {name for name in want if want[name] != have[name]}
    if not _labels(wanted, "security") <= _labels(kept, "security"):
        changed.add("security")
    if not _labels(wanted, "tag") <= _labels(kept, "tag"):
        changed.add("tag")
    return frozenset(changed)


def apply_owned(wanted: Json, kept: Json, canonical: Canonical) -> Json:
    """`kept` with our fields as in `wanted`, and all that others put there untouched."""
    # What R4 does not know there is the server's own (Medplum: project, author, compartment): it sets it again.
    meta = {name: value for name, value in kept.get("meta", {}).items() if name.lstrip("_") in _META}
    for name in ("security", "tag"):
        merged = [*meta.get(name, ()), *_missing(wanted["meta"].get(name, ()), meta.get(name, ()))]
        if merged:
            meta[name] = merged
    foreign_notes = [note for note in kept.get("note", ()) if not _our_note(note)]
    foreign_extensions = [entry for entry in kept.get("extension", ()) if not canonical.owns(entry.get("url", ""))]
    foreign_names = [entry for entry in kept.get("identifier", ()) if entry.get("system") != canonical.identifier]
    result = {**kept, **{name: wanted[name] for name in wanted if name != "meta"}, "meta": meta}
    result["note"] = [*wanted.get("note", ()), *foreign_notes]
    result["extension"] = [*wanted["extension"], *foreign_extensions]
    result["identifier"] = [*wanted["identifier"], *foreign_names]
    return {name: value for name, value in result.items() if value != []}


def _projection(resource: Json, canonical: Canonical) -> dict[str, Any]:
    fields: dict[str, Any] = {name: _plain(resource.get(name)) for name in _WHOLE}
    ours = [entry for entry in without_run(resource, canonical) if canonical.owns(entry.get("url", ""))]
    evidence = canonical.extension("evidence")
    fields["identifier"] = _plain(
        [entry for entry in resource.get("identifier", ()) if entry.get("system") == canonical.identifier]
    )
    fields["evidence"] = _in_order([_without_copy(entry) for entry in ours if entry["url"] == evidence])
    fields["caveats"] = _in_order([entry for entry in ours if entry["url"] != evidence])
    fields["note"] = _in_order([{"text": note.get("text")} for note in resource.get("note", ()) if _our_note(note)])
    fields["basis"] = _in_order(resource.get("basis", []))
    fields["occurrenceDateTime"] = occasion(resource)
    fields["subject"] = _plain(resource.get("subject"))
    fields["performer"] = _plain(resource.get("performer"))
    return fields


def occasion(resource: Json) -> tuple[int, str]:
    """When the assessment's occasion was, comparable with `occasion_at`."""
    return occasion_at(str(resource.get("occurrenceDateTime", "")))


def occasion_at(text: str) -> tuple[int, str]:
    """An instant in milliseconds, or its text where that is no instant."""
    found = moment(text)
    return (0, text) if isinstance(found, str) else (found.instant_us // 1000, "")


def _without_copy(entry: Json) -> Json:
    return {**entry, "extension": [part for part in entry.get("extension", ()) if part.get("url") != COPY_USED]}


def _our_note(note: Json) -> bool:
    return note.get("authorString") == PRODUCT


def _in_order(entries: list[Json]) -> list[Any]:
    by_text: Callable[[Any], str] = repr
    return sorted((_plain(entry) for entry in entries), key=by_text)


def _plain(value: Any) -> Any:
    """A form in which equal things are equal: numbers as Decimal, references as Type/id, no display of references."""
    if isinstance(value, dict):
        if "reference" in value:  # servers add a display and a type
            return {"reference": _reference(str(value["reference"]))}
        return {name: _plain(part) for name, part in sorted(value.items())}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return Decimal(str(value)).normalize()
    return value


def _reference(text: str) -> str:
    return "/".join(text.partition("/_history/")[0].split("/")[-2:])


def _labels(resource: Json, name: str) -> set[tuple[str, str]]:
    return {(entry.get("system", ""), entry.get("code", "")) for entry in resource.get("meta", {}).get(name, ())}


def _missing(wanted: list[Json], present: list[Json]) -> list[Json]:
    held = {(entry.get("system"), entry.get("code")) for entry in present}
    return [entry for entry in wanted if (entry.get("system"), entry.get("code")) not in held]
