"""Opens what a run reads from and writes to. What must be closed is put on the exit stack."""

from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from screener.assessment.identity import Canonical
from screener.bulk.export import export_once
from screener.clinical.mapping import Mapper
from screener.config.scopes import with_scopes
from screener.config.settings import Settings
from screener.errors import ConfigurationError, ServerError
from screener.fhir.time import instant_text, parse_instant
from screener.ndjson.changed_source import ChangedSource
from screener.ndjson.destination import FolderDestination
from screener.ndjson.scratch import scratch
from screener.ndjson.source import FolderSource
from screener.run.options import Options
from screener.run.servers import ServerFeatures, Servers, connect_to_read
from screener.stores.other_server import OtherServerDestination
from screener.stores.patient_lists import Listed, patients_of_file, patients_of_group, patients_of_numbers
from screener.stores.protocols import FullDestination, FullSource
from screener.stores.server_destination import ServerDestination
from screener.stores.server_source import ServerSource, with_magnesium

_NUMBERS_AT_ONCE = 100  # record numbers in one search


class Opened(NamedTuple):
    """A source, and the instant that its contents stand for: the server's clock, or that of the export."""

    source: FullSource
    as_of: datetime
    server: ServerSource | None = None  # that is the source, or that the export is from
    folder: FolderSource | None = None  # the source, where it is a folder


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
