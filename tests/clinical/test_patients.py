"""Patients and references to them."""

import json
from typing import Any

import msgspec
import pytest

from screener.clinical import wire
from screener.clinical.eligibility import may_be_assessed, who
from screener.clinical.patients import References, demographics, security, version
from screener.clinical.policy import Policy
from screener.clinical.records import Demographics, Version

CORE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-"


def person(**elements: object) -> Demographics:
    found = demographics(wire.Patient(id="p1", **elements))  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Patient/p1", "p1"),
        ("Patient/p1/_history/2", "p1"),
        ("https://fhir.example.org/r4/Patient/p1", "p1"),
        ("https://fhir.example.org/r4/Patient/p1/_history/2", "p1"),
        ("urn:uuid:6f0d", "6f0d"),
        ("https://other.example.org/r4/Patient/p1", "p1"),
        ("https://fhir.example.org/r4/Group/p1", ""),
        ("https://fhir.example.org/Patient/p1/more/of/it", ""),
        ("Group/g1", ""),
        ("Patient/", ""),
        ("Patient/p1/p2", ""),
        ("Patient?identifier=1", ""),
        ("/Patient/p1", ""),
        ("#p1", ""),
        ("", ""),
    ],
)
def test_references(text: str, expected: str) -> None:
    assert References("Patient").find(wire.Reference(text)) == expected


def test_references_to_no_patient() -> None:
    references = References("Patient")
    assert references.find(None) == ""
    assert references.find(wire.Reference(None)) == ""
    assert references.find(wire.Reference("urn:uuid:6f0d", type="Group")) == ""


def test_versions() -> None:
    assert version(None) == Version(0, 0)
    assert version(wire.Meta(versionId="12")) == Version(0, 12)
    # 2024-05-01T00:00:00Z is 1,714,521,600 s
    assert version(wire.Meta(versionId="W/x", lastUpdated="2024-05-01T00:00:00Z")) == Version(1_714_521_600_000_000, 0)
    assert version(wire.Meta(versionId="9" * 40, lastUpdated="soon")) == Version(0, 0)
    assert version(wire.Meta(versionId="-3")) == Version(0, 0)


def test_only_confidentiality_labels_are_kept() -> None:
    labels = (
        wire.Coding("http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "V"),
        wire.Coding("http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "R"),
        wire.Coding("http://terminology.hl7.org/CodeSystem/v3-ActReason", "HTEST"),
    )
    assert security(wire.Meta(security=labels)) == ("R", "V")
    assert security(None) == ()


def test_a_plain_woman() -> None:
    found = person(gender="female", birthDate="1950-03-04")
    assert found == Demographics("p1", Version(), "female", "1950-03-04", gender="female")


@pytest.mark.parametrize(
    ("gender", "url", "stated", "expected"),
    [
        ("female", "birthsex", "M", "not_clear"),
        ("male", "birthsex", "F", "not_clear"),
        ("female", "individual-sex", "248153007", "not_clear"),
        ("female", "birthsex", "F", "female"),
        ("other", "birthsex", "F", "female"),
        ("other", "race", "F", "other"),
        ("unknown", "birthsex", "F", "female"),
        (None, "birthsex", "F", "female"),
        (None, "birthsex", "M", "male"),
        (None, "birthsex", "UNK", "unknown"),
        (None, "sex", "248152002", "female"),
        (None, "individual-sex", "248152002", "female"),
        (None, "individual-sex", "248153007", "male"),
        (None, "race", "F", "unknown"),
        ("FEMALE", "birthsex", "UNK", "unknown"),
    ],
)
def test_sex(gender: str | None, url: str, stated: str, expected: str) -> None:
    coded = wire.Extension(f"{CORE}{url}", valueCode=stated)
    assert person(gender=gender, extension=(coded,)).sex == expected
    coding = wire.Extension(f"{CORE}{url}", valueCoding=wire.Coding(code=stated))
    assert person(gender=gender, extension=(coding,)).sex == expected


def test_what_is_recorded_and_contradicts_itself_is_not_clear() -> None:
    extensions = (
        wire.Extension(f"{CORE}birthsex", valueCode="M"),
        wire.Extension(f"{CORE}individual-sex", valueCode="248152002"),
    )
    found = person(extension=extensions)
    assert (found.sex, found.gender, found.recorded_sex) == ("not_clear", "unknown", "male")


def complex_extension(url: str, **parts: str) -> wire.Extension:
    inner = [{"url": name, "valueCodeableConcept": {"coding": [{"code": code}]}} for name, code in parts.items()]
    return wire.Extension(
        f"http://hl7.org/fhir/StructureDefinition/{url}", extension=msgspec.Raw(json.dumps(inner).encode())
    )


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        ([complex_extension("patient-sexParameterForClinicalUse", value="female-typical")], "female"),
        ([complex_extension("patient-sexParameterForClinicalUse", value="male-typical")], "male"),
        ([complex_extension("patient-sexParameterForClinicalUse", value="specified")], "not_clear"),
        ([complex_extension("individual-recordedSexOrGender", value="248153007", type="76689-9")], "not_clear"),
        (
            [complex_extension("individual-recordedSexOrGender", value="248152002", type="identity-document")],
            "not_clear",
        ),
        (
            [wire.Extension("https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-BirthSex", valueCode="M")],
            "not_clear",
        ),
    ],
)
def test_a_sex_parameter_for_clinical_use_decides(extensions: list[wire.Extension], expected: str) -> None:
    at_birth = wire.Extension(f"{CORE}birthsex", valueCode="M")
    assert person(gender="female", extension=(at_birth, *extensions)).sex == expected


@pytest.mark.parametrize(
    ("choice", "reason"), [("leave_out", "sex_not_clear"), ("recorded_sex", "sex_male"), ("gender", "")]
)
def test_a_site_says_by_what_she_is_assessed_where_it_is_not_clear(choice: Any, reason: str) -> None:
    found = person(
        gender="female", birthDate="1950-03-04", extension=(wire.Extension(f"{CORE}birthsex", valueCode="M"),)
    )
    assert who(found, Policy(sex_not_clear=choice)) == reason
    assert may_be_assessed(found)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1950", "1950"),
        ("1950-03", "1950-03"),
        ("1950-03-04", "1950-03-04"),
        (None, ""),
        ("04.03.1950", "malformed"),
        ("1950-02-30", "malformed"),
        ("1850-01-01", "malformed"),
        ("1950-03-04T00:00:00Z", "malformed"),
    ],
)
def test_birth_dates(written: str | None, expected: str) -> None:
    assert person(birthDate=written).birth_date == expected


def test_deceased_inactive_merged() -> None:
    assert person(deceasedBoolean=True).deceased
    assert person(deceasedDateTime="2020").deceased
    assert not person(deceasedBoolean=False).deceased
    assert not person(active=False).active
    assert person().active
    assert person(link=(wire.Link("seealso"), wire.Link("replaced-by"))).merged
    assert not person(link=(wire.Link("replaces"),)).merged


def test_a_patient_without_an_id_is_nobody() -> None:
    assert demographics(wire.Patient(gender="female")) is None
