"""The nomogram's page in a browser: the same figures as Python's, for whatever is typed; by keyboard; without a network."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from model import Artefact, assess, flag, load_artefact
from model.artefact import SHIPPED, Nomogram
from screener.clinical.mapping import MappingTables
from tests.browser import accessibility_violations, page_of
from tests.command import screener

Json = dict[str, Any]
WOMEN = 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("page")
    for name in SHIPPED:
        screener("model", "page", "--artefact", name, "--out", f"{name}.html", cwd=made)
    return made


@pytest.fixture
def page(browser: Browser, folder: Path) -> Iterator[Page]:
    with page_of(browser, folder / f"{SHIPPED[0]}.html") as opened:
        yield opened


def women(artefact: Artefact) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Random women over the whole of what is possible, and their flags."""
    random = np.random.default_rng(20261126)
    columns = {p.name: random.uniform(*p.development_range, WOMEN) for p in artefact.predictors}
    for p in artefact.predictors:  # every tenth anywhere that is possible
        columns[p.name][::10] = random.uniform(*p.possible, len(columns[p.name][::10]))
    columns["mg_mmol_l"] = np.round(columns["mg_mmol_l"], 3)
    return columns, np.array([flag(Decimal(str(mg))) for mg in columns["mg_mmol_l"]])


@pytest.mark.parametrize("name", SHIPPED)
def test_it_gives_what_python_gives(name: str, browser: Browser, folder: Path) -> None:
    artefact = load_artefact(name)
    columns, flags = women(artefact)
    nomograms: list[Nomogram] = [artefact, *artefact.reduced]
    with page_of(browser, folder / f"{name}.html") as opened:
        found = opened.evaluate(
            """([columns, flags]) => [MODEL.whole, ...MODEL.reduced].map((nomogram) => flags.map((flagged, i) => {
                 const values = Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, column[i]]));
                 return assess(nomogram, values, flagged);
               }))""",
            [{key: column.tolist() for key, column in columns.items()}, flags.tolist()],
        )
    for nomogram, rows in zip(nomograms, found, strict=True):
        expected = assess(nomogram, columns, flags)
        for key, array in (("risk", expected.risk), ("low", expected.risk_low), ("high", expected.risk_high)):
            np.testing.assert_allclose([row[key] for row in rows], array, rtol=0, atol=1e-9)
        np.testing.assert_allclose([row["totalPoints"] for row in rows], expected.total_points, rtol=1e-12, atol=1e-9)
        for predictor in nomogram.predictors:
            points = [row["points"][predictor.name] for row in rows]
            np.testing.assert_allclose(points, expected.points[predictor.name], rtol=1e-12, atol=1e-9)
            outside = [predictor.name in row["extrapolated"] for row in rows]
            assert outside == expected.extrapolated[predictor.name].tolist()


def test_the_flag_is_decided_on_the_decimals_as_printed(page: Page) -> None:
    """Also in other units: the same side as the job's own conversion, for every value near the cut-off."""
    units = {row.unit: row for row in MappingTables.default().units if row.analyte.value == "mg"}
    offered = page.evaluate("MODEL.fields.find((field) => field.name === 'mg_mmol_l').units.map((unit) => unit.label)")
    assert offered == ["mmol/L", "mg/dL", "mg/L", "meq/L"]
    typed, expected = [], []
    for number, unit in enumerate(offered):
        row = units[unit]
        middle = Decimal("0.845") * row.denominator / row.numerator
        for step in range(-60, 61):
            text = str((middle + Decimal(step) / 1000).quantize(Decimal("0.001")))
            typed.append([text if step % 2 else text.replace(".", ","), number])
            expected.append(flag(Decimal(text) * row.numerator / row.denominator))
    found = page.evaluate(
        """(typed) => typed.map(([text, unit]) => {
             const field = MODEL.fields.find((one) => one.name === "mg_mmol_l");
             return compare(decimal(text), field.units[unit], MODEL.cutOff) <= 0;
           })""",
        typed,
    )
    assert found == expected
    assert {True, False} <= set(expected)


WOMAN = {
    "age_years": "67", "weight": "61.5", "height": "158", "mg_mmol_l": "0.90", "p_mmol_l": "1.1", "ctx_ng_ml": "0.47", "p1np_ng_ml": "54",
}  # fmt: skip


def typed(page: Page, **values: str) -> None:
    for name, text in {**WOMAN, **values}.items():
        page.fill(f"#{name}", text)


def risk_of(available: dict[str, float], *, flagged: bool, nomogram: Nomogram) -> str:
    columns = {p.name: np.array([available[p.name]]) for p in nomogram.predictors}
    return f"{100 * assess(nomogram, columns, np.array([flagged])).risk[0]:.1f} %"


VALUES = {
    "age_years": 67,
    "bmi_kg_m2": 61.5 / 1.58**2,
    "mg_mmol_l": 0.90,
    "p_mmol_l": 1.1,
    "ctx_ng_ml": 0.47,
    "p1np_ng_ml": 54,
}


def test_a_woman_is_typed_in(page: Page) -> None:
    expect(page.locator("#risk")).to_have_text("Age, weight, height and magnesium are needed at least")
    typed(page)
    expect(page.locator("#risk")).to_have_text(risk_of(VALUES, flagged=False, nomogram=load_artefact()))
    expect(page.locator("#flag")).to_have_text("Above 0.845 mmol/L: not flagged")
    expect(page.locator("#contributions tr")).to_have_count(6)
    page.fill("#mg_mmol_l", "0,845")
    expect(page.locator("#flag")).to_have_text("At or below 0.845 mmol/L: flagged")
    expect(page.locator("#risk")).to_have_text(risk_of(VALUES, flagged=True, nomogram=load_artefact()))
    other = risk_of(VALUES, flagged=False, nomogram=load_artefact())
    expect(page.locator("#notes")).to_contain_text(f"where the estimate would be {other}")
    page.get_by_role("button", name="Clear all").click()
    expect(page.locator("#risk")).to_contain_text("are needed at least")


def test_an_empty_field_takes_the_reduced_model_and_says_so(page: Page) -> None:
    typed(page, p1np_ng_ml="", ctx_ng_ml="")
    reduced = next(n for n in load_artefact().reduced if n.name == "age-bmi-mg-p")
    expect(page.locator("#risk")).to_have_text(risk_of(VALUES, flagged=False, nomogram=reduced))
    expect(page.locator("#notes")).to_contain_text("A reduced model is used, without Beta-CTx, P1NP")
    typed(page, mg_mmol_l="")
    expect(page.locator("#flag")).to_have_text("Magnesium is needed")
    expect(page.locator("#result")).to_be_hidden()


def test_other_units_give_the_same(page: Page) -> None:
    typed(page)
    before = page.locator("#risk").text_content()
    for name, unit, text in (
        ("weight", "lb", "135.5842"),
        ("height", "in", "62.2047"),
        ("ctx_ng_ml", "pg/mL", "470"),
        ("mg_mmol_l", "mg/dL", "2.18745"),
        ("p_mmol_l", "mg/dL", "3.40711"),
    ):
        page.select_option(f"#{name}-unit", label=unit)
        page.fill(f"#{name}", text)
    assert page.locator("#risk").text_content() == before


@pytest.mark.parametrize(
    ("field", "text"),
    [("mg_mmol_l", "84"), ("mg_mmol_l", "abc"), ("age_years", "670"), ("weight", "-60"), ("height", "1.58")],
)
def test_what_can_be_no_measurement_is_told_at_its_field(field: str, text: str, page: Page) -> None:
    typed(page, **{field: text})
    expect(page.locator(f"#{field}")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(f"#{field}-problem")).to_have_text("This can be no measurement in this unit.")
    expect(page.locator("#result")).to_be_hidden()
    page.fill(f"#{field}", WOMAN[field])
    expect(page.locator(f"#{field}")).to_have_attribute("aria-invalid", "false")
    expect(page.locator("#result")).to_be_visible()


def test_it_is_used_by_keyboard_alone(page: Page) -> None:
    """Tab goes through field, unit and slider of each result; the arrows move a slider."""
    seen = []
    for _ in range(3 * 7 + 1):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.type"))
    names = list(WOMAN)
    assert seen == [part for name in names for part in (name, f"{name}-unit", f"{name}-slider")] + ["reset"]
    typed(page)
    page.focus("#age_years-slider")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#age_years")).to_have_value("68")
    expect(page.locator("#age_years-slider")).to_have_attribute("aria-valuetext", "68 years")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 320])
def test_it_is_accessible_and_fits(browser: Browser, folder: Path, scheme: str, width: int) -> None:
    with page_of(
        browser, folder / f"{SHIPPED[0]}.html", viewport={"width": width, "height": 800}, color_scheme=scheme
    ) as opened:
        assert accessibility_violations(opened) == []
        typed(opened, mg_mmol_l="0.84", p1np_ng_ml="9999")
        assert accessibility_violations(opened) == []
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
