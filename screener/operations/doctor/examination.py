"""Everything, in the order in which an installation is put together."""

from collections.abc import Callable
from contextlib import ExitStack

from screener.base.errors import ExitCode, ScreenerError
from screener.config.loading import Found
from screener.config.scopes import READ, READ_AND_WRITE, with_scopes
from screener.config.servers import ServerSettings
from screener.config.settings import OptionalWrites, Settings
from screener.fhir import capability
from screener.operations.doctor import here, server, writing
from screener.operations.doctor.findings import Finding, Findings
from screener.run.servers import ServerFeatures
from screener.run.site import Site, open_site


def examine(found: Found, tell: Callable[[Finding], None], *, write: bool, folders_only: bool) -> Findings:
    """Look at this machine, then at each server; `write` proves write access, too. `tell` gets each finding as it comes."""
    findings = Findings(tell)
    if not here.look(found, findings, folders_only=folders_only) or folders_only:
        return findings
    settings = _impatient(found.settings)
    writes = write or settings.write == "on"
    settings = with_scopes(settings, assessments=READ_AND_WRITE if writes else READ)
    with ExitStack() as stack:
        site = open_site(settings, stack, state="none")  # the state was looked at above
        source = server.reach(settings.server, findings, stack, "server")
        if source is not None:
            server.look_at_grants(source, settings.server.scopes, settings.server, findings)
            server.look_at_source(source, settings.server, site, findings)
        there, at = source, settings.server
        if settings.destination.base_url:
            there, at = server.reach(settings.destination, findings, stack, "destination"), settings.destination
            if there is not None:
                server.look_at_grants(there, at.scopes, at, findings)
        if there is not None:
            besides, owner = settings.optional_writes, settings.tasks.owner
            _look_at_destination(there, besides, owner, site, findings, write=write, writes=writes)
    return findings


def _look_at_destination(
    there: ServerFeatures,
    besides: OptionalWrites,
    owner: str,
    site: Site,
    findings: Findings,
    *,
    write: bool,
    writes: bool,
) -> None:
    missing = capability.lacks(there.statement, {"RiskAssessment"}, writes=writes, besides=besides)
    if missing:
        remedy = "Enable it, write to another server ([destination]), or into a folder (--to DIR)"
        findings.red("assessments", f"not offered: {', '.join(missing)}", remedy, ExitCode.SERVER)
        return
    findings.green(
        "assessments", f"RiskAssessment can be searched{' and written' if writes else ''}, as the server says"
    )
    if write:
        try:
            writing.prove(there.client, site.writer.canonical, findings, owner)
        except ScreenerError as error:
            findings.error("write", error)
    elif writes:
        findings.green(
            "write", "not tried; `screener doctor --write` writes a test without a patient, and takes it back"
        )


def _impatient(settings: Settings) -> Settings:
    """The same with one attempt for each request: the user waits, and wants to see what fails."""

    def once(one: ServerSettings) -> ServerSettings:
        return one.model_copy(update={"attempts": 1})

    return settings.model_copy(update={"server": once(settings.server), "destination": once(settings.destination)})
