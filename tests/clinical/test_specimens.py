"""What words, a unit or a specimen say against a blood result; and what says nothing against it."""

import csv
from importlib import resources

import pytest

from screener.clinical.haemolysis import says_haemolysed
from screener.clinical.records import Analyte
from screener.clinical.specimens import contradiction, contradiction_in_note

MG, P, CTX, EGFR = Analyte.MG, Analyte.P, Analyte.CTX, Analyte.EGFR


@pytest.mark.parametrize(
    ("analyte", "text", "reason"),
    [
        (MG, "Magnesium 24 h urine", "specimen_urine"), (MG, "Magnesium i. 24h-Sammelurin", "specimen_urine"),
        (MG, "Magnesium im Harn", "specimen_urine"), (MG, "magnesio en orina", "specimen_urine"),
        (MG, "Magnesium, Erythrocyte", "specimen_red_cells"), (MG, "Magnesium intrazellulär", "specimen_red_cells"),
        (MG, "Magnesium (RBC)", "specimen_red_cells"), (MG, "ionized magnesium", "ionised"), (MG, "freies Magnesium", "ionised"),
        (MG, "Magnesium im Liquor", "specimen_other"), (MG, "Magnesium, dialysate", "specimen_other"),
        (CTX, "CTx / Creatinine ratio", "per_creatinine"), (P, "Phosphate (as PO4)", "other_basis"), (P, "mg/dL{PO4}", "other_basis"),
        (MG, "Magnesium", ""), (MG, "Mg i. S.", ""), (MG, "Magnesium (Serum/Plasma)", ""), (MG, "Magnesium serum, urine panel", ""),
        (P, "Phosphate (PO4)", ""), (P, "Phosphat anorganisch", ""), (CTX, "beta-CrossLaps, nüchtern 12 h", ""),
        (Analyte.CREATININE, "Kreatinin", ""), (EGFR, "eGFR (creatinine, CKD-EPI)", ""), (MG, "Erythropoietin", ""), (MG, "mmol/L", ""),
    ],
)  # fmt: skip
def test_names_against_a_blood_result(analyte: Analyte, text: str, reason: str) -> None:
    assert contradiction(analyte, [text]) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Specimen: urine", "specimen_urine"), ("measured in 24 h urine", "specimen_urine"), ("Material: Sammelurin", "specimen_urine"),
        ("erythrocyte magnesium", "specimen_red_cells"), ("magnesium of red blood cells", "specimen_red_cells"),
        ("ionisiertes Magnesium", "ionised"),
        ("urine culture negative", ""), ("erythrocyte count normal", ""), ("patient has a urinary tract infection", ""), ("repeat in 24 h", ""),
    ],
)  # fmt: skip
def test_notes_are_read_for_the_results_own_specimen_only(text: str, reason: str) -> None:
    assert contradiction_in_note(MG, text) == reason


def test_no_accepted_codes_own_name_speaks_against_it() -> None:
    table = resources.files("screener.clinical").joinpath("data", "codes.csv").read_text(encoding="utf-8").splitlines()
    accepted = [row for row in csv.DictReader(table) if row["use"] == "accept"]
    assert len(accepted) > 30
    assert [row["code"] for row in accepted if contradiction(Analyte(row["analyte"]), [row["source"]])] == []


@pytest.mark.parametrize(
    ("text", "haemolysed"),
    [
        ("Hemolysis index 5 (normal)", False), ("Hemolysis index 12, within limits", False), ("Hämolyse-Index: 49 mg/dl", False),
        ("Hämolyse-Index: 50 mg/dl", True), ("Hemolysis index 300", True), ("Hemolysis 1+", True), ("Hemolysis index: 2+ normal", True),
        ("H-Index 8: unauffällig", False), ("slightly hemolyzed, result not affected", True), ("Hemolysis: absent", False),
        ("index normal, but sample hemolysed", True),
    ],
)  # fmt: skip
def test_an_index_of_haemolysis(text: str, haemolysed: bool) -> None:  # noqa: FBT001
    assert says_haemolysed(text) is haemolysed
