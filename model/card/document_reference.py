"""The card as the content of a FHIR R4 DocumentReference, a plain dictionary."""

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from model.errors import ModelError

Json = dict[str, Any]


def document_reference(
    card_markdown: str, artefact_document: Mapping[str, Any], date: datetime, canonical_base: str
) -> Json:
    """The resource, without id. `date` needs a time zone (`instant`); `canonical_base` is the URL that a site's identifiers begin with.

    `attachment.hash` is SHA-1 in base64 and `attachment.size` the number of bytes, both before encoding, as R4 asks
    (Attachment.hash, Attachment.size). ModelError where the date has no time zone or the base is no URL.
    """
    if date.utcoffset() is None:
        raise ModelError(f"the date {date.isoformat()} has no time zone. Give one, such as UTC")
    if "://" not in canonical_base:
        raise ModelError(
            f"{canonical_base!r} is no URL. Give the base of the site's identifiers, such as https://hospital.example"
        )
    name = f"{artefact_document['id']}-{artefact_document['version']}"
    return {
        "resourceType": "DocumentReference",
        "identifier": [
            {"system": f"{canonical_base.rstrip('/')}/model-card", "value": f"{name}-{artefact_document['checksum']}"}
        ],
        "status": "current",
        "docStatus": "final",
        "type": {"text": "Model card"},
        "date": date.isoformat(timespec="seconds"),
        "description": f"Model card of {artefact_document['id']} {artefact_document['version']}: {artefact_document['title']}",
        "content": [{"attachment": _attachment(card_markdown, name, date)}],
    }


def _attachment(markdown: str, name: str, date: datetime) -> Json:
    data = markdown.encode()
    return {
        "contentType": "text/markdown; charset=utf-8",
        "language": "en",
        "data": base64.b64encode(data).decode("ascii"),
        "size": len(data),
        # FHIR R4 prescribes SHA-1 here: it shows damage, it protects against nobody.
        "hash": base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode("ascii"),
        "title": f"Model card {name}",
        "creation": date.isoformat(timespec="seconds"),
    }
