"""Who is assessed, as FHIR says such things: value sets of results and exclusions, a PlanDefinition, and the Measure of a run.

What FHIRPath can say of a Patient is said in FHIRPath; the exclusions with their windows are in words (documentation), and name the value
set of each.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from screener.assessment.identity import Canonical
from screener.assessment.resource import Json
from screener.assessment.texts import Texts
from screener.clinical.codes import CodeRow, read_table
from screener.clinical.eligibility import OLDEST_YEARS
from screener.clinical.exclusions import MEDICATED, MEDICINES, RuleRow, shipped_rules, value_set, value_set_names
from screener.clinical.policy import Policy
from screener.clinical.records import NOMOGRAM_RESULTS, Analyte

Head = Callable[[str, str, str], Json]  # resource type, URL, title: what every resource begins with

# What a Patient must be, in words and as FHIRPath on the Patient. The extensions for the sex, which win over the gender, and menopause
# before the age are in the job only.
OF_THE_PATIENT = (
    ("female", "gender = 'female'"),
    ("alive", "deceased.empty() or deceased = false"),
    ("an active record", "active.empty() or active"),
    ("not merged into another record", "link.where(type = 'replaced-by').empty()"),
    ("{age} years or older for certain", "birthDate <= today() - {age} years"),
    (f"{OLDEST_YEARS} years or younger", f"birthDate > today() - {OLDEST_YEARS + 1} years"),
)
_NAMES = {Analyte.MG: "magnesium", Analyte.P: "phosphate", Analyte.CTX: "beta-CTx", Analyte.P1NP: "P1NP"}
_WINDOWS = {
    "ever": "ever recorded",
    "active": "on the day of the result, or today",
    "washout": "within {days} days before the result",
}


def value_sets(canonical: Canonical, head: Head) -> list[Json]:
    """A ValueSet for each analyte's codes and for each list behind an exclusion."""
    found = []
    accepted: dict[Analyte, list[tuple[str, str, str]]] = defaultdict(list)
    for row in read_table("codes.csv", CodeRow):
        if row.use == "accept" and row.analyte in NOMOGRAM_RESULTS and row.system:
            accepted[row.analyte].append((row.system, row.code, "exact"))
    for analyte, codes in accepted.items():
        name = _NAMES.get(analyte, analyte.value)
        found.append(
            {**head("ValueSet", _results(canonical, analyte), f"Results read as {name}"), "compose": _compose(codes)}
        )
    for name in value_set_names():
        codes = [(one.system, one.code, one.match) for one in value_set(name)]
        title = f"Codes of {name.replace('_', ' ')}"
        found.append({**head("ValueSet", _list_url(canonical, name), title), "compose": _compose(codes)})
    return found


def _compose(codes: Iterable[tuple[str, str, str]]) -> Json:
    """One include for the codes of a system, and one for those that begin in some way."""
    exact: dict[str, set[str]] = defaultdict(set)
    prefixes: dict[str, set[str]] = defaultdict(set)
    for system, code, match in codes:
        (prefixes if match == "prefix" else exact)[system].add(code)
    include: list[Json] = [
        {"system": system, "concept": [{"code": code} for code in sorted(found)]}
        for system, found in sorted(exact.items())
    ]
    for system, found in sorted(prefixes.items()):
        pattern = f"({'|'.join(map(re.escape, sorted(found)))}).*"
        include.append({"system": system, "filter": [{"property": "code", "op": "regex", "value": pattern}]})
    return {"include": include}


def _results(canonical: Canonical, analyte: Analyte) -> str:
    return f"{canonical.base}/ValueSet/results-{analyte.value}"


def _list_url(canonical: Canonical, name: str) -> str:
    return f"{canonical.base}/ValueSet/list-{name.replace('_', '-')}"


def plan_definition(canonical: Canonical, head: Head, policy: Policy) -> Json:
    """Who is assessed, by which results, and what follows, with the policy's own numbers."""
    url = _plan_url(canonical)
    texts = Texts("en")
    conditions = [
        {
            "kind": "applicability",
            "expression": {
                "description": words.format(age=policy.minimum_age_years),
                "language": "text/fhirpath",
                "expression": expression.format(age=policy.minimum_age_years),
            },
        }
        for words, expression in OF_THE_PATIENT
    ]
    window = (
        f"Magnesium within {policy.lookback_days} days; phosphate, beta-CTx and P1NP from {policy.marker_days_before} days before to "
        f"{policy.marker_days_after} days after it; weight within {policy.weight_days} and height within {policy.height_days} days of it."
    )
    exclusions = [{"type": "documentation", "display": words} for words in _exclusions()]
    shared = {"documentation": exclusions, "condition": conditions}
    return {
        **head("PlanDefinition", url, "Screening for osteoporosis from results on record"),
        "type": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/plan-definition-type", "code": "eca-rule"}]
        },
        "subjectCodeableConcept": {"coding": [{"system": "http://hl7.org/fhir/resource-types", "code": "Patient"}]},
        "usage": window,
        "action": [
            {
                "title": texts("method.mg-flag"),
                "description": texts("rationale.mg-flag"),
                "trigger": [{"type": "named-event", "name": "nightly"}],
                **shared,
                "input": [_requirement(canonical, Analyte.MG), *_excluding(canonical)],
                "output": [{"type": "RiskAssessment", "profile": [canonical.extension("mg-flag-assessment")]}],
            },
            {
                "title": texts("method.nomogram"),
                "description": texts("rationale.nomogram"),
                "trigger": [{"type": "named-event", "name": "nightly"}],
                **shared,
                "input": [*(_requirement(canonical, analyte) for analyte in NOMOGRAM_RESULTS), *_excluding(canonical)],
                "output": [{"type": "RiskAssessment", "profile": [canonical.extension("nomogram-assessment")]}],
            },
        ],
    }


def _excluding_rules() -> list[RuleRow]:
    return [row for row in shipped_rules() if row.effect == "exclude"]


def _exclusions() -> list[str]:
    """Each row of the rules as a sentence."""
    found = []
    for row in _excluding_rules():
        when = _WINDOWS.get(row.window, row.window).format(days=row.washout_days)
        course = f", taken for {row.minimum_days} days or longer within a year" if row.minimum_days else ""
        kinds = " or ".join(_kinds(row))
        found.append(f"No {kinds} of the list {row.value_set.replace('_', '-')}{course}, {when}")
    return found


def _requirement(canonical: Canonical, analyte: Analyte) -> Json:
    return {"type": "Observation", "codeFilter": [{"path": "code", "valueSet": _results(canonical, analyte)}]}


def _excluding(canonical: Canonical) -> list[Json]:
    """What must be read to know the exclusions: each type with each list that bears on it."""
    needed = {(kind, row.value_set) for row in _excluding_rules() for kind in _kinds(row)}
    return [
        {"type": kind, "codeFilter": [{"path": _PATH.get(kind, "code"), "valueSet": _list_url(canonical, name)}]}
        for kind, name in sorted(needed)
    ]


def _kinds(row: RuleRow) -> list[str]:
    """The resource types of a row; "medicines" means all types that state one."""
    return [kind for part in row.resources.split() for kind in (MEDICATED if part == MEDICINES else (part,))]


_PATH: Mapping[str, str] = dict.fromkeys(MEDICATED, "medication")


# Population of the Measure: what it counts.
POPULATIONS = {
    "initial-population": "patients whom a run looks at",
    "denominator": "of them those with a usable magnesium result and a readable record",
    "denominator-exclusion": "of these those whom a rule keeps out",
    "numerator": "of the others those with magnesium at or below 0.845 mmol/L",
}
_POPULATION = "http://terminology.hl7.org/CodeSystem/measure-population"


def measure(canonical: Canonical, head: Head) -> Json:
    """What `screener runs measure` reports."""
    terminology = "http://terminology.hl7.org/CodeSystem"
    return {
        **head("Measure", canonical.measure, "A run of the osteoporosis screening"),
        "subjectCodeableConcept": {"coding": [{"system": "http://hl7.org/fhir/resource-types", "code": "Patient"}]},
        "scoring": {"coding": [{"system": f"{terminology}/measure-scoring", "code": "proportion"}]},
        "group": [
            {
                "code": {"text": "magnesium flag"},
                "population": [
                    {
                        "code": {"coding": [{"system": _POPULATION, "code": code}]},
                        "description": meaning,
                        "criteria": _as_in_the_plan(canonical, meaning),
                    }
                    for code, meaning in POPULATIONS.items()
                ],
                "stratifier": [
                    {
                        "code": {"text": "outcome and reason"},
                        "criteria": _as_in_the_plan(canonical, "the outcome of a patient, and its reason"),
                    }
                ],
            }
        ],
    }


def _plan_url(canonical: Canonical) -> str:
    return f"{canonical.base}/PlanDefinition/osteoporosis-screening"


def _as_in_the_plan(canonical: Canonical, meaning: str) -> Json:
    """What is counted, in words; who that is says the PlanDefinition."""
    return {"description": meaning, "language": "text/fhirpath", "reference": _plan_url(canonical)}
