"""The model card: what a reader must know before using an artefact, written from the artefact itself.

`card(document)` gives Markdown, `document_reference(...)` the same as the content of a FHIR DocumentReference.
"""

from model.card.card import card
from model.card.document_reference import document_reference

__all__ = ["card", "document_reference"]
