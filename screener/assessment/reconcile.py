"""The difference between what ought to stand and what does, for one patient and method.

| | one of ours stands | none stands |
|---|---|---|
| desired | equal in the fields we own: unchanged; else amend | create |
| not desired | retract on positive evidence only; else it stands, with the reason | nothing |

Absence is never evidence: a narrowed scope or a lagging index must not take an assessment back, and must not move one to
an older occasion or to other results either.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from screener.assessment.draft import Draft
from screener.assessment.evidence import Basis, against, unseen_basis
from screener.assessment.identity import PRODUCT, assessment_uuid
from screener.assessment.narrative import xhtml
from screener.assessment.owned_fields import apply_owned, difference, occasion, occasion_at
from screener.assessment.resource import AssessmentWriter, Json, desired_by, without_run, written_by
from screener.assessment.retraction import BY_SITE, LIFTED, reasons, taken_back
from screener.assessment.suppression import OPTED_OUT, Suppressions
from screener.assessment.texts import Texts
from screener.assessment.values import occurrence
from screener.clinical.dates import may_exist_at
from screener.clinical.judge import Verdict, day_of
from screener.clinical.policy import Policy
from screener.clinical.records import Method

_decode = msgspec.json.Decoder(float_hook=Decimal).decode  # decimals digit for digit

TAKEN_BACK = frozenset({"entered-in-error", "cancelled"})
ACTIVE = frozenset({"final", "amended", "corrected"})
# Reasons against a patient that end the use of what stands; so does every `excluded_...`.
_ENDS_USE = frozenset(
    {
        OPTED_OUT,
        "deceased",
        "inactive",
        "merged",
        "premenopausal",
        "perimenopausal",
        "osteoporosis_documented",
        "sex_not_clear",
    }
)


class Action(StrEnum):
    """What a change does at the destination; the last two do nothing there."""

    CREATE = "create"
    AMEND = "amend"
    RETRACT = "retract"
    UNCHANGED = "unchanged"
    STANDS = "stands"


WRITES = frozenset({Action.CREATE, Action.AMEND, Action.RETRACT})


class Change(msgspec.Struct, frozen=True):
    """One step towards the desired state.

    What is to be written is a `draft` where nothing stands, the `altered` resource where something does, or either of them as JSON
    (`encoded`), once it waits to be written; `target` and `version` name what
    stands; `reason` is a stable code: the fields that differ, the evidence, or why it stands.
    """

    action: Action
    patient: str
    method: Method
    identity: str
    reason: str = ""
    draft: Draft | None = None
    altered: Json | None = None
    target: str = ""
    version: str = ""
    encoded: bytes = b""

    @property
    def resource(self) -> Json | None:
        """The whole resource as it will be written; None where nothing is written."""
        if self.encoded:
            resource: Json = _decode(self.encoded)
            return resource
        return self.draft.json if self.draft else self.altered


class Rules(msgspec.Struct, frozen=True):
    """What a run judges and writes by: constant while it lasts. `now_us` is the run's instant."""

    policy: Policy
    writer: AssessmentWriter
    now_us: int
    suppressions: Suppressions = Suppressions()


class Existing(msgspec.Struct, frozen=True):
    """What stands for one identity: the one that is kept, and any others of ours."""

    kept: Json | None
    duplicates: Sequence[Json] = ()


def existing_by_method(resources: Iterable[Json], verdict: Verdict, writer: AssessmentWriter) -> dict[Method, Existing]:
    """Sort a patient's standing assessments by identity; those of another identity are not ours to touch.

    Of several for one identity the oldest active one is kept. One that somebody else took back is kept (and overrules
    us) only where no active one stands.
    """
    found: dict[Method, Existing] = {}
    for method in Method:
        value = f"urn:uuid:{assessment_uuid(writer.source_system, verdict.patient, method)}"
        ours = sorted((r for r in resources if _identified(r, value, writer)), key=_age)
        active = [r for r in ours if r.get("status") not in TAKEN_BACK]
        overruled = [r for r in ours if r.get("status") in TAKEN_BACK and not reasons(r, writer.canonical)]
        kept = next(iter((*active, *overruled, *ours)), None)
        found[method] = Existing(kept=kept, duplicates=active[1:])
    return found


def of_another_source(patient: str, resources: Sequence[Json], writer: AssessmentWriter) -> set[str]:
    """The identities of active assessments of this patient below our canonical that are not of our source: another installation wrote them, or
    this one under another name."""
    ours = {assessment_uuid(writer.source_system, patient, method) for method in Method}
    found = {
        str(name.get("value", "")).removeprefix("urn:uuid:")
        for resource in resources
        if resource.get("status") in ACTIVE
        for name in resource.get("identifier", ())
        if name.get("system") == writer.canonical.identifier
    }
    return found - ours


def basis_to_read(verdict: Verdict, resources: Sequence[Json], writer: AssessmentWriter) -> set[str]:
    """Ids of Observations that must be read one by one before `reconcile` may judge what stands.

    Only where an assessment could be taken back, or moved to an older occasion or to other results of the same one.
    """
    needed: set[str] = set()
    if not resources:
        return needed
    for method, existing in existing_by_method(resources, verdict, writer).items():
        kept = existing.kept
        if kept is not None and kept.get("status") not in TAKEN_BACK and not _newer(verdict, method, kept):
            needed |= unseen_basis(verdict.view, kept)
    return needed


def reconcile(verdict: Verdict, resources: Sequence[Json], basis: Mapping[str, Basis], rules: Rules) -> list[Change]:
    """The changes for one patient, in a fixed order. `basis` says what became of the Observations of `basis_to_read`."""
    if not resources:
        return [_created(Draft(verdict, method, rules.writer)) for method in Method if method in verdict.occasions]
    changes: list[Change] = []
    for method, existing in existing_by_method(resources, verdict, rules.writer).items():
        step = _Step(verdict, method, rules, basis)
        change = step.change(existing.kept)
        changes.extend([change] if change else [])
        changes.extend(step.retract(copy, "duplicate") for copy in existing.duplicates)
    return changes


class _Step:
    """The decision for one patient and method."""

    def __init__(self, verdict: Verdict, method: Method, rules: Rules, basis: Mapping[str, Basis]) -> None:
        self._verdict, self._method, self._basis = verdict, method, basis
        self._writer, self._policy, self._now_us = rules.writer, rules.policy, rules.now_us
        self._identity = assessment_uuid(self._writer.source_system, verdict.patient, method)

    def change(self, kept: Json | None) -> Change | None:
        if kept is None:
            made = self._method in self._verdict.occasions
            return _created(Draft(self._verdict, self._method, self._writer)) if made else None
        wanted = _wanted(self._verdict, self._method, self._writer)
        if kept.get("status") in TAKEN_BACK:
            return self._beside_taken_back(wanted, kept)
        if not may_exist_at(str(kept.get("occurrenceDateTime", "")), self._now_us):
            return self._leave(kept, "newer_than_the_run")
        if wanted is not None and _newer(self._verdict, self._method, kept):
            return self._amend(wanted, kept, "final")
        reason = against(self._verdict.view, kept, self._basis, self._writer.canonical, self._policy)
        if wanted is None:
            if reason:
                return self.retract(kept, reason)
            lapsed = self._no_longer_applies(kept)
            return self._lapse(kept, lapsed) if lapsed else self._leave(kept, self._why_left(kept))
        if not reason and self._unseen(kept):
            return self._leave(kept, "evidence_not_visible")
        status = "final" if occasion(wanted) != occasion(kept) else ""
        return self._amend(wanted, kept, status)

    def _beside_taken_back(self, wanted: Json | None, kept: Json) -> Change | None:
        why = reasons(kept, self._writer.canonical)
        if not why:
            return self._leave(kept, "overruled")
        if wanted is None:
            return None
        if BY_SITE in why:  # on purpose: until the site lifts it, whatever the state remembers
            return self._leave(kept, "taken_back_by_site")
        change = self._amend(wanted, kept, "corrected" if occasion(wanted) == occasion(kept) else "final")
        return msgspec.structs.replace(change, reason=LIFTED) if LIFTED in why else change

    def _amend(self, wanted: Json, kept: Json, status: str) -> Change:
        """Amend what stands; unchanged where nothing differs. `status` "" means the same occasion."""
        canonical = self._writer.canonical
        fields = difference(wanted, kept, canonical)
        if not status:
            on_facts = fields & {"evidence", "basis"}
            status = "corrected" if on_facts else "amended" if fields else str(kept.get("status"))
        if status not in ACTIVE:
            status = "amended"
        if not fields and kept.get("status") in ACTIVE:
            return self._of(Action.UNCHANGED, kept)
        resource = apply_owned(wanted, kept, canonical) | {"status": status}
        return self._of(Action.AMEND, kept, resource=resource, reason="+".join(sorted(fields or {"status"})))

    def retract(self, kept: Json, reason: str) -> Change:
        """Mark as entered in error, with the reason as code and in words; nothing else is altered."""
        writer = self._writer
        resource = taken_back(kept, reason, writer.canonical, writer.texts, run=writer.run)
        return self._of(Action.RETRACT, kept, resource=resource, reason=reason)

    def _no_longer_applies(self, kept: Json) -> str:
        """Why a standing assessment no longer applies, as a code; "" where it still does.

        Only what was seen counts: that she died, is kept out, or that the results have grown too old.
        """
        reason = self._verdict.reasons[self._method]
        if reason in _ENDS_USE or reason.startswith("excluded_"):
            return reason
        day = date.fromisoformat(str(kept.get("occurrenceDateTime", ""))[:10]).toordinal()
        if self._verdict.view.demographics is not None and day_of(self._now_us) - day > self._policy.lookback_days:
            return "out_of_lookback"
        return ""

    def _lapse(self, kept: Json, reason: str) -> Change:
        """Say once, as code and in words, that it no longer applies. No search by risk finds it then; all else stays."""
        writer = self._writer
        url = writer.canonical.extension("no-longer-applies")
        coding = {"system": writer.canonical.lapse, "code": reason}
        others = [entry for entry in without_run(kept, writer.canonical) if entry.get("url") != url]
        said = [entry for entry in kept.get("extension", ()) if entry.get("url") == url]
        if any(coding["code"] == c.get("code") for e in said for c in e["valueCodeableConcept"].get("coding", ())):
            return self._leave(kept, reason)
        text = writer.texts("lapsed", detail=writer.texts.lapse(reason))
        level = {
            "coding": [
                {
                    "system": writer.canonical.side,
                    "code": "no-longer-applies",
                    "display": writer.texts("side.no-longer-applies"),
                }
            ]
        }
        earlier = [note for note in kept.get("note", ()) if not (said and is_lapse_note(note, writer.texts))]
        resource = {
            **kept,
            "status": "amended",
            "text": {"status": "generated", "div": xhtml(writer.texts, text, ())},
            "extension": [
                {"url": url, "valueCodeableConcept": {"coding": [coding]}},
                *others,
                *written_by(writer.run, writer.canonical),
            ],
            "prediction": [{**prediction, "qualitativeRisk": level} for prediction in kept.get("prediction", ())],
            "note": [{"authorString": PRODUCT, "text": text}, *earlier],
        }
        return self._of(Action.AMEND, kept, resource=resource, reason="no_longer_applies")

    def _leave(self, kept: Json, reason: str) -> Change:
        return self._of(Action.STANDS, kept, reason=reason)

    def _why_left(self, kept: Json) -> str:
        if self._unseen(kept):
            return "evidence_not_visible"
        reason = self._verdict.reasons[self._method]
        return "out_of_lookback" if reason == "no_magnesium" else reason

    def _unseen(self, kept: Json) -> bool:
        """Whether some result that it rests on is neither in the record nor was found by its id."""
        missing = unseen_basis(self._verdict.view, kept)
        return any(self._basis.get(name) is None or not self._basis[name].seen for name in missing)

    def _of(self, action: Action, kept: Json, *, resource: Json | None = None, reason: str = "") -> Change:
        meta: dict[str, Any] = kept.get("meta", {})
        return Change(
            action=action,
            patient=self._verdict.patient,
            method=self._method,
            identity=self._identity,
            reason=reason,
            altered=resource,
            target=kept.get("id", ""),
            version=str(meta.get("versionId", "")),
        )


def is_lapse_note(note: Json, texts: Texts) -> bool:
    """Whether a note of ours says that an assessment no longer applies."""
    return note.get("authorString") == PRODUCT and str(note.get("text", "")).startswith(texts("lapsed", detail=""))


def _created(draft: Draft) -> Change:
    return Change(Action.CREATE, draft.verdict.patient, draft.method, draft.identity, draft=draft)


def _wanted(verdict: Verdict, method: Method, writer: AssessmentWriter) -> Json | None:
    return desired_by(verdict, method, writer) if method in verdict.occasions else None


def _identified(resource: Json, value: str, writer: AssessmentWriter) -> bool:
    return any(
        entry.get("value") == value and entry.get("system") == writer.canonical.identifier
        for entry in resource.get("identifier", ())
    )


def _age(resource: Json) -> tuple[str, str]:
    return str(resource.get("meta", {}).get("lastUpdated", "")), str(resource.get("id", ""))


def _newer(verdict: Verdict, method: Method, kept: Json) -> bool:
    """Whether the desired occasion is later than that of what stands: it then needs no evidence against it."""
    desired = verdict.occasions.get(method)
    return desired is not None and occasion_at(occurrence(desired.mg)) > occasion(kept)
