"""What the paper prints beside what its method gives on the synthetic women, and why the two differ where they do."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from model.evidence import published
from model.evidence.checks import checks
from model.evidence.checks.result import with_limits
from model.local import paper
from model.predictors import AGE, BMI, CTX, MG, P
from model.report.page import Table
from model.report.parts import NAMES, SHORT, TITLES, number, p_value

Json = Mapping[str, Any]
Row = tuple[str, str, str, str]  # figure, published, here, why

_HEADS = ("Figure", "Published", "Synthetic women", "Why they differ")
_WHOLE = "496 whole women, whose values lie on a laboratory's grid, come near the printed figure"
_EXCHANGED = "the paper prints sensitivity and specificity exchanged"
_MISFIT = (
    "no table tells how single women depart from the logistic form; the reconstruction follows it, so that the misfit which the "
    "paper saw is not in it"
)
_GROUPS = {"without": "without osteoporosis", "osteoporosis": "with osteoporosis"}


def table_1(results: Json) -> Table:
    """Means, SDs and p-values of the variables that the reconstruction has."""
    return _table("Table 1, published beside ours", _table_1(results))


def table_2(results: Json) -> Table:
    """Areas, cut-offs, sensitivity and specificity."""
    return _table("Table 2, published beside ours", _table_2(results))


def table_3(results: Json) -> Table:
    """Odds ratios of Model 1 and of Model 2 with the terms that were printed."""
    return _table("Table 3, published beside ours", _table_3(results))


def figures(results: Json) -> Table:
    """What the text says of Figures 1 and 3, which are pictures only."""
    return _table("Figures 1 and 3, as far as the text gives numbers", _figures(results))


def _table(title: str, rows: Iterable[Row]) -> Table:
    kept = [(figure, printed, here, why if printed != here else "") for figure, printed, here, why in rows]
    return Table(title, _HEADS, kept)


def _table_1(results: Json) -> Iterator[Row]:
    explained = {check.row: check.why for check in checks() if (check.table, check.quantity) == _P_VALUES}
    for name, found in results["groups"].items():
        row = published()["table_1"][name]
        for group, words in _GROUPS.items():
            mean, sd = row[group]
            here = f"{found[group]['mean']:.2f} ± {found[group]['sd']:.2f}"
            yield f"{NAMES[name]}, {words}", f"{mean:.2f} ± {sd:.2f}", here, _WHOLE
        why = explained[row["row"]] or "means and SDs are known to their rounding only"
        yield (
            f"{SHORT.get(name, NAMES[name])}, p (pooled t-test)",
            row["printed_p"],
            p_value(found["pooled"]["p_value"]),
            why,
        )


_P_VALUES = ("Table 1", "p-value of the t-test")


def _table_2(results: Json) -> Iterator[Row]:
    for name in (MG, P):
        row, found = published()["table_2"]["rows"][name], results["roc"][name]
        auc, cuts = found["auc"], found["cut_offs"]
        limits = "the printed limits fit Hanley and McNeil's formula, these are DeLong's"
        yield (
            f"{SHORT[name]}: AUC (95 % interval)",
            with_limits(row["auc"], row["confidence_95"]),
            with_limits(auc["value"], (auc["low"], auc["high"])),
            limits if f"{auc['value']:.3f}" == f"{row['auc']:.3f}" else f"{_WHOLE}; {limits}",
        )
        yield (
            f"{SHORT[name]}: cut-off by Youden's index (mmol/L)",
            f"{row['threshold']:.3f}",
            ", ".join(number(cut["threshold"]) for cut in cuts),
            "the index is flat near its maximum, and its place moves from sample to sample",
        )
    row, found = published()["table_2"]["rows"][MG], results["category"]
    for measure in ("sensitivity", "specificity"):
        yield f"Magnesium ≤ 0.845 mmol/L: {measure}", number(row[measure]), number(found[measure]), _EXCHANGED


def _table_3(results: Json) -> Iterator[Row]:
    printed = published()["table_3_model_1"][MG]
    found = results["category"]["odds_ratio"]
    yield (
        "Model 1: magnesium ≤ 0.845 mmol/L",
        _odds(printed),
        with_limits(found["value"], (found["low"], found["high"])),
        _WHOLE,
    )
    for model in ("model_2_four_printed", "model_2_all_seven"):
        rows = {row["name"]: row for row in results["models"][model]["rows"]}
        why = (
            _WHOLE
            if model == "model_2_four_printed"
            else "three more terms, above all P1NP and osteocalcin beside beta-CTx"
        )
        for name in (MG, CTX, AGE, BMI):
            key = paper.CATEGORY if name == MG else name
            here = with_limits(rows[key]["odds_ratio"], (rows[key]["low"], rows[key]["high"]))
            yield f"{TITLES[model]}: {NAMES[key]}", _odds(published()["table_3_model_2"][name]), here, why


def _odds(row: Json) -> str:
    return with_limits(row["odds_ratio"], row["confidence_95"])


def _figures(results: Json) -> Iterator[Row]:
    text = published()["text"]
    kept = results["lasso"]["lambda_min"]["selected"]
    why = "it hangs on how single women are dealt to the ten folds"
    yield "Figure 1: predictors that LASSO keeps", f"{text['lasso_predictors']['value']}", f"{len(kept)}", why
    for name in paper.SIX:
        here = p_value(results["models"][name]["hosmer_lemeshow"]["p_value"])
        yield f"Figure 3: Hosmer-Lemeshow p, {TITLES[name]}", f"{text['hosmer_lemeshow_p']['value']}", here, _MISFIT
