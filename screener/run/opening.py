"""Opens what is read from and written to. What must be closed is put on the exit stack."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from screener.assessment.identity import Canonical
from screener.assessment.reconcile import Rules
from screener.base.errors import ConfigurationError, ServerError
from screener.clinical.mapping import Mapper
from screener.config.scopes import with_scopes
from screener.config.servers import ServerSettings
from screener.config.settings import Need, Settings
from screener.fhir.time import instant_text, parse_instant
from screener.run.options import Options
from screener.run.servers import ServerFeatures, Servers, connect_all, connect_to_read, scoped
from screener.run.site import Site, open_site
from screener.stores.bulk.export import Exporter
from screener.stores.folder.changed_source import ChangedSource
from screener.stores.folder.destination import FolderDestination
from screener.stores.folder.scratch import Workspace, scratch
from screener.stores.folder.source import FolderSource
from screener.stores.other_server import OtherServerDestination
from screener.stores.patient_lists import NamedPatients, patients_of_file, patients_of_group, patients_of_numbers
from screener.stores.protocols import Destination, FullDestination, FullSource
from screener.stores.server_destination import ServerDestination
from screener.stores.server_source import ServerSource

_NUMBERS_AT_ONCE = 100  # record numbers in one search


class Opened(NamedTuple):
    """A source, the instant that its contents stand for (the server's clock, or that of the export), and how many patients to ask it for
    at a time."""

    source: FullSource
    as_of: datetime
    batch_patients: int
    server: ServerSource | None = None  # that is the source, or that the export is from
    folder: FolderSource | None = None  # the source, where it is a folder


@contextmanager
def site_to_read(
    settings: Settings, from_folder: Path | None = None, *, further: bool = False, survey: bool = False
) -> Iterator[tuple[Site, Opened]]:
    """A site and its source, for a command that writes nothing. `further`: see open_site. `survey`: the question is what can be
    read, so that nothing that cannot be stops the command."""
    options = Options(from_folder=from_folder)
    with ExitStack() as stack:
        site = open_site(settings, stack, options, further=further)
        scoped = with_scopes(settings)
        servers = (
            Servers() if from_folder else Servers(connect_to_read(scoped.server, {} if survey else site.needs, stack))
        )
        yield site, open_source(scoped, options, site, servers, stack)


class Consulted(NamedTuple):
    """A site with its source and its destination, and the rules of the instant, for a command that writes nothing."""

    site: Site
    source: FullSource
    destination: Destination
    rules: Rules


@contextmanager
def site_with_stores(settings: Settings, options: Options) -> Iterator[Consulted]:
    """What a run with these options would read, judge by and compare with."""
    with ExitStack() as stack:
        settings = scoped(settings, options)
        site = open_site(settings, stack, options)
        servers = connect_all(settings, options, stack)
        opened = open_source(settings, options, site, servers, stack)
        now = options.now or opened.as_of
        destination = open_destination(settings, options, site, servers, opened, stack)
        yield Consulted(site, opened.source, destination, site.rules(now, destination.prepare(site.writer)))


def open_source(settings: Settings, options: Options, site: Site, servers: Servers, stack: ExitStack) -> Opened:
    """Where the clinical resources are read. With a bulk folder the export is made, or taken up, now."""
    at_once = settings.server.batch_patients

    def folder_of(path: Path, server: ServerSource | None = None) -> FolderSource:
        workspace = Workspace(stack.enter_context(scratch(settings.folder.temporary)), options.workers)
        return FolderSource(path, site.mapper, site.needs, settings.folder, workspace, server)

    if options.from_folder:
        folder = folder_of(options.from_folder)
        return Opened(folder, servers.clock, at_once, folder=folder)
    assert servers.source is not None  # noqa: S101 - connect_all: a run reads a folder or a server
    online = open_server(servers.source, settings.server, site.mapper, site.needs, stack)
    if options.bulk_folder is None:
        return Opened(online, servers.clock, at_once, online)
    exporter = Exporter(settings.server, settings.bulk)
    if not options.backfill:
        changed = ChangedSource(online, exporter, options.bulk_folder, site.mapper, settings.folder.bad_lines_allowed)
        return Opened(changed, servers.clock, at_once, online)
    # An earlier call may have finished the export: its results are those of its own time, not of this run's start.
    export = exporter.once(options.bulk_folder, site.needs, site.mapper)
    as_of = parse_instant(export.transaction_time)
    if as_of > servers.clock + timedelta(minutes=settings.server.clock_tolerance_minutes):
        raise ServerError("The export says that it is from the future", "Ask the server's vendor; nothing was written")
    folder = folder_of(options.bulk_folder, online)
    return Opened(folder, as_of, at_once, online, folder)


def open_server(
    server: ServerFeatures,
    settings: ServerSettings,
    mapper: Mapper,
    needs: Mapping[str, Need],
    stack: ExitStack,
) -> ServerSource:
    """A server as source."""
    source = ServerSource(
        server.client,
        settings,
        mapper,
        needs,
        by_code=server.searches_by_code(),
        many=server.searches_many_patients(),
        not_offered=[kind for kind in needs if not server.offers(kind)],
    )
    stack.callback(source.close)
    return source


def open_destination(
    settings: Settings, options: Options, site: Site, servers: Servers, opened: Opened, stack: ExitStack
) -> FullDestination:
    """Where the assessments are found and written."""
    now, source_system = options.now or opened.as_of, site.writer.source_system
    canonical = Canonical(settings.output.canonical)
    if options.to_folder:
        return open_destination_folder(options.to_folder, canonical, now, settings.folder.temporary, stack)
    assert servers.destination is not None  # noqa: S101 - connect_all: a run writes to a folder or a server
    there = servers.destination.client
    online: ServerDestination
    if servers.apart:
        assert opened.server is not None  # noqa: S101 - connect_all: another destination needs a server as source
        online = OtherServerDestination(
            there,
            settings.destination,
            canonical,
            settings.output,
            source_system,
            opened.server.identifiers,
            beside_others=settings.beside_other_sources,
        )
    else:
        online = ServerDestination(there, settings.server, canonical, settings.output)
    stack.callback(online.close)
    return online


def open_destination_folder(
    folder: Path, canonical: Canonical, now: datetime, temporary: Path | None, stack: ExitStack
) -> FolderDestination:
    """A folder as destination. `temporary`: where temporary files go; None for the system's place."""
    return FolderDestination(folder, canonical, instant_text(now), stack.enter_context(scratch(temporary)))


def named_patients(options: Options, server: ServerFeatures | None, mapper: Mapper) -> NamedPatients:
    """The patients that the call names, one by one or by a list."""
    listed = options.patients_from
    if not listed:
        return NamedPatients(options.patients)
    if listed.startswith("Group/"):
        if server is None:
            raise ConfigurationError("A Group is read from a server", "Give a file of ids instead")
        return NamedPatients((*options.patients, *patients_of_group(server.client, listed, mapper)))
    if not options.identifier_system:
        return NamedPatients((*options.patients, *patients_of_file(Path(listed))))
    if server is None:
        raise ConfigurationError("Record numbers are looked up on a server", "Leave out --from, or list ids instead")
    numbers = patients_of_numbers(server.client, Path(listed), options.identifier_system, _NUMBERS_AT_ONCE)
    return NamedPatients((*options.patients, *numbers.patients), numbers.left_out)
