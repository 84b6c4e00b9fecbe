"""Units: factors from molar masses (Mg 24.305, P 30.973762 g/mol) and legal definitions (lb, oz, in, ft), by hand."""

from decimal import Decimal

import msgspec
import pytest

from screener.clinical import wire
from screener.clinical.codes import Match
from screener.clinical.records import Analyte
from screener.clinical.units import Conversion, UnitTable, range_table, unit_table

UCUM = "http://unitsofmeasure.org"
UNITS = UnitTable(unit_table(()), range_table())


def read(analyte: str, value: str, *, match: Match | None = None, **quantity: str) -> Conversion | str:
    found = match or Match(Analyte(analyte))
    return UNITS.read(found, wire.Quantity(value=msgspec.Raw(value.encode()), **quantity))


def ucum(analyte: str, value: str, code: str) -> str:
    return shown(read(analyte, value, system=UCUM, code=code))


def text(analyte: str, value: str, unit: str) -> str:
    return shown(read(analyte, value, unit=unit))


def shown(found: Conversion | str) -> str:
    return found if isinstance(found, str) else f"{found.value.normalize():f}"


@pytest.mark.parametrize(
    ("value", "unit"),
    [("0.845", "mmol/L"), ("845", "umol/L"), ("1.69", "meq/L"), ("2.0537725", "mg/dL"), ("20.537725", "mg/L")],
)
def test_the_cut_off_is_exact_in_every_unit(value: str, unit: str) -> None:
    assert ucum("mg", value, unit) == "0.845"


def test_two_mg_per_dl_flags_and_two_point_one_does_not() -> None:
    # 20 / 24.305 = 0.82287595..., 21 / 24.305 = 0.864019749...
    assert ucum("mg", "2.0", "mg/dL").startswith("0.82287595")
    assert ucum("mg", "2.1", "mg/dL").startswith("0.864019749")


@pytest.mark.parametrize(
    ("analyte", "value", "unit", "expected"),
    [
        ("p", "3.0973762", "mg/dL", "1"),
        ("p", "1.2", "mmol/l", "1.2"),
        ("ctx", "470", "pg/mL", "0.47"),
        ("ctx", "470", "ng/L", "0.47"),
        ("ctx", "0.47", "ug/L", "0.47"),
        ("ctx", "0.47", "ng/mL", "0.47"),
        ("p1np", "54.08", "ug/L", "54.08"),
        ("weight", "100", "[lb_av]", "45.359237"),
        ("weight", "1600", "[oz_av]", "45.359237"),
        ("weight", "61500", "g", "61.5"),
        ("height", "1.62", "m", "162"),
        ("height", "64", "[in_i]", "162.56"),
        ("height", "5", "[ft_i]", "152.4"),
        # 3937 survey inches are 100 m: 39.37 x 1.6 = 62.992 in = 160 cm
        ("height", "62.992", "[in_us]", "160"),
        # 3937 survey feet are 1200 m: 3.937 ft = 1.2 m
        ("height", "3.937", "[ft_us]", "120"),
    ],
)
def test_ucum_units(analyte: str, value: str, unit: str, expected: str) -> None:
    assert ucum(analyte, value, unit) == expected


@pytest.mark.parametrize(
    ("analyte", "value", "unit", "expected"),
    [
        ("mg", "1.69", "mEq/L", "0.845"),
        ("mg", "2.0537725", "MG/DL", "0.845"),
        ("ctx", "0.47", "mcg/L", "0.47"),
        ("ctx", "0.47", "\u00b5g/L", "0.47"),
        ("ctx", "0.47", "\u03bcg/L", "0.47"),
        ("weight", "100", "lb", "45.359237"),
        ("weight", "100", "lbs", "45.359237"),
        ("weight", "1600", "oz", "45.359237"),
        ("weight", "61.5", "KG", "61.5"),
        ("height", "64", "in", "162.56"),
        ("height", "64", "inch", "162.56"),
        ("height", "162", "CM", "162"),
    ],
)
def test_printed_units(analyte: str, value: str, unit: str, expected: str) -> None:
    assert text(analyte, value, unit) == expected
    assert ucum(analyte, value, unit) == expected


@pytest.mark.parametrize(
    ("analyte", "unit"),
    [
        ("mg", "mmol"),
        ("mg", "%"),
        ("weight", "cm"),
        ("weight", "kG"),
        ("height", "ft"),
        ("height", "kg"),
        ("p1np", "g/cm-2"),
    ],
)
def test_units_of_something_else(analyte: str, unit: str) -> None:
    assert ucum(analyte, "1", unit) == "unit_unknown"


@pytest.mark.parametrize(
    ("analyte", "value", "unit"),
    [("mg", "2.0", "Mg/dl"), ("mg", "1.69", "eq/L"), ("mg", "0.84", "ng/mL"), ("weight", "70", "ft")],
)
def test_valid_ucum_that_says_something_absurd(analyte: str, value: str, unit: str) -> None:
    assert ucum(analyte, value, unit) == "implausible_unit_suspected"


@pytest.mark.parametrize(
    ("value", "code"),
    [("845", "10*-6.mol/L"), ("0.845", "mmol/L{serum}"), ("20.537725", "mg/(10.dL)"), ("1.69", "ueq/mL")],
)
def test_the_cut_off_is_exact_in_what_the_grammar_reads(value: str, code: str) -> None:
    assert ucum("mg", value, code) == "0.845"


def test_known_units_without_an_agreed_factor() -> None:
    assert ucum("ctx", "3000", "pmol/L") == "unit_no_factor"
    assert text("ctx", "3000", "pmol/L") == "unit_no_factor"
    assert ucum("p", "2", "meq/L") == "unit_no_factor"


def test_no_unit() -> None:
    assert read("mg", "0.84") == "unit_missing"
    assert read("mg", "0.84", system=UCUM) == "unit_missing"
    local = Match(Analyte.MG, unit="mmol/L")
    assert shown(read("mg", "0.84", match=local)) == "0.84"
    assert shown(read("mg", "2.0537725", match=local, unit="mg/dL")) == "0.845"


def test_code_and_text_together() -> None:
    assert shown(read("mg", "0.84", system=UCUM, code="mmol/L", unit="millimoles per litre")) == "0.84"
    assert read("mg", "0.84", system=UCUM, code="mmol/L", unit="mg/dL") == "unit_contradiction"
    assert read("ctx", "0.84", system=UCUM, code="ng/mL", unit="pmol/L") == "unit_contradiction"
    assert shown(read("mg", "1.69", system=UCUM, code="meq/L", unit="mEq/L")) == "0.845"
    # A code of another system says nothing to us: the text does.
    assert shown(read("mg", "0.84", system="http://snomed.info/sct", code="258813002", unit="mmol/L")) == "0.84"
    # In UCUM, Mg/dl is megagram; beside the same letters in another case it is how that laboratory writes milligrams.
    for text in ("mg/dL", "MG/DL"):
        assert shown(read("mg", "2.0537725", system=UCUM, code="Mg/dl", unit=text)) == "0.845"
    assert read("mg", "2.0", system=UCUM, code="Mg/dl", unit="mmol/L") == "unit_contradiction"


def test_the_unit_decides_and_the_mismatch_is_marked() -> None:
    molar = Match(Analyte.MG, quantity="molar")
    assert read("mg", "2.0537725", match=molar, code="mg/dL") == Conversion(
        Decimal("0.845"), "", ("unit_unlike_code",), "mg/dL", "2.0537725 mg/dL"
    )
    assert read("mg", "0.845", match=molar, code="mmol/L") == Conversion(Decimal("0.845"), unit="mmol/L")
    assert read("mg", "1.69", match=molar, code="meq/L") == Conversion(
        Decimal("0.845"), unit="meq/L", sent="1.69 meq/L"
    )


@pytest.mark.parametrize(
    ("analyte", "value"),
    [
        ("mg", "0"),
        ("mg", "-0.84"),
        ("mg", "1e245"),
        ("mg", "1e-245"),
        ("mg", "1e99999999999999999999999"),
        ("mg", "0.149"),
        ("mg", "5.01"),
        ("mg", "84"),
        ("p", "8.1"),
        ("ctx", "9.9"),
        ("weight", "900000"),
    ],
)
def test_implausible_values(analyte: str, value: str) -> None:
    unit = {"weight": "kg", "ctx": "ng/mL"}.get(analyte, "mmol/L")
    assert ucum(analyte, value, unit) == "implausible"


@pytest.mark.parametrize(
    ("analyte", "value", "unit"),
    [
        ("ctx", "470", "ng/mL"),  # pg/mL
        ("ctx", "0.47", "pg/mL"),  # ng/mL
        ("height", "1.62", "cm"),  # m
        ("mg", "20.4", "mmol/L"),  # mg/L
        ("p", "34", "mmol/L"),  # mg/L
    ],
)
def test_a_suspected_unit_is_told_and_the_value_stays_refused(analyte: str, value: str, unit: str) -> None:
    assert ucum(analyte, value, unit) == "implausible_unit_suspected"


@pytest.mark.parametrize("value", ['"0.84"', "true", "{}", "[0.84]", "NaN"])
def test_what_is_no_number_is_malformed(value: str) -> None:
    assert read("mg", value, code="mmol/L") == "malformed"


def test_no_value() -> None:
    assert UNITS.read(Match(Analyte.MG), wire.Quantity(code="mmol/L")) == "value_missing"
    assert read("mg", "null", code="mmol/L") == "value_missing"


@pytest.mark.parametrize(
    ("analyte", "value", "marks"),
    [
        ("mg", "0.70", ()),
        ("mg", "0.69", ("unusual",)),
        ("mg", "1.10", ()),
        ("mg", "1.11", ("unusual",)),
        ("ctx", "0.05", ()),
        ("ctx", "1.009", ("unusual",)),
        ("p1np", "20.24", ("unusual",)),
        ("weight", "150", ()),
    ],
)
def test_unusual_values_are_marked(analyte: str, value: str, marks: tuple[str, ...]) -> None:
    code = {"ctx": "ng/mL", "p1np": "ng/mL", "weight": "kg"}.get(analyte, "mmol/L")
    assert read(analyte, value, code=code) == Conversion(Decimal(value), "", marks, code)


@pytest.mark.parametrize(
    ("comparator", "value", "certain"),
    [
        ("<", "0.5", True),
        ("<", "0.845", True),
        ("<", "0.846", False),
        ("<=", "0.845", True),
        ("<=", "0.9", False),
        (">", "0.845", True),
        (">", "0.84", False),
        (">=", "0.845", False),
        (">=", "0.846", True),
        (">", "1.5", True),
        ("<", "0.1", True),
        ("ad", "0.5", False),
        (">", "84", False),
    ],
)
def test_a_comparator_on_mg_is_used_only_where_the_side_is_certain(
    comparator: str, value: str, *, certain: bool
) -> None:
    expected = Conversion(Decimal(value), comparator, unit="mmol/L") if certain else "comparator"
    assert read("mg", value, code="mmol/L", comparator=comparator) == expected


def test_a_comparator_in_another_unit_is_compared_exactly() -> None:
    assert read("mg", "1.69", code="meq/L", comparator="<=") == Conversion(Decimal("0.845"), "<=", unit="meq/L")
    assert read("mg", "1.7", code="meq/L", comparator="<=") == "comparator"


def test_a_comparator_on_anything_else_is_refused() -> None:
    assert read("ctx", "0.01", code="ng/mL", comparator="<") == "comparator"


def test_a_site_adds_a_unit() -> None:
    units = UnitTable(unit_table([{"analyte": "mg", "unit": "mmol per L"}]), range_table())
    quantity = wire.Quantity(value=msgspec.Raw(b"0.84"), unit="mmol per L")
    assert units.read(Match(Analyte.MG), quantity) == Conversion(Decimal("0.84"), unit="mmol per L")


def test_every_shipped_row_has_a_source() -> None:
    assert [row.unit for row in unit_table(()) if row.source in ("", "site")] == []
    assert [row.analyte for row in range_table() if row.source in ("", "site")] == []
