"""How the model was made: coefficients and where each comes from, what was assumed, ranges, optimism."""

import math
from collections.abc import Iterator, Mapping
from statistics import NormalDist
from typing import Any

from model.artefact import load_artefact
from model.card.markdown import bullets, number, per_cent, section, table
from model.evidence.checks.result import with_limits

Json = Mapping[str, Any]

_NO_DIFFERENCE_AUC = 0.01  # smaller ones are within what the reconstruction had to assume
_INHERITED = {
    "intercept": "Only the intercept is the site's. All coefficients are those of the model it started from: what is borrowed or "
    "reconstructed there is so here, and that model's card says which",
    "slope": "Only the intercept and one common factor are the site's. How the coefficients compare with each other comes from the model it "
    "started from: what is borrowed or reconstructed there is so here, and that model's card says which",
}
_MEANING = {
    "published, borrowed": "printed in the paper for another model of it (Model 2), and borrowed for the nomogram",
    "reconstructed": "not printed anywhere; estimated on women reconstructed from the paper's tables",
    "shrunken": "one of the other kinds, times a factor below 1 against optimism",
    "digitised": "read off the paper's Figure 2",
    "fitted": "estimated, or moved, on a site's own women",
}


def coefficients(document: Json) -> str:
    """The whole model: whoever has this table can compute a risk."""
    errors = [math.sqrt(row[i]) for i, row in enumerate(document["covariance"])]
    level = document.get("interval_level", 0.95)
    first = document["intercept"]
    rows: list[tuple[str, ...]] = [
        ("intercept", "", "", number(first["value"], 6), number(errors[0]), "", _where(first["provenance"]))
    ]
    rows += [_row(row, error, level) for row, error in zip(document["predictors"], errors[1:], strict=True)]
    heads = (
        "term",
        "per",
        "centre",
        "coefficient",
        "standard error",
        f"odds ratio ({per_cent(level)} limits)",
        "where it comes from",
    )
    auc = document.get("expected_auc")
    return section(
        "Coefficients",
        "log odds = intercept + sum of coefficient x (value - centre); risk = 1 / (1 + exp(-log odds)). The standard errors hold sampling and, "
        "where there is one, the spread of the reconstruction.",
        table(heads, rows),
        "" if auc is None else f"Expected AUC on women like those it was made from: {number(auc)}.",
    )


def _row(row: Json, error: float, level: float) -> tuple[str, ...]:
    b, z = row["coefficient"], NormalDist().inv_cdf(0.5 + level / 2)
    low, high = math.exp(b - z * error), math.exp(b + z * error)
    category = row["form"] == "category"
    return (
        f"{row['name']} at or below {row['cut_off']}" if category else row["name"],
        "presence" if category else row["unit"],
        number(row["centre"]),
        number(b, 6),
        number(error),
        f"{math.exp(b):.4f} ({low:.4f} to {high:.4f})",
        _where(row["provenance"]),
    )


def _where(provenance: Json) -> str:
    kind = provenance.get("kind", "not said")
    if kind == "published, borrowed":
        printed = with_limits(provenance["odds_ratio"], provenance["confidence_95"])
        return f"{kind}: {provenance['table']}, {provenance['row']}, odds ratio {printed}"
    if kind == "shrunken":
        return f"{kind}: times {number(provenance['factor'])}; {_where(provenance['of'])}"
    spread = f"; spread over the assumptions {number(provenance['spread'])}" if "spread" in provenance else ""
    return f"{kind}: {provenance.get('recipe', 'recipe not said')}{spread}"


def origin(document: Json) -> str:
    """What is published, borrowed, reconstructed, fitted; then what was assumed, or the site's data."""
    made = document.get("development", {})
    kinds = _by_kind(document)
    said = bullets(
        f"**{kind}** ({_MEANING.get(kind, 'unknown kind')}): {', '.join(names)}" for kind, names in kinds.items()
    )
    local = document["calibration"] == "local"
    blocks = [_site(made)] if local else [_readings(made), _judgement(made), _free_fit(made)]
    return section("What is borrowed, what is reconstructed, what is judgement", said, *blocks)


def _by_kind(document: Json) -> dict[str, list[str]]:
    """The terms of each kind; a shrunken one stands under its own kind and under that of what was shrunk."""
    terms = {"intercept": document["intercept"]["provenance"]}
    terms |= {row["name"]: row["provenance"] for row in document["predictors"]}
    kinds: dict[str, list[str]] = {}
    for name, provenance in terms.items():
        for kind in _kinds(provenance):
            kinds.setdefault(kind, []).append(name)
    return kinds


def _kinds(provenance: Json) -> Iterator[str]:
    yield str(provenance.get("kind", "not said"))
    if "of" in provenance:
        yield from _kinds(provenance["of"])


def _readings(made: Json) -> str:
    """Two readings of Model 2, and how far each brings the printed standard errors back."""
    found = made.get("readings_of_model_2", [])
    if not found:
        return ""
    rows = [
        (
            reading["name"],
            str(len(reading["terms"])),
            number(reading["share_in_spread"]),
            *(number(reading["fit"][term]["ratio_to_published"], 3) for term in found[0]["fit"]),
        )
        for reading in found
    ]
    heads = ("reading", "terms", "weight", *(f"SE ratio, {term}" for term in found[0]["fit"]))
    return (
        "It is not said which terms Model 2 had. Both readings were followed; a ratio of 1 means that the printed standard error comes back. "
        "The weights are our **judgement**.\n\n" + table(heads, rows)
    )


def _judgement(made: Json) -> str:
    priors = made.get("priors", [])
    if not priors:
        return ""
    rows = [(" and ".join(p["pair"]), number(p["mean"]), number(p["sd"]), p["why"]) for p in priors]
    return (
        "No correlation is printed. These beliefs stand in their place, and are **judgement** too; they were conditioned on the printed odds "
        "ratios and standard errors.\n\n" + table(("pair", "mean", "SD", "why"), rows)
    )


def _free_fit(made: Json) -> str:
    said = []
    if "risk_spread" in made:
        spread = made["risk_spread"]
        said.append(
            f"What had to be assumed moves a risk by {100 * spread['mean']:.1f} percentage points (SD) on average, by "
            f"{100 * spread['percentile_99']:.1f} at the 99th percentile of women."
        )
    if "free_six_term_fit" in made:
        free = made["free_six_term_fit"]
        said.append(
            "A free fit of all six terms, nothing borrowed, gives risks that differ by "
            f"{100 * free['mean_difference_in_risk']:.1f} points on average, {100 * free['percentile_99_difference_in_risk']:.1f} at the 99th percentile."
        )
    if "readings" in made:
        said.append(
            f"Values read off the figure, by axis: {', '.join(f'{k} {v}' for k, v in made['readings'].items())}."
        )
    return bullets(said)


def _site(made: Json) -> str:
    """A site's data in summary, and the measures before and after."""
    before = made.get("from", {})
    said = [
        f"Method: {made.get('method', 'not recorded')}; starting from {before.get('id', 'a model not recorded')} {before.get('version', '')}".rstrip(),
        f"Women: {made.get('women', 'not recorded')}, with osteoporosis: {made.get('with_osteoporosis', 'not recorded')}",
    ]
    data, needed = made.get("data", {}), made.get("women_needed", {})
    if "all" in needed:
        enough = "enough" if needed.get("enough") else "**too few were there**"
        said.append(
            f"Women needed for this method ({needed.get('criteria', 'criteria not recorded')}): {needed['all']}, {enough}"
        )
    if "digest" in data:
        said.append(f"Digest of the data: {data['digest']}")
    rows = [(name, number(row["mean"]), number(row["sd"])) for name, row in data.get("predictors", {}).items()]
    if made.get("method") in _INHERITED:
        said.append(_INHERITED[made["method"]])
    parts = [bullets(said), table(("predictor", "mean", "SD"), rows) if rows else "", _before_after(made)]
    return "\n\n".join(part for part in parts if part)


def _before_after(made: Json) -> str:
    """What is measured on the women used for the change flatters the model: the table says so."""
    columns = [
        (name, made[key])
        for key, name in (("before", "before"), ("after_apparent", "after, same women"))
        if key in made
    ]
    measures = ("c", "observed_expected", "calibration_in_the_large", "calibration_slope")
    rows = [(m.replace("_", " "), *(_estimate(values.get(m)) for _, values in columns)) for m in measures]
    return table(("measure", *(name for name, _ in columns)), rows) if columns else ""


def _estimate(value: Json | None) -> str:
    return "not recorded" if value is None else f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


def reduced(document: Json) -> str:
    """Only where there are any."""
    rows = [
        (
            row["name"],
            ", ".join(f"{name} {number(b)}" for name, b in zip(row["predictors"], row["coefficients"], strict=True)),
            number(row["intercept"]),
            "not said" if row["expected_auc"] is None else number(row["expected_auc"]),
            _where(row["provenance"]),
        )
        for row in document.get("reduced", [])
    ]
    if not rows:
        return section("Reduced nomograms", "None: the model needs all six predictors.")
    return section(
        "Reduced nomograms",
        "For women in whom some predictors were not measured: each with its own coefficients, used only where a site switches it on, named in every "
        f"result. They inherit all assumptions of the full model. AUCs less than {_NO_DIFFERENCE_AUC} apart do not differ.",
        table(("name", "coefficients", "intercept", "expected AUC", "where it comes from"), rows),
    )


def ranges(document: Json) -> str:
    """Development ranges, possible values, and the marks."""
    rows = []
    for row in document["predictors"]:
        made, possible = row["development_range"], row["possible"]
        inside = f"{number(made['low'])} to {number(made['high'])}"
        refused = f"{number(possible[0])} to {number(possible[1])}"
        rows.append((row["name"], row["unit"], inside, refused, _where(made["provenance"])))
    return section(
        "Ranges and marks",
        "A value outside the development range is used and the result marked `extrapolated:` with the predictor's name; outside the possible values "
        "it is refused. A model that no site calibrated marks its results `uncalibrated`; near the magnesium cut-off the risk on its other "
        "side is given as `other_side:`.",
        table(("predictor", "unit", "development range", "possible values", "where the range comes from"), rows),
    )


def optimism(document: Json) -> str:
    """The factor of this artefact, and that of the shrunken one which is shipped."""
    factor = document.get("development", {}).get("shrinkage")
    local = document["calibration"] == "local"
    own = {
        None: "No shrinkage factor is recorded in this artefact.",
        1.0: "The coefficients of this artefact are not shrunken.",
    }.get(factor, f"The slopes of this artefact are multiplied by {number(factor or 1)}.")
    offered = load_artefact("shi2026-mg-category-shrunken").predictors[0].provenance["factor"]
    after = (
        "What is measured after recalibration on the same women is apparent; measure again on later women."
        if local
        else ""
    )
    return section(
        "Optimism and shrinkage",
        f"{own} Published coefficients were estimated and chosen on the same women, so that high risks are too high and low ones too low elsewhere. "
        f"The shipped variant `shi2026-mg-category-shrunken` multiplies all slopes by {number(offered)} (van Houwelingen and le Cessie); that does not know "
        "that the cut-off was chosen on the same data, so the true factor may be lower. Any AUC above is expected or apparent, never measured elsewhere.",
        after,
    )
