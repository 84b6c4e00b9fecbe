"""Takes assessments back that a site no longer wants to stand, lets them stand again, and purges all of them.

What is taken back is suppressed first, so that no later run writes it again, and the resource itself says that the site took it back: that is
obeyed whatever the state remembers. All is found on the server, by what the resources say; the ledger helps with those of earlier
versions, which do not name their run. Assessments of another source are never touched. A call that was cut short is finished by calling it
again.
"""

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import msgspec

from screener.assessment.identity import assessment_uuid, device_uuid
from screener.assessment.reconcile import TAKEN_BACK, Action, Change
from screener.assessment.resource import AssessmentWriter, Json, run_of
from screener.assessment.retraction import BY_SITE, LIFTED, lifted, reasons, taken_back
from screener.base.batches import batches
from screener.base.errors import ConfigurationError, ExitCode, as_screener_error
from screener.base.plural import counted
from screener.base.progress import Progress
from screener.clinical.records import Method
from screener.config.scopes import READ, READ_AND_WRITE, READ_WRITE_AND_DELETE, with_scopes
from screener.config.settings import Settings
from screener.fhir.time import instant_text
from screener.run.receipts import ledger_row
from screener.run.servers import connect
from screener.run.site import Site, open_site
from screener.run.tasks import is_ours as task_is_ours
from screener.state import RunStart, State, SuppressionKind
from screener.stores.protocols import Receipt, WriteResult
from screener.stores.server_destination import ServerDestination

_ATTEMPTS = 3  # at an assessment that somebody else writes at the same time
_GONE = (200, 202, 204, 404, 410)

Confirm = Callable[[str], None]  # is shown what is about to happen; raises where it must not


class Target(msgspec.Struct, frozen=True):
    """What is taken back: all that a run wrote, all nomograms of a model (`id@version`), or all of a patient."""

    kind: SuppressionKind
    name: str

    @property
    def words(self) -> str:
        """As the resources that were taken back say it: without the patient, whom they name anyway."""
        return self.kind if self.kind == "patient" else f"{self.kind} {self.name}"


class Undone(msgspec.Struct):
    """What became of the assessments. `later`: of a run, those that a later run has written again, which stay. `others`: those of other
    sources below our canonical, which stay, too."""

    host: str
    found: int = 0
    done: int = 0
    already: int = 0
    later: int = 0
    others: int = 0
    failed: int = 0
    dry: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """3 where some could not be written."""
        return ExitCode.SOME_PATIENTS_FAILED if self.failed else ExitCode.DONE


class Place(NamedTuple):
    """A site and its destination, opened to take assessments back."""

    site: Site
    host: str
    store: ServerDestination
    start: RunStart
    dry: bool
    lease_seconds: float
    bundle_entries: int
    with_tasks: bool
    devices: frozenset[str]  # references to our Device: what names another as its performer is of another source

    def is_ours(self, resource: Json) -> bool:
        """Whether an assessment below our canonical is of our source."""
        if resource.get("performer", {}).get("reference") in self.devices:
            return True
        patient = str(resource.get("subject", {}).get("reference", "")).removeprefix("Patient/")
        return _identity_of(self, resource) in {
            assessment_uuid(self.writer.source_system, patient, method) for method in Method
        }

    @property
    def name(self) -> str:
        """The destination, as the state names it."""
        return self.site.names.destination

    @property
    def state(self) -> State:
        """The site's."""
        return self.site.state

    @property
    def writer(self) -> AssessmentWriter:
        """The site's."""
        return self.site.writer


@contextmanager
def open_place(settings: Settings, mode: Literal["retract", "lift", "purge"], *, dry: bool) -> Iterator[Place]:
    """Connect to the server that takes the assessments. ConfigurationError where it must not be written to."""
    if not dry and settings.write == "off":
        raise ConfigurationError('write = "off" in the configuration', 'Set write = "on", or look with --dry-run')
    scope = READ if dry else READ_WRITE_AND_DELETE if mode == "purge" else READ_AND_WRITE
    settings = with_scopes(settings, reads=False, assessments=scope)
    with ExitStack() as stack:
        site = open_site(settings, stack, state="read" if dry else "write")
        there = connect(settings.written_to, stack)
        store = ServerDestination(there.client, settings.written_to, site.writer.canonical, settings.output)
        stack.callback(store.close)
        yield Place(
            site,
            there.client.host,
            store,
            site.run_start(str(uuid.uuid4()), mode, instant_text(datetime.now(UTC))),
            dry,
            settings.state.lease_seconds,
            settings.output.bundle_entries,
            bool(settings.tasks.owner),
            frozenset(f"Device/{d['id']}" for d in store.devices() if _is_our_device(d, site.writer)),
        )


def _is_our_device(resource: Json, writer: AssessmentWriter) -> bool:
    name = f"urn:uuid:{device_uuid(writer.source_system)}"
    return any(one.get("value") == name for one in resource.get("identifier", ()))


def retract(place: Place, target: Target, confirm: Confirm, progress: Progress) -> Undone:
    """Mark the assessments as entered in error, and suppress the target. ConfigurationError for a target that is not known."""
    found = Undone(place.host, dry=place.dry)
    target = _whole_name(place, target)
    identities = _to_take_back(place, target, found)
    found.found = len(identities)
    if place.dry:
        return found
    confirm(
        f"{counted(found.found, 'assessment')} on {place.host} to be marked as entered in error, and later runs leave them so until "
        f"`screener suppressions lift`"
    )
    with _recorded(place, found):
        place.state.suppress(place.name, target.kind, target.name, instant_text(datetime.now(UTC)))
        # Read again, part by part: whole assessments are not held for a whole hospital.
        for part in batches(sorted(identities), place.bundle_entries):
            receipts = _write(place, part, lambda resource: _taken_back(place, resource, target))
            place.state.record_receipts(place.start.run_id, [ledger_row(receipt) for receipt in receipts])
            written = sum(receipt.result is WriteResult.DONE for receipt in receipts)
            found.done += written
            found.failed += len(receipts) - written
            progress(found.done + found.failed, found.found)
    return found


def lift(place: Place, target: Target, confirm: Confirm, progress: Progress) -> Undone:
    """Let stand again what a site took back: the next full run renews what ought to stand. Found on the server, whatever the state
    remembers; what the state has of it is lifted first."""
    found = Undone(place.host, dry=place.dry)
    canonical = place.writer.canonical
    identities = {
        _identity_of(place, resource)
        for resource in _of_our_source(place, found)
        if _was_taken_back(place, resource, target)
    }
    found.found = len(identities)
    if place.dry:
        return found
    confirm(f"{counted(found.found, 'assessment')} on {place.host} to be let stand again by the next full run")
    with _recorded(place, found):
        now = instant_text(datetime.now(UTC))
        for row in place.state.suppressions(place.name):
            if (row.kind, row.name) == (target.kind, target.name):
                place.state.lift(row.number, now)
        for part in batches(sorted(identities), place.bundle_entries):
            receipts = _write(
                place,
                part,
                lambda resource: (
                    lifted(resource, canonical, place.start.run_id) if BY_SITE in reasons(resource, canonical) else None
                ),
                Action.AMEND,
            )
            written = sum(receipt.result is WriteResult.DONE for receipt in receipts)
            found.done += written
            found.failed += len(receipts) - written
            progress(found.done + found.failed, found.found)
    return found


def _was_taken_back(place: Place, resource: Json, target: Target) -> bool:
    """Whether the site took this assessment back by that target. Earlier versions did not write down by which: the ledger, or the
    resource itself, says it of those."""
    why = reasons(resource, place.writer.canonical)
    if BY_SITE not in why:
        return False
    if target.kind == "patient":
        return why[BY_SITE] in ("", target.words) and _identity_of(place, resource) in _of_patient(place, target.name)
    if why[BY_SITE]:
        return why[BY_SITE] == target.words
    if target.kind == "run":
        return _identity_of(place, resource) in place.state.identities_of(target.name)
    return _model_of(resource, place.writer) == target.name


def _taken_back(place: Place, resource: Json, target: Target) -> Json | None:
    """None for what is taken back already."""
    if resource.get("status") in TAKEN_BACK:
        return None
    writer = place.writer
    return taken_back(resource, BY_SITE, writer.canonical, writer.texts, run=place.start.run_id, target=target.words)


def _of_patient(place: Place, patient: str) -> list[str]:
    return [assessment_uuid(place.writer.source_system, patient, method) for method in Method]


def purge(place: Place, confirm: Confirm, progress: Progress) -> Undone:
    """Delete every assessment of ours and our Devices, and forget the watermarks, so that only a backfill writes again."""
    found = Undone(place.host, dry=place.dry)
    tasks = place.store.tasks() if place.with_tasks else iter(())
    addresses = [f"Task/{task['id']}" for task in tasks if task_is_ours(task, place.writer)]
    addresses += [f"RiskAssessment/{resource['id']}" for resource in _of_our_source(place, found)]
    addresses += sorted(place.devices)
    others = sum(not address.startswith("RiskAssessment/") for address in addresses)
    found.found = len(addresses)
    if place.dry:
        return found
    confirm(
        f"{counted(len(addresses) - others, 'assessment')} and {counted(others, 'Device or Task', 'Devices and Tasks')} to be deleted from "
        f"{place.host}. This cannot be taken back"
    )
    with _recorded(place, found):
        place.state.forget_watermarks(place.name)
        # What refers to something first: a server may refuse to delete what something refers to.
        for kind in ("Task/", "RiskAssessment/", "Device/"):
            of_kind = [address for address in addresses if address.startswith(kind)]
            for part in batches(of_kind, place.bundle_entries):
                deleted = sum(result.status in _GONE for result in place.store.delete(part))
                found.done += deleted
                found.failed += len(part) - deleted
                progress(found.done + found.failed, len(addresses))
    return found


@contextmanager
def _recorded(place: Place, found: Undone) -> Iterator[None]:
    """In the ledger, and while no run may write."""
    seconds = place.lease_seconds
    run_id = place.start.run_id
    with place.state.lease(place.name, run_id=run_id, ttl_seconds=seconds, heartbeat_seconds=seconds / 6):
        place.state.begin_run(place.start)
        try:
            yield
        except Exception as error:
            said = as_screener_error(error)
            place.state.end_run(run_id, instant_text(datetime.now(UTC)), int(said.exit_code), {"error": said.what})
            raise
        counts = {"done": found.done, "failed": found.failed}
        place.state.end_run(run_id, instant_text(datetime.now(UTC)), int(found.exit_code), counts)


def _to_take_back(place: Place, target: Target, found: Undone) -> set[str]:
    """The identities of the assessments that stand; those that were taken back before are counted."""
    identities = set()
    for resource in _aimed_at(place, target, found):
        identity = _identity_of(place, resource)
        if resource.get("status") in TAKEN_BACK:
            found.already += 1
        elif identity:
            identities.add(identity)
    return identities


def _identity_of(place: Place, resource: Json) -> str:
    """The UUID; "" for what has no identity of ours."""
    system = place.writer.canonical.identifier
    names = (str(n.get("value", "")) for n in resource.get("identifier", ()) if n.get("system") == system)
    return next(names, "").removeprefix("urn:uuid:")


def _whole_name(place: Place, target: Target) -> Target:
    """The target with a run's whole id, of which the first letters are enough where the ledger has it."""
    if target.kind != "run":
        return target
    known = [run for run in place.state.runs_named(target.name) if run.start.destination == place.name]
    if len(known) == 1:
        return Target("run", known[0].start.run_id)
    try:
        return Target("run", str(uuid.UUID(target.name)))  # the state may be another than the one that the run used
    except ValueError:
        raise ConfigurationError(
            f"The ledger has {'no such run' if not known else 'more than one such run'} with this destination",
            "`screener runs list` shows them; without the state that the run used, give its whole id: assessments name their run",
        ) from None


def _aimed_at(place: Place, target: Target, found: Undone) -> Iterable[Json]:
    if target.kind == "patient":
        return place.store.of_identities(_of_patient(place, target.name))
    if target.kind == "artefact":
        return (one for one in _of_our_source(place, found) if _model_of(one, place.writer) == target.name)
    return _of_run(place, target, found)


def _of_our_source(place: Place, found: Undone) -> Iterator[Json]:
    """Every assessment of our source; those of others are counted."""
    for resource in place.store.ours():
        if place.is_ours(resource):
            yield resource
        else:
            found.others += 1


def _of_run(place: Place, target: Target, found: Undone) -> Iterator[Json]:
    """What a run wrote and no later one has written again, with what was taken back because of it. Assessments of earlier versions do not
    name their run: the ledger says it."""
    canonical = place.writer.canonical
    wrote = place.state.identities_of(target.name)
    later = place.state.rewritten_after(target.name)
    for resource in _of_our_source(place, found):
        named, identity = run_of(resource, canonical), _identity_of(place, resource)
        if (
            reasons(resource, canonical).get(BY_SITE) == target.words
            or named == target.name
            or (not named and identity in wrote - later)
        ):
            yield resource
        elif identity in wrote and resource.get("status") not in TAKEN_BACK:
            found.later += 1


def _model_of(resource: Json, writer: AssessmentWriter) -> str:
    """Id and version of the model by which an assessment was made; "" for a flag."""
    for coding in resource.get("method", {}).get("coding", ()):
        if coding.get("system") == writer.canonical.model:
            name, artefact = str(coding.get("code", "")), writer.artefact
            reduced = {f"{artefact.id}-{nomogram.name}": artefact.id for nomogram in artefact.reduced}
            return f"{reduced.get(name, name)}@{coding.get('version', '')}"
    return ""


def _changes(
    place: Place, identities: Collection[str], altered: Callable[[Json], Json | None], action: Action
) -> list[Change]:
    """The changes to what stands now under these identities, as far as `altered` gives something."""
    found = []
    for resource in place.store.of_identities(identities):
        wanted = altered(resource)
        if wanted is None:
            continue
        family = {coding.get("code") for coding in resource.get("method", {}).get("coding", ())}
        change = Change(
            action,
            str(resource.get("subject", {}).get("reference", "")).removeprefix("Patient/"),
            Method.NOMOGRAM if Method.NOMOGRAM.value in family else Method.FLAG,
            _identity_of(place, resource),
            BY_SITE if action is Action.RETRACT else LIFTED,
            altered=wanted,
            target=str(resource["id"]),
            version=str(resource.get("meta", {}).get("versionId", "")),
        )
        found.append(change)
    return found


def _write(
    place: Place,
    identities: Collection[str],
    altered: Callable[[Json], Json | None],
    action: Action = Action.RETRACT,
) -> list[Receipt]:
    """Write them; what somebody else wrote in between is read and written again."""
    receipts: dict[str, Receipt] = {}
    for _ in range(_ATTEMPTS):
        changes = _changes(place, identities, altered, action)
        receipts |= {receipt.change.target: receipt for receipt in place.store.apply(changes)}
        identities = {r.change.identity for r in receipts.values() if r.result is WriteResult.CONFLICT}
        if not identities:
            break
    return list(receipts.values())
