"""What a run is made of, put together from settings and options: model, stores, voice, and the clock that it goes by."""

from collections.abc import Callable, Collection
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from model import Artefact, ModelError, load_artefact
from screener.assessment.evidence import Basis
from screener.assessment.identity import Canonical
from screener.assessment.reconcile import Rules
from screener.assessment.resource import Voice
from screener.assessment.texts import Texts
from screener.bulk.export import export_once
from screener.bulk.journal import remove
from screener.clinical.mapping import Mapper
from screener.config.settings import Settings
from screener.config.tables import site_tables
from screener.errors import ConfigurationError, ServerError
from screener.fhir import capability
from screener.fhir.capability import SANDBOX_NAME
from screener.fhir.client import Client
from screener.ndjson.changed_source import ChangedSource
from screener.ndjson.destination import FolderDestination
from screener.ndjson.scratch import workplace
from screener.ndjson.source import FolderSource
from screener.stores.other_server import ElsewhereDestination
from screener.stores.patient_lists import patients_of_file, patients_of_group
from screener.stores.protocols import Library, Performed
from screener.stores.server_destination import ServerDestination
from screener.stores.server_source import ServerSource, with_magnesium

log = structlog.get_logger()


class Options(msgspec.Struct, frozen=True):
    """What one call asks for, beside the settings."""

    backfill: bool = False
    dry_run: bool = False
    from_folder: Path | None = None
    to_folder: Path | None = None
    bulk_folder: Path | None = None  # export to it first, read that
    patients: tuple[str, ...] = ()
    patients_from: str = ""  # a file of ids, or "Group/ID" of the server
    since: datetime | None = None
    limit: int = 0
    until: datetime | None = None  # no batch is begun after it
    anew: bool = False  # a full run begins again, wherever an earlier one got to
    now: datetime | None = None
    show_patients: bool = False
    engine: str = "folder"  # or "spark": then folders are as `source_uri` and `destination_uri` name them
    source_uri: str = ""
    destination_uri: str = ""
    parquet: bool = False
    workers: int = 0  # processes that work on folders; 0 for what suits the folder's size

    @property
    def partial(self) -> bool:
        """Whether the run looks at other patients, or from another time, than the watermark stands for."""
        return bool(self.patients or self.patients_from or self.since or self.limit or self.now)


class Prepared(Protocol):
    """What knows the algorithm's Device."""

    def prepare(self, voice: Voice, *, dry: bool) -> str:
        """Make sure of it (or find it, in a dry run); returns the reference to it."""


class Parts:
    """The parts of one run. Making them reads the model and the site's tables, and asks the server what it can do."""

    def __init__(self, settings: Settings, options: Options, stack: ExitStack) -> None:
        self._settings, self._options, self._stack = settings, options, stack
        self.artefact = _artefact(settings.model)
        self.tables = site_tables(settings.codes)
        self._canonical = Canonical(settings.output.canonical)
        self._many = True  # whether the server searches for several patients at once, as far as it says
        self._by_code: tuple[str, ...] = (
            "code",
        )  # the searches that find Observations by code, those of their components included
        self._statement: capability.Capability | None = None
        self.client = self._connect()
        self._online: ServerSource | None = None
        self.started = self._server_time()
        self.now = options.now or self.started
        self.why_dry = self._why_nothing_is_written()

    @property
    def dry(self) -> bool:
        """Whether nothing is written; `why_dry` says why."""
        return bool(self.why_dry)

    def _connect(self) -> Client | None:
        """The client of the server, where source or destination is one; what the server lacks is said first."""
        if self._options.from_folder and self._options.to_folder:
            return None
        return self._stack.enter_context(Client(self._settings.server))

    @property
    def _elsewhere(self) -> bool:
        """Whether assessments go to another server than the one that is read."""
        return bool(self._settings.destination.base_url) and not self._options.to_folder

    @cached_property
    def _there(self) -> Client | None:
        """The client of the other server that assessments go to."""
        if not self._elsewhere:
            return None
        if self._options.from_folder:
            raise ConfigurationError(
                "Another destination needs a server as source: a patient's business identifier is asked for there",
                "Leave out --from (--bulk reads files, too), or give --to",
            )
        return self._stack.enter_context(Client(self._settings.destination))

    def _server_time(self) -> datetime:
        """The server's clock, before the first query; a folder has none but this machine's."""
        if self.client is None:
            return datetime.now(UTC)
        statement = self._statement = capability.read(self.client)
        self._by_code = _by_code(statement)
        within_one = capability.searches(statement, "Observation", "patient")
        self._many = capability.searches(statement, "Observation", "subject") or not within_one
        if not self._many:
            log.info("server_searches_one_patient_at_a_time", why="its CapabilityStatement has no Observation.subject")
        needed = {"RiskAssessment"} if self._options.from_folder else {"RiskAssessment", "Patient", "Observation"}
        if not self._options.from_folder:
            needed |= {kind for kind, need in self._settings.exclusions.needs().items() if need == "required"}
        if self._options.to_folder or self._elsewhere:
            needed -= {"RiskAssessment"}
        writes = self._settings.write == "on" and not self._options.to_folder and not self._options.dry_run
        _offers(self.client, statement, needed, writes=writes and not self._elsewhere)
        if self._there is not None:
            _offers(self._there, capability.read(self._there), {"RiskAssessment", "Patient"}, writes=writes)
        if self.client.server_time is None:
            log.warning(
                "server_sends_no_date", remedy="this machine's clock is used: keep it in step with the server's"
            )
        return self.client.server_time or datetime.now(UTC)

    def _why_nothing_is_written(self) -> str:
        if self._options.dry_run:
            return "--dry-run"
        if self._options.to_folder is None and self._settings.write == "off":
            return 'write = "off" in the configuration'
        uncalibrated = self.artefact.calibration != "local" and not self._settings.acknowledge_uncalibrated
        if self._options.to_folder is None and uncalibrated:
            raise ConfigurationError(
                "The published model is not calibrated to this site's patients, and writing its risks to a server needs a yes",
                "Read 'What a risk means' in the README, then set acknowledge_uncalibrated = true",
            )
        if self._options.to_folder is None and self._canonical == Canonical() and not self._is_sandbox():
            raise ConfigurationError(
                "What is written would carry URLs of example.org: code systems and extensions must have an address of yours",
                'Set output.canonical to a URL below a domain that is yours, e.g. "https://hospital.example/fhir/osteoporosis", '
                "and keep it: assessments are found again by it",
            )
        return ""

    def _is_sandbox(self) -> bool:
        """Whether assessments go to the embedded server, which is there for trying."""
        there = capability.read(self._there) if self._there else self._statement
        return there is not None and there.software.name == SANDBOX_NAME

    @cached_property
    def mapper(self) -> Mapper:
        """The map step by the site's tables."""
        # Absolute references count as local: which patient a resource belongs to is what the server matched it by.
        return Mapper(self.tables, use_preliminary=self._settings.codes.preliminary)

    def source(self) -> Library:
        """Where the clinical resources are read."""
        needs = self._settings.exclusions.needs()
        if self._options.from_folder:
            return self._folder_source(self._options.from_folder)
        assert self.client is not None  # noqa: S101 - _connect
        online = ServerSource(
            self.client,
            self._settings.server,
            self.mapper,
            {kind: need for kind, need in needs.items() if need != "if_offered" or self._offered(kind)},
            with_magnesium,
            by_code=self._by_code,
            many=self._many,
        )
        self._online = online
        self._stack.callback(online.close)
        if self._options.bulk_folder is None:
            return online
        if not self._options.backfill:
            return ChangedSource(online, self._settings, self._options.bulk_folder, self.mapper)
        self._export(self._options.bulk_folder)
        return self._folder_source(self._options.bulk_folder, online.basis)

    def _offered(self, kind: str) -> bool:
        """Whether the server says that it can search a resource type."""
        return self._statement is None or not capability.lacks(self._statement, [kind], writes=False)

    def _folder_source(
        self, folder: Path, ask: Callable[[Collection[str]], dict[str, Basis]] | None = None
    ) -> FolderSource:
        needs = self._settings.exclusions.needs()
        return FolderSource(
            folder, self.mapper, needs, self._settings.folder, self._workplace, workers=self._options.workers, ask=ask
        )

    @cached_property
    def _workplace(self) -> Path:
        """Where folders are worked on."""
        return self._stack.enter_context(workplace(self._settings.folder.temporary))

    def _export(self, folder: Path) -> None:
        """Fetch everything as files; what the server says of its own time is then the run's."""
        whole = export_once(self._settings, folder)
        self.started = datetime.fromisoformat(whole.transaction_time).astimezone(UTC)
        self.now = self._options.now or self.started

    def named(self) -> tuple[str, ...]:
        """The patients that the call names, one by one or by a list."""
        listed = self._options.patients_from
        if not listed:
            return self._options.patients
        if listed.startswith("Group/"):
            if self.client is None:
                raise ConfigurationError("A Group is read from a server", "Give a file of ids instead")
            return (*self._options.patients, *patients_of_group(self.client, listed, self.mapper))
        return (*self._options.patients, *patients_of_file(Path(listed)))

    def clear(self) -> None:
        """A run that came to its end leaves no export behind: it is patient data."""
        if self._options.bulk_folder is not None:
            remove(self._options.bulk_folder)

    def destination(self) -> Performed:
        """Where the assessments are found and written."""
        if self._options.to_folder:
            return FolderDestination(self._options.to_folder, self._canonical, instant_text(self.now), self._workplace)
        assert self.client is not None  # noqa: S101 - _connect
        online: ServerDestination
        if self._there is None:
            online = ServerDestination(self.client, self._settings.server, self._canonical, self._settings.output)
        else:
            assert self._online is not None  # noqa: S101 - the source is made first, and is a server
            online = ElsewhereDestination(
                self._there,
                self._settings.destination,
                self._canonical,
                self._settings.output,
                self._settings.identity_source,
                self._online.identifiers,
            )
        self._stack.callback(online.close)
        return online

    def rules(self, destination: Prepared) -> Rules:
        """What the run judges by; makes sure of the Device at the destination."""
        output = self._settings.output
        system, _, code = output.tag.partition("|")
        voice = Voice(
            canonical=self._canonical,
            artefact=self.artefact,
            texts=Texts(output.language),
            source_system=self._settings.identity_source,
            fraction=output.fraction,
            prevalence=output.prevalence,
            tags=((system, code),) if output.tag else (),
        )
        voice = msgspec.structs.replace(voice, device=destination.prepare(voice, dry=self.dry))
        return Rules(self._settings.policy.policy(), voice, int(self.now.timestamp() * 1_000_000))

    # The names under which a run is remembered.

    @property
    def source_label(self) -> str:
        """The source, for people and for the watermark."""
        folder = self._options.from_folder
        if self._options.engine == "spark":
            return self._options.source_uri
        return str(folder.resolve()) if folder else self._settings.server.base_url

    @property
    def destination_label(self) -> str:
        """The destination, for people, for the lease and for the watermark."""
        folder = self._options.to_folder
        if self._options.engine == "spark":
            return self._options.destination_uri
        if folder:
            return str(folder.resolve())
        return self._settings.destination.base_url or self._settings.server.base_url

    @property
    def watermark_prefix(self) -> str:
        """What all watermarks between this source and this destination begin with, whatever the configuration."""
        return f"{self.source_label} -> {self.destination_label}#"

    @cached_property
    def selection_digest(self) -> str:
        """A hash of all that decides which patients are seen, how they are judged and by which model."""
        return self._settings.selection_digest(self.tables.digest(), self.artefact.checksum)

    @property
    def watermark_scope(self) -> str:
        """The name of this run's watermark and retry set."""
        return f"{self.watermark_prefix}{self.selection_digest}"


def _by_code(statement: capability.Capability) -> tuple[str, ...]:
    """The fewest searches that find values inside panels, too."""
    if capability.searches(statement, "Observation", "combo-code"):
        return ("combo-code",)
    if capability.searches(statement, "Observation", "component-code"):
        return ("code", "component-code")
    log.info("components_not_searched", why="the server offers no component-code: values inside panels are not found")
    return ("code",)


def _offers(client: Client, statement: capability.Capability, needed: Collection[str], *, writes: bool) -> None:
    """ServerError where a server lacks what the job needs."""
    missing = capability.lacks(statement, needed, writes=writes)
    if missing:
        raise ServerError(
            f"{client.host} does not offer: {', '.join(missing)}",
            "Grant or enable it, set the exclusions concerned to optional, write to another server ([destination]), or work on a "
            "bulk export (--from DIR --to DIR)",
        )


def _artefact(which: str) -> Artefact:
    try:
        return load_artefact(which)
    except ModelError as error:
        raise ConfigurationError(f"The model cannot be used: {error}") from error


def instant_text(instant: datetime) -> str:
    """FHIR `instant`, in UTC."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
