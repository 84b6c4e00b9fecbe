"""The reconciler's table, row by row: what stands, what ought to, and what follows."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from screener.assessment.evidence import Basis
from screener.assessment.reconcile import Action, Change, Rules, basis_to_read, reconcile
from screener.assessment.validate import Validator
from screener.clinical.judge import judge
from screener.clinical.policy import Policy
from screener.clinical.records import Analyte, Demographics, Exclusion, Fact, Method, PatientRecord, Version
from tests.builders import NOW_US, PATIENT, complete, fact, moment, record, refusal, woman, writer

WRITER = writer()
POLICY = Policy()
RULES = Rules(POLICY, WRITER, NOW_US)


def changes(
    patient: PatientRecord, standing: list[dict[str, Any]] | None = None, basis: Mapping[str, Basis] | None = None
) -> dict[Method, Change]:
    (verdict,) = judge([patient], POLICY, WRITER.artefact, NOW_US)
    found = reconcile(verdict, standing or [], basis or {}, RULES)
    return {change.method: change for change in found}


def stands(patient: PatientRecord) -> list[dict[str, Any]]:
    """What a server holds after the assessments of this record were created."""
    created = changes(patient)
    return [served(change, f"ra-{method.value}") for method, change in created.items()]


def served(change: Change, name: str, version: str = "1") -> dict[str, Any]:
    assert change.resource is not None
    meta = {**change.resource["meta"], "versionId": version, "lastUpdated": "2025-07-01T00:00:00.000Z"}
    return {**change.resource, "id": name, "meta": meta}


def actions(found: Mapping[Method, Change]) -> dict[Method, tuple[Action, str]]:
    return {method: (change.action, change.reason) for method, change in found.items()}


def both(action: Action, reason: str = "") -> dict[Method, tuple[Action, str]]:
    return dict.fromkeys(Method, (action, reason))


def test_none_stands_and_desired_is_created_as_final() -> None:
    found = changes(record(*complete()))
    assert actions(found) == both(Action.CREATE)
    assert {change.resource["status"] for change in found.values() if change.resource} == {"final"}


def test_the_same_again_is_unchanged() -> None:
    patient = record(*complete())
    assert actions(changes(patient, stands(patient))) == both(Action.UNCHANGED)


def test_a_server_that_drops_trailing_zeros_is_not_written_to_again() -> None:
    patient = record(*complete())
    standing = stands(patient)
    prediction = next(r for r in standing if r["id"] == "ra-nomogram")["prediction"][0]
    prediction["probabilityDecimal"] = Decimal(str(prediction["probabilityDecimal"]) + "0")
    assert actions(changes(patient, standing)) == both(Action.UNCHANGED)


def test_a_corrected_value_of_the_same_occasion_amends_as_corrected() -> None:
    standing = stands(record(*complete()))
    found = changes(record(*complete(mg="0.90")), standing)
    assert {change.action for change in found.values()} == {Action.AMEND}
    assert {change.resource["status"] for change in found.values() if change.resource} == {"corrected"}
    assert {change.target for change in found.values()} == {"ra-nomogram", "ra-mg-flag"}
    assert {change.version for change in found.values()} == {"1"}


def test_a_new_occasion_amends_the_same_resource_as_final() -> None:
    standing = stands(record(*complete()))
    found = changes(record(*complete(), *complete(30)), standing)
    assert {change.action for change in found.values()} == {Action.AMEND}
    assert {change.resource["status"] for change in found.values() if change.resource} == {"final"}
    assert {c.resource["occurrenceDateTime"] for c in found.values() if c.resource} == {moment(30).text}


def test_a_lone_newer_magnesium_moves_the_flag_but_not_the_nomogram() -> None:
    standing = stands(record(*complete()))
    found = changes(record(*complete(), fact(Analyte.MG, "0.80", 60)), standing)
    # Sixty days on, P, beta-CTx and P1NP of the first stay still lie within 90 days before: they serve again.
    assert found[Method.NOMOGRAM].action is Action.AMEND
    later = changes(record(*complete(), fact(Analyte.MG, "0.80", 120)), standing)
    # Each then names the other's magnesium result.
    assert (later[Method.NOMOGRAM].action, later[Method.NOMOGRAM].reason) == (Action.AMEND, "caveats+note")
    assert later[Method.FLAG].action is Action.AMEND
    for method, said in ((Method.NOMOGRAM, "2025-09-29"), (Method.FLAG, "2025-06-01")):
        assert any(f"of {said}, which lay at or below" in note["text"] for note in later[method].resource["note"])


def test_withdrawn_only_magnesium_retracts() -> None:
    standing = stands(record(*complete()))
    withdrawn = record(*complete(), refusal(Analyte.MG, "withdrawn", withdrawn=True))
    found = changes(withdrawn, standing)
    assert actions(found) == both(Action.RETRACT, "basis_withdrawn")
    for change in found.values():
        assert change.resource is not None
        assert change.resource["status"] == "entered-in-error"
        assert change.resource["prediction"]  # what it said stays readable


def test_absence_is_no_evidence() -> None:
    standing = stands(record(*complete()))
    nothing_seen = record()
    assert actions(changes(nothing_seen, standing)) == both(Action.STANDS, "evidence_not_visible")


def test_deleted_magnesium_retracts_when_the_server_says_so() -> None:
    standing = stands(record(*complete()))
    gone = {name: Basis(seen=True, gone=True) for name in ("mg-0",)}
    found = changes(record(*complete()[1:]), standing, gone)
    assert actions(found) == both(Action.RETRACT, "basis_gone")


def test_a_missing_magnesium_is_no_evidence_where_the_patient_is_not_shown_either() -> None:
    standing = stands(record(*complete()))
    hidden = PatientRecord(patient=PATIENT)
    gone = {name: Basis(seen=True, gone=True) for name in ("mg-0", "p-0", "ctx-0", "p1np-0", "weight-0", "height-0")}
    assert actions(changes(hidden, standing, gone)) == both(Action.STANDS, "patient_missing")


def test_what_must_be_read_by_id_is_what_the_record_does_not_hold() -> None:
    standing = stands(record(*complete()))
    (verdict,) = judge([record(*complete()[2:])], POLICY, WRITER.artefact, NOW_US)
    assert basis_to_read(verdict, standing, WRITER) == {"mg-0", "p-0"}


def test_nothing_is_read_by_id_for_an_unchanged_patient() -> None:
    patient = record(*complete())
    (verdict,) = judge([patient], POLICY, WRITER.artefact, NOW_US)
    assert basis_to_read(verdict, stands(patient), WRITER) == set()


def test_an_unseen_newest_magnesium_does_not_move_the_assessment_back() -> None:
    standing = stands(record(*complete(-200), *complete()))
    narrowed = record(*complete(-200))
    assert actions(changes(narrowed, standing)) == both(Action.STANDS, "evidence_not_visible")


def test_a_withdrawn_newest_magnesium_moves_the_assessment_back() -> None:
    standing = stands(record(*complete(-200), *complete()))
    withdrawn = record(*complete(-200), *complete()[1:], refusal(Analyte.MG, "withdrawn", withdrawn=True))
    found = changes(withdrawn, standing)
    assert {change.action for change in found.values()} == {Action.AMEND}
    assert {c.resource["occurrenceDateTime"] for c in found.values() if c.resource} == {moment(-200).text}


def test_what_no_longer_applies_says_so_once_and_is_found_by_no_search() -> None:
    standing = stands(record(*complete()))
    dead = record(*complete(), person=woman(deceased=True))
    found = changes(dead, standing)
    assert actions(found) == both(Action.AMEND, "no_longer_applies")
    for change in found.values():
        assert change.resource is not None
        assert change.resource["status"] == "amended"
        assert [p["qualitativeRisk"]["coding"][0]["code"] for p in change.resource["prediction"]] == [
            "no-longer-applies"
        ]
        assert change.resource["note"][0]["text"] == "This assessment no longer applies: she has died."
        assert "she has died" in change.resource["text"]["div"]
        assert Validator(every=True).problem(change.resource) == ""
    lapsed = [change.resource for change in found.values()]
    assert actions(changes(dead, lapsed)) == both(Action.STANDS, "deceased")  # type: ignore[arg-type]
    alive = changes(record(*complete()), lapsed)  # type: ignore[arg-type]
    assert {change.action for change in alive.values()} == {Action.AMEND}
    for method, change in alive.items():
        assert change.resource is not None
        before = next(r for r in standing if r["method"]["coding"][0]["code"] == method.value)
        assert change.resource["prediction"] == before["prediction"]
        assert not any("no longer applies" in note["text"] for note in change.resource.get("note", ()))


def test_a_second_reason_replaces_the_first() -> None:
    standing = stands(record(*complete()))
    treated = Exclusion(PATIENT, "MedicationRequest", "m1", Version(1, 1), "antiresorptive", moment(30).day)
    once = [c.resource for c in changes(record(*complete(), exclusions=(treated,)), standing).values()]
    assert "a medicine against bone loss" in once[0]["note"][0]["text"]
    dead = changes(record(*complete(), exclusions=(treated,), person=woman(deceased=True)), once)  # type: ignore[arg-type]
    assert actions(dead) == both(Action.AMEND, "no_longer_applies")
    for change in dead.values():
        said = [note["text"] for note in change.resource["note"] if "no longer applies" in note["text"]]
        assert said == ["This assessment no longer applies: she has died."]
        assert len([e for e in change.resource["extension"] if e["url"].endswith("/no-longer-applies")]) == 1


def test_a_corrected_sex_retracts() -> None:
    standing = stands(record(*complete()))
    assert actions(changes(record(*complete(), person=woman(sex="male")), standing)) == both(
        Action.RETRACT, "sex_corrected"
    )


def test_a_corrected_birth_date_retracts() -> None:
    standing = stands(record(*complete()))
    younger = record(*complete(), person=woman(birth_date="1985-03-02"))
    assert actions(changes(younger, standing)) == both(Action.RETRACT, "birth_date_corrected")


@pytest.mark.parametrize(
    ("start_day", "expected"),
    [
        (moment(-30).day, (Action.RETRACT, "excluded_at_occasion")),
        (moment(30).day, (Action.AMEND, "no_longer_applies")),
        (0, (Action.AMEND, "no_longer_applies")),  # an undated diagnosis is no evidence about the occasion
    ],
)
def test_an_exclusion_retracts_only_when_dated_before_the_occasion(
    start_day: int, expected: tuple[Action, str]
) -> None:
    standing = stands(record(*complete()))
    exclusion = Exclusion(PATIENT, "Condition", "c1", Version(1, 1), "malignancy", start_day)
    excluded = record(*complete(), exclusions=(exclusion,))
    assert actions(changes(excluded, standing)) == dict.fromkeys(Method, expected)


def test_an_assessment_that_somebody_else_took_back_is_never_revived() -> None:
    standing = [{**resource, "status": "entered-in-error"} for resource in stands(record(*complete()))]
    assert actions(changes(record(*complete(), *complete(30)), standing)) == both(Action.STANDS, "overruled")


def test_one_that_we_took_back_is_revived_by_a_new_result() -> None:
    first = stands(record(*complete()))
    withdrawn = record(*complete(), refusal(Analyte.MG, "withdrawn", withdrawn=True))
    taken_back = [served(change, change.target, "2") for change in changes(withdrawn, first).values()]
    assert changes(withdrawn, taken_back) == {}
    revived = changes(record(*complete(), *complete(30)), taken_back)
    for change in revived.values():
        assert change.action is Action.AMEND
        assert change.resource is not None
        assert change.resource["status"] == "final"
        assert not any("retraction" in entry["url"] for entry in change.resource["extension"])


@pytest.mark.parametrize("oldest", [{"lastUpdated": "2025-07-01T00:00:00.000Z"}, {}], ids=["dated", "no_time"])
def test_of_two_for_one_identity_the_older_stays(oldest: dict[str, str]) -> None:
    patient = record(*complete())
    first = [{**r, "meta": {"tag": r["meta"]["tag"], "versionId": "1", **oldest}} for r in stands(patient)]
    later = [{**r, "id": f"{r['id']}-2", "meta": {**r["meta"], "lastUpdated": "2025-08-01T00:00:00Z"}} for r in first]
    (verdict,) = judge([patient], POLICY, WRITER.artefact, NOW_US)
    found = reconcile(verdict, [*later, *first], {}, RULES)
    assert {(change.action, change.target) for change in found} == {
        (Action.UNCHANGED, "ra-nomogram"),
        (Action.RETRACT, "ra-nomogram-2"),
        (Action.UNCHANGED, "ra-mg-flag"),
        (Action.RETRACT, "ra-mg-flag-2"),
    }


def test_what_others_added_survives_an_amendment() -> None:
    standing = stands(record(*complete()))
    foreign = {
        "note": {"authorString": "Dr Example", "text": "Discussed in clinic."},
        "extension": {"url": "https://elsewhere.example/ext", "valueDecimal": Decimal("1.50")},
        "identifier": {"system": "https://elsewhere.example/id", "value": "7"},
    }
    for resource in standing:
        for name, value in foreign.items():
            resource[name] = [*resource[name], value]
        resource["mitigation"] = "Vitamin D"
        resource["meta"]["tag"] = [*resource["meta"]["tag"], {"system": "https://elsewhere.example", "code": "x"}]
    for change in changes(record(*complete(mg="0.90")), standing).values():
        assert change.resource is not None
        assert all(value in change.resource[name] for name, value in foreign.items())
        assert change.resource["mitigation"] == "Vitamin D"
        assert {"system": "https://elsewhere.example", "code": "x"} in change.resource["meta"]["tag"]


@pytest.mark.parametrize("labels", ["tag", "security"])
def test_a_label_of_ours_that_somebody_took_away_is_put_back(labels: str) -> None:
    patient = record(*(msgspec.structs.replace(one, security=("R",)) for one in complete()))
    (created,) = (change for change in changes(patient).values() if change.method is Method.NOMOGRAM)
    held = served(created, "r1")
    del held["meta"][labels]
    found = changes(patient, [held])[Method.NOMOGRAM]
    assert (found.action, found.reason) == (Action.AMEND, labels)
    assert found.resource is not None
    assert found.resource["meta"][labels] == created.resource["meta"][labels]


def test_security_label_of_the_site_amends_what_stands() -> None:
    """`output.label`: that an algorithm asserted it (HL7 AI Transparency on FHIR)."""
    patient = record(*(msgspec.structs.replace(one, security=("R",)) for one in complete()))
    asserted = ("http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "AIAST")
    labelled = Rules(POLICY, writer(labels=(asserted,)), NOW_US)
    (verdict,) = judge([patient], POLICY, WRITER.artefact, NOW_US)
    found = {change.method: change for change in reconcile(verdict, stands(patient), {}, labelled)}
    assert actions(found) == both(Action.AMEND, "security")
    for change in found.values():
        assert change.resource is not None
        assert [label["code"] for label in change.resource["meta"]["security"]] == ["R", "AIAST"]
        assert Validator(every=True).problem(change.resource) == ""
    created = {change.method: change for change in reconcile(verdict, [], {}, labelled)}
    assert all(change.resource and len(change.resource["meta"]["security"]) == 2 for change in created.values())


def test_an_assessment_of_another_identity_is_not_touched() -> None:
    standing = stands(record(*complete()))
    for resource in standing:
        resource["identifier"] = [{"system": "https://elsewhere.example/id", "value": "7"}]
    assert actions(changes(record(*complete()), standing)) == both(Action.CREATE)


def test_a_changed_status_of_ours_is_put_right() -> None:
    standing = stands(record(*complete()))
    for resource in standing:
        resource["status"] = "preliminary"
    found = changes(record(*complete()), standing)
    assert actions(found) == both(Action.AMEND, "status")


def test_a_server_that_keeps_times_in_its_own_zone_is_not_written_to_again() -> None:
    patient = record(*complete())
    held = [{**r, "occurrenceDateTime": "2025-06-01T10:00:00.000+02:00"} for r in stands(patient)]
    assert {r["occurrenceDateTime"] for r in stands(patient)} == {"2025-06-01T08:00:00Z"}
    assert actions(changes(patient, held)) == both(Action.UNCHANGED)


def test_an_occasion_that_lies_after_the_run_is_left_alone() -> None:
    """A run with --now in the past must not move what stands to an older occasion."""
    later, earlier = record(*complete(), *complete(400)), record(*complete())
    held = [{**r, "occurrenceDateTime": "2026-07-06T08:00:00Z"} for r in stands(later)]
    assert actions(changes(earlier, held)) == both(Action.STANDS, "newer_than_the_run")


def test_a_result_altered_into_an_implausible_one_retracts() -> None:
    used = fact(Analyte.MG, "0.84", version=Version(1_000_000, 1))
    held = stands(record(used))
    now = refusal(Analyte.MG, "implausible", version=Version(2_000_000, 2))
    assert actions(changes(record(now), held)) == {Method.FLAG: (Action.RETRACT, "basis_changed")}


def test_a_result_altered_into_another_code_retracts() -> None:
    held = stands(record(fact(Analyte.MG, "0.84", version=Version(1_000_000, 1))))
    recoded = {"mg-0": Basis(seen=True, updated_us=2_000_000)}
    assert actions(changes(record(), held, recoded)) == {Method.FLAG: (Action.RETRACT, "basis_changed")}


def test_a_result_that_only_our_tables_refuse_now_stands_and_says_so() -> None:
    held = stands(record(fact(Analyte.MG, "0.84", version=Version(1_000_000, 1))))
    now = refusal(Analyte.MG, "implausible", version=Version(1_000_000, 1))
    assert actions(changes(record(now), held)) == {Method.FLAG: (Action.STANDS, "magnesium_refused")}


# What no search may find any longer, and what is no evidence


def at(
    policy: Policy, patient: PatientRecord, standing: list[dict[str, Any]], now_us: int = NOW_US
) -> dict[Method, Any]:
    """Action and reason under a site's policy, at an instant."""
    (verdict,) = judge([patient], policy, WRITER.artefact, now_us)
    return actions({c.method: c for c in reconcile(verdict, standing, {}, Rules(policy, WRITER, now_us))})


def test_results_that_grew_too_old_lapse_on_the_day_after_the_lookback() -> None:
    patient, standing = record(*complete()), stands(record(*complete()))
    last = int(moment(730).instant_us)
    assert at(POLICY, patient, standing, last) == both(Action.UNCHANGED) | at(POLICY, patient, standing, last)
    assert not any(reason == "no_longer_applies" for _, reason in at(POLICY, patient, standing, last).values())
    beyond = at(POLICY, patient, standing, int(moment(731).instant_us))
    assert beyond == both(Action.AMEND, "no_longer_applies")
    (verdict,) = judge([patient], POLICY, WRITER.artefact, int(moment(731).instant_us))
    (change, _) = reconcile(verdict, standing, {}, Rules(POLICY, WRITER, int(moment(731).instant_us)))
    assert change.resource is not None
    said = next(e for e in change.resource["extension"] if e["url"].endswith("/no-longer-applies"))
    assert said["valueCodeableConcept"]["coding"][0]["code"] == "out_of_lookback"


def test_results_that_grew_too_old_of_a_woman_who_is_not_shown_are_left() -> None:
    standing = stands(record(*complete()))
    hidden = PatientRecord(patient=PATIENT, facts=complete())
    assert at(POLICY, hidden, standing, int(moment(731).instant_us)) == both(Action.STANDS, "patient_missing")


def test_a_higher_minimum_age_of_the_site_takes_nothing_back() -> None:
    """She was 67 and her birth date is as it was: only the site's policy changed."""
    patient, standing = record(*complete()), stands(record(*complete()))
    assert at(Policy(minimum_age_years=70), patient, standing) == both(Action.STANDS, "too_young")


def test_a_birth_date_that_makes_her_too_young_by_a_day_retracts() -> None:
    standing = stands(record(*complete()))
    for born, retracts in (("1975-06-01", False), ("1975-06-02", True), ("1975", False)):
        found = at(POLICY, record(*complete(), person=woman(birth_date=born)), standing)
        assert all(reason == "birth_date_corrected" for _, reason in found.values()) is retracts


@pytest.mark.parametrize(
    ("sex", "reason"), [("male", "sex_corrected"), ("other", "sex_corrected"), ("unknown", "sex_unknown")]
)
def test_only_a_stated_sex_takes_back(sex: str, reason: str) -> None:
    standing = stands(record(*complete()))
    action = Action.RETRACT if reason == "sex_corrected" else Action.STANDS
    assert at(POLICY, record(*complete(), person=woman(sex=sex)), standing) == both(action, reason)


@pytest.mark.parametrize(
    ("person", "reason"),
    [({"deceased": True}, "deceased"), ({"active": False}, "inactive"), ({"merged": True}, "merged")],
)
def test_each_end_of_her_record_lapses_with_its_reason(person: dict[str, bool], reason: str) -> None:
    standing = stands(record(*complete()))
    found = changes(record(*complete(), person=woman(**person)), standing)
    assert actions(found) == both(Action.AMEND, "no_longer_applies")
    for change in found.values():
        assert change.resource is not None
        codes = [
            e["valueCodeableConcept"]["coding"][0]["code"]
            for e in change.resource["extension"]
            if e["url"].endswith("/no-longer-applies")
        ]
        assert codes == [reason]


def test_the_strictest_label_of_patient_results_and_caveats_is_on_the_assessment() -> None:
    def label(*facts: Fact, person: Demographics | None = None, **fields: Any) -> list[str]:
        written = changes(record(*facts, person=person, **fields))[Method.NOMOGRAM].resource
        assert written is not None
        return [one["code"] for one in written["meta"].get("security", ())]

    mg, *others = complete()
    assert label(mg, *others) == []
    assert label(mg, *others, person=woman(security=("R",))) == ["R"]
    assert label(msgspec.structs.replace(mg, security=("V",)), *others, person=woman(security=("R",))) == ["V"]
    assert label(mg, *others, person=woman(security=("N", "U"))) == ["N"]
    caveat = Exclusion(PATIENT, "Condition", "c1", Version(1, 1), "mgus", caveat=True, security=("R",))
    assert label(mg, *others, exclusions=(caveat,)) == ["R"]
    assert label(mg, *others, fact(Analyte.CALCIUM, "2.3", security=("R",))) == ["R"]
    assert label(mg, *others, fact(Analyte.OCN, "20", security=("R",))) == []
    assert label(mg, *others, person=woman(security=("ETHUD",))) == []


def test_what_she_rests_on_is_evidence_in_each_of_its_ways() -> None:
    """Each Observation that an assessment rests on, read by its id because the record does not hold it."""
    whole = [msgspec.structs.replace(one, version=Version(5_000_000, 1)) for one in complete()]
    standing = stands(record(*whole))
    mg, *others = whole
    without = record(*others)

    def reason(basis: Basis) -> dict[Method, tuple[Action, str]]:
        return actions(changes(without, standing, {mg.id: basis}))

    assert reason(Basis(seen=True, withdrawn=True)) == both(Action.RETRACT, "basis_withdrawn")
    assert reason(Basis(seen=True, gone=True)) == both(Action.RETRACT, "basis_gone")
    assert reason(Basis(seen=False)) == both(Action.STANDS, "evidence_not_visible")
    assert reason(Basis(seen=True, rows=(mg,))) == both(Action.STANDS, "out_of_lookback")
    other = msgspec.structs.replace(mg, value=Decimal("0.85"))
    assert reason(Basis(seen=True, rows=(other,))) == both(Action.RETRACT, "basis_changed")
    moved = msgspec.structs.replace(mg, patient="somebody")
    assert reason(Basis(seen=True, rows=(moved,))) == both(Action.RETRACT, "basis_changed")
    for why, retracts in (
        ("haemolysed", True),
        ("value_absent", True),
        ("value_not_quantity", True),
        ("implausible", False),
    ):
        refused = refusal(Analyte.MG, why, id=mg.id, version=mg.version)
        found = reason(Basis(seen=True, rows=(refused,), updated_us=mg.version.updated_us))
        assert (found == both(Action.RETRACT, "basis_changed")) is retracts
        later = Basis(seen=True, rows=(refused,), updated_us=mg.version.updated_us + 1_000)
        assert reason(later) == both(Action.RETRACT, "basis_changed")
    gone = refusal(Analyte.MG, "withdrawn", id=mg.id, withdrawn=True)
    assert reason(Basis(seen=True, rows=(gone,))) == both(Action.RETRACT, "basis_withdrawn")


def test_a_birth_date_that_is_gone_is_no_evidence() -> None:
    standing = stands(record(*complete()))
    for written in ("", "malformed"):
        gone = changes(record(*complete(), person=woman(birth_date=written)), standing)
        assert actions(gone) == both(Action.STANDS, "birth_date_missing")


def test_nothing_is_read_for_what_was_taken_back() -> None:
    standing = [{**resource, "status": "entered-in-error"} for resource in stands(record(*complete()))]
    (verdict,) = judge([record()], POLICY, WRITER.artefact, NOW_US)
    assert basis_to_read(verdict, standing, WRITER) == set()


def test_of_two_without_times_the_one_of_the_lower_id_is_kept() -> None:
    created = changes(record(*complete()))[Method.FLAG].resource
    assert created is not None
    copies = [{**created, "id": name, "meta": {}} for name in ("b", "a")]
    (verdict,) = judge([record(*complete())], POLICY, WRITER.artefact, NOW_US)
    found = [c for c in reconcile(verdict, copies, {}, RULES) if c.method is Method.FLAG]
    assert [(c.target, c.action) for c in found if c.action is Action.RETRACT] == [("b", Action.RETRACT)]


def test_a_lapse_leaves_what_others_added() -> None:
    theirs = {"url": "https://theirs.example", "valueCode": "x"}
    standing = [{**r, "extension": [*r["extension"], theirs]} for r in stands(record(*complete()))]
    for change in changes(record(*complete(), person=woman(deceased=True)), standing).values():
        assert change.resource is not None
        assert change.resource["extension"][1:] == next(r["extension"] for r in standing if r["id"] == change.target)
