"""Which fields are ours: each difference by its name, and what of others survives."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from screener.assessment.identity import PRODUCT
from screener.assessment.owned_fields import apply_owned, difference, occasion
from screener.assessment.resource import device
from screener.assessment.retraction import BY_SITE, taken_back
from screener.assessment.texts import Texts
from screener.assessment.values import occurrence, per_cent, plain, shown_bmi, shown_points
from screener.clinical.judge import judge
from screener.clinical.policy import Policy
from screener.clinical.records import Analyte, Method, Moment
from tests.builders import NOW_US, complete, desired, fact, record, writer

Json = dict[str, Any]
WRITER = writer()
CANONICAL = WRITER.canonical


def wanted() -> Json:
    (verdict,) = judge([record(*complete())], Policy(), WRITER.artefact, NOW_US)
    return {**desired(verdict, WRITER)[Method.NOMOGRAM], "status": "final"}


def altered(**fields: Any) -> Json:
    return {**wanted(), **fields}


def evidence(kept: Json, part: int, value: Json) -> Json:
    """The first piece of evidence with one of its parts replaced."""
    first, *others = kept["extension"]
    parts = [value if number == part else old for number, old in enumerate(first["extension"])]
    return {**kept, "extension": [{**first, "extension": parts}, *others]}


@pytest.mark.parametrize(
    ("kept", "names"),
    [
        (wanted(), set()),
        (altered(status="amended"), set()),  # the reconciler's
        (altered(code={"text": "another"}), {"code"}),
        (altered(method={"coding": []}), {"method"}),
        (altered(prediction=[]), {"prediction"}),
        (altered(identifier=[]), {"identifier"}),
        (altered(subject={"reference": "Patient/another"}), {"subject"}),
        (altered(performer={"reference": "Device/another"}), {"performer"}),
        (altered(basis=[{"reference": "Observation/another"}]), {"basis"}),
        (altered(occurrenceDateTime="2025-06-01T09:00:00Z"), {"occurrenceDateTime"}),
        (altered(note=[{"authorString": PRODUCT, "text": "another"}]), {"note"}),
        (altered(extension=[]), {"evidence", "caveats"}),
        (evidence(wanted(), 1, {"url": "value", "valueQuantity": {"value": 9}}), {"evidence"}),
        (altered(meta={}), {"tag"}),
        # What servers do to it, and what others add, is no difference.
        (altered(subject={"reference": "https://ehr.example/fhir/Patient/p1/_history/3", "display": "x"}), set()),
        (altered(occurrenceDateTime="2025-06-01T10:00:00+02:00"), set()),
        (altered(basis=list(reversed(wanted()["basis"]))), set()),
        (altered(extension=[*reversed(wanted()["extension"]), {"url": "https://theirs.example"}]), set()),
        (altered(note=[{"text": "theirs"}, *wanted()["note"]]), set()),
        (altered(identifier=[{"system": "theirs", "value": "1"}, *wanted()["identifier"]]), set()),
        (altered(mitigation="theirs"), set()),
    ],
    ids=lambda value: "" if isinstance(value, dict) else "+".join(sorted(value)) or "none",
)
def test_each_difference_has_its_name(kept: Json, names: set[str]) -> None:
    assert difference(wanted(), kept, CANONICAL) == names


def test_a_note_of_ours_is_compared_by_its_text() -> None:
    ours, changed = ([{"authorString": PRODUCT, "text": text}] for text in ("one", "another"))
    theirs_too = [{"authorString": PRODUCT, "text": "one", "time": "2025-07-01T00:00:00Z"}]
    assert difference(altered(note=ours), altered(note=changed), CANONICAL) == {"note"}
    assert difference(altered(note=ours), altered(note=theirs_too), CANONICAL) == set()


def test_the_copy_that_was_used_is_not_compared() -> None:
    touched = wanted()
    first = touched["extension"][0]
    first["extension"] = [*first["extension"], {"url": "last-updated", "valueInstant": "2025-07-01T00:00:00Z"}]
    assert difference(wanted(), touched, CANONICAL) == set()


def test_labels_and_tags_of_ours_are_added_and_those_of_others_stay() -> None:
    kept = {"id": "r1", "meta": {"versionId": "3", "project": "theirs", "tag": [{"system": "t", "code": "1"}]}}
    want = {**wanted(), "meta": {"security": [{"system": "s", "code": "R"}], "tag": [{"system": "ours", "code": "2"}]}}
    assert {"security", "tag"} <= difference(want, kept, CANONICAL)
    applied = apply_owned(want, kept, CANONICAL)
    assert applied["meta"] == {
        "versionId": "3",
        "security": [{"system": "s", "code": "R"}],
        "tag": [{"system": "t", "code": "1"}, {"system": "ours", "code": "2"}],
    }
    assert difference(want, applied, CANONICAL) == set()
    assert apply_owned(want, applied, CANONICAL) == applied


def test_what_others_added_survives_and_what_is_empty_goes() -> None:
    theirs = {
        "id": "r1",
        "mitigation": "theirs",
        "note": [{"text": "theirs"}, {"authorString": PRODUCT, "text": "old"}],
        "extension": [{"url": "https://theirs.example"}, {"url": CANONICAL.extension("caveat"), "valueCode": "old"}],
        "identifier": [{"system": "theirs", "value": "1"}, {"system": CANONICAL.identifier, "value": "old"}],
    }
    want = wanted()
    applied = apply_owned(want, theirs, CANONICAL)
    assert applied["note"] == [*want["note"], {"text": "theirs"}]
    assert applied["extension"] == [*want["extension"], {"url": "https://theirs.example"}]
    assert applied["identifier"] == [*want["identifier"], {"system": "theirs", "value": "1"}]
    assert (applied["mitigation"], applied["id"]) == ("theirs", "r1")
    without = {name: value for name, value in want.items() if name != "note"}
    assert "note" not in apply_owned(without, {"note": [{"authorString": PRODUCT, "text": "old"}]}, CANONICAL)


def test_occasions_are_compared_as_instants() -> None:
    at = [occasion({"occurrenceDateTime": text}) for text in ("2025-06-01T08:00:00Z", "2025-06-01T10:00:00.0004+02:00")]
    assert at[0] == at[1] == (1_748_764_800_000, "")
    assert occasion({"occurrenceDateTime": "soon"}) == (0, "soon")
    assert occasion({}) == (0, "")


def test_an_assessment_without_notes_can_be_taken_back() -> None:
    found = taken_back({"resourceType": "RiskAssessment", "id": "r1"}, BY_SITE, CANONICAL, WRITER.texts)
    assert (found["status"], found["id"], len(found["note"])) == ("entered-in-error", "r1", 1)
    (extension,) = found["extension"]
    assert extension["valueCodeableConcept"]["coding"] == [{"system": CANONICAL.retraction, "code": BY_SITE}]
    again = taken_back({**found, "note": [{"text": "theirs"}]}, BY_SITE, CANONICAL, WRITER.texts)
    assert [note["text"] for note in again["note"]] == ["theirs", found["note"][0]["text"]]


def test_the_device_names_the_model_and_the_sites_tables() -> None:
    found = device(writer(tables=(("codes", "2 sha256:ab"),), tags=(("s", "t"),)))
    assert found["version"] == [
        {"value": WRITER.artefact.version},
        {"type": {"text": "the site's table of codes"}, "value": "2 sha256:ab"},
    ]
    assert found["modelNumber"] == WRITER.artefact.id
    assert found["status"] == "active"
    assert {"system": "s", "code": "t"} in found["meta"]["tag"]
    assert found["deviceName"] == [{"name": WRITER.texts("device"), "type": "model-name"}]
    assert found["identifier"][0]["system"] == CANONICAL.identifier


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2025-06-01", "2025-06-01"),
        ("2025-06-01T08:00:00", "2025-06-01T08:00:00Z"),
        ("2025-06-01T08:00:00Z", "2025-06-01T08:00:00Z"),
        ("2025-06-01T08:00:00+02:00", "2025-06-01T08:00:00+02:00"),
        ("2025-06-01T08:00:00-05:00", "2025-06-01T08:00:00-05:00"),
    ],
)
def test_an_occasion_is_written_as_the_source_has_it(text: str, written: str) -> None:
    assert occurrence(msgspec.structs.replace(fact(Analyte.MG, "0.8"), moment=Moment(text, 1, 1))) == written


def test_numbers_as_they_are_written() -> None:
    assert [str(plain(Decimal(text))) for text in ("0.8400", "58", "5E+1", "1.0000000000005", "0.00")] == [
        "0.84", "58", "50", "1", "0",
    ]  # fmt: skip
    assert str(plain(Decimal("1.2345"), 2)) == "1.23"
    assert [str(shown_bmi(Decimal(text))) for text in ("24.034", "24.035", "24.045", "24")] == [
        "24.03", "24.04", "24.04", "24.00",
    ]  # fmt: skip
    assert [str(per_cent(risk)) for risk in (0.581, 0.1234, 0.0, 1.0)] == ["58.1", "12.3", "0.0", "100.0"]
    assert str(shown_points(12.34)) == "12.3"


def test_texts_of_a_caveat_by_its_details() -> None:
    texts = Texts()
    assert texts.language == "en"
    assert Texts("de").language == "de"
    assert texts.detail("results_old:2025-06-01") == "2025-06-01"
    assert texts.detail("near_cut_off") == ""
    # The words of a source may hold colons; they are one detail.
    assert texts.detail("suspected:malignancy:Ca: Mamma: li") == f"{texts.name('malignancy')}, Ca: Mamma: li"
    assert texts.detail("a:b:c") == "b, c"
    assert texts.caveat("amputation") == texts.caveat("amputation")
    assert texts.lapse("excluded_renal") == texts("lapse.excluded", detail=texts.name("renal"))
    assert texts.lapse("deceased") == texts("lapse.deceased")
    assert texts.name("no such name") == "no such name"
    with pytest.raises(ValueError, match="no texts for the language 'xx'; choose one of: de, en"):
        Texts("xx")


def test_derived_values_and_the_interval_carry_units_and_level() -> None:
    url = CANONICAL.extension
    values = {
        entry["extension"][0]["valueCode"]: entry["extension"][1]["valueQuantity"]
        for entry in wanted()["extension"]
        if entry["url"] == url("evidence") and len(entry["extension"]) == 2  # derived ones have no source
    }
    assert {name: (value["unit"], value["code"]) for name, value in values.items()} == {
        "age": ("a", "a"),
        "bmi": ("kg/m2", "kg/m2"),
    }
    assert shown_bmi(Decimal("24.035")) == Decimal("24.04")
    assert shown_bmi(Decimal("24.045")) == Decimal("24.04")  # half to even
    interval = next(
        entry["extension"]
        for entry in wanted()["prediction"][0]["extension"]
        if entry["url"] == url("model-uncertainty-interval")
    )
    assert interval[1] == {"url": "level", "valueDecimal": Decimal(95)}
    assert {end["unit"] for end in interval[0]["valueRange"].values()} == {"%"}
