"""What is on no list but reads like an exclusion.

`listed_names.csv`: names of listed codes, by rule (ICD-10-CM, a work of the US government; RxNorm's own names).
`ordinary_diagnoses.txt`: 500 names of ICD-10-CM codes that are on no list, one of a category, drawn at random
without the chapters of pregnancy and of the newborn, whose names are true suspicions.
`medicine_names.txt`: the 4,937 names of substances in the ATC classification (WHO), from a public list of April 2026.
"""

import csv
import json
import re
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


# What the name of each substance that a pattern meets has in it.
STEMS = {
    "antiresorptive": "(alen|rise|iban|zole|pami|clo|eti|tilu)dronic|oxifene|calcitonin|strontium ranelate|denosumab",
    "anabolic": "paratide|parathyroid hormone|romosozumab",
    "antihormonal": "relin|lagolix|relugolix|degarelix|relix|rozole|exemestane|formestane|glutethimide|oremifene|tamoxifen|fulvestrant",
    "metabolic_bone": "burosumab|asfotase",
    "hormone_therapy": "estradiol|estrogen|estriol|tibolone",
    "glucocorticoid": "cort|pred|metasone|methasone|triamcinolone|rimexolone|flazacort",
    "lowers_magnesium": "prazole|thiazide|chlortalidone|indapamide|metolazone|xipamide",
    "magnesium_given": "$^",
}
TRACERS = re.compile("technetium|rhenium|samarium|fluoroestradiol|strontium .89Sr")


def test_no_pattern_meets_another_medicine() -> None:
    names = (HERE / "medicine_names.txt").read_text(encoding="utf-8").splitlines()
    assert len(names) == 4937
    met: dict[str, list[str]] = defaultdict(list)
    for name in names:
        for rule in rules(name, "MedicationRequest"):
            met[rule].append(name)
    assert met.keys() == STEMS.keys() - {"magnesium_given"}
    wrong = {
        rule: [n for n in found if not re.search(STEMS[rule], n) or TRACERS.search(n)] for rule, found in met.items()
    }
    assert {rule: found for rule, found in wrong.items() if found} == {}
    assert "indapamide" not in met["antiresorptive"]


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
        ("borstkanker links", "malignancy"),
        ("brystkræft", "malignancy"),
        ("brystkreft", "malignancy"),
        ("bröstcancer", "malignancy"),
        ("carcinoma della mammella", "malignancy"),
        ("cancro del colon", "malignancy"),
        ("levercirrose", "hepatic"),
        ("levercirros", "hepatic"),
        ("cirrosi epatica", "hepatic"),
        ("terminale nierinsufficiëntie", "renal"),
        ("kronisk nyresvigt", "renal"),
        ("terminal njursvikt", "renal"),
        ("insufficienza renale terminale", "renal"),
        ("hemodialyse", "renal"),
        ("emodialisi", "renal"),
        ("zwanger", "pregnancy"),
        ("svanger", "pregnancy"),
        ("incinta", "pregnancy"),
        ("gravid", "pregnancy"),
        ("osteoporosi", "osteoporosis"),
        ("benskörhet", "osteoporosis"),
        ("knogleskørhed", "osteoporosis"),
        ("hyperparathyreoïdie", "hyperparathyroidism"),
        ("osteomalacie", "osteomalacia"),
        # short forms
        ("NSCLC stage IV", "malignancy"),
        ("CLL, Rai 0", "malignancy"),
        ("HCC", "malignancy"),
        ("Mamma-Ca re.", "malignancy"),
        ("Ca. mammae", "malignancy"),
        ("Bronchial-CA", "malignancy"),
        ("KDIGO G4A3", "renal"),
        ("CKD G5", "renal"),
        ("ESKD", "renal"),
        ("HD-pflichtig", "renal"),
        ("CAPD", "renal"),
        ("Child B", "hepatic"),
        ("pHPT", "hyperparathyroidism"),
        ("Morbus Paget der Mamma", "malignancy"),
        ("Z.n. Mammakarzinom", "malignancy_history"),
    ],
)
def test_words_of_each_language(text: str, rule: str) -> None:
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


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Invasive ductal carcinoma, no evidence of metastatic disease", {"malignancy"}),
        ("Mammakarzinom, kein Hinweis auf Metastasen", {"malignancy"}),
        ("carcinome mammaire, pas de métastases", {"malignancy"}),
        ("Nicht-kleinzelliges Bronchialkarzinom", {"malignancy"}),
        ("Non-Hodgkin lymphoma", {"malignancy"}),
        ("linfoma non Hodgkin", {"malignancy"}),
        ("no progression of multiple myeloma", {"malignancy"}),
        ("kein Rezidiv des Karzinoms", {"malignancy"}),
        ("Breast cancer HER2 negative", {"malignancy"}),
        ("Mammakarzinom HER2: negativ", {"malignancy"}),
        ("triple-negative breast cancer", {"malignancy"}),
        ("CKD stage 5, high risk for hyperkalaemia", {"renal"}),
        ("CKD 5, not on dialysis", {"renal"}),
        ("Multiple myeloma, not a candidate for transplant", {"malignancy"}),
        ("Leberzirrhose ohne Aszites", {"hepatic"}),
        ("Keine Fraktur bei Osteoporose", {"osteoporosis"}),
        ("Mammakarzinom; Mutter: Kolonkarzinom", {"malignancy"}),
        ("Cirrhosis, benign prostatic hyperplasia", {"hepatic"}),
        ("Multiple myeloma, essential hypertension", {"malignancy"}),
        ("alcoholic cirrhosis without ascites", {"hepatic"}),
        ("cannot rule out malignancy", {"malignancy"}),
        ("Karzinom nicht ausgeschlossen", {"malignancy"}),
        ("acute hepatitis B without hepatic coma", set()),
        ("Prostatakarzinom des Vaters", set()),
        ("familjehistoria av bröstcancer", set()),
        ("k. A. für Malignom", set()),
        ("No malignancy", set()),
        ("No cirrhosis or malignancy", set()),
        ("kein Malignom oder Leberzirrhose", set()),
        ("malignancy was ruled out", set()),
        ("Leberzirrhose ausgeschlossen", set()),
        ("breast cancer in her mother", set()),
        ("Mutter mit Mammakarzinom", set()),
        ("Mammakarzinom der Schwester", set()),
        ("Osteoporoserisiko", set()),
        ("Krebsvorsorge", set()),
        ("breast cancer screening", set()),
        ("geen aanwijzing voor maligniteit", set()),
        ("ingen tegn til kreft", set()),
        ("inga tecken på cancer", set()),
        ("nessun segno di carcinoma", set()),
        ("carcinoma escluso", set()),
        ("moeder met borstkanker", set()),
        ("Schwangerschaftstest: negativ", set()),
        ("Serum-Ca 2,4", set()),
    ],
)
def test_a_denial_takes_back_one_finding(text: str, left: set[str]) -> None:
    assert rules(text) == left


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
