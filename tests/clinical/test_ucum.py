"""UCUM's grammar: codes, validity and conversions of the UCUM functional tests (2018-10-11) in our dimensions, and our table.

The functional tests are those that UCUM points to; their ids stand beside the codes. Factors are worked by hand: prefixes are powers of
ten, a molar concentration of magnesium is a mass concentration by 24.305 g/mol, of phosphorus by 30.973762 g/mol.
"""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.clinical.records import Analyte
from screener.clinical.ucum import factor
from screener.clinical.units import unit_table

Mg, P = Fraction("24.305"), Fraction("30.973762")

# Concentrations: id, code, what 1 of it is in mol/L or in g/L.
MOLAR = [
    ("k=1=169", "mol/L", Fraction(1)),
    ("k=1=177", "mol/m3", Fraction(1, 1000)),
    ("1-166", "mmol/l", Fraction(1, 10**3)),
    ("k=1=129", "mmol/L", Fraction(1, 10**3)),
    ("1-183", "umol/l", Fraction(1, 10**6)),
    ("k=1=227", "umol/L", Fraction(1, 10**6)),
    ("1-316", "nmol/L", Fraction(1, 10**9)),
    ("1-325", "pmol/L", Fraction(1, 10**12)),
    ("1-261", "fmol/L", Fraction(1, 10**15)),
]
MASS = [
    ("k=1=206", "kg/L", Fraction(1000)),
    ("k=1=214", "kg/m3", Fraction(1)),
    ("k=1=253", "g/dL", Fraction(10)),
    ("k=1=102", "g/L", Fraction(1)),
    ("1-147", "g/l", Fraction(1)),
    ("1-282", "mg/mL", Fraction(1)),
    ("k=1=136", "mg/dL", Fraction(1, 100)),
    ("k=1=152", "mg/L", Fraction(1, 1000)),
    ("k=1=168", "mg/m3", Fraction(1, 10**6)),
    ("1-342", "ug/mL", Fraction(1, 1000)),
    ("k=1=147", "ug/dL", Fraction(1, 10**5)),
    ("k=1=171", "ug/L", Fraction(1, 10**6)),
    ("k=1=130", "ng/mL", Fraction(1, 10**6)),
    ("k=1=106", "ng/L", Fraction(1, 10**9)),
    ("1-175", "pg/ml", Fraction(1, 10**9)),
    ("k=1=202", "pg/L", Fraction(1, 10**12)),
]
WEIGHTS = [
    ("k=1=182", "kg", Fraction(1)),
    ("k=1=011", "kg{body_wt}", Fraction(1)),
    ("k=1=213", "g", Fraction(1, 1000)),
    ("k=1=030", "g{creat}", Fraction(1, 1000)),
    ("1-143", "dg", Fraction(1, 10**4)),
    ("k=1=104", "mg", Fraction(1, 10**6)),
    ("k=1=115", "ug", Fraction(1, 10**9)),
    ("k=1=266", "t", Fraction(1000)),
    ("1-127", "[lb_av]", Fraction("0.45359237")),
    ("1-128", "[oz_av]", Fraction("0.028349523125")),
]
HEIGHTS = [
    ("k=1=159", "m", Fraction(100)),
    ("k=1=125", "cm", Fraction(1)),
    ("k=1=264", "mm", Fraction(1, 10)),
    ("k=1=203", "um", Fraction(1, 10**4)),
    ("1-238", "km", Fraction(10**5)),
    ("1-124", "[in_i]", Fraction("2.54")),
    ("1-123", "[ft_i]", Fraction("30.48")),
    ("1-125", "[yd_i]", Fraction("91.44")),
]
# Conversion cases 3-101 to 3-103, 3-118 and 3-119: value, from, into, outcome.
CONVERSIONS = [
    ("6.3", "m", "m", "6.3"),
    ("6.3", "mm", "m", "0.0063"),
    ("6.3", "mm", "cm", "0.63"),
    ("6.30", "[in_i]", "m", "0.160"),
    ("6.300", "[in_i]", "cm", "16.0"),
]
# Cases with valid="false".
INVALID = [
    *(
        "m/",
        "10+3/ul",
        "rad2{錠}",
        "{a}rad2{b}",
        "{|}1",
        "iU",
        "[BETH'U]",
        "molv",
        "[iIU]",
        "[iIU]/d",
        "[iIU]/L",
        "g/12h",
        "g/48h",
    ),
    *(
        "mg/12h",
        "mL/10h",
        "mmol/12h",
        "mmol/5h",
        "mmol/kg[H20]",
        "U/12h",
        "U/1h",
        "u[iIU]/mL",
        "cm[H20]",
        "ug(8.h)",
        "ug(8hr)",
    ),
]
# Valid, and nothing that any of ours is measured in.
FOREIGN = [
    *(
        "/m",
        "10*3/ul",
        "m[H2O]",
        "rad2",
        "m3.kg-1.s-2",
        "{e}",
        "%",
        "1/min",
        "a",
        "cm2",
        "h",
        "U/l",
        "mm[Hg]",
        "[IU]/L",
        "10*9/L",
    ),
    *(
        "Cel",
        "fL",
        "g/d",
        "g/g",
        "mmol/kg",
        "mmol/mmol",
        "nmol/mmol",
        "ug/g",
        "mL/min",
        "m[IU]/L",
        "kg/m2",
        "osm/L",
        "mosm/L",
    ),
    *("[ppm]", "pH", "dB", "kcal", "K/W", "mg/kg", "Ohm", "kg/mol", "mmol/m2"),
]


def one(analyte: Analyte, code: str) -> Fraction:
    """What 1 of a unit is in the model's unit, exactly."""
    found = factor(analyte, code)
    assert not isinstance(found, str), found
    return Fraction(found.numerator) / Fraction(found.denominator)


@pytest.mark.parametrize(("code", "mol_per_l"), [row[1:] for row in MOLAR], ids=[row[0] for row in MOLAR])
def test_molar_concentrations(code: str, mol_per_l: Fraction) -> None:
    assert one(Analyte.MG, code) == one(Analyte.P, code) == mol_per_l * 1000
    assert factor(Analyte.CTX, code) == factor(Analyte.P1NP, code) == "unit_no_factor"
    assert factor(Analyte.WEIGHT, code) == factor(Analyte.HEIGHT, code) == "unit_unknown"


@pytest.mark.parametrize(("code", "g_per_l"), [row[1:] for row in MASS], ids=[row[0] for row in MASS])
def test_mass_concentrations(code: str, g_per_l: Fraction) -> None:
    assert one(Analyte.MG, code) == g_per_l * 1000 / Mg
    assert one(Analyte.P, code) == g_per_l * 1000 / P
    assert one(Analyte.CTX, code) == one(Analyte.P1NP, code) == g_per_l * 10**6
    assert factor(Analyte.WEIGHT, code) == factor(Analyte.HEIGHT, code) == "unit_unknown"


@pytest.mark.parametrize(("code", "size"), [row[1:] for row in WEIGHTS], ids=[row[0] for row in WEIGHTS])
def test_weights(code: str, size: Fraction) -> None:
    assert one(Analyte.WEIGHT, code) == size
    assert factor(Analyte.MG, code) == factor(Analyte.HEIGHT, code) == "unit_unknown"


@pytest.mark.parametrize(("code", "size"), [row[1:] for row in HEIGHTS], ids=[row[0] for row in HEIGHTS])
def test_heights(code: str, size: Fraction) -> None:
    assert one(Analyte.HEIGHT, code) == size
    assert factor(Analyte.MG, code) == factor(Analyte.WEIGHT, code) == "unit_unknown"


@pytest.mark.parametrize(("value", "source", "into", "outcome"), CONVERSIONS)
def test_conversions(value: str, source: str, into: str, outcome: str) -> None:
    found = Fraction(value) * one(Analyte.HEIGHT, source) / one(Analyte.HEIGHT, into)
    digits = len(outcome.partition(".")[2])  # outcomes are printed to the precision of the value
    assert round(found, digits) == Fraction(outcome)


def test_what_is_invalid_or_foreign_converts_nothing(subtests: pytest.Subtests) -> None:
    for code in (*INVALID, *FOREIGN, "", "x" * 41, "kg" * 30):
        with subtests.test(code=code):
            assert {analyte: factor(analyte, code) for analyte in Analyte} == dict.fromkeys(Analyte, "unit_unknown")


def test_magnesium_carries_two_charges() -> None:
    assert one(Analyte.MG, "meq/L") == one(Analyte.MG, "ueq/mL") == Fraction(1, 2)
    assert factor(Analyte.P, "meq/L") == factor(Analyte.CTX, "meq/L") == "unit_no_factor"


@pytest.mark.parametrize(
    ("code", "size"),
    [
        ("10*-3.mol/L", Fraction(1)),
        ("mmol/L{serum}", Fraction(1)),
        ("mg/(10.dL)", 1 / Mg),
        ("mmol.L-1", Fraction(1)),
        ("Mg/dL", Fraction(10**10) / Mg),  # a megagram is what it says; the range refuses the value
    ],
)
def test_what_only_a_grammar_can_read(code: str, size: Fraction) -> None:
    assert one(Analyte.MG, code) == size


def test_the_table_and_the_grammar_agree_wherever_both_know_a_code() -> None:
    compared = 0
    for row in unit_table(()):
        found = factor(row.analyte, row.unit) if row.kind == "ucum" else "unit_unknown"
        if row.analyte in (Analyte.EGFR, Analyte.T_SCORE):
            assert found == "unit_unknown"  # these are left to the table
        elif row.kind == "ucum" and row.unit not in ("[in_us]", "[ft_us]"):  # 1200/3937: no decimal of few digits
            expected = row.reason or Fraction(row.numerator) / Fraction(row.denominator)
            assert expected == (found if isinstance(found, str) else one(row.analyte, row.unit)), row.unit
            compared += 1
    assert compared > 50


@given(st.sampled_from(list(Analyte)), st.text(alphabet="mgukdLl/.{}()[]10*-+e'% mol", max_size=20))
def test_no_text_is_an_error(analyte: Analyte, code: str) -> None:
    found = factor(analyte, code)
    assert found in ("unit_unknown", "unit_no_factor") or Fraction(found[0]) > 0


@pytest.mark.parametrize("code", ["mg/[foz_us]", "[gr]/[gal_us]", "mg/[cin_i]"])
def test_a_unit_without_a_short_exact_factor_is_unknown(code: str) -> None:
    assert factor(Analyte.MG, code) == "unit_unknown"
