"""What the tables are asked for beside the way of a result: tokens, aliases, units that would fit, what is shipped, routes, policies."""

import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from screener.base.errors import ConfigurationError
from screener.clinical import judge as judging
from screener.clinical import shipped, suspicions, wire
from screener.clinical.codes import LOINC, CodeMap, code_table, systems
from screener.clinical.dates import instant_text, instant_us
from screener.clinical.exclusions import (
    CodeList,
    ExclusionRow,
    effective,
    exclusion_table,
    given,
    policy_of,
    shipped_rules,
    value_set_names,
)
from screener.clinical.judge import judge
from screener.clinical.labels import LabelTables
from screener.clinical.mapping import Mapper, MappingTables
from screener.clinical.policy import Policy
from screener.clinical.records import Analyte, Exclusion, Method, Outcome
from screener.clinical.units import UnitTable, range_table, unit_table
from tests.builders import NOW_US, complete, fact, record, refusal, woman, writer

DATA = Path(shipped.__file__).parent / "data"
ATC = "http://www.whocc.no/atc"


def concept(*codings: tuple[str | None, str | None]) -> wire.CodeableConcept:
    return wire.CodeableConcept(tuple(wire.Coding(system, code) for system, code in codings))


def test_a_token_is_that_of_the_coding_that_the_table_has() -> None:
    codes = CodeMap(code_table(()), systems())
    assert codes.token(concept(("urn:local", "MG"), (LOINC, "2601-3"))) == f"{LOINC}|2601-3"
    assert codes.token(concept((None, "MG"), ("urn:local", "P"))) == "|MG"
    assert codes.token(concept(("urn:local", None), ("urn:local", "P"))) == "urn:local|P"
    assert codes.token(concept(("urn:local", None))) == ""
    assert codes.token(wire.CodeableConcept()) == ""


def test_a_mapper_knows_systems_by_their_other_names() -> None:
    mapper = Mapper(MappingTables.default())
    assert mapper.system(" https://loinc.org ") == LOINC
    assert mapper.system(" urn:own ") == "urn:own"


def test_which_codes_a_line_must_hold_to_matter() -> None:
    codes = Mapper(MappingTables.default()).codes_that_matter()
    assert codes is not None
    assert {
        "2601-3",
        "2600-5",
        "8302-2",
        "8665-2",
        "38267-1",
    } <= codes  # also what is refused, and what documents menopause
    stated = MappingTables.default().menopause
    of_observations = {row.code for row in stated if "Observation" in row.resources.split()}
    assert of_observations <= codes
    by_text = MappingTables.default(
        extra_codes=[{"code": "Magnesium i.S.", "analyte": "mg", "use": "accept", "source": "us"}]
    )
    assert Mapper(by_text).codes_that_matter() is None


def test_the_shipped_tables_are_those_that_the_version_names() -> None:
    found = shipped.shipped()
    assert found.sha256 == shipped.digest()
    rows = sum(len(file.read_text(encoding="utf-8").splitlines()) - 1 for file in (DATA / "valuesets").glob("*.csv"))
    assert found.codes == rows > 5_000
    files = sorted((f for f in DATA.rglob("*.csv") if f.name != "version.csv"), key=lambda f: f.name)
    whole = hashlib.sha256(b"".join(f"{f.name}\n".encode() + f.read_bytes() for f in files)).hexdigest()
    assert shipped.digest() == whole
    assert found.date in (DATA / "version.csv").read_text(encoding="utf-8")


def test_units_in_which_a_value_would_be_usual() -> None:
    table = UnitTable(unit_table(()), range_table())
    assert table.usual(Analyte.MG, Decimal("0.85"))
    assert not table.usual(Analyte.MG, Decimal("2.05"))
    # 2.05 sent as mmol/L is a usual value in mg/dL.
    assert "mg/dL" in table.units_that_fit(Analyte.MG, "mmol/L", Decimal("2.05"))
    assert table.units_that_fit(Analyte.MG, "mmol/L", Decimal("2.05")).count("mg/dL") == 1
    assert table.units_that_fit(Analyte.MG, "no such unit", Decimal("2.05")) == []
    assert table.units_that_fit(Analyte.CTX, "pmol/L", Decimal(1)) == []  # known, and without a factor
    # 158 m is 15,800 cm: the digits are those of centimetres.
    assert table.units_that_fit(Analyte.HEIGHT, "m", Decimal(15_800)) == ["cm"]


def test_a_prefix_of_one_letter_and_an_exact_code() -> None:
    rows = [
        ExclusionRow(rule="any_c", resources="Condition", system="urn:icd", code="C", match="prefix", window="ever"),
        ExclusionRow(rule="one", resources="Condition", system="urn:icd", code="C50.9", window="ever"),
        ExclusionRow(rule="long", resources="Condition", system="urn:icd", code="C50", match="prefix", window="ever"),
        ExclusionRow(rule="drug", resources="Procedure", system="urn:icd", code="C50", window="ever"),
    ]
    listed = CodeList(rows, systems([{"alias": "urn:alias", "system": "urn:icd"}]))

    def rules(code: str, system: str = "urn:icd", resource: str = "Condition") -> list[str]:
        return sorted(row.rule for row in listed.find(resource, concept((system, code))))

    assert rules("C50.9") == ["any_c", "long", "one"]
    assert rules("C50") == ["any_c", "long"]
    assert rules("C5") == ["any_c"]
    assert rules("C") == ["any_c"]
    assert rules("D50.9") == []
    assert rules("C50.9", " urn:alias ") == ["any_c", "long", "one"]
    assert rules("C50.9", "urn:other") == []
    assert rules("C50", resource="Procedure") == ["drug"]
    assert listed.find("Condition", concept((None, "C50.9"), ("urn:icd", None))) == ()


@pytest.mark.parametrize(
    "kind", ["MedicationRequest", "MedicationDispense", "MedicationStatement", "MedicationAdministration"]
)
@pytest.mark.parametrize(
    ("route", "rule"),
    [("intra-articular", "glucocorticoid_local"), ("intravenous", "glucocorticoid"), (None, "glucocorticoid")],
)
def test_each_type_of_medicine_says_its_route_in_its_own_way(kind: str, route: str | None, rule: str) -> None:
    dosage: Any = [{"route": {"text": route}}] if route else []
    if kind == "MedicationAdministration":
        dosage = dosage[0] if dosage else {}
    name = "dosageInstruction" if kind in ("MedicationRequest", "MedicationDispense") else "dosage"
    resource = {
        "resourceType": kind,
        "id": "m1",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/p1"},
        "medicationCodeableConcept": {"coding": [{"system": ATC, "code": "H02AB04"}]},
        "whenHandedOver": "2025-01-01",
        name: dosage,
    }
    (row,) = Mapper(MappingTables.default()).map(json.dumps(resource).encode())
    assert isinstance(row, Exclusion)
    assert row.rule == rule


def test_words_that_point_to_a_rule_matter_as_long_as_its_codes_do() -> None:
    """A caveat by the policy of the rule's own codes of that type; nobody is excluded, and nothing is added up."""
    for text, resource, rule in (
        ("Mammakarzinom links", "Condition", "malignancy"),
        ("Fosamax 70 mg weekly", "MedicationRequest", "antiresorptive"),
        ("Prednisolon 5 mg Tbl.", "MedicationStatement", "glucocorticoid"),
    ):
        found = [row for row in suspicions.suspected(resource, wire.CodeableConcept((), text)) if row.rule == rule]
        own = [row for row in shipped_rules() if row.rule == rule]
        kinds = [ExclusionRow(**policy_of(row), resources=row.resources, system="", code="").kinds for row in own]
        expected = next(row for row, of in zip(own, kinds, strict=True) if resource in of)
        assert [(row.window, row.washout_days) for row in found] == [(expected.window, expected.washout_days)]
        assert {(row.effect, row.route, row.minimum_days) for row in found} == {("caveat", "any", 0)}
        assert [row.words for row in found] == [text]


# What a verdict says where there is nothing to score


def test_an_implausible_birth_date_is_the_reason_whatever_else_is_missing() -> None:
    old = woman(birth_date="1900-01-01")
    for facts in ((), complete()):
        (found,) = judge([record(*facts, person=old)], Policy(), writer().artefact, NOW_US)
        assert (found.outcome, found.reason) == (Outcome.NOT_ELIGIBLE, "birth_date_implausible")
        assert found.reasons == dict.fromkeys(Method, "birth_date_implausible")
        assert found.days == {}


def test_a_woman_who_was_too_young_then_and_is_old_enough_now() -> None:
    """Her age counts on the occasion; what keeps her out today keeps her out whatever the occasion."""
    then = woman(birth_date="1975-12-01")  # 49 on the occasion, 50 on the run's day
    (found,) = judge([record(*complete(), person=then)], Policy(), writer().artefact, NOW_US)
    assert (found.outcome, found.reason) == (Outcome.NOT_ELIGIBLE, "too_young")
    assert found.days.keys() == set(Method)


@pytest.mark.parametrize(
    ("weight", "height", "reason"),
    [
        ("32.5", "158", "complete"), ("32.4", "158", "bmi_implausible"),  # 13.02 and 12.98
        ("149.7", "158", "complete"), ("149.8", "158", "bmi_implausible"),  # 59.97 and 60.01
    ],
)  # fmt: skip
def test_a_body_mass_index_that_no_walking_adult_has(weight: str, height: str, reason: str) -> None:
    (found,) = judge([record(*complete(weight=weight, height=height))], Policy(), writer().artefact, NOW_US)
    assert found.reason == reason
    assert found.outcome is (Outcome.SCORED if reason == "complete" else Outcome.FLAG_ONLY)
    assert found.reasons[Method.NOMOGRAM] == ("" if reason == "complete" else reason)


def test_magnesium_that_is_refused_says_why_there_is_none() -> None:
    def reason(*rows: Any) -> str:
        return judge([record(*rows)], Policy(), writer().artefact, NOW_US)[0].reason

    assert reason() == "no_magnesium"
    assert reason(refusal(Analyte.P, "haemolysed")) == "no_magnesium"
    assert reason(refusal(Analyte.MG, "haemolysed")) == "magnesium_refused"
    assert reason(refusal(Analyte.MG, "withdrawn", withdrawn=True)) == "no_magnesium"
    assert reason(refusal(Analyte.MG, "haemolysed", -730)) == "no_magnesium"  # before the lookback
    assert reason(refusal(Analyte.MG, "haemolysed", 400)) == "no_magnesium"  # after the run
    assert reason(fact(Analyte.P, "1")) == "no_magnesium"


def test_flag_and_nomogram_of_two_results_name_each_other() -> None:
    newer = fact(Analyte.MG, "0.9", 100, id="newer")
    (found,) = judge([record(*complete(), newer)], Policy(), writer().artefact, NOW_US)
    assert "other_magnesium:2025-06-01:at-or-below" in found.occasions[Method.FLAG].marks
    assert "other_magnesium:2025-09-09:above" in found.occasions[Method.NOMOGRAM].marks
    (alone,) = judge([record(*complete())], Policy(), writer().artefact, NOW_US)
    assert not any(mark.startswith("other_magnesium") for one in alone.occasions.values() for mark in one.marks)


def test_the_side_of_a_magnesium_result() -> None:
    sides = [
        judging.at_or_below(fact(Analyte.MG, value, comparator=sign))
        for value, sign in (("0.845", ""), ("0.8451", ""), ("0.5", "<"), ("0.5", "<="), ("1.2", ">"), ("1.2", ">="))
    ]
    assert sides == [True, False, True, True, False, False]


@pytest.mark.parametrize(("years", "presumed"), [("1960-06-01", False), ("1960-06-02", True)])
def test_menopause_is_said_to_be_presumed_below_65(years: str, presumed: bool) -> None:  # noqa: FBT001
    (found,) = judge([record(*complete(), person=woman(birth_date=years))], Policy(), writer().artefact, NOW_US)
    assert ("menopause_presumed" in found.occasions[Method.FLAG].marks) is presumed
    assert "age_from_partial_birth_date" not in found.occasions[Method.FLAG].marks
    (partial,) = judge([record(*complete(), person=woman(birth_date="1960"))], Policy(), writer().artefact, NOW_US)
    assert "age_from_partial_birth_date" in partial.occasions[Method.FLAG].marks


# What the effective tables are made from


def test_the_digest_of_the_list_is_over_rules_value_sets_and_the_sites_rows() -> None:
    texts = [(DATA / "rules.csv").read_text(encoding="utf-8")]
    texts += [(DATA / "valuesets" / f"{name}.csv").read_text(encoding="utf-8") for name in value_set_names()]
    own = [
        {"rule": "paget", "resources": "Condition", "system": "urn:x", "code": "1", "window": "ever", "source": "us"}
    ]
    further = [{"value_set": "paget", "system": "urn:x", "code": "2", "source": "tx"}]
    for site, expanded in (((), ()), (own, ()), ((), further), (own, further)):
        rows = [[sorted(row.items()) for row in listed] for listed in (site, expanded)]
        expected = hashlib.sha256(msgspec.json.encode([texts, *rows])).hexdigest()
        assert effective(given(site), given(expanded)).digest == expected


def test_a_code_from_a_terminology_server_is_matched_exactly_by_its_rules() -> None:
    further = [{"value_set": "malignancy", "system": "urn:x", "code": "C5", "source": "tx"}]
    added = [row for row in exclusion_table((), further) if row.system == "urn:x"]
    assert {(row.rule, row.code, row.match, row.source) for row in added} == {("malignancy", "C5", "exact", "tx")}
    shipped_matches = {row.match for row in exclusion_table(())}
    assert shipped_matches == {"exact", "prefix"}
    icd = [row for row in exclusion_table(()) if row.rule == "malignancy" and row.system.endswith("icd-10")]
    assert {row.match for row in icd} == {"prefix"}


def test_a_sites_own_diagnoses_and_t_scores_label_a_cohort() -> None:
    ours = LabelTables.default()
    site = LabelTables.default(
        [{"system": "urn:x", "code": "T"}],
        [{"resources": "Condition", "system": "urn:x", "code": "O", "match": "prefix"}],
    )
    assert [(row.system, row.code) for row in site.t_scores[len(ours.t_scores) :]] == [("urn:x", "T")]
    assert [(row.code, row.match) for row in site.diagnoses[len(ours.diagnoses) :]] == [("O", "prefix")]
    assert {row.match for row in ours.diagnoses} == {"exact", "prefix"}
    with pytest.raises(ConfigurationError, match=r"cohort\.diagnoses: row 1"):
        LabelTables.default((), [{"resources": "Condition"}])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1970-01-01T00:00:00.000Z"), (59, "1970-01-01T00:00:59.000Z"), (60, "1970-01-01T00:01:00.000Z"),
     (3_599, "1970-01-01T00:59:59.000Z"), (3_600, "1970-01-01T01:00:00.000Z"), (86_399, "1970-01-01T23:59:59.000Z"),
     (86_400, "1970-01-02T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.000Z")],
)  # fmt: skip
def test_an_instant_as_fhir_writes_it(seconds: int, text: str) -> None:
    assert instant_text(seconds * 1_000_000) == text
    assert instant_us(text) == seconds * 1_000_000
    assert instant_text(seconds * 1_000_000 + 5_999) == text.replace(".000Z", ".005Z")
