"""What a run needs, opened one after the other: servers, tables and model, source, destination, rules.

Each function takes what it needs and returns what it opened; what must be closed is put on the exit stack.
"""

from collections.abc import Collection, Iterable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from model import Artefact, ModelError, load_artefact
from screener.assessment.identity import Canonical
from screener.assessment.reconcile import Rules
from screener.assessment.resource import AssessmentWriter
from screener.assessment.suppression import Suppressions
from screener.assessment.texts import Texts
from screener.bulk.export import export_once
from screener.clinical.mapping import Mapper, MappingTables
from screener.config.scopes import READ, READ_AND_WRITE, scopes_besides, with_scopes
from screener.config.settings import ServerSettings, Settings
from screener.config.tables import SiteTable, described, site_tables
from screener.errors import AuthorisationError, ConfigurationError, ServerError
from screener.fhir import capability
from screener.fhir.capability import SANDBOX_NAME, Capability
from screener.fhir.client import Client
from screener.fhir.time import instant_text, parse_instant
from screener.ndjson.changed_source import ChangedSource
from screener.ndjson.destination import FolderDestination
from screener.ndjson.scratch import scratch
from screener.ndjson.source import FolderSource
from screener.plural import counted
from screener.run.options import Options
from screener.state import State, SuppressionRow
from screener.stores.other_server import OtherServerDestination
from screener.stores.patient_lists import Listed, patients_of_file, patients_of_group, patients_of_numbers
from screener.stores.protocols import FullDestination, FullSource
from screener.stores.server_destination import ServerDestination
from screener.stores.server_source import ServerSource, with_magnesium

log = structlog.get_logger()

_NUMBERS_AT_ONCE = 100  # record numbers in one search
SuppressedBy = tuple[SuppressionRow, Collection[str]]  # with the identities of the assessments of a run


class ServerFeatures(NamedTuple):
    """A server, its clock before the first query, and its CapabilityStatement."""

    client: Client
    clock: datetime
    statement: Capability

    @property
    def is_sandbox(self) -> bool:
        """Whether it is the embedded server."""
        return self.statement.software.name == SANDBOX_NAME

    def offers(self, resource_type: str) -> bool:
        """Whether it says that it can search a resource type."""
        return not capability.lacks(self.statement, [resource_type], writes=False)

    def searches_by_code(self) -> tuple[str, ...]:
        """The fewest search parameters that find Observations by their codes, those of their components included."""
        if capability.searches(self.statement, "Observation", "combo-code"):
            return ("combo-code",)
        if capability.searches(self.statement, "Observation", "component-code"):
            return ("code", "component-code")
        log.info(
            "components_not_searched", why="the server offers no component-code: values inside panels are not found"
        )
        return ("code",)

    def searches_many_patients(self) -> bool:
        """Whether one search may name several patients, as far as the server says."""
        several = capability.searches(self.statement, "Observation", "subject")
        if several or not capability.searches(self.statement, "Observation", "patient"):
            return True
        log.info("server_searches_one_patient_at_a_time", why="its CapabilityStatement has no Observation.subject")
        return False


class Servers(NamedTuple):
    """The servers of a run: the one that is read, and the one that takes assessments. None where a folder stands for it.

    Both are the same where the assessments go back to where the results are.
    """

    source: ServerFeatures | None = None
    destination: ServerFeatures | None = None

    @property
    def apart(self) -> bool:
        """Whether assessments go to another server than the one that is read."""
        return self.source is not None and self.destination is not None and self.source is not self.destination

    @property
    def clock(self) -> datetime:
        """The clock that the run goes by: a server's, before the first query; from folder to folder this machine's."""
        server = self.source or self.destination
        return server.clock if server else datetime.now(UTC)


class Method(NamedTuple):
    """What a run reads and judges by: the model, the tables with the site's rows, the mapper made of them, and who stands for the
    site's own tables."""

    artefact: Artefact
    tables: MappingTables
    mapper: Mapper
    site_tables: tuple[SiteTable, ...] = ()


class Opened(NamedTuple):
    """A source, and the instant that its contents stand for: the server's clock, or that of the export."""

    source: FullSource
    as_of: datetime
    server: ServerSource | None = None  # that is the source, or that the export is from
    folder: FolderSource | None = None  # the source, where it is a folder


def read_method(settings: Settings, *, for_cohort: bool = False) -> Method:
    """The model and the tables. `for_cohort`: see Mapper. ConfigurationError for what cannot be used."""
    try:
        artefact = load_artefact(settings.model)
    except ModelError as error:
        raise ConfigurationError(f"The model cannot be used: {error}") from error
    tables = site_tables(settings.codes)
    mapper = Mapper(tables, use_preliminary=settings.codes.preliminary, for_cohort=for_cohort)
    site = described(settings.codes)
    unreviewed = [table.file for table in site if not table.is_reviewed]
    if unreviewed:
        log.warning(
            "tables_not_reviewed", files=unreviewed, remedy="docs/codes-and-units.md says how a file names its reviewer"
        )
    return Method(artefact, tables, mapper, site)


def scoped(settings: Settings, options: Options) -> Settings:
    """The settings with the scopes that the call needs: no more is asked for than it uses."""
    dry = options.dry_run or settings.write == "off"
    return with_scopes(
        settings,
        reads=options.from_folder is None,
        assessments="" if options.to_folder else READ if dry else READ_AND_WRITE,
        groups=options.patients_from.startswith("Group/"),
    )


def connect(settings: ServerSettings, stack: ExitStack) -> ServerFeatures:
    """A client of the server, and what the server says of itself. ServerError where it is no FHIR R4 server."""
    client = stack.enter_context(Client(settings))
    statement = capability.read(client)
    if client.server_time is None:
        log.warning("server_sends_no_date", remedy="this machine's clock is used: keep it in step with the server's")
    else:
        _check_clock(client.server_time, client.host, settings.clock_tolerance_minutes)
    return ServerFeatures(client, client.server_time or datetime.now(UTC), statement)


def _check_clock(theirs: datetime, host: str, tolerance_minutes: int) -> None:
    """ServerError where the clocks differ: by a wrong one the watermark would skip changes, or results would lie in the future."""
    apart = theirs - datetime.now(UTC)
    if abs(apart) > timedelta(minutes=tolerance_minutes):
        minutes = round(abs(apart).total_seconds() / 60)
        raise ServerError(
            f"The clock of {host} is {counted(minutes, 'minute')} {'ahead of' if apart > timedelta() else 'behind'} this machine's",
            "Set the wrong one right, or raise server.clock_tolerance_minutes; nothing was read",
        )


def connect_all(settings: Settings, options: Options, stack: ExitStack) -> Servers:
    """The servers that the call is about. ServerError where one does not offer what is needed of it."""
    apart = bool(settings.destination.base_url) and not options.to_folder
    if apart and options.from_folder:
        raise ConfigurationError(
            "Another destination needs a server as source: a patient's business identifier is asked for there",
            "Leave out --from (--bulk reads files, too), or give --to",
        )
    if options.from_folder and options.to_folder:
        return Servers()
    here = connect(settings.server, stack)
    writes = settings.write == "on" and not options.to_folder and not options.dry_run
    needed = set() if options.from_folder else needed_to_read(settings)
    if not options.to_folder and not apart:
        needed.add("RiskAssessment")
    _check_offers(here, needed, settings, writes=writes and not apart)
    source = None if options.from_folder else here
    if not apart:
        return Servers(source, None if options.to_folder else here)
    there = connect(settings.destination, stack)
    _check_offers(there, {"RiskAssessment", "Patient"}, settings, writes=writes)
    return Servers(source, there)


def needed_to_read(settings: Settings) -> set[str]:
    """The resource types that a source must let us search."""
    required = {kind for kind, need in settings.exclusions.needs().items() if need == "required"}
    return {"Patient", "Observation"} | required


def connect_to_read(settings: Settings, stack: ExitStack) -> ServerFeatures:
    """The server as a source only."""
    server = connect(settings.server, stack)
    _check_offers(server, needed_to_read(settings), settings, writes=False)
    return server


def _check_offers(server: ServerFeatures, needed: Collection[str], settings: Settings, *, writes: bool) -> None:
    written = {"Device", "RiskAssessment"} if writes else set()
    scopes = [f"system/{kind}.{READ_AND_WRITE if kind in written else READ}" for kind in sorted({*needed, *written})]
    not_granted = server.client.not_granted([*scopes, *(scopes_besides(settings) if writes else [])])
    if not_granted:
        raise AuthorisationError(
            f"{server.client.host} did not grant {', '.join(not_granted)}",
            "Have it granted, set the exclusions concerned to optional, or write to another server ([destination])",
        )
    missing = capability.lacks(server.statement, needed, writes=writes, besides=settings.written_besides)
    if missing:
        raise ServerError(
            f"{server.client.host} does not offer: {', '.join(missing)}",
            "Grant or enable it, set the exclusions concerned to optional, write to another server ([destination]), or work on a "
            "bulk export (--from DIR --to DIR)",
        )


def why_dry(settings: Settings, options: Options, artefact: Artefact, servers: Servers) -> str:
    """Why nothing is written, or "" where the run writes. ConfigurationError where a server must not be written to yet."""
    if options.dry_run:
        return "--dry-run"
    if options.to_folder is not None:
        return ""
    if settings.write == "off":
        return 'write = "off" in the configuration'
    may_write(settings, artefact, trying=servers.destination is not None and servers.destination.is_sandbox)
    return ""


def may_write(settings: Settings, artefact: Artefact, *, trying: bool) -> None:
    """ConfigurationError where the site has not yet said what it must say before anything is written. `trying`: to the sandbox."""
    check_acknowledged(settings, artefact)
    if not trying:
        check_canonical(settings)


def check_acknowledged(settings: Settings, artefact: Artefact) -> None:
    """ConfigurationError where the model is not calibrated to the site's patients, and the site has not said that it knows."""
    if artefact.calibration != "local" and not settings.acknowledge_uncalibrated:
        raise ConfigurationError(
            "The published model is not calibrated to this site's patients, and writing its risks to a server needs a yes",
            "Read 'What a risk means' in the README, then set acknowledge_uncalibrated = true",
        )


def check_canonical(settings: Settings) -> None:
    """ConfigurationError where what is written would carry addresses of nobody's."""
    if Canonical(settings.output.canonical) == Canonical():
        raise ConfigurationError(
            "What is written would carry URLs of example.org: code systems and extensions must have an address of yours",
            'Set output.canonical to a URL below a domain that is yours, e.g. "https://hospital.example/fhir/osteoporosis", '
            "and keep it: assessments are found again by it",
        )


def scratch_folder(settings: Settings, stack: ExitStack) -> Path:
    """Where folders are worked on, until the run ends."""
    return stack.enter_context(scratch(settings.folder.temporary))


def open_folder(
    folder: Path,
    settings: Settings,
    mapper: Mapper,
    scratch_dir: Path,
    *,
    workers: int = 0,
    server: ServerSource | None = None,
) -> FolderSource:
    """A folder of NDJSON as source. `server`: see FolderSource."""
    needs = settings.exclusions.needs()
    return FolderSource(folder, mapper, needs, settings.folder, scratch_dir, workers=workers, server=server)


def open_server(server: ServerFeatures, settings: Settings, mapper: Mapper, stack: ExitStack) -> ServerSource:
    """A server as source."""
    needs = settings.exclusions.needs()
    source = ServerSource(
        server.client,
        settings.server,
        mapper,
        {kind: need for kind, need in needs.items() if need != "if_offered" or server.offers(kind)},
        with_magnesium,
        by_code=server.searches_by_code(),
        many=server.searches_many_patients(),
    )
    stack.callback(source.close)
    return source


def open_source(settings: Settings, options: Options, mapper: Mapper, servers: Servers, stack: ExitStack) -> Opened:
    """Where the clinical resources are read. With a bulk folder the export is made, or taken up, now."""
    if options.from_folder:
        temporary = scratch_folder(settings, stack)
        folder = open_folder(options.from_folder, settings, mapper, temporary, workers=options.workers)
        return Opened(folder, servers.clock, folder=folder)
    assert servers.source is not None  # noqa: S101 - connect_all: a run reads a folder or a server
    online = open_server(servers.source, settings, mapper, stack)
    if options.bulk_folder is None:
        return Opened(online, servers.clock, online)
    if not options.backfill:
        return Opened(ChangedSource(online, settings, options.bulk_folder, mapper), servers.clock, online)
    # An earlier call may have finished the export: its results are those of its own time, not of this run's start.
    export = export_once(settings, options.bulk_folder)
    as_of = parse_instant(export.transaction_time)
    if as_of > servers.clock + timedelta(minutes=settings.server.clock_tolerance_minutes):
        raise ServerError("The export says that it is from the future", "Ask the server's vendor; nothing was written")
    temporary = scratch_folder(settings, stack)
    folder = open_folder(options.bulk_folder, settings, mapper, temporary, workers=options.workers, server=online)
    return Opened(folder, as_of, online, folder)


def open_to_read(settings: Settings, from_folder: Path | None, mapper: Mapper, stack: ExitStack) -> Opened:
    """A folder or the server as source, where nothing is written."""
    settings = with_scopes(settings)
    servers = Servers() if from_folder else Servers(connect_to_read(settings, stack))
    return open_source(settings, Options(from_folder=from_folder), mapper, servers, stack)


def open_destination(
    settings: Settings, options: Options, servers: Servers, opened: Opened, now: datetime, stack: ExitStack
) -> FullDestination:
    """Where the assessments are found and written. `now`: the time that a folder's assessments get."""
    if options.to_folder:
        return open_destination_folder(settings, options.to_folder, now, stack)
    canonical = Canonical(settings.output.canonical)
    assert servers.destination is not None  # noqa: S101 - connect_all: a run writes to a folder or a server
    there = servers.destination.client
    online: ServerDestination
    if servers.apart:
        assert opened.server is not None  # noqa: S101 - connect_all: another destination needs a server as source
        online = OtherServerDestination(
            there, settings.destination, canonical, settings.output, settings.identity_source, opened.server.identifiers
        )
    else:
        online = ServerDestination(there, settings.server, canonical, settings.output)
    stack.callback(online.close)
    return online


def open_destination_folder(settings: Settings, folder: Path, now: datetime, stack: ExitStack) -> FolderDestination:
    """A folder as destination."""
    canonical = Canonical(settings.output.canonical)
    return FolderDestination(folder, canonical, instant_text(now), scratch_folder(settings, stack))


def assessment_writer(settings: Settings, method: Method) -> AssessmentWriter:
    """Who writes the assessments, and in which words; the Device is not known yet."""
    output = settings.output
    system, _, code = output.tag.partition("|")
    return AssessmentWriter(
        canonical=Canonical(output.canonical),
        artefact=method.artefact,
        tables=tuple(
            (table.name, f"{table.version or 'unreviewed'} sha256:{table.sha256[:16]}") for table in method.site_tables
        ),
        texts=Texts(output.language),
        source_system=settings.identity_source,
        fraction=output.fraction,
        prevalence=output.prevalence,
        tags=((system, code),) if output.tag else (),
    )


def make_rules(
    settings: Settings, writer: AssessmentWriter, device: str, now: datetime, suppressed: Iterable[SuppressedBy] = ()
) -> Rules:
    """What the run judges and writes by. `device`: the reference to the algorithm's Device at the destination. `suppressed`: what
    holds there. InputError for a list of patients who opted out that cannot be read."""
    with_device = msgspec.structs.replace(writer, device=device)
    opted_out = patients_of_file(settings.opted_out, "opted_out") if settings.opted_out else ()
    rows = list(suppressed)
    suppressions = Suppressions(
        opted_out=frozenset(opted_out),
        patients=frozenset(row.name for row, _ in rows if row.kind == "patient"),
        identities=frozenset().union(*(identities for _, identities in rows)),
        model=any(row.kind == "artefact" and row.name == model_name(writer.artefact) for row, _ in rows),
    )
    return Rules(settings.policy.policy(), with_device, int(now.timestamp() * 1_000_000), suppressions)


def model_name(artefact: Artefact) -> str:
    """A model's id and version, as suppressions name it."""
    return f"{artefact.id}@{artefact.version}"


def suppressed_at(state: State, destination: str) -> list[SuppressedBy]:
    """What holds at a destination."""
    rows = state.suppressions(destination)
    return [(row, state.identities_of(row.name) if row.kind == "run" else ()) for row in rows]


def named_patients(options: Options, server: ServerFeatures | None, mapper: Mapper) -> Listed:
    """The patients that the call names, one by one or by a list."""
    listed = options.patients_from
    if not listed:
        return Listed(options.patients)
    if listed.startswith("Group/"):
        if server is None:
            raise ConfigurationError("A Group is read from a server", "Give a file of ids instead")
        return Listed((*options.patients, *patients_of_group(server.client, listed, mapper)))
    if not options.identifier_system:
        return Listed((*options.patients, *patients_of_file(Path(listed))))
    if server is None:
        raise ConfigurationError("Record numbers are looked up on a server", "Leave out --from, or list ids instead")
    numbers = patients_of_numbers(server.client, Path(listed), options.identifier_system, _NUMBERS_AT_ONCE)
    return Listed((*options.patients, *numbers.patients), numbers.left_out)


class RunNames:
    """The names under which a run is remembered: its source, its destination, and its watermark."""

    def __init__(self, settings: Settings, options: Options, method: Method) -> None:
        self._settings, self._options = settings, options
        self.selection_digest = settings.selection_digest(method.tables.digest(), method.artefact.checksum)

    @property
    def source(self) -> str:
        """The source, for people and for the watermark."""
        folder = self._options.from_folder
        if self._options.engine == "spark":
            return self._options.source_uri
        return str(folder.resolve()) if folder else self._settings.server.base_url

    @property
    def destination(self) -> str:
        """The destination, for people, for the lease and for the watermark."""
        folder = self._options.to_folder
        if self._options.engine == "spark":
            return self._options.destination_uri
        if folder:
            return str(folder.resolve())
        return self._settings.destination.base_url or self._settings.server.base_url

    @property
    def destination_in_words(self) -> str:
        """Host of the server, or name of the folder: without path, user and password."""
        if self._options.engine == "spark" or self._options.to_folder:
            return self.destination.rstrip("/").rpartition("/")[2]
        at = self._settings.destination if self._settings.destination.base_url else self._settings.server
        return at.host

    @property
    def watermark_prefix(self) -> str:
        """What all watermarks between this source and this destination begin with, whatever the configuration."""
        return f"{self.source} -> {self.destination}#"

    @property
    def watermark(self) -> str:
        """The name of this run's watermark and retry set: with a hash of all that decides who is seen, and how she is judged."""
        return f"{self.watermark_prefix}{self.selection_digest}"
