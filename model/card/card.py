"""The card of one artefact. It reads top to bottom as the card does; what is said of the data stands in `making`."""

import math
from collections.abc import Mapping
from typing import Any

from model.card import figures, making
from model.card.checklists import probast_section, tripod_ai_section
from model.card.markdown import bullets, number, per_cent, section, table
from model.errors import ModelError
from model.evidence.checks.rendering import shown
from model.odds import at_prevalence

Json = Mapping[str, Any]

_NEEDED = ("id", "version", "title", "calibration", "outcome", "intercept", "predictors", "covariance", "checksum")


def card(artefact_document: Json) -> str:
    """Markdown, from the artefact's JSON document (`load_artefact` should have checked it).

    What `development` does not hold is left out. ModelError where the document is no artefact.
    """
    missing = [key for key in _NEEDED if key not in artefact_document]
    if missing:
        raise ModelError(f"the artefact lacks {', '.join(missing)}. Rebuild it with `screener model build --out FILE`")
    texts = figures.of_the_paper().texts
    parts = (
        _head(artefact_document),
        _use(artefact_document, texts),
        _no_use(texts),
        _must_know(artefact_document),
        making.coefficients(artefact_document),
        making.origin(artefact_document),
        making.reduced(artefact_document),
        making.ranges(artefact_document),
        making.optimism(artefact_document),
        _recalibrating(),
        _units(artefact_document, texts),
        _derived(),
        _errors(),
        tripod_ai_section(texts),
        probast_section(texts),
        _probast_here(artefact_document),
        _device(),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(document: Json) -> str:
    calibration = {
        "published": "published: never adjusted to any site's women",
        "local": "local: adjusted to, or fitted on, one site's women",
    }
    rows = [
        ("identifier", f"{document['id']}, version {document['version']}"),
        ("calibration", calibration.get(document["calibration"], str(document["calibration"]))),
        ("outcome", document["outcome"]),
        ("source", str(document.get("source", "not said"))),
        ("checksum (SHA-256)", document["checksum"]),
    ]
    return section(f"Model card: {document['title']}", table(("", ""), rows), level=1)


def _use(document: Json, texts: Mapping[str, str]) -> str:
    return section(
        "What it is for",
        bullets(
            [
                f"It is a **diagnostic** model. It answers whether DXA, done now, would show this outcome: {document['outcome']}.",
                (
                    f"It helps to decide who may be worth a DXA among postmenopausal women of at least {texts['minimum_age']} years "
                    "whose laboratory results are there already."
                ),
                "A clinician reads it beside the woman's history; it decides nothing by itself.",
            ]
        ),
    )


def _no_use(texts: Mapping[str, str]) -> str:
    return section(
        "What it is not for",
        bullets(
            [
                "It gives no risk of fracture and says nothing about the future.",
                "It does not replace DXA, and no treatment follows from it. A low risk does not rule out osteoporosis.",
                f"Not for men, women before menopause, or women below {texts['minimum_age']} years.",
                (
                    "Not for women whom the paper excluded: under treatment that strongly affects bone (antiresorptive or anabolic "
                    "drugs, long-term high-dose glucocorticoids), with severe liver or kidney insufficiency, malignancy, or another "
                    "metabolic bone disease."
                ),
                (
                    "Not for ordering P1NP or beta-CTx in order to screen: a large laboratory's catalogue (Mayo, test 61695) says of P1NP that it "
                    "should not be used as a screening test for osteoporosis in the general population."
                ),
                "Not for judging whether to give magnesium: an association in one cross-section shows no effect of a treatment.",
            ]
        ),
    )


def _must_know(document: Json) -> str:
    return section(
        "What a reader must know", bullets([*_prevalence(document), *_flag(), *_cut_off(document), *_bias(document)])
    )


def _prevalence(document: Json) -> list[str]:
    """Of the women the model was calibrated on, the site's where it is local."""
    made = document.get("development", {})
    if not made.get("women") or "with_osteoporosis" not in made:
        return ["How common osteoporosis was among the women behind this model is not recorded in it."]
    own, other = made["with_osteoporosis"] / made["women"], figures.SCREENING_PREVALENCE
    if not 0 < own < 1:
        return [
            f"Of the {made['women']} women behind this model {per_cent(own)} had osteoporosis: it cannot be carried elsewhere."
        ]
    moved = " and ".join(
        f"a risk of {per_cent(risk)} becomes {per_cent(at_prevalence(risk, own, other))}"
        for risk in (own, figures.EXAMPLE_RISK)
    )
    local = document["calibration"] == "local"
    where = "the site's cohort" if local else "the paper's cohort of orthopaedic inpatients"
    said = f"Of the {made['women']} women of {where}, {made['with_osteoporosis']} ({per_cent(own)}) had osteoporosis."
    advice = (
        "The risks hold for women like those; where osteoporosis is rarer they are too high."
        if local
        else "Until a site recalibrates the model, its risks rank women and are not their chances."
    )
    return [f"**Prevalence.** {said} {advice} Where {per_cent(other)} have it, the odds ratios unchanged, {moved}."]


def _flag() -> list[str]:
    paper, other = figures.of_the_paper(), figures.SCREENING_PREVALENCE
    flag = paper.flag
    ppv, npv = flag.predictive_values(other)
    return [
        (
            f"**The magnesium flag is weak.** At or below {paper.texts['cut_off']} mmol/L, in the paper's women: sensitivity {flag.sensitivity:.3f}, "
            f"specificity {flag.specificity:.3f}, LR+ {flag.positive_likelihood_ratio:.2f}, LR- {flag.negative_likelihood_ratio:.2f}. "
            f"Where {per_cent(other)} have osteoporosis, PPV is {ppv:.2f} and NPV {npv:.2f}, against {1 - other:.2f} free of it without any test."
        )
    ]


def _cut_off(document: Json) -> list[str]:
    found, cut = figures.of_the_cut_off(), figures.of_the_paper().texts["cut_off"]
    low, high = found.reported_values
    near = " and ".join(
        f"{per_cent(share)} within {distance} mmol/L"
        for share, distance in zip(found.near, figures.NEAR_MMOL_L, strict=True)
    )
    return [
        *_cliff(document),
        (
            f"**The cut-off is no threshold of nature.** {cut} is the midpoint of two values that a laboratory reports, {low} and {high}. "
            f"Near it lie {near}. A repeat whose error has an SD of {figures.REPEAT_ERROR_SD_MMOL_L} mmol/L changes the flag of "
            f"{per_cent(found.flips)} of women (reconstructed distribution)."
        ),
        (
            f"**It was chosen on the same women.** In other samples of the same size the best cut-off falls between {found.range_95[0]:.3f} and "
            f"{found.range_95[1]:.3f} in 95 of 100, and shows a log odds ratio of {found.shown:.2f} where {found.true:.2f} is true."
        ),
        *_two_forms(),
        "**P1NP adds nothing to discrimination here**: its coefficient is about zero, and a nomogram without it ranks women as well.",
    ]


def _cliff(document: Json) -> list[str]:
    magnesium = next((row for row in document["predictors"] if row["form"] == "category"), None)
    if magnesium is None:
        return [
            "**Magnesium counts as a number here**, so that no step is in the risk; its coefficient is not the published one."
        ]
    jump = figures.largest_jump(magnesium["coefficient"])
    return [
        (
            f"**A cliff at the cut-off.** Crossing {magnesium['cut_off']} mmol/L moves the risk by up to {100 * jump:.0f} percentage points, "
            "whatever the size of the change. Near it both risks are given."
        )
    ]


def _two_forms() -> list[str]:
    found = figures.of_the_two_forms()
    beyond = " and ".join(
        f"by more than {100 * limit:.0f} points in {per_cent(share)}"
        for limit, share in zip(figures.LARGE_DIFFERENCES, found.beyond, strict=True)
    )
    return [
        (
            f"**Category or number?** The paper does not say which its nomogram used. Between the two shipped models risks differ {beyond} "
            f"of women, by {100 * found.mean:.1f} points on average."
        )
    ]


def _bias(document: Json) -> list[str]:
    texts = figures.of_the_paper().texts
    return [
        (
            "**High risk of bias by PROBAST** (below): selected inpatients, a cut-off driven by the data, no evaluation elsewhere, a nomogram "
            f"that is not the printed model, and a Hosmer-Lemeshow p of {texts['hosmer_lemeshow_p']}: its own test finds it miscalibrated."
        ),
        (
            f"**Sample size.** Riley's criteria ask for {texts['needed_six']} women for the nomogram's terms and {texts['needed_seven']} for those "
            f"of Model 2; the paper had {texts['women']}."
        ),
        "**Verification bias.** At a site, only women who were sent to DXA have a label. Performance measured on them need not hold for the others.",
        f"**The interval** covers {document.get('interval_meaning', 'what the artefact does not say')}.",
    ]


def _probast_here(document: Json) -> str:
    """PROBAST for what is deployed: a reconstruction has its own risks beside the paper's."""
    local = document["calibration"] == "local"
    own = (
        "Its intercept and slopes were fitted to the site's women who had a DXA: selection into DXA remains."
        if local
        else "Two coefficients and the intercept are not the paper's but estimated on reconstructed women (see where each comes from)."
    )
    rows = [
        ("Participants", "high", "those of the paper; a site's women differ from orthopaedic inpatients"),
        (
            "Predictors",
            "high",
            "other assays than the paper's, results up to 90 days apart, ages and weights of routine care",
        ),
        (
            "Outcome",
            "unclear" if not local else "high",
            "DXA is not repeated here; a local label exists only for women sent to DXA",
        ),
        ("Analysis", "high", own),
    ]
    return section(
        "PROBAST judgement of the deployed model",
        "**Overall: high risk of bias, high concern about applicability**, until a site has validated it on its own women.",
        table(("domain", "risk of bias", "reason"), rows),
    )


def _device() -> str:
    return section(
        "Device class and intended use",
        bullets(
            [
                "Intended use: to point out, among women whose results are there already, those for whom a clinician may consider DXA.",
                "It is research software: it carries no CE mark and no clearance of the FDA.",
                (
                    "Software that gives information for diagnostic decisions is a medical device of class IIa or higher under rule 11 of "
                    "Regulation (EU) 2017/745. Who puts it into care has to settle that first."
                ),
            ]
        ),
    )


def _recalibrating() -> str:
    return section(
        "How to recalibrate",
        "1. `screener model cohort` gathers the site's women with and without a DXA, without identifiers.\n"
        "2. `screener model validate --cohort FILE` judges the model on them, and says so where they are too few.\n"
        "3. `screener model recalibrate` moves the intercept, or intercept and slope, or fits all anew, and writes an artefact with its own "
        "version and checksum. Take the simplest method that the validation asks for.\n"
        "4. Give `screener run` that file, and validate again on later women.",
    )


def _units(document: Json, texts: Mapping[str, str]) -> str:
    units = {row["name"]: row["unit"] for row in document["predictors"]}
    wrong = 1000 * float(texts["ctx_mean"])
    ctx = next(row for row in document["predictors"] if row["name"] == "ctx_ng_ml")
    shift = ctx["coefficient"] * (wrong - float(texts["ctx_mean"]))
    return section(
        "Units",
        f"beta-CTx enters in {units['ctx_ng_ml']}, P1NP in {units['p1np_ng_ml']}. The paper's tables print pg/mL, which is wrong. "
        "Laboratories report beta-CTx in pg/mL or ng/L as often as in ng/mL. "
        f"The mean of {texts['ctx_mean']} ng/mL, given as {wrong:.0f}, would add {shift:.0f} to the log odds: a risk of {_saturated(shift)} for everyone. "
        f"Values beyond {number(ctx['possible'][1])} are therefore refused.",
    )


def _saturated(shift: float) -> str:
    return f"{1 / (1 + math.exp(-max(min(shift, 700.0), -700.0))):.1f}"


def _derived() -> str:
    rows = [(c.table, f"{c.row}: {c.quantity}", shown(c.recomputed), c.why) for c in figures.of_the_paper().derived]
    return section("What follows from the paper's figures", table(("from", "quantity", "value", "how"), rows))


def _errors() -> str:
    paper = figures.of_the_paper()
    rows = [(c.table, f"{c.row}: {c.quantity}", c.published, shown(c.recomputed), c.why) for c in paper.errors]
    return section(
        "Where the paper errs",
        f"{len(rows)} printed figures do not agree with the paper's other figures; `screener model evidence` recomputes them all.",
        table(("table", "figure", "printed", "recomputed", "why"), rows),
    )
