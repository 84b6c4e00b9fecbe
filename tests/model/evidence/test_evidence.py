"""The paper's figures as data, and what recomputing them finds: every known error of the paper, and no other."""

import copy
import json
import subprocess
import sys
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from model.evidence import published
from model.evidence.checks import Check, Interval, checks, render
from model.evidence.checks.comparisons import implied_difference, p_ranges, pooled_p, table_1, table_4, tables_1_and_4
from model.evidence.checks.curves import Flag, counts_of, table_2
from model.evidence.checks.inference import section_3_4
from model.evidence.checks.information import mean_and_sd, standard_errors
from model.evidence.checks.regressions import implied_standard_error, model_1, model_2, wald_p_range
from model.evidence.checks.two_by_two import Exposed, behind_model_1
from model.evidence.checks.units import mean_ratio, section_2_3
from model.odds import at_prevalence
from model.stats.roc import hanley_mcneil

FIGURES = published()
FOUND = checks()
SCHEMA = json.loads((files("model") / "evidence" / "evidence.schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def figures() -> dict[str, Any]:
    """A copy to put an error into."""
    return copy.deepcopy(FIGURES)


def one(found: Any, row: str, quantity: str) -> Check:
    """The only check of this row whose quantity begins so."""
    (check,) = (check for check in found if check.row == row and check.quantity.startswith(quantity))
    assert isinstance(check, Check)
    return check


# The data


def test_the_figures_follow_their_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(FIGURES)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("table_1", "mg_mmol_l", "mean"), 0.87),
        (("table_1", "mg_mmol_l", "printed_p"), "0.0"),
        (("table_1", "mg_mmol_l", "fracture"), [0.83, 0.07]),
        (("table_1", "magnesium"), {}),
        (("table_4", "rows", "mg_mmol_l", "p_value"), 0.035),
        (("groups", "without"), 207.5),
    ],
)
def test_the_schema_refuses(figures: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    target = figures
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(figures)


def test_tables_1_and_4_have_the_same_twenty_one_rows() -> None:
    assert list(FIGURES["table_1"]) == list(FIGURES["table_4"]["rows"])
    assert len(FIGURES["table_1"]) == 21
    for name, row in FIGURES["table_1"].items():
        other = FIGURES["table_4"]["rows"][name]
        assert (row["row"], row["unit"], row.get("printed_unit")) == (
            other["row"],
            other["unit"],
            other.get("printed_unit"),
        )


def test_figures_that_stand_twice_are_the_same() -> None:
    for name, means in FIGURES["table_4"]["means"].items():
        row = FIGURES["table_4"]["rows"][name]
        assert means == [row["without_fracture"][0], row["fracture"][0]]
    for row in FIGURES["table_1"].values():
        assert f"{row.get('p_value', 0):.3f}" in (row["printed_p"], "0.000")
    mg = FIGURES["table_2"]["rows"]["mg_mmol_l"]
    assert (mg["auc"], mg["threshold"]) == (FIGURES["table_2"]["mg_auc"], FIGURES["table_2"]["mg_cut_off_mmol_l"])


@pytest.mark.parametrize(
    ("table", "groups", "name", "cells"),
    # read off the paper once more: first and last row, and the rows of the nomogram
    [
        ("table_1", ("without", "osteoporosis"), "age_years", "62.15 8.56 66.27 8.56 <0.001"),
        ("table_1", ("without", "osteoporosis"), "weight_kg", "65.39 9.59 60.84 9.02 <0.001"),
        ("table_1", ("without", "osteoporosis"), "l1_bmd_g_cm2", "0.89 0.12 0.75 0.21 <0.001"),
        ("table_1", ("without", "osteoporosis"), "ctx_ng_ml", "0.47 0.23 0.50 0.27 0.286"),
        ("table_1", ("without", "osteoporosis"), "p_mmol_l", "1.14 0.14 1.12 0.14 0.043"),
        ("table_4", ("without_fracture", "fracture"), "age_years", "64.20 8.69 69.61 8.80 0.001"),
        ("table_4", ("without_fracture", "fracture"), "bmi_kg_m2", "25.42 3.58 24.86 3.74 0.386"),
        ("table_4", ("without_fracture", "fracture"), "l1_4_bmd_g_cm2", "0.86 0.17 0.84 0.22 0.422"),
        ("table_4", ("without_fracture", "fracture"), "p1np_ng_ml", "56.31 34.26 47.77 24.77 0.173"),
        ("table_4", ("without_fracture", "fracture"), "p_mmol_l", "1.14 0.14 1.08 0.13 0.036"),
    ],
)
def test_rows_are_as_printed(table: str, groups: tuple[str, str], name: str, cells: str) -> None:
    rows = FIGURES["table_4"]["rows"] if table == "table_4" else FIGURES[table]
    numbers = [f"{number:.2f}" for group in groups for number in rows[name][group]]
    assert " ".join([*numbers, rows[name]["printed_p"]]) == cells


# What the checks find

KNOWN_ERRORS = {
    ("Section 2.3", "beta-CTx", "reference range after the menopause"),
    ("Section 2.3", "P1NP", "reference range after the menopause"),
    ("Table 1", "beta-CTx", "unit of the means"),
    ("Table 1", "P1NP", "unit of the means"),
    ("Table 4", "beta-CTx", "unit of the means"),
    ("Table 4", "P1NP", "unit of the means"),
    ("Table 2", "Mg", "sensitivity at 0.845 mmol/L"),
    ("Table 2", "Mg", "specificity at 0.845 mmol/L"),
    ("Table 2", "P", "sensitivity at 1.215 mmol/L"),
    ("Table 2", "P", "specificity at 1.215 mmol/L"),
    ("Section 3.2", "Mg", "sensitivity of Mg at 0.845 mmol/L"),
    ("Section 3.2", "Mg", "specificity of Mg at 0.845 mmol/L"),
    ("Section 3.2", "Mg", "odds ratio of Mg <= 0.845 mmol/L, Model 1"),
    ("Table 4", "Weight", "p-value of the t-test"),
    ("Table 4", "BMI", "p-value of the t-test"),
    ("Tables 1 and 4", "Weight", "mean of all women"),
    ("Section 3.4", "L1 to L4, L1-4 BMD", "lower with a fracture, all P < 0.05"),
}


def test_every_known_error_is_found_and_no_other() -> None:
    assert {(check.table, check.row, check.quantity) for check in FOUND if check.agrees is False} == KNOWN_ERRORS


def test_every_disagreement_says_why_and_no_check_stands_twice() -> None:
    assert all(check.why for check in FOUND if check.agrees is not True)
    assert len({(check.table, check.row, check.quantity) for check in FOUND}) == len(FOUND) == 112


def test_only_three_rows_need_welchs_test() -> None:
    found = {(check.table, check.row) for check in FOUND if check.why.startswith("only Welch")}
    assert found == {("Table 1", "OCN"), ("Table 4", "L1 BMD"), ("Table 4", "L2 BMD")}


def test_every_p_value_of_the_tables_is_checked() -> None:
    for table in ("Table 1", "Table 4"):
        rows = [check.row for check in FOUND if (check.table, check.quantity) == (table, "p-value of the t-test")]
        assert rows == [row["row"] for row in FIGURES["table_1"].values()]


def test_what_the_paper_does_not_print_is_neither_right_nor_wrong() -> None:
    assert {check.published for check in FOUND if check.agrees is None} == {"not printed", "0.041", "496 (had)"}


def test_the_order_is_the_same() -> None:
    assert checks() == FOUND


def test_the_data_alone_load_nothing_heavy() -> None:
    code = "import sys, model.evidence; model.evidence.published(); assert not {'scipy', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# Tables 1 and 4


def test_p_values_by_the_t_test_of_another_hand() -> None:
    # OCN by hand: pooled variance (207 * 7.08^2 + 287 * 8.35^2) / 494 = 61.511, error 7.8429 * sqrt(1/208 + 1/288) = 0.71365,
    # t = 0.42 / 0.71365 = 0.58852 with 494 degrees of freedom: p = 0.5564.
    first, second = (208, 18.73, 7.08), (288, 19.15, 8.35)
    assert pooled_p(first, second) == pytest.approx(0.5564, abs=1e-4)
    ranges = p_ranges(first, second, 0.005)
    # With the means 0.01 further apart or nearer, t = 0.43 / 0.71365 and 0.41 / 0.71365; the SDs move the third digit.
    assert ranges.pooled == pytest.approx(Interval(0.5468, 0.5661), abs=2e-4)
    assert ranges.welch.low < 0.542 < ranges.welch.high


def test_rounding_that_reaches_equal_means_reaches_p_of_1() -> None:
    assert p_ranges((208, 2.33, 0.11), (288, 2.34, 0.12), 0.005).pooled.high == pytest.approx(1, abs=1e-12)
    assert p_ranges((208, 2.33, 0.11), (288, 2.33, 0.12), 0.0).welch == Interval(1, 1)


def test_differences_that_the_p_values_imply() -> None:
    # Of P: 0.14 * sqrt(1/208 + 1/288) = 0.012739; t for p = 0.043 and 494 degrees of freedom is 2.0288.
    assert implied_difference((208, 1.14, 0.14), (288, 1.12, 0.14), 0.043) == pytest.approx(0.0258, abs=5e-5)
    assert implied_difference((208, 0.47, 0.23), (288, 0.50, 0.27), 0.286) == pytest.approx(0.0247, abs=5e-5)
    why = one(table_1(FIGURES), "P", "p-value").why
    assert "0.0258 apart, printed are 0.02" in why


@pytest.mark.parametrize(("printed", "agrees"), [("0.157", True), ("0.151", False), ("<0.001", False)])
def test_a_p_value_that_no_test_gives(figures: dict[str, Any], printed: str, agrees: bool) -> None:  # noqa: FBT001 - a column of the table
    figures["table_4"]["rows"]["weight_kg"]["printed_p"] = printed
    assert one(table_4(figures), "Weight", "p-value").agrees is agrees


def test_weight_differs_between_the_tables() -> None:
    # (208 * 65.39 + 288 * 60.84) / 496 = 62.7481; (465 * 62.81 + 31 * 60.31) / 496 = 62.6538
    check = one(tables_1_and_4(FIGURES), "Weight", "mean of all women")
    assert (check.published, check.recomputed) == ("62.748 (Table 1)", "62.654 (Table 4)")
    assert check.why.startswith("the means differ by 0.094")


def test_groups_must_add_up(figures: dict[str, Any]) -> None:
    assert one(tables_1_and_4(figures), "Number", "women").agrees
    figures["table_4"]["groups"]["fracture"] = 30
    assert one(tables_1_and_4(figures), "Number", "women").agrees is False


def test_bmi_from_weight_and_height(figures: dict[str, Any]) -> None:
    # 65.39 / 1.5847^2 = 26.0385; times 1 + 3 * (5.95 / 158.47)^2 = 1.004229, and less 2 * (9.59 / 65.39) * (5.95 / 158.47) = 0.011013.
    found = mean_ratio([65.39, 9.59], [158.47, 5.95])
    assert found == pytest.approx(Interval(25.8618, 26.1486), abs=2e-4)
    figures["table_1"]["bmi_kg_m2"]["without"][0] = 26.20
    assert one(table_1(figures), "BMI", "mean from weight and height, without").agrees is False


def test_markers_in_their_true_unit_agree(figures: dict[str, Any]) -> None:
    for rows in (figures["reference_ranges"], figures["table_1"], figures["table_4"]["rows"]):
        for name in ("ctx_ng_ml", "p1np_ng_ml"):
            rows[name]["printed_unit"] = "ng/mL"
    found = [*section_2_3(figures), *table_1(figures), *table_4(figures)]
    units = [
        check.agrees
        for check in found
        if check.quantity in ("unit of the means", "reference range after the menopause")
    ]
    assert units == [True] * 9


# Table 2


def test_only_one_table_of_integers_gives_model_1() -> None:
    # 137 * 140 / (151 * 68) = 1.86794; error sqrt(1/137 + 1/151 + 1/68 + 1/140) = 0.18916: 1.2893 to 2.7063
    assert behind_model_1(FIGURES) == (Exposed(without=68, osteoporosis=137),)
    check = one(model_1(FIGURES), "Mg <= 0.845 (mmol/L)", "odds ratio")
    assert (check.agrees, check.recomputed) == (True, "1.868 (1.289-2.706)")


@pytest.mark.parametrize(("place", "value"), [("odds_ratio", 1.940), ("rounding", 0.02)])
def test_no_table_or_several_is_no_agreement(figures: dict[str, Any], place: str, value: float) -> None:
    figures["table_3_model_1"]["mg_mmol_l"][place] = value
    assert len(behind_model_1(figures)) != 1
    assert one(model_1(figures), "Mg <= 0.845 (mmol/L)", "odds ratio").agrees is False


@pytest.mark.parametrize(
    ("share", "size", "counts"),
    # 193/288 = 0.6701, 194/288 = 0.6736; 140/208 = 0.67308; 95/288 = 0.3299, 96/288 = 0.3333; 69/208 = 0.33173
    [
        (0.673, 288, []),
        (0.673, 208, [140]),
        (0.476, 288, [137]),
        (0.332, 288, []),
        (0.332, 208, [69]),
        (0.774, 288, [223]),
        (0.774, 208, [161]),
    ],
)
def test_shares_as_counts(share: float, size: int, counts: list[int]) -> None:
    assert counts_of(share, size, 0.0005) == counts


def test_shares_put_back_agree(figures: dict[str, Any]) -> None:
    row = figures["table_2"]["rows"]["mg_mmol_l"]
    row["sensitivity"], row["specificity"] = row["specificity"], row["sensitivity"]
    check = one(table_2(figures), "Mg", "sensitivity")
    assert (check.agrees, check.recomputed, check.why) == (True, "137/288 = 0.476", "")


def test_hanley_and_mcneil() -> None:
    # A = 0.602: Q1 = 0.602 / 1.398 = 0.430615, Q2 = 2 * 0.362404 / 1.602 = 0.452439, A (1 - A) = 0.239596;
    # (0.239596 + 287 * 0.068211 + 207 * 0.090035) / (288 * 208) = 0.00064192, its root 0.025336.
    assert hanley_mcneil(0.602, 288, 208) == pytest.approx(0.025336, abs=2e-6)
    for row, text in (("Mg", "0.602 (0.552-0.652)"), ("P", "0.548 (0.497-0.599)")):
        check = one(table_2(FIGURES), row, "AUC")
        assert (check.recomputed, check.agrees) == (text, True)


@pytest.mark.parametrize(
    ("place", "value", "quantity"), [("printed_p", "0.030", "p-value"), ("confidence_95", [0.51, 0.58], "AUC")]
)
def test_an_auc_and_its_p_value_must_belong_together(
    figures: dict[str, Any], place: str, value: object, quantity: str
) -> None:
    assert one(table_2(figures), "P", quantity).agrees
    figures["table_2"]["rows"]["p_mmol_l"][place] = value
    assert one(table_2(figures), "P", quantity).agrees is False


def test_the_flag() -> None:
    # Of 205 flagged 137 have osteoporosis, of 291 others 140 have not: 0.6683 and 0.4811.
    flag = Flag(sensitivity=137 / 288, specificity=140 / 208)
    assert flag.predictive_values(288 / 496) == pytest.approx((137 / 205, 140 / 291))
    # At 20 %: 0.2 * 0.47569 / (0.2 * 0.47569 + 0.8 * 0.32692) = 0.26674; 0.53846 / (0.53846 + 0.2 * 0.52431) = 0.83700.
    assert flag.predictive_values(0.2) == pytest.approx((0.26674, 0.83700), abs=1e-5)
    # 0.47569 / 0.32692 and 0.52431 / 0.67308
    assert flag.positive_likelihood_ratio == pytest.approx(1.45506, abs=1e-5)
    assert flag.negative_likelihood_ratio == pytest.approx(0.77897, abs=1e-5)
    assert one(table_2(FIGURES), "Mg", "women flagged").recomputed == "205 of 496 (41.3%)"


# Table 3


@pytest.mark.parametrize(
    ("name", "standard_error", "p"),
    # ln(2.868 / 1.312) / 3.91993 and so on; p of ln(OR) over it
    [
        ("mg_mmol_l", 0.1995, 0.0009),
        ("ctx_ng_ml", 0.3921, 0.0409),
        ("age_years", 0.01196, 0.0),
        ("bmi_kg_m2", 0.02823, 0.0001),
    ],
)
def test_standard_errors_and_p_values_of_model_2(name: str, standard_error: float, p: float) -> None:
    row = FIGURES["table_3_model_2"][name]
    assert implied_standard_error(row) == pytest.approx(standard_error, rel=5e-4)
    low, high = wald_p_range(row)
    assert low - 5e-5 <= p <= high + 5e-5


def test_an_odds_ratio_must_lie_in_the_middle_of_its_interval_with_its_p_value(figures: dict[str, Any]) -> None:
    figures["table_3_model_2"]["ctx_ng_ml"]["odds_ratio"] = 2.329
    assert one(model_2(figures), "beta-CTx", "odds ratio as the middle").agrees is False
    assert one(model_2(figures), "beta-CTx", "p-value").agrees is False


def test_the_standard_errors_speak_for_four_terms() -> None:
    row = FIGURES["table_3_model_2"]["ctx_ng_ml"]
    four = standard_errors(FIGURES, 0.6, adjusted=False)["ctx_ng_ml"] / implied_standard_error(row)
    seven = standard_errors(FIGURES, 0.6, adjusted=True)["ctx_ng_ml"] / implied_standard_error(row)
    assert four == pytest.approx(1.02, abs=0.01)
    assert 1.3 < seven < 1.4
    assert "speaks for four" in one(model_2(FIGURES), "beta-CTx", "standard error").why
    assert "does not tell them apart" in one(model_2(FIGURES), "Age", "standard error").why


def test_markers_without_correlation_tell_nothing() -> None:
    four, seven = (standard_errors(FIGURES, 0.0, adjusted=adjusted)["ctx_ng_ml"] for adjusted in (False, True))
    assert seven == pytest.approx(four, rel=1e-3)


def test_a_standard_error_beyond_both_regressions(figures: dict[str, Any]) -> None:
    figures["table_3_model_2"]["age_years"]["confidence_95"] = [1.032, 1.103]
    assert one(model_2(figures), "Age", "standard error").agrees is False


def test_mean_and_sd_of_all_women() -> None:
    # Age: mean (208 * 62.15 + 288 * 66.27) / 496 = 64.54226; variance (494 * 8.56^2 + 208 * 288 / 496 * 4.12^2) / 495 = 77.2671
    assert mean_and_sd(FIGURES, "age_years") == pytest.approx((64.54226, 8.79017), abs=1e-4)


# The text


def test_risks_at_another_prevalence() -> None:
    # Odds 0.58 / 0.42 * (0.2 / 0.8) * (208 / 288) = 0.24934; 4 * 0.25 * 0.72222 = 0.72222
    assert at_prevalence(0.58, 288 / 496, 0.2) == pytest.approx(0.24934 / 1.24934, abs=1e-5)
    assert at_prevalence(0.80, 288 / 496, 0.2) == pytest.approx(0.72222 / 1.72222, abs=1e-5)
    texts = [check.recomputed for check in FOUND if check.quantity.startswith("risk of")]
    assert texts == ["20%", "42%"]


def test_women_needed_by_rileys_criteria() -> None:
    found = {
        check.quantity: (check.recomputed, check.why.split(": ")[1])
        for check in FOUND
        if (check.table, check.row) == ("Cohort", "Number")
    }
    assert found == {
        "women needed to develop 6 terms": ("435", "enough"),
        "women needed to develop 7 terms": ("507", "too few women"),
    }


def test_lumbar_density_by_fracture(figures: dict[str, Any]) -> None:
    check = one(section_3_4(figures), "L1 to L4, L1-4 BMD", "lower")
    assert check.why.endswith("P < 0.05 only for L4 BMD; higher with a fracture: L1 BMD")
    for name in ("l1_bmd_g_cm2", "l2_bmd_g_cm2", "l3_bmd_g_cm2", "l1_4_bmd_g_cm2"):
        figures["table_4"]["rows"][name].update(printed_p="0.012", fracture=[0.70, 0.20])
    assert one(section_3_4(figures), "L1 to L4, L1-4 BMD", "lower").agrees


# The print


def test_the_rendered_table() -> None:
    text = render(
        [
            Check("Table 1", "Ca", "p", "1", "0.730", Interval(0.04808, 1.0), agrees=True),
            Check("Table 4", "Weight", "mean", "kg", "62.81", 62.65381, agrees=False, why="it differs"),
            Check("Cohort", "Number", "n", "1", "not printed", "435", agrees=None),
        ]
    )
    assert text.splitlines() == [
        "table    row     quantity   published    recomputed    agrees",
        "-------  ------  ---------  -----------  ------------  ------",
        "Table 1  Ca      p          0.730        0.04808 to 1  yes",
        "Table 4  Weight  mean [kg]  62.81        62.65         NO",
        "    it differs",
        "Cohort   Number  n          not printed  435           -",
        "",
        "3 checks: 1 agree, 1 do not, 1 have nothing printed to compare.",
    ]
    assert text.endswith(".\n")


def test_the_paper_rendered() -> None:
    lines = render(FOUND).splitlines()
    assert lines[-1] == "112 checks: 86 agree, 17 do not, 9 have nothing printed to compare."
    assert all(line == line.rstrip() and line.isascii() for line in lines)
