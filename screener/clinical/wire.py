"""The elements of FHIR R4 resources that we read, and no others, as typed structs.

Names are R4's JSON names. What repeats from resource to resource (codes, quantities) stays raw: it is read once for each
distinct text of it. Decimals are decoded from the digits as written, never by way of a float.
"""

from decimal import Decimal
from typing import TypeVar

import msgspec

Raw = msgspec.Raw


class Element(msgspec.Struct, frozen=True, gc=False):
    """Base of the structs that hold no other struct in a cycle, so that the collector need not follow them."""


class Coding(Element, frozen=True):
    """One code of one code system."""

    system: str | None = None
    code: str | None = None
    display: str | None = None


class CodeableConcept(Element, frozen=True):
    """The same thing in several code systems, or in words."""

    coding: tuple[Coding, ...] | None = None
    text: str | None = None


class Quantity(Element, frozen=True):
    """A measured amount; `value` is raw because a number in quotes is no R4 decimal."""

    value: Raw = Raw()
    comparator: str | None = None
    unit: str | None = None
    system: str | None = None
    code: str | None = None


class Duration(Element, frozen=True):
    """A length of time as R4 has it: a Quantity of UCUM time."""

    value: Decimal | None = None
    code: str | None = None
    unit: str | None = None


class Period(Element, frozen=True):
    """From, to; either may be missing."""

    start: str | None = None
    end: str | None = None


class Reference(Element, frozen=True):
    """A pointer to another resource."""

    reference: str | None = None
    type: str | None = None


class Meta(Element, frozen=True):
    """Version and labels of a resource."""

    versionId: str | None = None  # noqa: N815 - R4's names, here and below
    lastUpdated: str | None = None  # noqa: N815
    security: tuple[Coding, ...] | None = None


class Timing(Element, frozen=True):
    """Times of an Observation that were several."""

    event: tuple[str, ...] | None = None


class Resource(msgspec.Struct, frozen=True, tag_field="resourceType", gc=False):
    """What all resources have."""

    id: str | None = None
    meta: Meta | None = None


class Observation(Resource, frozen=True, tag=True):
    """A measurement. The other value[x] are in `OtherValues`: few results of ours have one."""

    status: str | None = None
    code: Raw = Raw()
    subject: Reference | None = None
    focus: Raw = Raw()
    effectiveDateTime: str | None = None  # noqa: N815
    effectivePeriod: Period | None = None  # noqa: N815
    effectiveInstant: str | None = None  # noqa: N815
    effectiveTiming: Timing | None = None  # noqa: N815
    issued: str | None = None
    valueQuantity: Raw = Raw()  # noqa: N815
    valueCodeableConcept: Raw = Raw()  # noqa: N815
    dataAbsentReason: Raw = Raw()  # noqa: N815
    interpretation: Raw = Raw()
    note: Raw = Raw()
    modifierExtension: Raw = Raw()  # noqa: N815
    specimen: Raw = Raw()
    contained: Raw = Raw()
    component: Raw = Raw()


class Component(Element, frozen=True):
    """One of several values of an Observation, measured of the same specimen at the same time."""

    code: Raw = Raw()
    valueQuantity: Raw = Raw()  # noqa: N815
    valueCodeableConcept: Raw = Raw()  # noqa: N815
    dataAbsentReason: Raw = Raw()  # noqa: N815
    interpretation: Raw = Raw()
    modifierExtension: Raw = Raw()  # noqa: N815


class OtherValues(Element, frozen=True):
    """The values of an Observation that are neither a quantity nor a concept."""

    valueString: str | None = None  # noqa: N815
    valueBoolean: Raw = Raw()  # noqa: N815
    valueInteger: Raw = Raw()  # noqa: N815
    valueRange: Raw = Raw()  # noqa: N815
    valueRatio: Raw = Raw()  # noqa: N815
    valueSampledData: Raw = Raw()  # noqa: N815
    valueTime: Raw = Raw()  # noqa: N815
    valueDateTime: str | None = None  # noqa: N815
    valuePeriod: Raw = Raw()  # noqa: N815


class ReferenceRange(Element, frozen=True):
    """What a laboratory calls normal."""

    high: Quantity | None = None


class Ranges(Element, frozen=True):
    """The reference ranges of an Observation or of a component."""

    referenceRange: Raw = Raw()  # noqa: N815


class Annotation(Element, frozen=True):
    """A note in words."""

    text: str | None = None


class Condition(Resource, frozen=True, tag=True):
    """A diagnosis."""

    clinicalStatus: Raw = Raw()  # noqa: N815
    verificationStatus: Raw = Raw()  # noqa: N815
    code: Raw = Raw()
    subject: Reference | None = None
    onsetDateTime: str | None = None  # noqa: N815
    onsetPeriod: Period | None = None  # noqa: N815
    abatementDateTime: str | None = None  # noqa: N815
    abatementPeriod: Period | None = None  # noqa: N815
    abatementAge: Raw = Raw()  # noqa: N815
    abatementRange: Raw = Raw()  # noqa: N815
    abatementString: Raw = Raw()  # noqa: N815
    recordedDate: str | None = None  # noqa: N815
    modifierExtension: Raw = Raw()  # noqa: N815


class Bounds(Element, frozen=True):
    """How long a dosage runs."""

    boundsPeriod: Period | None = None  # noqa: N815
    boundsDuration: Duration | None = None  # noqa: N815


class DosageTiming(Element, frozen=True):
    """When a medicine is to be taken."""

    repeat: Bounds | None = None


class Dosage(Element, frozen=True):
    """How a medicine is to be taken."""

    timing: DosageTiming | None = None
    route: Raw = Raw()


class DispenseRequest(Element, frozen=True):
    """What the pharmacy may hand out."""

    validityPeriod: Period | None = None  # noqa: N815
    expectedSupplyDuration: Duration | None = None  # noqa: N815
    numberOfRepeatsAllowed: int | None = None  # noqa: N815


class Ingredient(Element, frozen=True):
    """A substance in a medicine."""

    itemCodeableConcept: Raw = Raw()  # noqa: N815


class Medication(Element, frozen=True):
    """A medicine, in a resource of its own or inside another one."""

    id: str | None = None
    meta: Meta | None = None
    code: Raw = Raw()
    ingredient: tuple[Ingredient, ...] | None = None


class _Medicated(Resource, frozen=True):
    """What the four statements about a patient's medicine have in common."""

    status: str | None = None
    medicationCodeableConcept: Raw = Raw()  # noqa: N815
    medicationReference: Reference | None = None  # noqa: N815
    contained: tuple[Raw, ...] | None = None
    subject: Reference | None = None
    modifierExtension: Raw = Raw()  # noqa: N815


class MedicationRequest(_Medicated, frozen=True, tag=True):
    """A prescription or order."""

    intent: str | None = None
    doNotPerform: bool | None = None  # noqa: N815
    authoredOn: str | None = None  # noqa: N815
    dosageInstruction: tuple[Dosage, ...] | None = None  # noqa: N815
    dispenseRequest: DispenseRequest | None = None  # noqa: N815


class MedicationStatement(_Medicated, frozen=True, tag=True):
    """What the patient is said to take."""

    effectiveDateTime: str | None = None  # noqa: N815
    effectivePeriod: Period | None = None  # noqa: N815
    dateAsserted: str | None = None  # noqa: N815
    dosage: Raw = Raw()


class MedicationAdministration(_Medicated, frozen=True, tag=True):
    """A dose that was given."""

    effectiveDateTime: str | None = None  # noqa: N815
    effectivePeriod: Period | None = None  # noqa: N815
    dosage: Raw = Raw()


class MedicationDispense(_Medicated, frozen=True, tag=True):
    """A medicine that was handed out."""

    whenPrepared: str | None = None  # noqa: N815
    whenHandedOver: str | None = None  # noqa: N815
    daysSupply: Duration | None = None  # noqa: N815
    dosageInstruction: tuple[Dosage, ...] | None = None  # noqa: N815


class Procedure(Resource, frozen=True, tag=True):
    """An operation or treatment."""

    status: str | None = None
    code: Raw = Raw()
    subject: Reference | None = None
    performedDateTime: str | None = None  # noqa: N815
    performedPeriod: Period | None = None  # noqa: N815
    modifierExtension: Raw = Raw()  # noqa: N815


class DiagnosticReport(Resource, frozen=True, tag=True):
    """A report: that bone density was measured may be known by it alone."""

    status: str | None = None
    code: Raw = Raw()
    subject: Reference | None = None
    effectiveDateTime: str | None = None  # noqa: N815
    effectivePeriod: Period | None = None  # noqa: N815
    issued: str | None = None
    modifierExtension: Raw = Raw()  # noqa: N815


class Specimen(Resource, frozen=True, tag=True):
    """From what a result was measured."""

    status: str | None = None
    type: Raw = Raw()
    subject: Reference | None = None
    condition: Raw = Raw()
    note: Raw = Raw()


class Link(Element, frozen=True):
    """Another Patient resource about the same person."""

    type: str | None = None


class Extension(Element, frozen=True):
    """An extension, as far as those on sex and on the certainty of a diagnosis need it."""

    url: str | None = None
    valueCode: str | None = None  # noqa: N815
    valueCoding: Coding | None = None  # noqa: N815
    valueCodeableConcept: CodeableConcept | None = None  # noqa: N815
    extension: Raw = Raw()


class Patient(Resource, frozen=True, tag=True):
    """A person."""

    active: bool | None = None
    gender: str | None = None
    birthDate: str | None = None  # noqa: N815
    deceasedBoolean: bool | None = None  # noqa: N815
    deceasedDateTime: str | None = None  # noqa: N815
    link: tuple[Link, ...] | None = None
    extension: tuple[Extension, ...] | None = None


class Envelope(msgspec.Struct, frozen=True):
    """What is read of a resource that does not fit its struct: each element alone, so that one bad one spoils no other."""

    resourceType: Raw = Raw()  # noqa: N815
    id: Raw = Raw()
    meta: Raw = Raw()
    subject: Raw = Raw()
    code: Raw = Raw()
    medicationCodeableConcept: Raw = Raw()  # noqa: N815
    medicationReference: Raw = Raw()  # noqa: N815
    status: Raw = Raw()


Medicated = MedicationRequest | MedicationStatement | MedicationAdministration | MedicationDispense
AnyResource = (
    Observation
    | Patient
    | Condition
    | MedicationRequest
    | MedicationStatement
    | MedicationAdministration
    | MedicationDispense
    | Procedure
    | DiagnosticReport
    | Specimen
)
TYPES = frozenset(
    {
        "Observation",
        "Patient",
        "Condition",
        "MedicationRequest",
        "MedicationStatement",
        "MedicationAdministration",
        "MedicationDispense",
        "Procedure",
        "DiagnosticReport",
        "Specimen",
    }
)
EXCLUDING = frozenset(TYPES - {"Observation", "Patient", "DiagnosticReport", "Specimen"})

decode_resource = msgspec.json.Decoder(AnyResource).decode
decode_envelope = msgspec.json.Decoder(Envelope).decode
decode_medication = msgspec.json.Decoder(Medication).decode
decode_component = msgspec.json.Decoder(Component).decode
decode_concept = msgspec.json.Decoder(CodeableConcept).decode
decode_quantity = msgspec.json.Decoder(Quantity).decode


def present(raw: Raw) -> bool:
    """Whether an element kept raw was there at all, and not null."""
    return bool(raw) and bytes(raw) not in (b"null", b"[]")


T = TypeVar("T")


def lenient(raw: Raw, wanted: type[T]) -> T | None:
    """The element as `wanted`, or None where it is not there or is something else."""
    try:
        return msgspec.json.decode(raw, type=wanted) if present(raw) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
