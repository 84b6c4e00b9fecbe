"""A result about which there is nothing to decide is read in one step: the same row as by every rule, on every case and its odd variants."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.clinical import wire
from screener.clinical.mapping import Mapper, MappingTables
from screener.clinical.records import MalformedResource
from tests.clinical.oddities import POOL, odd
from tests.fhir_samples import observation

Json = dict[str, Any]
READERS = [
    Mapper(MappingTables.default(), use_preliminary=preliminary, further=preliminary)._results
    for preliminary in (False, True)
]
RESULTS = [resource for resource in POOL if resource["resourceType"] == "Observation"]
PLAIN = observation("o1", "p1", "mg", "0.80", "2025-11-01T08:00:00Z")
BESIDE = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from([None, [], {}, "x", *values])
        for name, values in {
            "interpretation": [[{"coding": [{"code": "N"}]}], [{"text": "hemolysed"}], [{"text": "normal"}]],
            "note": [[{"text": "haemolytic"}], [{"text": "fasting"}]],
            "focus": [[{"reference": "Patient/p1"}], [{"reference": "Patient/p2"}]],
            "dataAbsentReason": [{"text": "unknown"}],
            "modifierExtension": [[{"url": "https://x.example"}]],
            "component": [[{"code": PLAIN["code"], "valueQuantity": {"value": 0.9, "unit": "mmol/L"}}]],
            "subject": [{"reference": "Group/g1"}, {"reference": "#p"}, {"reference": "Patient/p1", "type": "Group"}],
            "status": ["preliminary", "entered-in-error", "amended"],
            "effectiveDateTime": ["2025", "2025-11-01", "9999-99-99"],
            "valueQuantity": [{"value": "0.8", "unit": "mmol/L"}, {"value": 1.9, "unit": "mg/dL"}],
            "valueString": ["see report"],
        }.items()
    },
)


def read(how: Any, raw: bytes) -> str:
    """What a way of reading makes of a line: its rows, or the kind of error that the map step makes something of."""
    try:
        return repr(how(wire.decode_resource(raw), raw))
    except MalformedResource as error:
        return str(error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "salvaged"


def alike(resource: Json) -> str:
    """Both ways give the same, which is returned."""
    raw = json.dumps(resource).encode()
    found = ""
    for reader in READERS:
        found = read(reader.rows, raw)
        assert found == read(reader.rows_by_every_rule, raw), resource
    return found


def test_every_case() -> None:
    for resource in RESULTS:
        alike(resource)


@given(st.sampled_from([*RESULTS, PLAIN]).flatmap(odd))
def test_odd_ones(resource: Json) -> None:
    alike({**resource, "resourceType": "Observation"})


@given(BESIDE)
def test_what_stands_beside_the_value(beside: Json) -> None:
    alike({**PLAIN, **beside})


@pytest.mark.parametrize("beside", [{}, {"interpretation": [{"coding": [{"code": "N", "display": "Normal"}]}]}])
def test_the_plain_kind_is_read_in_one_step(beside: Json) -> None:
    result = wire.decode_resource(json.dumps({**PLAIN, **beside}).encode())
    assert isinstance(result, wire.Observation)
    assert all(reader._plain(result) is not None for reader in READERS)
