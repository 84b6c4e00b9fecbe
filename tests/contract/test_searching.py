"""Search: FHIR R4, search.html#token, #reference, #date, #prefix, #elements, #errors; http.html#search."""

from datetime import datetime, timedelta

import pytest

from tests.contract import deviations
from tests.contract.server import CODE_SYSTEM, IDENTIFIER_SYSTEM, Server, is_outcome


def test_code_in_its_token_forms(server: Server) -> None:
    """search.html#token: system|code, code, |code, system|."""
    mg, p = server.code("mg"), server.code("p")
    without = {"coding": [{"code": mg}]}
    other = {"coding": [{"system": "https://example.org/contract/other", "code": mg}]}
    server.stored(
        server.patient(),
        server.observation("mg", code="mg"),
        server.observation("p", code="p"),
        server.observation("plain") | {"code": without},
        server.observation("other") | {"code": other},
    )
    assert server.ids("Observation", code=f"{CODE_SYSTEM}|{mg}") == {"mg"}
    assert server.ids("Observation", code=f"{CODE_SYSTEM}|{mg},{CODE_SYSTEM}|{p}") == {"mg", "p"}
    assert server.ids("Observation", code=mg) == {"mg", "plain", "other"}
    assert server.ids("Observation", code=f"|{mg}") == {"plain"}
    assert server.ids("Observation", code=f"{CODE_SYSTEM}|") == {"mg", "p"}
    assert server.ids("Observation", code=f"{CODE_SYSTEM}|unknown-{server.own}") == set()


def test_a_comma_in_a_code_is_escaped(server: Server) -> None:
    """search.html#escaping: a backslash before the comma makes it part of the value."""
    comma = f"a,b-{server.own}"
    server.stored(server.patient(), server.observation("o") | {"code": {"coding": [{"code": comma}]}})
    assert server.ids("Observation", code=comma.replace(",", "\\,")) == {"o"}
    assert server.ids("Observation", code=comma) == set()


def test_any_coding_of_a_concept_is_found(server: Server) -> None:
    """search.html#token: against any of the codings."""
    codings = [{"system": CODE_SYSTEM, "code": server.code(name)} for name in ("local", "mg")]
    server.stored(server.patient(), server.observation("o") | {"code": {"coding": codings}})
    assert server.ids("Observation", code=server.code("local")) == {"o"}
    assert server.ids("Observation", code=server.code("mg")) == {"o"}


def test_repeated_parameters_are_all_meant(server: Server) -> None:
    """search.html#combining: AND between repetitions, OR between comma-separated values."""
    server.stored(server.patient(), server.observation("mg", code="mg"), server.observation("p", code="p"))
    assert server.ids("Observation", code=[server.code("mg"), server.code("p")]) == set()
    assert server.ids("Observation", code=[server.code("mg"), f"{server.code('mg')},{server.code('p')}"]) == {"mg"}


def test_subjects_by_post(server: Server) -> None:
    """http.html#search by POST [type]/_search, search.html#reference: several subjects; form-encoded parameters."""
    names = ("a", "b", "c")
    server.stored(*map(server.patient, names), *(server.observation(f"o{name}", of=name) for name in names))
    subjects = ",".join(f"Patient/{server.id(name)}" for name in ("a", "c", "nobody"))
    url = f"{server.base_url}/Observation/_search"
    answer = server.session.post(url, data={"subject": subjects, "_count": "50"}, timeout=60)
    assert sorted(name for page in server.pages(answer) for name in page) == [server.id("oa"), server.id("oc")]


def test_subject_in_its_forms(server: Server) -> None:
    """search.html#reference: [type]/[id] and [id]; `patient` for subjects that are Patients."""
    server.stored(server.patient("a"), server.patient("b"), server.observation("o", of="a"))
    name = server.id("a")
    for value in (f"Patient/{name}", name):
        assert server.ids("Observation", subject=value) == {"o"}
        assert server.ids("Observation", patient=value) == {"o"}
    assert server.ids("Observation", subject=f"Patient/{server.id('b')}") == set()


def test_subject_by_absolute_url(server: Server) -> None:
    """search.html#reference: an absolute URL of the server itself is the relative one."""
    server.stored(server.patient(), server.observation("o"))
    found = server.ids("Observation", subject=f"{server.base_url}/Patient/{server.id('p')}")
    assert len(found) == server.says(deviations.OWN_ABSOLUTE_SUBJECT)


def test_ids(server: Server) -> None:
    """search.html#id: comma-separated logical ids."""
    server.stored(*map(server.patient, ("a", "b", "c")))
    assert server.ids("Patient", _id=f"{server.id('a')},{server.id('c')},{server.id('nobody')}") == {"a", "c"}


def test_tag(server: Server) -> None:
    """search.html#tag."""
    server.stored(server.patient())
    assert server.ids("Patient", _tag=server.tag) == {"p"}
    assert server.ids("Patient", _tag=server.own) == {"p"}
    assert server.ids("Patient", _tag=f"{server.tag}-other") == set()


def test_status_and_category(server: Server) -> None:
    """search.html#token on a code and on a list of concepts."""
    laboratory = [{"coding": [{"system": CODE_SYSTEM, "code": "laboratory"}]}]
    server.stored(
        server.patient(),
        server.observation("final", category=laboratory),
        server.observation("wrong", status="entered-in-error"),
    )
    assert server.ids("Observation", status="final") == {"final"}
    assert server.ids("Observation", status="final,entered-in-error") == {"final", "wrong"}
    assert server.ids("Observation", category=f"{CODE_SYSTEM}|laboratory") == {"final"}


def test_assessments_by_method_risk_and_identifier(server: Server) -> None:
    """riskassessment.html#search: method, risk (prediction.qualitativeRisk), identifier."""

    def concept(code: str) -> dict[str, object]:
        return {"coding": [{"system": CODE_SYSTEM, "code": server.code(code)}]}

    server.stored(server.patient())
    flag = server.assessment("flag", method=concept("flag"), prediction=[{"qualitativeRisk": concept("low")}])
    nomogram = server.assessment("nomogram", method=concept("nomogram"), prediction=[{"probabilityDecimal": 58.1}])
    flag_id, nomogram_id = (server.send("POST", "RiskAssessment", body).json()["id"] for body in (flag, nomogram))
    assert server.ids("RiskAssessment", method=f"{CODE_SYSTEM}|{server.code('flag')}") == {flag_id}
    both = f"{CODE_SYSTEM}|{server.code('flag')},{CODE_SYSTEM}|{server.code('nomogram')}"
    assert server.ids("RiskAssessment", method=both) == {flag_id, nomogram_id}
    assert server.ids("RiskAssessment", risk=f"{CODE_SYSTEM}|{server.code('low')}") == {flag_id}
    assert server.ids("RiskAssessment", identifier=f"{IDENTIFIER_SYSTEM}|{server.id('nomogram')}") == {nomogram_id}
    assert server.ids("RiskAssessment", identifier=server.id("nomogram")) == {nomogram_id}
    assert server.ids("RiskAssessment", subject=f"Patient/{server.id('p')}") == {flag_id, nomogram_id}


def test_search_finds_the_newest_version_only(server: Server) -> None:
    """search.html#Introduction: searches are against the current versions."""
    server.stored(server.patient(), server.observation("o", code="mg"), server.observation("o", code="p"))
    assert server.ids("Observation", code=server.code("mg")) == set()
    assert server.ids("Observation", code=server.code("p")) == {"o"}


def test_last_updated_since(server: Server) -> None:
    """search.html#lastUpdated with ge, gt and lt, to the millisecond that the server gave."""
    server.stored(server.patient("a"))
    updated = server.send("GET", f"Patient/{server.id('a')}").json()["meta"]["lastUpdated"]
    later = (datetime.fromisoformat(updated) + timedelta(milliseconds=1)).isoformat(timespec="milliseconds")
    assert server.ids("Patient", _lastUpdated=f"ge{updated}") == {"a"}
    assert server.ids("Patient", _lastUpdated=f"gt{updated}") == set()
    assert server.ids("Patient", _lastUpdated=f"ge{later}") == set()
    assert server.ids("Patient", _lastUpdated=f"lt{later}") == {"a"}
    assert server.ids("Patient", _lastUpdated=[f"ge{updated}", f"lt{later}"]) == {"a"}


# Worked by hand from search.html#prefix: eq the asked range contains the target's; gt, lt they reach beyond it;
# ge, le either; sa, eb the target's lies wholly after, before.
def test_what_a_searchset_holds(server: Server) -> None:
    """http.html#search and bundle.html#searchset: type, self link, fullUrl, search.mode."""
    server.stored(server.patient())
    bundle = server.search("Patient", _tag=server.tag).json()
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "searchset")
    assert "self" in {link["relation"] for link in bundle["link"]}
    (entry,) = bundle["entry"]
    assert entry["fullUrl"] == f"{server.base_url}/Patient/{server.id('p')}"
    assert entry["search"]["mode"] == "match"


def test_nothing_found_is_no_error(server: Server) -> None:
    """http.html#search: 200 and no entries."""
    answer = server.search("Patient", _tag=server.tag, _total="accurate")
    assert (answer.status_code, answer.json()["total"]) == (200, 0)
    assert answer.json().get("entry", []) == []


def test_an_unknown_parameter_is_refused(server: Server) -> None:
    """search.html#errors: both servers are strict unless asked otherwise."""
    answer = server.search("Observation", nonsense="x")
    assert answer.status_code == 400
    assert is_outcome(answer)


def test_a_parameter_of_another_type_is_refused(server: Server) -> None:
    """riskassessment.html#search has no `status`: asked all the same, it is unknown."""
    assert server.search("RiskAssessment", status="final").status_code == 400


def test_an_unknown_modifier(server: Server) -> None:
    """search.html#modifiers: servers reject modifiers that they do not support."""
    answer = server.search("Observation", **{"code:foo": "x", "_tag": server.tag})
    assert answer.status_code == server.says(deviations.UNKNOWN_MODIFIER)


def test_components_by_their_codes(server: Server) -> None:
    """observation.html#search, component-code: the panel whose component has the code, and not what has the code itself."""
    part = {"code": {"coding": [{"system": "http://loinc.org", "code": "2601-3"}]}, "valueQuantity": {"value": 0.84}}
    panel = {**server.observation("panel"), "code": {"text": "Electrolytes"}, "component": [part]}
    server.stored(server.patient(), server.observation("o"), panel)
    assert server.ids("Observation", **{"component-code": "http://loinc.org|2601-3"}) == {"panel"}
    assert server.ids("Observation", **{"component-code": "http://loinc.org|718-7"}) == set()
    stated = server.send("GET", "metadata").json()["rest"][0]["resource"]
    (of_observation,) = (entry for entry in stated if entry["type"] == "Observation")
    assert {"component-code", "combo-code"} <= {entry["name"] for entry in of_observation["searchParam"]}
    both = {"combo-code": "http://loinc.org|2601-3", "_tag": server.tag}
    assert server.ids("Observation", **both) == {"panel", *server.ids("Observation", code="http://loinc.org|2601-3")}
    assert "panel" in server.ids("Observation", **both)


def test_a_code_by_its_text(server: Server) -> None:
    """search.html#token, the modifier :text: by what the concept says in words, whatever the case."""
    said = {**server.observation("said"), "code": {"text": "Magnesium im Serum"}}
    shown = {
        **server.observation("shown"),
        "code": {"coding": [{"system": "urn:l", "code": "1", "display": "Natrium"}]},
    }
    server.stored(server.patient(), server.observation("o"), said, shown)
    assert server.ids("Observation", **{"code:text": "magnesium im serum"}) == {"said"}
    assert server.ids("Observation", **{"code:text": "Natrium,Magnesium im"}) == {"said", "shown"}
    assert server.ids("Observation", **{"code:text": "Kalium"}) == set()


def test_an_empty_value_is_ignored(server: Server) -> None:
    """A criterion without a value is none: both servers search by the rest, so a caller must not send one."""
    server.stored(server.patient(), server.observation("o"))
    assert server.ids("Observation", code="") == {"o"}


@pytest.mark.parametrize("value", ["nonsense", "ge", "2024-13-01", "zz2024-01-01", "2024-1-1"])
@pytest.mark.parametrize("parameter", ["date", "_lastUpdated"])
def test_a_bad_date_is_refused(server: Server, parameter: str, value: str) -> None:
    """search.html#errors: what cannot be parsed is an error."""
    answer = server.search("Observation", **{parameter: value})
    assert answer.status_code == 400
    assert is_outcome(answer)


def test_a_bad_count_is_refused(server: Server) -> None:
    """search.html#errors. HAPI FHIR ignores a `_summary` that it does not know; the sandbox refuses that, too."""
    assert server.search("Observation", _count="many").status_code == 400


def test_patients_by_gender_and_birth_date(server: Server) -> None:
    """patient.html#search: gender is a token, birthdate a date; a year counts where the whole of it may."""
    people = [("old", "female", "1950-06-01"), ("year", "female", "1961"), ("young", "female", "1999-01-01")]
    people.append(("man", "male", "1950-06-01"))
    server.stored(*({**server.patient(short), "gender": sex, "birthDate": born} for short, sex, born in people))
    until = {"gender": "female", "birthdate": "le1975-01-01", "_tag": server.tag}
    assert server.ids("Patient", **until) == {"old", "year"}
    assert server.search("Patient", **until, _summary="count").json()["total"] == 2
