"""What is on no list but reads like an exclusion.

`listed_names.csv`: names of listed codes, by rule (ICD-10-CM, a work of the US government; RxNorm's own names).
`ordinary_diagnoses.txt`: 500 names of ICD-10-CM codes that are on no list, one of a category, drawn at random
without the chapters of pregnancy and of the newborn, whose names are true suspicions.
"""

import csv
import json
from collections import defaultdict
from pathlib import Path

import pytest

from screener.clinical import wire
from screener.clinical.mapping import Mapper, MappingTables
from screener.clinical.records import Exclusion
from screener.clinical.suspicions import LONGEST_WORDS, rules_in, suspected

HERE = Path(__file__).parent
MAPPER = Mapper(MappingTables.default())


def rules(text: str, resource: str = "Condition") -> set[str]:
    return {rule.row.rule for rule in rules_in(resource, text)}


def test_the_names_of_listed_codes_are_suspected() -> None:
    hits: dict[str, list[bool]] = defaultdict(list)
    with (HERE / "listed_names.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            hits[row["rule"]].append(row["rule"] in rules(row["name"], row["resource"]))
    shares = {rule: sum(found) / len(found) for rule, found in hits.items()}
    assert len(shares) >= 13
    assert {rule: share for rule, share in shares.items() if share < 0.95} == {}


def test_ordinary_diagnoses_are_not() -> None:
    names = (HERE / "ordinary_diagnoses.txt").read_text(encoding="utf-8").splitlines()
    assert len(names) == 500
    assert sum(bool(rules(name)) for name in names) <= 10


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Mammakarzinom links", "malignancy"),
        ("cancer du sein", "malignancy"),
        ("cáncer de mama", "malignancy"),
        ("Leberzirrhose Child B", "hepatic"),
        ("cirrhose hépatique", "hepatic"),
        ("Terminale Niereninsuffizienz", "renal"),
        ("insuffisance rénale terminale", "renal"),
        ("on haemodialysis", "renal"),
        ("primärer Hyperparathyreoidismus", "hyperparathyroidism"),
        ("Morbus Paget des Knochens", "paget"),
        ("Ostéomalacie", "osteomalacia"),
        ("Raquitismo", "osteomalacia"),
        ("schwanger, 12. SSW", "pregnancy"),
        ("embarazada", "pregnancy"),
        ("Osteoporose", "osteoporosis"),
        ("Personal history of breast cancer", "malignancy_history"),
    ],
)
def test_words_of_four_languages(text: str, rule: str) -> None:
    assert rule in rules(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Fosamax 70 mg weekly", "antiresorptive"),
        ("Prolia 60 mg s.c.", "antiresorptive"),
        ("Prednisolon 5 mg Tbl.", "glucocorticoid"),
        ("Forsteo", "anabolic"),
        ("Létrozole 2,5 mg", "antihormonal"),
        ("Crysvita", "metabolic_bone"),
    ],
)
def test_medicines_by_name_and_brand(text: str, rule: str) -> None:
    assert rule in rules(text, "MedicationStatement")
    assert rules(text, "Condition") & {"antiresorptive", "glucocorticoid"} == set()


@pytest.mark.parametrize(
    "text",
    [
        "Family history of breast cancer",
        "Screening for malignant neoplasm of colon",
        "No evidence of malignancy",
        "Familienanamnese: Mammakarzinom",
        "Kein Hinweis auf Malignität",
        "Ausschluss Leberzirrhose",
        "antécédents familiaux de cancer du sein",
        "dépistage du cancer colorectal",
        "antecedentes familiares de cáncer",
        "sin evidencia de cáncer",
        "at risk of osteoporosis",
        "Pregnancy test: negative",
        "Basal cell carcinoma of nose",
        "Basaliom",
        "malignant hypertension",
        "Retinal dialysis",
        "Osteopenia",
        "Osteoporosis prophylaxis",
    ],
)
def test_denials_families_and_screenings_do_not_count(text: str) -> None:
    assert rules(text) == set()


@pytest.mark.parametrize("text", ["Hydrocortisone 1 % cream", "Budesonide nasal spray", "Estradiol vaginal cream"])
def test_local_forms_of_medicines_do_not_count(text: str) -> None:
    assert rules(text, "MedicationRequest") == set()


def mapped(code: dict[str, object]) -> list[Exclusion]:
    resource = {"resourceType": "Condition", "id": "c1", "subject": {"reference": "Patient/p1"}, "code": code}
    return [row for row in MAPPER.map(json.dumps(resource).encode()) if isinstance(row, Exclusion)]


def test_a_suspicion_is_a_caveat_with_the_words_of_the_source() -> None:
    (row,) = mapped({"coding": [{"system": "urn:local", "code": "x", "display": "Breast  cancer, left"}]})
    assert (row.rule, row.caveat, row.words, row.by) == ("suspected:malignancy", True, "Breast cancer, left", "")
    assert len(suspected("Condition", wire.CodeableConcept(text="cancer " * 40))[0].words) == LONGEST_WORDS


def test_words_are_printable() -> None:
    (row,) = mapped({"text": "Breast\u0000 cancer\x1b[31m\ud83d\udc80 \u202e"})
    assert row.words == "Breast cancer[31m\U0001f480 "


def test_words_count_only_where_no_code_is_on_a_list() -> None:
    listed = {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "C44.311", "display": "Cancer of the skin of nose"}
    assert mapped({"coding": [listed]}) == []
    other = {"system": "urn:local", "code": "x", "display": "cancer"}
    assert mapped({"coding": [listed, other], "text": "cancer"}) == []
