"""The conformance resources (FHIR R4, conformance-module.html) of all that the job writes, below a site's own canonical URL."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from model import ALL_PREDICTORS, Artefact
from screener.assessment.identity import PRODUCT, Canonical
from screener.assessment.texts import Texts
from screener.clinical.exclusions import shipped_rules
from screener.clinical.policy import Policy
from screener.clinical.records import Method
from screener.conformance import logic

Json = dict[str, Any]

_BASE = "http://hl7.org/fhir/StructureDefinition"
ASSESSMENT, PREDICTION = "RiskAssessment", "RiskAssessment.prediction"


class Part(NamedTuple):
    """One part of a complex extension: its URL, the type of its value, how often it may come, and what it is."""

    url: str
    type: str
    least: int
    meaning: str


def resources(
    canonical: Canonical, version: str, artefacts: Sequence[Artefact], policy: Policy | None = None
) -> list[Json]:
    """Every CodeSystem, ValueSet, extension and profile, then who is assessed, in a fixed order. `version` is that of the package;
    `policy` the site's, by default our own."""
    policy = policy or Policy()
    made = _Maker(canonical, version)
    systems = _code_systems(canonical, artefacts)
    found = [made.code_system(url, *content) for url, content in systems.items()]
    found += [made.value_set(url, title) for url, (title, _) in systems.items()]
    found += _extensions(made)
    found += _profiles(made)
    found += logic.value_sets(canonical, made.head)
    return [*found, logic.plan_definition(canonical, made.head, policy), logic.measure(canonical, made.head)]


def _code_systems(canonical: Canonical, artefacts: Sequence[Artefact]) -> dict[str, tuple[str, dict[str, str]]]:
    """URL: title, and codes with what they mean."""
    texts = Texts("en")
    lapses = _sentences(texts, "lapse.")
    excluding = sorted({row.rule for row in shipped_rules() if row.effect == "exclude"} | {"renal_by_creatinine"})
    lapses.pop("excluded")
    lapses |= {f"excluded_{rule}": texts.lapse(f"excluded_{rule}") for rule in excluding}
    sides = ("at-or-below", "above", "no-longer-applies")
    return {
        canonical.assessment: ("Kind of assessment", {"osteoporosis-screening": texts("assessment")}),
        canonical.method: ("Method family", {method.value: texts(f"method.{method}") for method in Method}),
        canonical.model: ("Model artefact", _models(artefacts)),
        canonical.side: ("Side of the magnesium cut-off", {side: texts(f"side.{side}") for side in sides}),
        canonical.fifth: ("Fifth of the women of the study", {f"fifth-{n}": texts(f"fifth.{n}") for n in range(1, 6)}),
        canonical.caveat: ("Caveat of an assessment", _sentences(texts, "caveat.")),
        canonical.retraction: ("Reason for taking an assessment back", _sentences(texts, "retraction.")),
        canonical.lapse: ("Reason why an assessment no longer applies", lapses),
        canonical.product: ("Product", {PRODUCT: texts("device")}),
    }


def _sentences(texts: Texts, prefix: str) -> dict[str, str]:
    """The codes that have a sentence; of several sentences of one code the one with the fewest details."""
    found: dict[str, str] = {}
    for key, sentence in sorted(texts.sentences.items()):
        if key.startswith(prefix):
            found.setdefault(key.removeprefix(prefix).partition("/")[0], sentence.replace("$", ""))
    return found


def _models(artefacts: Sequence[Artefact]) -> dict[str, str]:
    found = {}
    for artefact in artefacts:
        found[artefact.id] = f"Nomogram {artefact.id}"
        found |= {f"{artefact.id}-{r.name}": f"Reduced nomogram {r.name} of {artefact.id}" for r in artefact.reduced}
    return found


class _Maker:
    def __init__(self, canonical: Canonical, version: str) -> None:
        self.canonical, self._version = canonical, version

    def head(self, kind: str, url: str, title: str) -> Json:
        name = url.rpartition("/")[2]
        return {
            "resourceType": kind,
            "id": f"screener-{name}",
            "url": url,
            "version": self._version,
            "name": "Screener" + "".join(part.capitalize() for part in name.split("-")),
            "title": title,
            "status": "active",
            "experimental": False,
            "publisher": PRODUCT,
            "description": f"{title}, as {PRODUCT} writes it",
        }

    def code_system(self, url: str, title: str, codes: Mapping[str, str]) -> Json:
        # A site's own models, and caveats of its own rules, are further codes.
        open_ended = url in (self.canonical.model, self.canonical.caveat)
        return {
            **self.head("CodeSystem", url, title),
            "caseSensitive": True,
            "content": "fragment" if open_ended else "complete",
            "concept": [{"code": code, "display": meaning} for code, meaning in codes.items()],
        }

    def value_set_url(self, system: str) -> str:
        return system.replace("/CodeSystem/", "/ValueSet/")

    def value_set(self, system: str, title: str) -> Json:
        found = self.head("ValueSet", self.value_set_url(system), title)
        return {**found, "compose": {"include": [{"system": system}]}}

    def extension(self, name: str, title: str, context: str, elements: list[Json]) -> Json:
        url = self.canonical.extension(name)
        return {
            **self.head("StructureDefinition", url, title),
            "fhirVersion": "4.0.1",
            "kind": "complex-type",
            "abstract": False,
            "context": [{"type": "element", "expression": context}],
            "type": "Extension",
            "baseDefinition": f"{_BASE}/Extension",
            "derivation": "constraint",
            "differential": {
                "element": [
                    {"id": "Extension", "path": "Extension", "short": title, "definition": title},
                    *elements,
                ]
            },
        }

    def coded(self, name: str, title: str, system: str) -> Json:
        """An extension with one CodeableConcept."""
        binding = {"strength": "extensible", "valueSet": self.value_set_url(system)}
        concept: Json = {"min": 1, "type": [{"code": "CodeableConcept"}], "binding": binding}
        elements = [
            _element("Extension.extension", max="0"),
            _element("Extension.url", fixedUri=self.canonical.extension(name)),
            _element("Extension.value[x]", **concept),
        ]
        return self.extension(name, title, ASSESSMENT, elements)

    def text(self, name: str, title: str) -> Json:
        """An extension with one string."""
        elements = [
            _element("Extension.extension", max="0"),
            _element("Extension.url", fixedUri=self.canonical.extension(name)),
            _element("Extension.value[x]", min=1, type=[{"code": "string"}]),
        ]
        return self.extension(name, title, ASSESSMENT, elements)

    def complex(self, name: str, title: str, context: str, parts: Sequence[Part]) -> Json:
        """An extension of several parts."""
        slicing = {"discriminator": [{"type": "value", "path": "url"}], "rules": "closed"}
        elements = [_element("Extension.extension", slicing=slicing, min=sum(part.least for part in parts))]
        for part in parts:
            at = f"Extension.extension:{part.url}"
            elements += [
                _element("Extension.extension", id=at, sliceName=part.url, short=part.meaning, min=part.least, max="1"),
                _element("Extension.extension.extension", id=f"{at}.extension", max="0"),
                _element("Extension.extension.url", id=f"{at}.url", fixedUri=part.url),
                _element("Extension.extension.value[x]", id=f"{at}.value[x]", min=1, type=[{"code": part.type}]),
            ]
        elements += [
            _element("Extension.url", fixedUri=self.canonical.extension(name)),
            _element("Extension.value[x]", max="0"),
        ]
        return self.extension(name, title, context, elements)

    def profile(self, name: str, title: str, elements: list[Json]) -> Json:
        return {
            **self.head("StructureDefinition", self.canonical.extension(name), title),
            "fhirVersion": "4.0.1",
            "kind": "resource",
            "abstract": False,
            "type": ASSESSMENT,
            "baseDefinition": f"{_BASE}/{ASSESSMENT}",
            "derivation": "constraint",
            "differential": {"element": [_element(ASSESSMENT, short=title), *elements]},
        }


def _element(path: str, id: str = "", **rules: Any) -> Json:  # noqa: A002 - FHIR's name
    return {"id": id or path, "path": path, **rules}


def _extensions(made: _Maker) -> list[Json]:
    canonical = made.canonical
    predictors = ", ".join(ALL_PREDICTORS)
    return [
        made.complex(
            "evidence",
            "A value that the assessment used",
            ASSESSMENT,
            [
                Part("predictor", "code", 1, "mg, p, ctx, p1np, weight, height, age or bmi"),
                Part("value", "Quantity", 1, "the value as used, in the model's unit"),
                Part("observation", "Reference", 0, "the Observation it is from"),
                Part("last-updated", "instant", 0, "meta.lastUpdated of the copy of it that was used"),
            ],
        ),
        made.coded("caveat", "What a reader must know beside the result", canonical.caveat),
        made.text("run", "The run that wrote the assessment last, by its id in the ledger"),
        made.coded("retraction-reason", "Why the assessment was taken back", canonical.retraction),
        made.coded("no-longer-applies", "Why the assessment no longer applies", canonical.lapse),
        made.complex(
            "model-uncertainty-interval",
            "Interval of the model's uncertainty (sampling and reconstruction); not of the prevalence",
            PREDICTION,
            [
                Part("range", "Range", 1, "its ends, in per cent"),
                Part("level", "decimal", 1, "its level, in per cent"),
            ],
        ),
        made.complex(
            "published-probability",
            "Probability by the published model, where the site's own stands in probability[x]",
            PREDICTION,
            [
                Part("probability", "Quantity", 1, "for women of whom 58 % have osteoporosis, in per cent"),
                Part("range", "Range", 1, "the ends of its interval, in per cent"),
            ],
        ),
        made.complex(
            "nomogram-points",
            "Points of the nomogram",
            PREDICTION,
            [
                Part("predictor", "code", 1, f"{predictors}, or total"),
                Part("points", "decimal", 1, "points as the nomogram counts them"),
            ],
        ),
    ]


def _profiles(made: _Maker) -> list[Json]:
    canonical = made.canonical
    common = [
        _element("RiskAssessment.identifier", min=1),
        _element("RiskAssessment.method", min=1),
        _element("RiskAssessment.code", min=1),
        _element("RiskAssessment.subject", type=[{"code": "Reference", "targetProfile": [f"{_BASE}/Patient"]}]),
        _element("RiskAssessment.occurrence[x]", min=1, type=[{"code": "dateTime"}]),
        _element("RiskAssessment.performer", min=1),
        _element("RiskAssessment.basis", min=1),
        _element("RiskAssessment.prediction", min=1, max="1"),
        _element("RiskAssessment.prediction.outcome", min=1),
    ]
    level = {"strength": "required", "valueSet": made.value_set_url(canonical.side)}
    ranked = {"strength": "extensible", "valueSet": made.value_set_url(canonical.fifth)}
    when = _element("RiskAssessment.prediction.when[x]", min=1, type=[{"code": "Period"}])
    rationale = _element("RiskAssessment.prediction.rationale", min=1)
    return [
        made.profile(
            "nomogram-assessment",
            "Risk of osteoporosis by the nomogram",
            [
                *common,
                _element("RiskAssessment.prediction.probability[x]", min=1, type=[{"code": "decimal"}]),
                _element("RiskAssessment.prediction.qualitativeRisk", binding=ranked),
                when,
                rationale,
            ],
        ),
        made.profile(
            "mg-flag-assessment",
            "Flag of serum magnesium at or below 0.845 mmol/L",
            [
                *common,
                _element("RiskAssessment.prediction.probability[x]", max="0"),
                _element("RiskAssessment.prediction.qualitativeRisk", min=1, binding=level),
                when,
                rationale,
            ],
        ),
    ]
