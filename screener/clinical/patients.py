"""Which patient a resource belongs to, which copy of it this is, and who the patient is."""

import re
from functools import lru_cache

from screener.clinical import dates, wire
from screener.clinical.records import Demographics, Version

CONFIDENTIALITY = frozenset(
    {"http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "http://hl7.org/fhir/v3/Confidentiality"}
)
_SEX = {"248152002": "female", "248153007": "male", "F": "female", "M": "male", "female": "female", "male": "male"}
_SEX |= {"female-typical": "female", "male-typical": "male"}
# Gender Harmony: the sex by which results and devices are to be read, whatever else is recorded.
_PARAMETER = "http://hl7.org/fhir/StructureDefinition/patient-sexParameterForClinicalUse"
_RECORDED = "http://hl7.org/fhir/StructureDefinition/individual-recordedSexOrGender"
# US Core: birthsex is the sex assigned at birth. sex (6 to 8) and individual-sex (from 8) are a recorded sex that is "not characterized
# as birth sex". Other countries have extensions for the sex at birth under names of the same kind.
_US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-"
_OTHER_SEX = frozenset({f"{_US_CORE}sex", f"{_US_CORE}individual-sex"})
_AT_BIRTH = re.compile(r"birth-?sex$|sex-?at-?birth$", re.IGNORECASE)
_TYPE_AT_BIRTH = frozenset({"76689-9", "1515311000168102"})  # LOINC, SNOMED CT (Australia): sex assigned at birth
_GENDERS = frozenset({"female", "male", "other", "unknown"})
# An id that a server gives is opaque: Epic's have up to 109 characters, where R4 has 64. No character of it ends a path or a list.
ID = r"(?!\.+(?:/|$))[A-Za-z0-9._~:=+@!*-]{1,512}"
_NAMED_TYPE = re.compile(r"(?:^|/)([A-Z][A-Za-z]+)(?:/|\?|$)")
_URN = "urn:uuid:"


class References:
    """Reads references to resources of one type. Absolute ones count as local, whatever server they name."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._pattern = re.compile(rf"(?:^|/){kind}/({ID})(?:/_history/{ID})?")
        self._paths = dates.Remembered(self._path, 65_536)

    def find(self, reference: wire.Reference | None) -> str:
        """The logical id of the resource that `reference` names, or "" where it names no resource of the source.

        A contained Patient has no identity of its own (R4, references.html#contained): no server could be asked for it, and
        no assessment could be about it, so it is none of ours.
        """
        if reference is None or not reference.reference or reference.type not in (None, self._kind):
            return ""
        return self._paths[reference.reference]

    def is_unclear(self, reference: wire.Reference | None) -> bool:
        """Whether the reference means one of ours, as far as it says, and does not say which: it is missing, or logical (an identifier
        only, as aehrc/pathling#217 met it), contained, conditional or malformed. False for one that names another type.
        """
        if reference is None or not reference.reference:
            return reference is None or reference.type in (None, self._kind)
        if self.find(reference):
            return False
        named = _NAMED_TYPE.search(reference.reference)
        return named is None or named[1] == self._kind

    def _path(self, text: str) -> str:
        if text.startswith(_URN):
            return text[len(_URN) :]
        if "://" in text:
            found = self._pattern.search(text)
            return found[1] if found and found.end() == len(text) else ""
        found = self._pattern.fullmatch(text)
        return found[1] if found and not text.startswith("/") else ""


def version(meta: wire.Meta | None) -> Version:
    """Which copy this is. A version id that is no number (servers may choose) leaves the order to `lastUpdated`."""
    if meta is None:
        return Version()
    return Version(
        dates.instant_of(meta.lastUpdated) if meta.lastUpdated else 0,
        _NUMBERS[meta.versionId] if meta.versionId else 0,
    )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) <= 18 else 0


_NUMBERS = dates.Remembered(_number, 4096)


def security(meta: wire.Meta | None) -> tuple[str, ...]:
    """The confidentiality codes of a resource, sorted."""
    if meta is None or not meta.security:
        return ()
    return tuple(sorted({label.code for label in meta.security if label.code and label.system in CONFIDENTIALITY}))


def demographics(patient: wire.Patient) -> Demographics | None:
    """Who the patient is, or None for a resource without an id."""
    if not patient.id:
        return None
    sex, gender, recorded = _sex(patient)
    return Demographics(
        patient=patient.id,
        version=version(patient.meta),
        sex=sex,
        birth_date=_birth_date(patient.birthDate),
        deceased=bool(patient.deceasedBoolean) or bool(patient.deceasedDateTime),
        active=patient.active is not False,
        merged=any(link.type == "replaced-by" for link in patient.link or ()),
        security=security(patient.meta),
        gender=gender,
        recorded_sex=recorded,
    )


def _sex(patient: wire.Patient) -> tuple[str, str, str]:
    """Her sex as far as it is clear, her administrative gender, and her recorded sex.

    In this order: the sex parameter for clinical use; the recorded sex, at birth before any other; the administrative gender. Where
    they contradict each other and no sex parameter decides, the sex is "not_clear".
    """
    gender = patient.gender if patient.gender in _GENDERS else "unknown"
    if not patient.extension:
        return gender, gender, ""
    parameters, at_birth, other = set(), set(), set()
    for extension in patient.extension:
        url, found = extension.url or "", _sex_in(extension)
        if not found:
            continue
        if url == _PARAMETER:
            parameters.add(found)
        elif _AT_BIRTH.search(url) or url == _RECORDED:
            at_birth.add(found)
        elif url in _OTHER_SEX:
            other.add(found)
    recorded = _only(at_birth) or ("" if at_birth else _only(other))
    clear = {*at_birth, *other, gender} & {"female", "male"}
    sex = _only(parameters) or (_only(clear) if len(clear) < 2 else "not_clear") or gender
    return sex, gender, recorded


def _only(found: set[str]) -> str:
    return next(iter(found)) if len(found) == 1 else ""


def _sex_in(extension: wire.Extension) -> str:
    """ "female" or "male" as an extension states it; "" where it states neither, or another sex than the one at birth."""
    if not wire.present(extension.extension):
        return next((_SEX[code] for code in _codes_in(extension) if code in _SEX), "")
    parts = wire.lenient(extension.extension, tuple[wire.Extension, ...]) or ()
    if extension.url == _RECORDED and not any(
        part.url == "type" and _TYPE_AT_BIRTH.intersection(_codes_in(part)) for part in parts
    ):
        return ""  # of a document, or of an insurance
    return next((_SEX[code] for part in parts if part.url == "value" for code in _codes_in(part) if code in _SEX), "")


def _codes_in(extension: wire.Extension) -> list[str]:
    concept = extension.valueCodeableConcept
    codings = (extension.valueCoding, *((concept.coding or ()) if concept else ()))
    return [code for code in (extension.valueCode, *(coding.code for coding in codings if coding)) if code]


@lru_cache(maxsize=65_536)
def _birth_date(text: str | None) -> str:
    if not text:
        return ""
    return text if dates.is_date(text) else "malformed"
