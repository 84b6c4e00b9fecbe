"""Names of our own: canonical URLs, and the identity of an assessment."""

import hashlib
import uuid
from collections.abc import Iterable

import msgspec

from screener.clinical.records import Method

# The namespace of all our UUIDv5 values. Never change it: identities on servers are made from it.
NAMESPACE = uuid.UUID("6c1d5f0e-3a34-5b0b-9a9e-0f7b7f6f6a11")
PRODUCT = "osteoporosis-screener"
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class Canonical(msgspec.Struct, frozen=True):
    """The canonical URLs of our code systems and extensions, all below one configurable base."""

    base: str = "https://example.org/fhir/osteoporosis-screener"

    @property
    def identifier(self) -> str:
        """System of the business identifier of our assessments and of our Device."""
        return f"{self.base}/identifier"

    @property
    def method(self) -> str:
        """Code system of the two method families."""
        return f"{self.base}/CodeSystem/method"

    @property
    def model(self) -> str:
        """Code system of model artefacts: their ids are the codes."""
        return f"{self.base}/CodeSystem/model"

    @property
    def assessment(self) -> str:
        """Code system of the kind of assessment."""
        return f"{self.base}/CodeSystem/assessment"

    @property
    def fifth(self) -> str:
        """Code system of the fifths of the women from whom the published model was made."""
        return f"{self.base}/CodeSystem/risk-fifth"

    @property
    def side(self) -> str:
        """Code system of the two sides of the Mg cut-off."""
        return f"{self.base}/CodeSystem/mg-cut-off-side"

    @property
    def caveat(self) -> str:
        """Code system of what a reader must know."""
        return f"{self.base}/CodeSystem/caveat"

    @property
    def retraction(self) -> str:
        """Code system of the reasons for which we take an assessment back."""
        return f"{self.base}/CodeSystem/retraction-reason"

    @property
    def lapse(self) -> str:
        """Code system of the reasons for which an assessment no longer applies."""
        return f"{self.base}/CodeSystem/no-longer-applies-reason"

    @property
    def product(self) -> str:
        """Code system of the tag on all that we write."""
        return f"{self.base}/CodeSystem/product"

    @property
    def measure(self) -> str:
        """URL of the Measure of a run."""
        return f"{self.base}/Measure/screening-run"

    def extension(self, name: str) -> str:
        """URL of one of our extensions."""
        return f"{self.base}/StructureDefinition/{name}"

    def owns(self, url: str) -> bool:
        """Whether an extension URL is one of ours."""
        return url.startswith(f"{self.base}/StructureDefinition/")


def assessment_uuid(source_system: str, patient: str, method: Method) -> str:
    """The identity of the one assessment that a patient may have by a method: no date and no version in it."""
    return _uuid5(f"{source_system}\n{patient}\n{method.value}")


def source_of(identity: str, patient: str, sources: Iterable[str]) -> str:
    """Which of these sources gives a patient an assessment of this identity; "" for none."""
    return next((s for s in sources for method in Method if assessment_uuid(s, patient, method) == identity), "")


def device_uuid(source_system: str) -> str:
    """The identity of the algorithm's Device for a source system."""
    return _uuid5(f"{source_system}\ndevice")


def _uuid5(name: str) -> str:
    """`uuid.uuid5` as text (RFC 9562, 5.5) without the object in between: there are two for every patient of a run."""
    digest = hashlib.sha1(NAMESPACE.bytes + name.encode(), usedforsecurity=False).hexdigest()
    variant = _VARIANT[digest[16]]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"
