"""What a code or a unit may be by its name: names as laboratories print them, and names that only look alike."""

import pytest

from screener.analysis.suggestions import Suggestions
from screener.clinical.records import Analyte
from screener.clinical.units import unit_table

SUGGESTIONS = Suggestions(unit_table(()))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Magnesium", ("mg", "")),
        ("Magnesium i.S.", ("mg", "")),
        ("MG", ("mg", "")),
        ("Magnesium im Urin", ("mg", "specimen_urine")),
        ("Magnesium, 24h", ("mg", "specimen_urine")),
        ("Magnesium ionisiert", ("mg", "ionised")),
        ("Magnesium free", ("mg", "ionised")),
        ("Mg Erythrozyten", ("mg", "specimen_red_cells")),
        ("Magnesium im Vollblut", ("mg", "specimen_whole_blood")),
        ("Magnesium/Kreatinin", ("mg", "per_creatinine")),
        ("Magnesium im Liquor", ("mg", "specimen_other")),
        ("Phosphat anorganisch", ("p", "")),
        ("Phosphorus, inorganic", ("p", "")),
        ("PO4", ("p", "")),
        ("Phosphat im Urin", ("p", "specimen_urine")),
        ("beta-CrossLaps", ("ctx", "")),
        ("b-CTx", ("ctx", "")),
        ("C-Telopeptide", ("ctx", "")),
        ("CTX / Kreatinin", ("ctx", "per_creatinine")),
        ("P1NP total", ("p1np", "")),
        ("PINP", ("p1np", "")),
        ("Prokollagen-I-N-terminales Propeptid", ("p1np", "")),
        ("Körpergewicht", ("weight", "")),
        ("Body weight", ("weight", "")),
        ("Trockengewicht / body weight", ("weight", "not_the_weight")),
        ("Koerpergroesse", ("height", "")),
        ("Body height", ("height", "")),
    ],
)
def test_names_that_say_what_they_are(name: str, expected: tuple[str, str]) -> None:
    found = SUGGESTIONS.of_code(name)
    assert found is not None
    assert (found.analyte.value, found.reason) == expected
    assert found.use == ("refuse" if expected[1] else "accept")


@pytest.mark.parametrize(
    "name",
    [
        "Alkaline phosphatase",
        "Alkalische Phosphatase",
        "Phospholipids",
        "Creatine phosphokinase",
        "Sodium",
        "HbA1c (mmol/mol)",
        "Procalcitonin",
        "Glucose",
        "Calcium x Phosphat, Magnesium",  # two analytes: no suggestion
        "",
    ],
)
def test_names_that_say_something_else(name: str) -> None:
    assert SUGGESTIONS.of_code(name) is None


@pytest.mark.parametrize(
    ("analyte", "unit", "expected"),
    [
        (Analyte.MG, "mmol / L", "mmol/L"),
        (Analyte.MG, "mMol/l", "mmol/L"),
        (Analyte.MG, "[mmol/L]", "mmol/L"),
        (Analyte.MG, "mmol/litre", "mmol/L"),
        (Analyte.CTX, "mcg / L", "ug/L"),
        (Analyte.CTX, "Pg/Ml", "pg/mL"),
    ],
)
def test_units_written_another_way(analyte: Analyte, unit: str, expected: str) -> None:
    found = SUGGESTIONS.of_unit(analyte, unit)
    assert found is not None
    wanted = next(row for row in unit_table(()) if (row.analyte, row.unit) == (analyte, expected))
    assert (found.numerator, found.denominator) == (wanted.numerator, wanted.denominator)


@pytest.mark.parametrize("unit", ["", "g", "pmol/L", "U/L", "mg"])
def test_units_that_are_none_of_ours(unit: str) -> None:
    assert SUGGESTIONS.of_unit(Analyte.CTX, unit) is None
