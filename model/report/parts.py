"""Sections that more than one report has: what the paper's method gave on a cohort, as tables and figures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model.atomic import write_whole
from model.local import paper
from model.local.cohort import LocalCohort
from model.predictors import MG, OCN, PREDICTORS, P
from model.report.figures.calibration import Curve, calibration
from model.report.figures.decision import decision
from model.report.figures.lasso import lasso
from model.report.figures.nomogram import LABELS, nomogram
from model.report.figures.roc import Drawn, roc
from model.report.page import Picture, Section, Table
from model.stats.calibration import hosmer_lemeshow
from model.stats.decision import NetBenefit
from model.stats.roc import Auc, CutOff, curve

Json = Mapping[str, Any]

SHORT = {name: label.partition(" (")[0] for name, label in LABELS.items()}
NAMES = {
    **LABELS,
    OCN: "Osteocalcin (ng/mL)",
    paper.CATEGORY: "Magnesium ≤ 0.845 mmol/L",
    "intercept": "Intercept",
}
TITLES = {
    "model_1": "Model 1",
    "model_2_all_seven": "Model 2, all seven terms of the text",
    "model_2_four_printed": "Model 2, the four printed terms",
    "six_terms_category": "Six terms, magnesium as category",
    "six_terms_continuous": "Six terms, magnesium as number",
}


def write_results(results: Json, folder: Path) -> Path:
    """`results.json` at full precision; it appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    write_whole(path, [json.dumps(results, indent=1, allow_nan=False).encode(), b"\n"])
    return path


def number(value: float, digits: int = 3) -> str:
    """Fixed decimals; p-values are written by `p_value`."""
    return f"{value:.{digits}f}"


def p_value(value: float) -> str:
    """As journals print it."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def interval(found: Json, value: str = "value", digits: int = 3) -> str:
    """A value with its limits."""
    return f"{found[value]:.{digits}f} ({found['low']:.{digits}f} to {found['high']:.{digits}f})"


def groups_table(results: Json) -> Table:
    """Table 1 of the paper's variables."""
    rows = []
    for name, found in results["groups"].items():
        moments = [f"{found[group]['mean']:.2f} ± {found[group]['sd']:.2f}" for group in ("without", "osteoporosis")]
        rows.append([NAMES[name], *moments, p_value(found["pooled"]["p_value"]), p_value(found["welch"]["p_value"])])
    heads = ("", "Without osteoporosis", "Osteoporosis", "p (pooled t)", "p (Welch)")
    return Table("Groups, mean ± SD", heads, rows)


def roc_table(results: Json) -> Table:
    """Table 2 of the paper, direction fixed."""
    rows = []
    for name in (MG, P):
        found = results["roc"][name]
        cuts = found["cut_offs"]
        rows.append(
            [
                NAMES[name],
                interval(found["auc"]),
                *(", ".join(number(cut[key]) for cut in cuts) for key in ("threshold", "sensitivity", "specificity")),
            ]
        )
    category = results["category"]
    rows.append([NAMES[paper.CATEGORY], "", "0.845", number(category["sensitivity"]), number(category["specificity"])])
    note = "Low values speak for osteoporosis; every cut-off with the greatest Youden index is listed. The last row is the published cut-off."
    return Table("ROC", ("", "AUC (95 % interval, DeLong)", "Cut-off", "Sensitivity", "Specificity"), rows, note)


def model_table(results: Json, name: str) -> Table:
    """A regression: odds ratios with Wald intervals."""
    model = results["models"][name]
    rows = [
        [NAMES[row["name"]], number(row["coefficient"], 4), interval(row, "odds_ratio"), p_value(row["p_value"])]
        for row in model["rows"]
        if row["name"] != "intercept"
    ]
    found = model["performance"]
    ratio = model["likelihood_ratio"]
    note = f"C {found['c']:.3f}, Nagelkerke R² {found['r2_nagelkerke']:.3f}, Brier {found['brier']:.3f}, "
    note += f"likelihood-ratio χ² {ratio['statistic']:.2f} ({ratio['df']} df, p {p_value(ratio['p_value'])})"
    if "hosmer_lemeshow" in model:
        note += f", Hosmer-Lemeshow p {p_value(model['hosmer_lemeshow']['p_value'])}"
    return Table(TITLES[name], ("", "Coefficient", "Odds ratio (95 % interval)", "p"), rows, note)


def lasso_section(results: Json, cohort: LocalCohort) -> Section:
    """Figure 1."""
    found = paper.cross_validated_lasso(cohort, results["seed"])
    sds = np.array([cohort.columns[name].std() for name in PREDICTORS])
    kept = {key: [SHORT[name] for name in results["lasso"][key]["selected"]] for key in ("lambda_min", "lambda_1se")}
    figure = lasso(found, [SHORT[name] for name in PREDICTORS], sds)
    caption = "A: coefficients along the penalty, numbers of predictors kept above. B: cross-validated deviance; the dotted lines are lambda min and lambda 1se."
    text = f"At lambda min it keeps {', '.join(kept['lambda_min'])}; at lambda 1se, the sparser choice, {', '.join(kept['lambda_1se']) or 'none'}."
    return Section("LASSO", [text], pictures=[Picture("figure1_lasso", figure, caption)])


def roc_picture(results: Json, cohort: LocalCohort) -> Picture:
    """The ROC curves of magnesium and phosphate."""
    drawn = []
    for name in (MG, P):
        found = results["roc"][name]
        cut = CutOff(**found["cut_offs"][0])
        line = curve(cohort.columns[name], cohort.osteoporosis, direction=">")
        drawn.append(Drawn(SHORT[name], line, Auc(**found["auc"]), cut, f"{cut.threshold:.3f}"))
    return Picture(
        "roc", roc(drawn), "ROC curves of magnesium and phosphate; the points are the cut-offs by Youden's index."
    )


def nomogram_section(cohort: LocalCohort) -> Section:
    """Figure 2, in both forms."""
    pictures = []
    for name in paper.SIX:
        terms = paper.MODELS[name]
        drawing = paper.nomogram(cohort, terms, paper.fit(cohort, terms))
        pictures.append(Picture(f"figure2_nomogram_{name}", nomogram(drawing), f"Nomogram. {TITLES[name]}."))
    return Section("Nomogram", pictures=pictures)


def calibration_section(results: Json, cohort: LocalCohort) -> Section:
    """Figure 3: calibration with bootstrap correction, and decision curves."""
    pictures = [_calibration(results, cohort, name) for name in paper.SIX]
    curves = {
        TITLES[name]: NetBenefit(
            *(np.array(results["models"][name]["decision_curve"][key]) for key in NetBenefit._fields)
        )
        for name in paper.SIX
    }
    caption = (
        "Decision curves: net benefit of a DXA for women at or above the threshold, against everyone and none. Apparent: on the women "
        f"that the models were fitted to, {100 * cohort.events / cohort.size:.0f} % of whom have osteoporosis. Elsewhere the curves differ."
    )
    pictures.append(Picture("figure3_decision", decision(curves), caption))
    return Section("Calibration and decision curves", pictures=pictures, tables=[_optimism(results)])


def _calibration(results: Json, cohort: LocalCohort, name: str) -> Picture:
    found = results["bootstrap"][name]["calibration"]
    predicted = np.array(found["predicted"])
    curves = [
        Curve("Apparent", predicted, np.array(found["apparent"])),
        Curve("Bias-corrected", predicted, np.array(found["corrected"])),
    ]
    terms = paper.MODELS[name]
    risk = paper.risks(cohort, terms, paper.fit(cohort, terms))
    test = hosmer_lemeshow(cohort.osteoporosis, risk, fitted=True)
    notes = [f"Hosmer-Lemeshow p {p_value(test.p_value)}", f"mean absolute error {found['mean_absolute_error']:.3f}"]
    figure = calibration(curves, cohort.osteoporosis, risk, test.groups, notes)
    caption = f"Calibration. {TITLES[name]}. Bias-corrected by {results['resamples']} resamples; squares are tenths of the women; below, risks of women with osteoporosis (up) and without (down)."
    return Picture(f"figure3_calibration_{name}", figure, caption)


def _optimism(results: Json) -> Table:
    rows = []
    for name in paper.SIX:
        for measure in ("Dxy", "Slope", "R2", "B"):
            found = results["bootstrap"][name]["measures"][measure]
            rows.append(
                [
                    TITLES[name],
                    measure,
                    number(found["apparent"]),
                    number(found["optimism"]),
                    number(found["corrected"]),
                ]
            )
    return Table(
        "Bootstrap",
        ("Model", "Measure", "Apparent", "Optimism", "Corrected"),
        rows,
        f"{results['resamples']} resamples",
    )
