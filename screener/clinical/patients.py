"""Which patient a resource belongs to, which copy of it this is, and who the patient is."""

import re
from functools import lru_cache

from screener.clinical import dates, wire
from screener.clinical.records import Demographics, Version

CONFIDENTIALITY = frozenset(
    {"http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "http://hl7.org/fhir/v3/Confidentiality"}
)
_US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-"
# In this order: the newer extension is the sex for clinical use, the older one the sex at birth.
SEX_EXTENSIONS = (f"{_US_CORE}individual-sex", f"{_US_CORE}sex", f"{_US_CORE}birthsex")
_SEX = {"248152002": "female", "248153007": "male", "F": "female", "M": "male", "female": "female", "male": "male"}
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
    return Demographics(
        patient=patient.id,
        version=version(patient.meta),
        sex=_sex(patient),
        birth_date=_birth_date(patient.birthDate),
        deceased=bool(patient.deceasedBoolean) or bool(patient.deceasedDateTime),
        active=patient.active is not False,
        merged=any(link.type == "replaced-by" for link in patient.link or ()),
        security=security(patient.meta),
    )


def _sex(patient: wire.Patient) -> str:
    if patient.gender in _GENDERS and patient.gender != "unknown":
        return patient.gender
    stated = {extension.url: _stated(extension) for extension in patient.extension or ()}
    return next((_SEX[stated[url]] for url in SEX_EXTENSIONS if stated.get(url) in _SEX), "unknown")


def _stated(extension: wire.Extension) -> str:
    coding = extension.valueCoding
    return extension.valueCode or (coding.code if coding and coding.code else "")


@lru_cache(maxsize=65_536)
def _birth_date(text: str | None) -> str:
    if not text:
        return ""
    return text if dates.is_date(text) else "malformed"
