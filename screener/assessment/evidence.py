"""Positive evidence against an assessment that stands: what it rests on was wrong, or she was never eligible.

What cannot be seen is no evidence. An assessment carries its evidence (which Observation, which value), so that "now says
something else" is a comparison and not a guess.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import msgspec

from screener.assessment.identity import Canonical
from screener.assessment.resource import COPY_USED, Json, local_id, observation_ids
from screener.assessment.values import plain
from screener.clinical.dates import age_years, instant_us
from screener.clinical.eligibility import holds, minimum_age_years
from screener.clinical.merge import PatientView
from screener.clinical.policy import Policy
from screener.clinical.records import Fact, Refusal

# Refusals that come from what the resource says, whatever the site's tables of codes, units and ranges say.
_CONTENT_REASONS = frozenset(
    {
        "haemolysed",
        "value_absent",
        "value_not_quantity",
        "magnesium_given",
        "component_differs",
        "specimen_urine",
        "specimen_red_cells",
        "specimen_other",
        "other_basis",
    }
)


class _Used(msgspec.Struct):
    """What the assessment says of one Observation: the values used by analyte, and the lastUpdated of the copy."""

    values: dict[str, Decimal] = {}
    updated_us: int = 0


class Basis(msgspec.Struct, frozen=True):
    """What reading an Observation by its id gave.

    `rows` is what the map made of it (empty for a code that is not mapped); `gone` says that the server answered that it does
    not exist, while it did answer a control read; `seen` is False where neither can be said. `updated_us` is its
    lastUpdated, 0 where the server tells none.
    """

    seen: bool
    gone: bool = False
    withdrawn: bool = False
    updated_us: int = 0
    rows: tuple[Fact | Refusal, ...] = ()


def unseen_basis(view: PatientView, resource: Json) -> set[str]:
    """Ids of Observations that the assessment rests on and that the record does not hold."""
    return set(observation_ids(resource)) - _by_observation(view).keys()


def _by_observation(view: PatientView) -> dict[str, list[Fact | Refusal]]:
    """The results by the id of their Observation, of which several components may be results."""
    found: dict[str, list[Fact | Refusal]] = {}
    for row in view.measurements:
        found.setdefault(row.id.partition("#")[0], []).append(row)
    return found


def against(view: PatientView, resource: Json, basis: Mapping[str, Basis], canonical: Canonical, policy: Policy) -> str:
    """The reason code of the first positive evidence against a standing assessment, or ""."""
    return _against_basis(view, resource, basis, canonical) or _against_patient(view, resource, canonical, policy)


def _against_basis(view: PatientView, resource: Json, basis: Mapping[str, Basis], canonical: Canonical) -> str:
    used, held = _used(resource, canonical), _by_observation(view)
    for name in observation_ids(resource):
        rows = tuple(held.get(name, ()))
        found = basis.get(name, Basis(seen=False))
        if rows:
            found = Basis(seen=True, rows=rows, updated_us=max(row.version.updated_us for row in rows))
        reason = _against_result(found, used.get(name, _Used()), view)
        if reason:
            return reason
    return ""


def _against_result(found: Basis, used: _Used, view: PatientView) -> str:
    if found.gone:
        # Where the patient is not shown to us either, a missing result may only be one that we may not see.
        return "basis_gone" if view.demographics is not None else ""
    refused = [row for row in found.rows if isinstance(row, Refusal)]
    if found.withdrawn or any(row.withdrawn for row in refused):
        return "basis_withdrawn"
    return "basis_changed" if _says_something_else(found, refused, used, view) else ""


def _says_something_else(found: Basis, refused: list[Refusal], used: _Used, view: PatientView) -> bool:
    if not found.seen:
        return False
    facts = [row for row in found.rows if isinstance(row, Fact)]
    if any(row.patient != view.patient for row in facts):
        return not (view.demographics is not None and view.demographics.merged)
    now = {row.analyte.value: plain(row.value) for row in facts}
    if now:
        return any(now.get(name) != value for name, value in used.values.items())
    # It gave a usable result once and gives none now. Where it was altered since, the source changed it; else the
    # site's tables did.
    altered = 0 < used.updated_us < found.updated_us
    return altered or any(row.reason in _CONTENT_REASONS for row in refused)


def _used(resource: Json, canonical: Canonical) -> dict[str, _Used]:
    """What the assessment says it used, by Observation id; values in the model's units."""
    found: dict[str, _Used] = {}
    for extension in resource.get("extension", ()):
        if extension.get("url") == canonical.extension("evidence"):
            parts = {part.get("url"): part for part in extension.get("extension", ())}
            if "observation" in parts:
                name = local_id(parts["observation"].get("valueReference", {}).get("reference", ""))
                used = found.setdefault(name, _Used())
                value = Decimal(str(parts["value"].get("valueQuantity", {}).get("value", "0")))
                used.values[str(parts["predictor"].get("valueCode"))] = value
                used.updated_us = instant_us(parts.get(COPY_USED, {}).get("valueInstant", ""))
    return found


def _against_patient(view: PatientView, resource: Json, canonical: Canonical, policy: Policy) -> str:
    person = view.demographics
    if person is None:
        return ""
    if person.sex in ("male", "other"):  # what is not clear is no evidence
        return "sex_corrected"
    day = date.fromisoformat(str(resource.get("occurrenceDateTime", ""))[:10]).toordinal()
    if person.birth_date not in ("", "malformed"):
        _, oldest = age_years(person.birth_date, day)
        least = minimum_age_years(view, day, policy)
        if oldest < least <= _age_used(resource, canonical):
            return "birth_date_corrected"
    dated = any(x.start_day and holds(x, day) for x in view.exclusions)
    return "excluded_at_occasion" if dated else ""


def _age_used(resource: Json, canonical: Canonical) -> int:
    for extension in resource.get("extension", ()):
        if extension.get("url") == canonical.extension("evidence"):
            parts = {part.get("url"): part for part in extension.get("extension", ())}
            if parts.get("predictor", {}).get("valueCode") == "age":
                return int(parts["value"].get("valueQuantity", {}).get("value", 0))
    return 0
