"""On the list: one Task for each newly flagged woman, kept in step with her assessment.

A Task is made when her flag is new, and closed when the assessment no longer applies, or a DXA is on record. What somebody did with it
stands: only a Task that is still `requested` is closed, all that others added is kept, and a woman who had a Task gets no second one.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from screener.assessment.identity import NAMESPACE
from screener.assessment.reconcile import ACTIVE
from screener.assessment.resource import AssessmentWriter, Json, local_id
from screener.base.batches import batches
from screener.config.settings import TaskSettings
from screener.fhir import bundles
from screener.fhir.time import instant_text
from screener.stores.server_destination import ServerDestination

log = structlog.get_logger()

_OPEN = "requested"
_WRITTEN = (200, 201)
_HAS_DXA = "dxa_on_record"


class TaskCounts(msgspec.Struct):
    """What became of Tasks. `held_back`: new ones that were not made because there were more than `at_most`."""

    created: int = 0
    completed: int = 0
    cancelled: int = 0
    failed: int = 0
    held_back: int = 0


def keep(store: ServerDestination, writer: AssessmentWriter, settings: TaskSettings, bundle_entries: int) -> TaskCounts:
    """Bring the Tasks up to date with the assessments that stand. ServerError where the server cannot be asked or written to."""
    now = datetime.now(UTC)
    flagged = {local_id(one["subject"]["reference"]): one for one in store.flagged() if one.get("status") in ACTIVE}
    held = {local_id(task.get("for", {}).get("reference", "")): task for task in store.tasks()}
    since = (now - timedelta(days=settings.days)).date().isoformat()
    new = [
        _new(patient, one, writer, settings, now)
        for patient, one in sorted(flagged.items())
        if patient not in held and str(one.get("occurrenceDateTime", ""))[:10] >= since and not _has_dxa(one, writer)
    ]
    counts = TaskCounts()
    if len(new) > settings.at_most:
        counts.held_back = len(new)
        log.error(
            "tasks_held_back",
            new=len(new),
            limit=settings.at_most,
            remedy="if that is right, raise tasks.at_most; none was made",
        )
        new = []
    closed = [_closed(task, flagged.get(patient), writer, now) for patient, task in sorted(held.items())]
    entries = [bundles.create("Task", task, _search_name(task)) for task in new]
    entries += [
        bundles.update(f"Task/{task['id']}", task, task["meta"]["versionId"]) for task in closed if task is not None
    ]
    for part in batches(entries, bundle_entries):
        _count(counts, part, store.write_tasks(part))
    return counts


def _count(counts: TaskCounts, entries: Sequence[Json], results: Sequence[bundles.EntryResult]) -> None:
    for entry, result in zip(entries, results, strict=True):
        if result.status not in _WRITTEN:
            counts.failed += 1
            log.error("task_not_written", status=result.status, codes=result.codes.strip())
        elif entry["resource"]["status"] == _OPEN:
            counts.created += 1
        else:
            name = entry["resource"]["status"]
            setattr(counts, name, getattr(counts, name) + 1)


def _new(patient: str, assessment: Json, writer: AssessmentWriter, settings: TaskSettings, now: datetime) -> Json:
    name = _name(writer, patient)
    texts = writer.texts
    performer = assessment.get("performer", {}).get("reference", "")
    return {
        "resourceType": "Task",
        **({"meta": {"tag": [{"system": s, "code": c} for s, c in writer.tags]}} if writer.tags else {}),
        "identifier": [{"system": writer.canonical.identifier, "value": f"urn:uuid:{name}"}],
        "status": _OPEN,
        "intent": "proposal",
        "priority": "routine",
        "code": {
            "coding": [{"system": writer.canonical.assessment, "code": "osteoporosis-screening"}],
            "text": texts("assessment"),
        },
        "description": texts("task"),
        "focus": {"reference": f"RiskAssessment/{assessment['id']}"},
        "for": {"reference": f"Patient/{patient}"},
        "authoredOn": instant_text(now),
        "lastModified": instant_text(now),
        **({"requester": {"reference": performer}} if performer else {}),
        "owner": {"reference": settings.owner},
    }


def is_ours(task: Json, writer: AssessmentWriter) -> bool:
    """Whether a Task below our canonical is of our source."""
    patient = local_id(task.get("for", {}).get("reference", ""))
    return any(name.get("value") == f"urn:uuid:{_name(writer, patient)}" for name in task.get("identifier", ()))


def _name(writer: AssessmentWriter, patient: str) -> uuid.UUID:
    return uuid.uuid5(NAMESPACE, f"task {writer.source_system} {patient}")


def _search_name(task: Json) -> str:
    (name,) = task["identifier"]
    return f"{name['system']}|{name['value']}"


def _closed(task: Json, flagged: Json | None, writer: AssessmentWriter, now: datetime) -> Json | None:
    """The Task closed, with all else as it is; None where it stays, or somebody took it up."""
    if task.get("status") != _OPEN:
        return None
    if flagged is not None and not _has_dxa(flagged, writer):
        return None
    status = "cancelled" if flagged is None else "completed"
    return {
        **task,
        "status": status,
        "statusReason": {"text": writer.texts(f"task.{status}")},
        "lastModified": instant_text(now),
    }


def _has_dxa(assessment: Json, writer: AssessmentWriter) -> bool:
    """Whether the assessment says that a DXA is on record."""
    url = writer.canonical.extension("caveat")
    caveats = (
        part.get("valueCodeableConcept", {}) for part in assessment.get("extension", ()) if part.get("url") == url
    )
    return any(coding.get("code") == _HAS_DXA for caveat in caveats for coding in caveat.get("coding", ()))
