"""The records that go into the state and come out of it. Opaque ids and counts only, never a clinical value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

RunStatus = Literal["ended", "running", "killed"]
ReceiptAction = Literal["intended", "created", "amended", "retracted", "failed"]


@dataclass(frozen=True, slots=True)
class RunStart:
    """What is known of a run when it begins.

    `started` is an ISO 8601 instant with an offset. `source` and `destination` are labels for people, already free of
    secrets. The hashes say by which model, code map and policy the run judged.
    """

    run_id: str
    mode: str
    started: str
    source: str
    destination: str
    config_hash: str
    artefact_hash: str
    code_map_hash: str
    policy_hash: str
    model_id: str
    software_version: str


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A backfill that did not come to its end: when it began, and the last patient (in their order) that is done."""

    started: str
    done_until: str


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of the ledger.

    `status` is "ended" after `end_run`. Without it, it is "running" while the run's process lives on this host or the
    run holds an unexpired lease, and otherwise "killed". `ended`, `exit_code` and `summary` are None until `end_run`.
    """

    start: RunStart
    status: RunStatus
    ended: str | None
    exit_code: int | None
    summary: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """What became of one assessment: `assessment_id` is its identity (a UUID), `reason` a stable code, not a text.

    `resource_id` and `version` are the destination's, `status_code` is its HTTP status; None where it gave none.
    """

    assessment_id: str
    action: ReceiptAction
    resource_id: str | None = None
    version: str | None = None
    status_code: int | None = None
    reason: str | None = None


SuppressionKind = Literal["run", "artefact", "patient"]


@dataclass(frozen=True, slots=True)
class SuppressionRow:
    """What must not be assessed again at a destination until it is lifted.

    `name` is the id of a run, `id@version` of a model artefact, or a patient's id at the source. `lifted` is None while it holds.
    """

    number: int
    destination: str
    kind: SuppressionKind
    name: str
    since: str
    lifted: str | None


@dataclass(frozen=True, slots=True)
class RetryRow:
    """A patient whose last `count` runs failed; `first_seen` and `last_seen` are ISO 8601 instants."""

    patient_id: str
    reason: str
    count: int
    first_seen: str
    last_seen: str
