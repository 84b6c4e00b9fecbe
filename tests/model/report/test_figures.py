"""Properties of the figures, not their pixels: places equal the model's numbers, nothing overlaps, nothing leaves the canvas,
nothing is left out, and the same figure is the same bytes."""

from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from model import Nomogram, assess, load_artefact
from model.errors import ModelError
from model.predictors import AGE, BMI, CTX, MG, P1NP, P
from model.report import style
from model.report.figures import nomogram as nomograms
from model.report.figures.agreement import agreement
from model.report.figures.calibration import Curve, calibration
from model.report.figures.decision import decision
from model.report.figures.forest import Odds, forest
from model.report.figures.lasso import lasso
from model.report.figures.nomogram import LABELS, nomogram, predictor_scale, pretty
from model.report.figures.roc import Drawn, roc
from model.stats.calibration import hosmer_lemeshow
from model.stats.decision import NetBenefit, net_benefit
from model.stats.lasso import CrossValidation, LassoPath
from model.stats.roc import Auc, CutOff, RocCurve, curve

CATEGORY = load_artefact()
CONTINUOUS = load_artefact("shi2026-mg-continuous")
DRAWINGS = {
    "category": CATEGORY,
    "continuous": CONTINUOUS,
    **{reduced.name: reduced for reduced in CATEGORY.reduced},
}
WOMAN = {AGE: 72.0, BMI: 21.5, MG: 0.81, P: 1.05, CTX: 0.62, P1NP: 61.0}
RISK = np.linspace(0.05, 0.95, 400)
OUTCOME = (np.random.default_rng(4).random(400) < RISK).astype(float)


def a_nomogram() -> Figure:
    return nomogram(CATEGORY, WOMAN, "All six predictors")


def a_lasso() -> Figure:
    """Two predictors over five penalties."""
    lambdas = np.array([0.1, 0.05, 0.02, 0.01, 0.005])
    coefficients = np.array([[0, 0], [0.1, 0], [0.2, 0.05], [0.25, 0.2], [0.26, 0.26]])
    path = LassoPath(lambdas, np.zeros(5), coefficients, np.linspace(0, 0.1, 5), np.array([0, 1, 2, 2, 2]))
    deviance = np.array([1.36, 1.30, 1.26, 1.25, 1.27])
    found = CrossValidation(path, deviance, np.full(5, 0.02), 0.01, 0.02, 3, 2)
    return lasso(found, ["Age", "Magnesium"], np.ones(2))


def a_roc() -> Figure:
    line = curve(RISK, OUTCOME, direction="<")
    return roc([Drawn("Model", line, Auc(0.71, 0.02, 0.67, 0.75), CutOff(0.5, 0.6, 0.7, 0.3), "0.500")])


def a_calibration() -> Figure:
    groups = hosmer_lemeshow(OUTCOME, RISK, fitted=True).groups
    return calibration([Curve("Apparent", RISK, RISK)], OUTCOME, RISK, groups, ["slope 0.92", "intercept 0.00"])


def a_decision() -> Figure:
    return decision({"Model": net_benefit(OUTCOME, RISK, np.linspace(0.01, 0.99, 99))})


def a_forest() -> Figure:
    published = {"Magnesium": Odds(1.940, 1.312, 2.868), "BMI": Odds(0.894, 0.846, 0.945)}
    return forest(["Magnesium", "BMI"], {"Published": published, "Refitted": {"BMI": Odds(0.9, 0.85, 0.95)}})


def an_agreement() -> Figure:
    return agreement(RISK, np.clip(RISK + 0.03, 0, 1), CATEGORY, CONTINUOUS)


ALL = [a_nomogram, a_lasso, a_roc, a_calibration, a_decision, a_forest, an_agreement]
each_figure = pytest.mark.parametrize("draw", ALL, ids=lambda draw: draw.__name__)
each_nomogram = pytest.mark.parametrize("drawing", DRAWINGS.values(), ids=DRAWINGS)


def texts(figure: Figure) -> list[Text]:
    """What is written, laid out as it is saved."""
    with style.drawn():
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    found = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_visible() and text.get_text()]
    return [text for text in found if text not in beyond(figure)]


def beyond(figure: Figure) -> set[Text]:
    """Labels of ticks outside an axis's limits: matplotlib keeps them, and does not draw them."""
    hidden: set[Text] = set()
    for axis in (axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)):
        low, high = sorted(axis.get_view_interval())
        hidden |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    return hidden


def outside(figure: Figure) -> list[str]:
    """What is written and does not fit on the canvas, but for a pixel of rounding."""
    boxes = {text.get_text(): text.get_window_extent() for text in texts(figure)}
    width, height = figure.bbox.max + 1  # type: ignore[operator]
    return [text for text, box in boxes.items() if box.x0 < -1 or box.y0 < -1 or box.x1 > width or box.y1 > height]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in texts(figure)]


def at(drawing: Nomogram, name: str, value: float) -> float:
    """The points that `assess` gives for one value, all others at their centres; it takes no marker of 0, so that the
    points there follow from those at 1 and 2."""
    if value == 0:
        return 2 * at(drawing, name, 1.0) - at(drawing, name, 2.0)
    columns = {p.name: np.array([p.centre if p.form == "continuous" else 0.9]) for p in drawing.predictors}
    columns[name] = np.array([value])
    return float(assess(drawing, columns, columns.get(MG, np.array([0.9])) <= 0.845).points[name][0])


@each_nomogram
def test_each_tick_stands_where_the_model_has_its_points(drawing: Nomogram) -> None:
    for predictor in drawing.predictors:
        scale = predictor_scale(predictor, drawing.points_per_logit)
        category = {"> 0.845": 0.85, "≤ 0.845": 0.84} if predictor.form == "category" else {}
        expected = [at(drawing, predictor.name, category.get(t.text) or float(t.text)) for t in scale.ticks]
        assert [tick.at for tick in scale.ticks] == pytest.approx(expected, abs=1e-9)
        assert len(scale.ticks) >= 2


@each_nomogram
def test_a_line_from_total_points_meets_the_model_s_risk(drawing: Nomogram) -> None:
    woman = {p.name: np.array([WOMAN[p.name]]) for p in drawing.predictors}
    found = assess(drawing, woman, np.array([True]))
    total, risk = nomograms._totals(drawing)
    logits = [np.log(float(tick.text) / (1 - float(tick.text))) for tick in risk.ticks]
    assert total.full == risk.full
    slope, intercept = np.polyfit([tick.at for tick in risk.ticks], logits, 1)
    assert intercept + slope * found.total_points[0] == pytest.approx(found.linear_predictor[0], abs=1e-9)


@each_nomogram
def test_no_words_of_a_nomogram_touch_or_leave_the_canvas(drawing: Nomogram) -> None:
    figure = nomogram(drawing, title="A nomogram")
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    assert [f"{a} / {b}" for (a, one), (b, other) in combinations(boxes, 2) if one.overlaps(other)] == []
    assert {LABELS[p.name] for p in drawing.predictors} <= {text for text, _ in boxes}
    assert outside(figure) == []


@each_figure
def test_no_words_leave_the_canvas(draw: Callable[[], Figure]) -> None:
    assert outside(draw()) == []


@each_figure
def test_the_same_figure_is_the_same_bytes(draw: Callable[[], Figure], tmp_path: Path) -> None:
    first, second = (style.save(draw(), tmp_path / name) for name in ("one", "two"))
    assert [path.name for path in first] == ["one.png", "one.svg"]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    assert b"<dc:date>" not in first[1].read_bytes()


@each_figure
def test_a_figure_has_a_journal_s_width_and_leaves_no_setting_behind(draw: Callable[[], Figure]) -> None:
    before = dict(mpl.rcParams)
    assert round(draw().get_figwidth() * 25.4) in (89, 183)
    assert dict(mpl.rcParams) == before


def test_a_caller_s_settings_do_not_matter(tmp_path: Path) -> None:
    plain = style.save(a_roc(), tmp_path / "plain")[1].read_bytes()
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "svg.hashsalt": "other"}):
        assert style.save(a_roc(), tmp_path / "other")[1].read_bytes() == plain


def test_png_has_300_dots_per_inch(tmp_path: Path) -> None:
    with Path(style.save(a_roc(), tmp_path / "f")[0]).open("rb") as stream:
        header = stream.read(24)
    assert int.from_bytes(header[16:20]) == int(89 / 25.4 * 300)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (50, 95, [50, 55, 60, 65, 70, 75, 80, 85, 90, 95]),
        (15, 40, [15, 20, 25, 30, 35, 40]),
        (0.6, 1.8, [0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8]),
        (0, 250, [0, 50, 100, 150, 200, 250]),
        (0, 334.2, [0, 50, 100, 150, 200, 250, 300]),
        (-1.5, 1.5, [-1.5, -1.0, -0.5, 0, 0.5, 1.0, 1.5]),
    ],
)
def test_ticks_are_round_and_mark_both_ends_where_a_round_step_can(low: float, high: float, expected: list) -> None:  # type: ignore[type-arg]
    assert pretty(low, high) == expected
    assert "-0" not in [f"{value:g}" for value in pretty(low, high)]


def test_a_decreasing_effect_runs_from_high_to_low() -> None:
    bmi = next(p for p in CATEGORY.predictors if p.name == BMI)
    ticks = predictor_scale(bmi, CATEGORY.points_per_logit).ticks
    assert all(left.at > right.at for left, right in pairwise(ticks))
    assert (ticks[-1].text, ticks[-1].at) == ("40", pytest.approx(0))


def test_a_reading_says_the_model_s_points_and_risk() -> None:
    found = assess(CATEGORY, {name: np.array([value]) for name, value in WOMAN.items()}, np.array([True]))
    said = f"{found.total_points[0]:.0f} points: risk {found.risk[0]:.2f}"
    assert said in words(nomogram(CATEGORY, WOMAN))


def test_a_reading_at_the_far_end_stays_on_the_canvas() -> None:
    extreme = {AGE: 95.0, BMI: 15.0, MG: 0.6, P: 0.6, CTX: 2.0, P1NP: 250.0}
    assert outside(nomogram(CATEGORY, extreme)) == []


@pytest.mark.parametrize(
    ("change", "message"), [({AGE: 97.0}, "outside its axis, 50 to 95"), ({P: np.nan}, "p_mmol_l")]
)
def test_a_reading_off_an_axis_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        nomogram(CATEGORY, {**WOMAN, **change})


def test_a_reading_without_a_predictor_is_refused() -> None:
    with pytest.raises(ModelError, match="lacks ctx_ng_ml"):
        nomogram(CATEGORY, {name: value for name, value in WOMAN.items() if name != CTX})


def test_magnesium_that_is_no_number_is_not_taken_for_normal() -> None:
    with pytest.raises(ModelError, match="mg_mmol_l"):
        nomogram(CATEGORY, {**WOMAN, MG: np.nan})


@pytest.mark.parametrize("shift", [-9.0, 9.0])
def test_a_model_recalibrated_far_away_still_has_ticks_of_risk(shift: float) -> None:
    moved = Nomogram(
        "moved", CATEGORY.intercept + shift, {}, CATEGORY.predictors, CATEGORY.covariance, 0.95, expected_auc=None
    )
    _, risk = nomograms._totals(moved)
    assert len(risk.ticks) >= 2


def test_lasso_draws_coefficients_and_counts_and_marks_both_penalties() -> None:
    figure = a_lasso()
    path, choice = figure.axes
    assert [line.get_ydata()[-1] for line in path.lines[:2]] == [0.26, 0.26]
    assert {line.get_xdata()[0] for line in choice.lines if len(set(line.get_xdata())) == 1} == {  # type: ignore[arg-type]
        np.log(0.01),
        np.log(0.02),
    }
    assert {"λ min", "λ 1se", "Age", "Magnesium"} <= set(words(figure))
    names = [text for text in texts(figure) if text.get_text() in ("Age", "Magnesium")]
    assert not names[0].get_window_extent().overlaps(names[1].get_window_extent())


def test_roc_is_square_and_names_area_interval_and_cut_off() -> None:
    figure = a_roc()
    (panel,) = figure.axes
    assert panel.get_aspect() == 1
    assert {"Model: AUC 0.710 (0.670 to 0.750)", "0.500"} <= set(words(figure))
    assert [1 - 0.7, 0.6] in [np.ravel(line.get_xydata()).tolist() for line in panel.lines]


def test_roc_labels_cover_neither_their_own_curve_nor_another() -> None:
    # The paper's magnesium and phosphate: one curve a little above the other, each cut where the other passes near.
    curves = {
        "Magnesium": ((0, 0.1, 0.26, 0.44, 0.67, 1), (0, 0.2, 0.445, 0.61, 0.79, 1), 2),
        "Phosphate": ((0, 0.11, 0.2, 0.34, 0.47, 0.515, 1), (0, 0.13, 0.26, 0.43, 0.55, 0.635, 1), 5),
    }
    drawn = []
    for name, (false_positive, true_positive, at) in curves.items():
        line = RocCurve(np.arange(len(true_positive)), np.array(true_positive), 1 - np.array(false_positive))  # type: ignore[arg-type]
        cut = CutOff(0.835, true_positive[at], 1 - false_positive[at], 0.2)
        drawn.append(Drawn(name, line, Auc(0.6, 0.02, 0.55, 0.65), cut, "0.835"))
    figure = roc(drawn)
    panel = figure.axes[0]
    along = np.linspace(0, 1, 5000)
    for label in panel.texts:
        box = label.get_window_extent()
        for false_positive, true_positive, _ in curves.values():
            heights = np.interp(along, false_positive, true_positive)
            points = panel.transData.transform(np.column_stack([along, heights]))
            assert not box.count_contains(points)


def test_calibration_shows_groups_and_every_woman() -> None:
    figure = a_calibration()
    (panel,) = figure.axes
    heights = np.array([patch.get_height() for patch in panel.patches])  # type: ignore[attr-defined]
    scale = heights.max() / max(np.histogram(RISK[OUTCOME == 1], np.linspace(0, 1, 61))[0])
    ratio = -heights[heights < 0].sum() / heights[heights > 0].sum()
    assert scale > 0
    assert ratio == pytest.approx((OUTCOME == 0).sum() / (OUTCOME == 1).sum())
    assert {"slope 0.92", "intercept 0.00", "Ideal", "Apparent"} <= set(words(figure))


def test_decision_curves_are_cut_below() -> None:
    (panel,) = a_decision().axes
    assert panel.get_ylim()[0] == -0.05
    assert panel.get_xlim() == (0, 1)


def test_forest_gives_the_printed_figures_on_a_log_axis() -> None:
    figure = a_forest()
    (panel,) = figure.axes
    assert panel.get_xscale() == "log"
    assert {"1.940 (1.312 to 2.868)", "0.894 (0.846 to 0.945)", "0.900 (0.850 to 0.950)"} <= set(words(figure))


def test_agreement_counts_every_woman_by_her_weight() -> None:
    first, second = np.array([0.5, 0.5, 0.2]), np.array([0.5, 0.9, 0.21])
    figure = agreement(first, second, CATEGORY, CONTINUOUS, np.array([1.0, 2.0, 1.0]))
    assert "50 % of women\nmore than 5\npoints apart" in words(figure)
    _, differences, _ = figure.axes
    bars = differences.patches[1:]
    assert sum(bar.get_height() for bar in bars) == pytest.approx(100)  # type: ignore[attr-defined]


def test_agreement_shows_the_cliff_where_it_is() -> None:
    low, high, _, cut = an_agreement().axes[2].lines
    assert low.get_xdata()[-1] == high.get_xdata()[0] == cut.get_xdata()[0] == 0.845
    columns = {p.name: np.full(2, p.centre) for p in CATEGORY.predictors} | {MG: np.array([0.84, 0.85])}
    expected = assess(CATEGORY, columns, np.array([True, False])).risk
    assert [low.get_ydata()[-1], high.get_ydata()[0]] == pytest.approx(expected.tolist())


def test_agreement_of_many_women_is_drawn_as_hexagons() -> None:
    risk = np.linspace(0.1, 0.9, 2001)
    figure = agreement(risk, risk, CATEGORY, CONTINUOUS)
    (hexagons,) = figure.axes[0].collections
    assert np.asarray(hexagons.get_array()).sum() == 2001


def test_risks_of_different_women_are_refused() -> None:
    with pytest.raises(ModelError, match="same women"):
        agreement(RISK, RISK[1:], CATEGORY, CONTINUOUS)


def test_a_seventh_series_is_refused_instead_of_left_out() -> None:
    nothing = NetBenefit(np.array([0.1, 0.2]), np.zeros(2), np.zeros(2))
    with pytest.raises(ModelError, match="7 series"):
        decision({str(i): nothing for i in range(7)})


def test_no_label_stands_where_a_reading_comes_down() -> None:
    """At 0.79 the reading meets the line beside 0.8, whose label moves below it."""
    places = [0.3, 0.45, 0.6, 0.7, 0.78]
    given = ["above", "below", "above", "below", "above"]
    assert nomograms._clear_of(0.775, places, given) == ["below", "above", "below", "above", "below"]
    assert nomograms._clear_of(0.7, places, given) == given
    assert nomograms._clear_of(None, places, given) == given
    assert nomograms._clear_of(0.3, [0.3, 0.31], ["left", "right"]) == ["left", "right"]
