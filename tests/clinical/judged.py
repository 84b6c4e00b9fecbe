"""From resources to a verdict, by the shipped tables and rules."""

import json
from collections.abc import Iterable
from typing import Any

from model import load_artefact
from screener.assessment.reconcile import Rules
from screener.clinical.judge import Verdict, judge
from screener.clinical.mapping import Mapped, Mapper, MappingTables
from screener.clinical.policy import Policy
from screener.clinical.records import MalformedResource
from screener.clinical.statements import medicine
from screener.clinical.wire import EXCLUDING
from screener.stores.grouping import gather
from tests.builders import NOW_US, writer

Json = dict[str, Any]
TABLES = MappingTables.default()
MAPPER = Mapper(TABLES)
ARTEFACT = load_artefact()
NEEDS = dict.fromkeys(sorted(EXCLUDING), "required")
RULES = Rules(Policy(), writer(), NOW_US)


def mapped(resources: Iterable[Json]) -> tuple[list[Mapped], dict[str, Any]]:
    rows: list[Mapped] = []
    medicines = {}
    for resource in resources:
        raw = json.dumps(resource).encode()
        try:
            rows += MAPPER.map(raw)
        except MalformedResource:
            continue
        if resource["resourceType"] == "Medication" and (found := medicine(raw)):
            medicines[found.id] = found
    return rows, medicines


def verdict(resources: Iterable[Json]) -> Verdict:
    rows, medicines = mapped(resources)
    (record,) = gather(["p1"], MAPPER.resolve_medications(rows, medicines), {}, NEEDS)
    (found,) = judge([record], RULES.policy, ARTEFACT, RULES.now_us)
    return found
