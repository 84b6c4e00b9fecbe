"""The servers of a run: connected, their clocks compared, and asked whether they offer what the run needs of them."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

import structlog

from screener.base.errors import AuthorisationError, ConfigurationError, ServerError
from screener.base.plural import counted
from screener.config.scopes import READ, READ_AND_WRITE, scopes_besides, with_scopes
from screener.config.servers import ServerSettings
from screener.config.settings import OptionalWrites, Settings
from screener.fhir import capability
from screener.fhir.capability import SANDBOX_NAME, Capability
from screener.fhir.client import Client
from screener.run.options import Options
from screener.stores.reading import required_of

log = structlog.get_logger()


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
    """The servers of a run: the one that is read, and the one that takes assessments. None where a folder takes its place.

    Both are the same where the assessments go back to where the results are.
    """

    source: ServerFeatures | None = None
    destination: ServerFeatures | None = None

    @property
    def apart(self) -> bool:
        """Whether assessments go to another server than the one that is read."""
        return self.source is not None and self.destination is not None and self.source is not self.destination

    @property
    def clients(self) -> list[Client]:
        """Of each server, once."""
        found = [server.client for server in (self.source, self.destination) if server is not None]
        return found if self.apart else found[:1]

    @property
    def clock(self) -> datetime:
        """The clock that the run goes by: a server's, before the first query; from folder to folder this machine's."""
        server = self.source or self.destination
        return server.clock if server else datetime.now(UTC)


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
            "Correct the wrong clock, or raise server.clock_tolerance_minutes; nothing was read",
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
    written = Written.of(settings) if writes else None
    needed = set() if options.from_folder else needed_to_read(settings.exclusions.needs(), here)
    if not options.to_folder and not apart:
        needed.add("RiskAssessment")
    _check_offers(here, needed, None if apart else written)
    source = None if options.from_folder else here
    if not apart:
        return Servers(source, None if options.to_folder else here)
    there = connect(settings.destination, stack)
    _check_offers(there, {"RiskAssessment", "Patient"}, written)
    return Servers(source, there)


def needed_to_read(needs: Mapping[str, str], server: ServerFeatures) -> set[str]:
    """The resource types that a server must let us search."""
    return {"Patient", "Observation"} | required_of(needs, {kind for kind in needs if server.offers(kind)})


def connect_to_read(settings: ServerSettings, needs: Mapping[str, str], stack: ExitStack) -> ServerFeatures:
    """The server as a source only. `needs`: of the excluding types, {} where none has to be there."""
    server = connect(settings, stack)
    _check_offers(server, needed_to_read(needs, server), None)
    return server


class Written(NamedTuple):
    """What a run writes beside assessments and the Device: as interactions, and as SMART scopes."""

    besides: OptionalWrites
    scopes: Sequence[str]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """By the settings."""
        return cls(settings.optional_writes, scopes_besides(settings))


def _check_offers(server: ServerFeatures, needed: Collection[str], writes: Written | None) -> None:
    """AuthorisationError for what is not granted, ServerError for what is not offered. `writes`: None where nothing is written."""
    written = {"Device", "RiskAssessment"} if writes else set()
    scopes = [f"system/{kind}.{READ_AND_WRITE if kind in written else READ}" for kind in sorted({*needed, *written})]
    not_granted = server.client.not_granted([*scopes, *(writes.scopes if writes else ())])
    if not_granted:
        raise AuthorisationError(
            f"{server.client.host} did not grant {', '.join(not_granted)}",
            "Have it granted, set the exclusions concerned to optional, or write to another server ([destination])",
        )
    missing = capability.lacks(server.statement, needed, writes=bool(writes), besides=writes.besides if writes else ())
    if missing:
        raise ServerError(
            f"{server.client.host} does not offer: {', '.join(missing)}",
            "Grant or enable it, set the exclusions concerned to optional, write to another server ([destination]), or work on a "
            "bulk export (--from DIR --to DIR)",
        )
