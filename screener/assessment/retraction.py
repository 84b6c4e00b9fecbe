"""How an assessment is taken back: entered in error, with the reason as code and in words; nothing else of it is altered."""

from screener.assessment.identity import PRODUCT, Canonical
from screener.assessment.narrative import xhtml
from screener.assessment.resource import Json
from screener.assessment.texts import Texts

BY_SITE = "by_site"  # the reason where people took it back, and not the rules


def taken_back(resource: Json, reason: str, canonical: Canonical, texts: Texts) -> Json:
    """The resource as it is to be written; `reason` is a code of `Canonical.retraction`."""
    extension = {
        "url": canonical.extension("retraction-reason"),
        "valueCodeableConcept": {"coding": [{"system": canonical.retraction, "code": reason}]},
    }
    note = {"authorString": PRODUCT, "text": texts("retracted", detail=texts(f"retraction.{reason}"))}
    return {
        **resource,
        "status": "entered-in-error",
        "text": {"status": "generated", "div": xhtml(texts, note["text"], ())},
        "extension": [*resource.get("extension", ()), extension],
        "note": [*resource.get("note", ()), note],
    }
