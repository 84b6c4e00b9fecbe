"""How an assessment is taken back: entered in error, with the reason as code and in words; nothing else of it is altered."""

from screener.assessment.identity import PRODUCT, Canonical
from screener.assessment.narrative import xhtml
from screener.assessment.resource import Json, without_run, written_by
from screener.assessment.texts import Texts

BY_SITE = "by_site"  # the reason where people took it back, and not the rules
LIFTED = "by_site_lifted"  # the same, and they let it stand again: the next run may renew it


def taken_back(
    resource: Json, reason: str, canonical: Canonical, texts: Texts, *, run: str = "", target: str = ""
) -> Json:
    """The resource as it is to be written; `reason` is a code of `Canonical.retraction`. `run`: the one that takes it back; `target`: what
    a site took back, in words, by which it is lifted."""
    extension = _reason(reason, canonical, target)
    note = {"authorString": PRODUCT, "text": texts("retracted", detail=texts(f"retraction.{reason}"))}
    return {
        **resource,
        "status": "entered-in-error",
        "text": {"status": "generated", "div": xhtml(texts, note["text"], ())},
        "extension": [*without_run(resource, canonical), extension, *written_by(run, canonical)],
        "note": [*resource.get("note", ()), note],
    }


def _reason(code: str, canonical: Canonical, target: str) -> Json:
    concept: Json = {"coding": [{"system": canonical.retraction, "code": code}]}
    if target:
        concept["text"] = target
    return {"url": canonical.extension("retraction-reason"), "valueCodeableConcept": concept}


def reasons(resource: Json, canonical: Canonical) -> dict[str, str]:
    """The coded reasons for which we took an assessment back, each with what a site took back; {} where we did not."""
    url = canonical.extension("retraction-reason")
    concepts = [one.get("valueCodeableConcept", {}) for one in resource.get("extension", ()) if one.get("url") == url]
    return {
        str(coding.get("code", "")): str(concept.get("text", ""))
        for concept in concepts
        for coding in concept.get("coding", ())
    }


def lifted(resource: Json, canonical: Canonical, run: str) -> Json:
    """The resource that a site took back, as it is to be written when it may stand again. It stays entered in error: the next run that
    wants it renews it."""
    url = canonical.extension("retraction-reason")
    others = [one for one in without_run(resource, canonical) if one.get("url") != url]
    kept = {code: text for code, text in reasons(resource, canonical).items() if code != BY_SITE}
    target = reasons(resource, canonical).get(BY_SITE, "")
    said = [_reason(code, canonical, text) for code, text in {**kept, LIFTED: target}.items()]
    return {**resource, "extension": [*others, *said, *written_by(run, canonical)]}
