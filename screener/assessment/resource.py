"""The RiskAssessment that ought to stand for a verdict (FHIR R4, RiskAssessment), as a plain dictionary.

Decimals are `Decimal`, so that they are written as they are meant. `status` is left out: it depends on what stands, and
the reconciler sets it.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from model import Artefact
from screener.assessment.identity import PRODUCT, Canonical, assessment_uuid, device_uuid
from screener.assessment.narrative import narrative, rank
from screener.assessment.numbers import Numbers, numbers
from screener.assessment.texts import Texts
from screener.assessment.values import UCUM, UNITS, occurrence, per_cent, plain, shown_bmi, shown_points
from screener.clinical.dates import instant_text
from screener.clinical.judge import Verdict
from screener.clinical.records import Analyte, Fact, Method, Occasion, Scores

Json = dict[str, Any]

# v3-Confidentiality from the most open to the most restricted; the assessment takes the strictest of its evidence.
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
# The part of the evidence that names the Observation's lastUpdated: never compared, for servers touch what they index.
COPY_USED = "last-updated"
RUN = "run"  # the extension that names the run
_STRICTNESS = ("U", "L", "M", "N", "R", "V")


class AssessmentWriter(msgspec.Struct, frozen=True):
    """What is the same for all assessments of a run: who writes them, by which model, in which language.

    `device` is the reference to the algorithm's Device at the destination; `fraction` writes probabilities as fractions
    instead of per cent.
    """

    canonical: Canonical
    artefact: Artefact
    texts: Texts
    source_system: str
    device: str = ""
    run: str = ""  # the id of the run that writes; "" where nothing is written
    fraction: bool = False
    prevalence: Decimal | None = None  # of osteoporosis among the site's own women, in per cent
    tags: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()  # security labels beside the confidentiality
    tables: tuple[tuple[str, str], ...] = ()  # the site's own: name, and version with hash


def device(writer: AssessmentWriter) -> Json:
    """The Device that performs the assessments: the algorithm and its model."""
    return {
        "resourceType": "Device",
        "meta": {"tag": _tags(writer)},
        "identifier": [_identifier(writer.canonical, device_uuid(writer.source_system))],
        "status": "active",
        "deviceName": [{"name": writer.texts("device"), "type": "model-name"}],
        "modelNumber": writer.artefact.id,
        "version": [
            {"value": writer.artefact.version},
            *({"type": {"text": f"the site's table of {name}"}, "value": value} for name, value in writer.tables),
        ],
    }


def desired_by(verdict: Verdict, method: Method, writer: AssessmentWriter) -> Json:
    """The resource that ought to stand for a method, without status, id and version; KeyError where it has no occasion."""
    occasion = verdict.occasions[method]
    canonical, texts = writer.canonical, writer.texts
    scores = verdict.scores if method is Method.NOMOGRAM else None
    found = shown_numbers(scores, writer)
    caveats = caveat_codes(occasion, scores, writer)
    security = [*confidentiality(verdict, occasion), *({"system": s, "code": c} for s, c in writer.labels)]
    resource: Json = {
        "resourceType": "RiskAssessment",
        "language": texts.language,
        "meta": {**({"security": security} if security else {}), "tag": _tags(writer)},
        "text": {"status": "generated", "div": narrative(occasion, found, texts, caveats)},
        "extension": [
            *(_evidence(fact, canonical) for fact in occasion.facts),
            *_derived(occasion, canonical),
            *(caveat(code, writer) for code in caveats),
            *written_by(writer.run, canonical),
        ],
        "identifier": [_identifier(canonical, assessment_uuid(writer.source_system, verdict.patient, method))],
        "method": _method(occasion, writer),
        "code": {
            "coding": [
                {
                    "system": canonical.assessment,
                    "code": "osteoporosis-screening",
                    "display": texts("assessment"),
                }
            ],
            "text": texts("assessment"),
        },
        "subject": {"reference": f"Patient/{verdict.patient}"},
        "occurrenceDateTime": occurrence(occasion.mg),
        "performer": {"reference": writer.device},
        "basis": [{"reference": f"Observation/{name}"} for name in basis_ids(occasion)],
        "prediction": [_prediction(occasion, scores, found, writer)],
    }
    if caveats:  # FHIR's JSON knows no empty arrays
        resource["note"] = [note(code, writer) for code in caveats]
    return resource


def written_by(run: str, canonical: Canonical) -> list[Json]:
    """The extension that names the run which wrote this: what it wrote is found without the ledger. No part of equality."""
    return [{"url": canonical.extension(RUN), "valueString": run}] if run else []


def run_of(resource: Json, canonical: Canonical) -> str:
    """The run that wrote an assessment last; "" where it does not say."""
    url = canonical.extension(RUN)
    return next((str(one.get("valueString", "")) for one in resource.get("extension", ()) if one.get("url") == url), "")


def without_run(resource: Json, canonical: Canonical) -> list[Json]:
    """The extensions of an assessment without that of the run."""
    return [one for one in resource.get("extension", ()) if one.get("url") != canonical.extension(RUN)]


def observation_id(fact: Fact) -> str:
    """The id of the Observation that a result is from, also where it is one of its components."""
    return fact.id.partition("#")[0]


def basis_ids(occasion: Occasion) -> list[str]:
    """The ids of the Observations that an occasion rests on, sorted."""
    return sorted({observation_id(fact) for fact in occasion.facts})


def _identifier(canonical: Canonical, value: str) -> Json:
    return {"system": canonical.identifier, "value": f"urn:uuid:{value}"}


def _tags(writer: AssessmentWriter) -> list[Json]:
    own = [(writer.canonical.product, PRODUCT), *writer.tags]
    return [{"system": system, "code": code} for system, code in own]


def _method(occasion: Occasion, writer: AssessmentWriter) -> Json:
    """The family, by which assessments are found, and the model; a reduced nomogram is another code of it. The text says which
    predictors are used where they are not the six that the family's name lists."""
    method = occasion.method
    family = {"system": writer.canonical.method, "code": method.value, "display": writer.texts(f"method.{method}")}
    if method is Method.FLAG:
        return {"coding": [family]}
    artefact = writer.artefact
    code = f"{artefact.id}-{occasion.reduced}" if occasion.reduced else artefact.id
    concept: Json = {
        "coding": [family, {"system": writer.canonical.model, "version": artefact.version, "code": code}],
    }
    if occasion.reduced:
        concept["text"] = writer.texts("method.reduced", detail=occasion.reduced)
    elif artefact.further:
        names = ", ".join(writer.texts.name(predictor.name) for predictor in artefact.predictors)
        concept["text"] = writer.texts("method.own", detail=names)
    return concept


_OF_CAVEATS = frozenset({Analyte.T_SCORE, Analyte.CALCIUM, Analyte.ALBUMIN, Analyte.EGFR, Analyte.CREATININE})


def confidentiality(verdict: Verdict, occasion: Occasion) -> list[Json]:
    """The strictest confidentiality among the patient, the results used, and what the caveats are from; nothing where none is
    labelled."""
    if not verdict.view.labelled:
        return []
    labels = {code for fact in occasion.facts for code in fact.security}
    labels.update(code for row in verdict.view.conditions for code in row.security)
    labels.update(code for fact in verdict.view.facts if fact.analyte in _OF_CAVEATS for code in fact.security)
    if verdict.view.demographics is not None:
        labels.update(verdict.view.demographics.security)
    known = [code for code in _STRICTNESS if code in labels]
    return [{"system": CONFIDENTIALITY, "code": known[-1]}] if known else []


def _evidence(fact: Fact, canonical: Canonical) -> Json:
    """A result as it was used: which predictor, the value in the model's unit, which Observation, and which copy of it."""
    parts: list[Json] = [
        {"url": "predictor", "valueCode": fact.analyte.value},
        {"url": "value", "valueQuantity": _quantity(fact)},
        {"url": "observation", "valueReference": {"reference": f"Observation/{observation_id(fact)}"}},
    ]
    if fact.version.updated_us:
        parts.append({"url": COPY_USED, "valueInstant": instant_text(fact.version.updated_us)})
    return {"url": canonical.extension("evidence"), "extension": parts}


def _quantity(fact: Fact) -> Json:
    unit = UNITS[fact.analyte]
    comparator = {"comparator": fact.comparator} if fact.comparator else {}
    return {"value": plain(fact.value), **comparator, "unit": unit, "system": UCUM, "code": unit}


def _derived(occasion: Occasion, canonical: Canonical) -> list[Json]:
    age = {"value": Decimal(occasion.age_years), "unit": "a", "system": UCUM, "code": "a"}
    rows = [("age", age)]
    if occasion.bmi_kg_m2 is not None:
        rows.append(("bmi", {"value": shown_bmi(occasion.bmi_kg_m2), "unit": "kg/m2", "system": UCUM, "code": "kg/m2"}))
    url = canonical.extension("evidence")
    return [
        {"url": url, "extension": [{"url": "predictor", "valueCode": name}, {"url": "value", "valueQuantity": value}]}
        for name, value in rows
    ]


# What a doctor must know first. Caveats that are not named here follow in the order of their names.
_FIRST = (
    "osteoporosis",
    "fragility_fracture",
    "dxa_on_record",
    "suspected",
    "calcium_high",
    "results_old",
    "uncalibrated",
    "exclusions_not_checked",
    "read_in_part",
    "other_magnesium",
)
_RANK = {name: rank for rank, name in enumerate(_FIRST)}


def caveat_codes(occasion: Occasion, scores: Scores | None, writer: AssessmentWriter) -> list[str]:
    """The caveats of an assessment as codes ("name:detail:detail"), what matters most first."""
    codes = set(occasion.marks)
    if scores is not None:
        codes.update(f"extrapolated:{name}" for name in scores.extrapolated)
        found = numbers(scores, writer.artefact, writer.prevalence)
        if writer.artefact.calibration != "local":
            codes.add(_uncalibrated(found))
        if found.other_side is not None:
            codes.add(other_side(found.other_side))
    return sorted(codes, key=lambda code: (_RANK.get(code.partition(":")[0], len(_RANK)), code))


def shown_numbers(scores: Scores | None, writer: AssessmentWriter) -> Numbers | None:
    """The numbers that an assessment shows; None for the flag."""
    return None if scores is None else numbers(scores, writer.artefact, writer.prevalence)


def _uncalibrated(found: Numbers) -> str:
    """The caveat of a model that was not recalibrated, with the published numbers where the site's own come first."""
    if found.published is None:
        return "uncalibrated"
    return ":".join(["uncalibrated", str(found.prevalence), *(str(per_cent(risk)) for risk in found.published)])


def caveat(code: str, writer: AssessmentWriter) -> Json:
    """A caveat as a coded extension, its details in words."""
    concept: Json = {"coding": [{"system": writer.canonical.caveat, "code": code.partition(":")[0]}]}
    detail = writer.texts.detail(code)
    if detail:
        concept["text"] = detail
    return {"url": writer.canonical.extension("caveat"), "valueCodeableConcept": concept}


def note(code: str, writer: AssessmentWriter) -> Json:
    """A caveat as a note: one sentence."""
    return {"authorString": PRODUCT, "text": writer.texts.caveat(code)}


def _prediction(occasion: Occasion, scores: Scores | None, found: Numbers | None, writer: AssessmentWriter) -> Json:
    texts, canonical = writer.texts, writer.canonical
    outcome = {
        "coding": [{"system": "http://snomed.info/sct", "code": "64859006", "display": "Osteoporosis"}],
        "text": texts("outcome"),
    }
    day = occurrence(occasion.mg)[:10]
    # Without a time R4 reads a risk as one over the subject's lifespan.
    when = {"start": day, "end": day}
    if scores is None or found is None:
        side = "at-or-below" if occasion.at_or_below_cut_off else "above"
        risk = {"coding": [{"system": canonical.side, "code": side, "display": texts(f"side.{side}")}]}
        rationale = "rationale.mg-flag" if occasion.at_or_below_cut_off else "rationale.mg-flag.above"
        return {"outcome": outcome, "qualitativeRisk": risk, "whenPeriod": when, "rationale": texts(rationale)}
    published = [_published(found.published, writer)] if found.published else []
    return {
        "extension": [_interval((found.low, found.high), writer), *published, *_points(scores, canonical)],
        "outcome": outcome,
        "probabilityDecimal": probability(found.risk, writer),
        **({"qualitativeRisk": rank_of(found.fifth, writer)} if found.fifth else {}),
        "whenPeriod": when,
        "rationale": texts(rationale_of(writer)),
    }


def rationale_of(writer: AssessmentWriter) -> str:
    """Which sentence says what the nomogram's number is."""
    if writer.artefact.calibration == "local":
        return "rationale.nomogram.local"
    return "rationale.nomogram" if writer.prevalence is None else "rationale.nomogram.moved"


def rank_of(fifth: int, writer: AssessmentWriter) -> Json:
    """Her rank as a coded risk."""
    words = writer.texts(f"fifth.{fifth}")
    coding = {"system": writer.canonical.fifth, "code": f"fifth-{fifth}", "display": words}
    return {"coding": [coding], "text": rank(fifth, writer.texts)}


def _published(risks: tuple[float, float, float], writer: AssessmentWriter) -> Json:
    """The published model's own number beside the site's. An extension and no second prediction: two predictions of one outcome say
    nowhere for whom each of them is, and a reader who takes the first, the last or the highest would be right once."""
    risk, low, high = risks
    parts = [
        {"url": "probability", "valueQuantity": _in_per_cent(risk)},
        {"url": "range", "valueRange": {"low": _in_per_cent(low), "high": _in_per_cent(high)}},
    ]
    return {"url": writer.canonical.extension("published-probability"), "extension": parts}


def _in_per_cent(risk: float) -> Json:
    return {"value": per_cent(risk), "unit": "%", "system": UCUM, "code": "%"}


def other_side(risk: float) -> str:
    """The caveat that says the risk had the Mg fallen on the other side of the cut-off."""
    return f"other_side:{per_cent(risk)}"


def probability(risk: float, writer: AssessmentWriter) -> Decimal:
    """A risk as it is written: in per cent, or as a fraction where the site wants one."""
    return per_cent(risk) / 100 if writer.fraction else per_cent(risk)


def _interval(ends: tuple[float, float], writer: AssessmentWriter) -> Json:
    """The model uncertainty interval (sampling and reconstruction) in per cent, with its level."""
    level = plain(Decimal(str(100 * writer.artefact.interval_level)), 2)
    shown = {"low": _in_per_cent(ends[0]), "high": _in_per_cent(ends[1])}
    parts: list[Json] = [{"url": "range", "valueRange": shown}, {"url": "level", "valueDecimal": level}]
    return {"url": writer.canonical.extension("model-uncertainty-interval"), "extension": parts}


def _points(scores: Scores, canonical: Canonical) -> list[Json]:
    rows: Iterable[tuple[str, float]] = (*sorted(scores.points.items()), ("total", scores.total_points))
    return [
        {
            "url": canonical.extension("nomogram-points"),
            "extension": [
                {"url": "predictor", "valueCode": name},
                {"url": "points", "valueDecimal": shown_points(points)},
            ],
        }
        for name, points in rows
    ]


def observation_ids(resource: Json) -> Sequence[str]:
    """The ids of the Observations that an assessment rests on."""
    references = (entry.get("reference", "") for entry in resource.get("basis", ()))
    return [local_id(reference) for reference in references if "Observation/" in reference]


def local_id(reference: str) -> str:
    """The logical id in a literal reference, whatever its base and version."""
    return reference.partition("/_history/")[0].rpartition("/")[2]
