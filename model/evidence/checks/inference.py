"""What the text concludes, and what follows from the paper's figures for other populations."""

from collections.abc import Iterator

from model.evidence.checks.result import NOT_PRINTED, Check, Figures
from model.odds import at_prevalence
from model.stats.sample_size import development

_LUMBAR = ("l1_bmd_g_cm2", "l2_bmd_g_cm2", "l3_bmd_g_cm2", "l4_bmd_g_cm2", "l1_4_bmd_g_cm2")
_SCREENING_PREVALENCE = 0.20
_RISKS = (0.58, 0.80)
# Of the six-term model, derived: the paper prints none. At 0.1160 seven terms would need one woman more.
_R2_COX_SNELL = 0.1161


def section_3_3(figures: Figures) -> Iterator[Check]:
    """The calibration that the paper itself reports, which nothing else in it determines.

    It stands here because a reader of the model must know it.
    """
    row = figures["text"]["hosmer_lemeshow_p"]
    yield Check(
        table=f"Section {row['section']}",
        row="nomogram",
        quantity=row["quantity"],
        unit="1",
        published=f"{row['value']:.3f}",
        recomputed="needs the women's data",
        agrees=None,
        why="below 0.05: by the paper's own test the nomogram is miscalibrated, mostly at high predicted risk",
    )


def section_3_4(figures: Figures) -> Iterator[Check]:
    """The text has lumbar density lower with a fracture at every site; Table 4 has its means and p-values."""
    said, rows = figures["text"]["lumbar_bmd_with_fracture"], figures["table_4"]["rows"]
    lumbar = [rows[name] for name in _LUMBAR]
    lower = [row for row in lumbar if row["fracture"][0] < row["without_fracture"][0]]
    sure = [row["row"] for row in lower if float(row["printed_p"].lstrip("<")) < said["value"]]
    higher = [row["row"] for row in lumbar if row not in lower]
    agrees = len(sure) == len(lumbar)
    yield Check(
        table=f"Section {said['section']}",
        row="L1 to L4, L1-4 BMD",
        quantity="lower with a fracture, all P < 0.05",
        unit="1",
        published=f"{len(lumbar)} of {len(lumbar)}",
        recomputed=f"{len(sure)} of {len(lumbar)} in Table 4",
        agrees=agrees,
        why=""
        if agrees
        else f"the text is wrong by its own Table 4: P < 0.05 only for {_list(sure)}; higher with a fracture: {_list(higher)}",
    )


def other_populations(figures: Figures) -> Iterator[Check]:
    """The cohort's prevalence against a screened population's, and the sample size."""
    yield from _risks_elsewhere(figures)
    yield from _sample_size(figures)


def _risks_elsewhere(figures: Figures) -> Iterator[Check]:
    own = figures["groups"]["osteoporosis"] / figures["cohort"]["women"]
    for risk in _RISKS:
        yield Check(
            table="Cohort",
            row="prevalence",
            quantity=f"risk of {risk:.0%} at {_SCREENING_PREVALENCE:.0%} prevalence",
            unit="1",
            published=NOT_PRINTED,
            recomputed=f"{at_prevalence(risk, own, _SCREENING_PREVALENCE):.0%}",
            agrees=None,
            why=f"the cohort's prevalence is {own:.2%}: recalibrate the intercept before a risk is read as a chance",
        )


def _sample_size(figures: Figures) -> Iterator[Check]:
    """Riley's criteria of development, for the nomogram's terms and for those that Model 2 names."""
    women, text = figures["cohort"]["women"], figures["text"]
    prevalence = figures["groups"]["osteoporosis"] / women
    for key in ("lasso_predictors", "model_2_terms"):
        terms = text[key]["value"]
        needed = development(terms=terms, prevalence=prevalence, r2_cox_snell=_R2_COX_SNELL).n
        yield Check(
            table="Cohort",
            row="Number",
            quantity=f"women needed to develop {terms} terms",
            unit="1",
            published=f"{women} (had)",
            recomputed=f"{needed}",
            agrees=None,
            why=f"Riley's criteria at a Cox-Snell R2 of {_R2_COX_SNELL}: {'enough' if women >= needed else 'too few women'}",
        )


def _list(names: list[str]) -> str:
    return ", ".join(names) or "none"
