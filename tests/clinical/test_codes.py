"""Codes: shared/terminology facts as the LOINC table has them, here by code."""

import itertools

import pytest

from screener.base.errors import ConfigurationError
from screener.clinical import wire
from screener.clinical.codes import LOINC, CodeMap, CodeRow, code_table, read_rows, systems
from screener.clinical.records import Analyte

SNOMED = "http://snomed.info/sct"


def concept(*codings: tuple[str | None, str | None]) -> wire.CodeableConcept:
    return wire.CodeableConcept(tuple(wire.Coding(system, code) for system, code in codings))


def found(*codings: tuple[str | None, str | None], extra: tuple[dict[str, object], ...] = ()) -> tuple[str, str] | None:
    match = CodeMap(code_table(extra), systems()).find(concept(*codings))
    return (match.analyte.value, match.reason) if match else None


@pytest.mark.parametrize(
    ("analyte", "codes"),
    [
        ("mg", ["2601-3", "19123-9"]),
        ("p", ["14879-1", "2777-1"]),
        ("ctx", ["41171-0"]),
        ("p1np", ["77370-5", "47255-5"]),
        ("weight", ["29463-7", "3141-9", "3142-7", "8335-2"]),
        ("height", ["8302-2", "3137-7", "3138-5", "8301-4", "8306-3", "8308-9", "8307-1"]),
    ],
)
def test_accepted_codes(analyte: str, codes: list[str]) -> None:
    assert {found((LOINC, code)) for code in codes} == {(analyte, "")}
    coded = CodeMap(code_table(()), systems()).coded([Analyte(analyte)])
    assert sorted(coded) == sorted((LOINC, code) for code in codes)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("21377-7", ("mg", "specimen_whole_blood")),
        ("2593-2", ("mg", "specimen_whole_blood")),
        ("24519-1", ("p", "specimen_whole_blood")),
        ("2600-5", ("mg", "ionised")),
        ("73573-8", ("mg", "ionised")),
        ("2597-3", ("mg", "specimen_red_cells")),
        ("26746-8", ("mg", "specimen_red_cells")),
        ("2598-1", ("mg", "specimen_urine")),
        ("32309-7", ("mg", "not_the_analyte")),
        ("13539-2", ("p", "specimen_urine")),
        ("48587-0", ("ctx", "per_creatinine")),
        ("33959-8", ("ctx", "not_the_analyte")),
        ("41170-2", ("ctx", "not_the_analyte")),
        ("47097-1", ("ctx", "not_the_analyte")),
        ("8340-2", ("weight", "dry_weight")),
        ("8341-0", ("weight", "dry_weight")),
    ],
)
def test_look_alikes_are_refused_with_their_reason(code: str, expected: tuple[str, str]) -> None:
    assert found((LOINC, code)) == expected
    assert not any(known == code for _, known in CodeMap(code_table(()), systems()).coded(Analyte))


def test_what_is_not_ours_is_nothing() -> None:
    assert found((LOINC, "718-7")) is None  # haemoglobin
    assert found((LOINC, "161446AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")) is None  # a CIEL code under LOINC's name
    assert found((SNOMED, "2601-3")) is None
    assert found((None, "2601-3")) is None
    assert found((LOINC, None)) is None
    assert found() is None


def test_codings_in_any_order() -> None:
    codings = ((SNOMED, "38151008"), (LOINC, "2601-3"), ("urn:local", "MG"))
    assert {found(*order) for order in itertools.permutations(codings)} == {("mg", "")}


def test_a_refusing_coding_outweighs_an_accepting_one_in_any_order() -> None:
    codings = ((LOINC, "2601-3"), (LOINC, "2598-1"))
    assert {found(*order) for order in itertools.permutations(codings)} == {("mg", "specimen_urine")}


def test_two_analytes_in_one_concept_contradict() -> None:
    assert found((LOINC, "2601-3"), (LOINC, "14879-1")) == ("mg", "code_contradiction")


BY_TEXT = ({"code": "Magnesium  im Serum", "analyte": "mg", "unit": "mmol/L"},)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (wire.CodeableConcept(text="Magnesium im Serum"), "mg"),
        (wire.CodeableConcept(text=" MAGNESIUM im serum "), "mg"),
        (wire.CodeableConcept((wire.Coding(display="Magnesium im Serum"),)), "mg"),
        (wire.CodeableConcept(text="Magnesium im Urin"), None),
        (wire.CodeableConcept(text="Magnesium"), None),
        # A code that nobody mapped may be of another specimen: then the text does not help.
        (wire.CodeableConcept((wire.Coding("urn:local", "MGU"),), "Magnesium im Serum"), None),
        (wire.CodeableConcept((wire.Coding(LOINC, "14879-1"),), "Magnesium im Serum"), "p"),
    ],
)
def test_a_text_counts_where_the_site_maps_it_and_there_is_no_code(
    said: wire.CodeableConcept, expected: str | None
) -> None:
    match = CodeMap(code_table(BY_TEXT), systems()).find(said)
    assert (match.analyte if match else None) == expected
    assert CodeMap(code_table(()), systems()).find(wire.CodeableConcept(text="Magnesium im Serum")) is None


def test_texts_are_searched_by_text_and_not_as_tokens() -> None:
    codes = CodeMap(code_table(BY_TEXT), systems())
    assert codes.texts([Analyte.MG]) == ("Magnesium  im Serum",)
    assert codes.texts([Analyte.P]) == ()
    assert codes.coded([Analyte.MG]) == CodeMap(code_table(()), systems()).coded([Analyte.MG])


def test_look_alikes_are_asked_for_to_be_counted_but_not_what_is_another_thing() -> None:
    asked = set(CodeMap(code_table(()), systems()).coded(Analyte, refused=True))
    assert {(LOINC, "2598-1"), (LOINC, "2600-5"), (LOINC, "21377-7")} <= asked
    assert (LOINC, "33959-8") not in asked  # every hospital has thousands of procalcitonins


def test_whole_blood_is_taken_where_the_site_opts_in_and_marked() -> None:
    codes = CodeMap(code_table((), whole_blood=True), systems())
    match = codes.find(concept((LOINC, "21377-7")))
    assert match is not None
    assert (match.reason, match.marks) == ("", ("specimen_whole_blood",))
    assert (LOINC, "2593-2") in codes.coded([Analyte.MG])


def test_the_system_by_other_names() -> None:
    assert found(("urn:oid:2.16.840.1.113883.6.1", "2601-3")) == ("mg", "")
    assert found(("http://loinc.org/", "2601-3")) == ("mg", "")


def test_rank_is_that_of_the_most_cautious_coding() -> None:
    codes = CodeMap(code_table(()), systems())
    measured, stated = (
        codes.find(concept((LOINC, "3141-9"))),
        codes.find(concept((LOINC, "29463-7"), (LOINC, "3142-7"))),
    )
    assert measured is not None
    assert stated is not None
    assert (measured.rank, stated.rank) == (0, 1)


def test_a_site_adds_codes_and_opts_in() -> None:
    extra = (
        {"system": "urn:local", "code": "MG", "analyte": "mg", "unit": "mmol/L"},
        {"system": LOINC, "code": "21377-7", "analyte": "mg", "use": "accept", "specimen": "whole_blood"},
    )
    assert found(("urn:local", "MG"), extra=extra) == ("mg", "")  # type: ignore[arg-type]
    assert found((LOINC, "21377-7"), extra=extra) == ("mg", "")  # type: ignore[arg-type]
    codes = CodeMap(code_table(extra), systems())
    assert sorted(codes.coded([Analyte.MG])) == [
        (LOINC, "19123-9"),
        (LOINC, "21377-7"),
        (LOINC, "2601-3"),
        ("urn:local", "MG"),
    ]
    whole_blood = codes.find(concept((LOINC, "21377-7")))
    assert whole_blood is not None
    assert whole_blood.marks == ("specimen_whole_blood",)


def test_a_site_refuses_a_code_with_or_without_a_reason() -> None:
    row: dict[str, object] = {"system": "urn:local", "code": "MG", "analyte": "mg", "use": "refuse"}
    assert found(("urn:local", "MG"), extra=(row,)) == ("mg", "code_refused")
    assert found(("urn:local", "MG"), extra=({**row, "reason": "specimen_urine"},)) == ("mg", "specimen_urine")


@pytest.mark.parametrize(
    "row",
    [
        {"system": "urn:local", "code": "MG"},
        {"system": "urn:local", "code": "MG", "analyte": "magnesium"},
        {"system": "urn:local", "code": "MG", "analyte": "mg", "colour": "blue"},
        {"system": "urn:local", "code": "MG", "analyte": "mg", "rank": "first"},
        {"system": "urn:local", "code": "MG", "analyte": "mg", None: ["one column too many"]},
    ],
)
def test_a_bad_row_of_a_site_names_table_and_row(row: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=r"extra_codes: row 1 cannot be used"):
        read_rows([row], CodeRow, "extra_codes")


def test_every_shipped_row_has_a_source() -> None:
    assert [row.code for row in code_table(()) if row.source in ("", "site")] == []


@pytest.mark.parametrize(
    "name", ["Magnesium in Erythrozyten", "Mg RBC", "Magnésium érythrocytaire", "red cell magnesium"]
)
def test_a_whole_blood_code_whose_name_says_red_cells_is_refused(name: str) -> None:
    """Some laboratories send red cells under a code of whole blood."""
    table = CodeMap(code_table((), whole_blood=True), systems())
    blood = {"system": LOINC, "code": "2593-2"}
    match = table.find(wire.CodeableConcept((wire.Coding(**blood, display=name),)))
    assert match is not None
    assert match.reason == "specimen_red_cells"
    plain = table.find(wire.CodeableConcept((wire.Coding(**blood, display="Magnesium im Vollblut"),)))
    assert plain is not None
    assert (plain.reason, plain.marks) == ("", ("specimen_whole_blood",))
