"""One FHIR server: whether it is reached, what it grants, what it offers, and whether the searches of a run work on it.

Nothing is written, and no patient's id is shown or kept.
"""

import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import islice
from urllib.parse import urlsplit

import msgspec
from requests.utils import get_environ_proxies

from screener.base.errors import ExitCode, ScreenerError, is_about_the_type
from screener.base.plural import counted
from screener.config.servers import ServerSettings
from screener.config.settings import Need
from screener.fhir import capability
from screener.fhir.answer import decode
from screener.fhir.client import Client
from screener.fhir.time import instant_text
from screener.operations.doctor.findings import Findings
from screener.run.opening import open_server
from screener.run.servers import ServerFeatures, needed_to_read
from screener.run.site import Site
from screener.stores.protocols import Mode, Scope, everyone
from screener.stores.reading import Ending
from screener.stores.server_source import ServerSource

_PATIENTS_READ = 3
_CERTIFICATE_DAYS = 30
_CLOCK_SECONDS = 60  # apart by more is worth a look, long before a run would stop
_MAGNESIUM = "http://loinc.org|2601-3,http://loinc.org|19123-9"


def reach(settings: ServerSettings, findings: Findings, stack: ExitStack, name: str) -> ServerFeatures | None:
    """Connect, and look at what comes before FHIR: network, TLS, clock. None where there is nothing to go on with."""
    began = time.monotonic()
    try:
        client = stack.enter_context(Client(settings))
        statement = capability.read(client)
    except ScreenerError as error:
        findings.error(name, error)
        return None
    took = time.monotonic() - began
    findings.green(name, f"{client.host} speaks FHIR {statement.fhirVersion[:5]}, and answered in {took:.1f} s")
    _tls(settings, findings)
    _clock(client, settings, findings)
    return ServerFeatures(client, client.server_time or datetime.now(UTC), statement)


def _tls(settings: ServerSettings, findings: Findings) -> None:
    parts = urlsplit(settings.base_url)
    if parts.scheme != "https":
        if settings.is_this_machine:
            findings.green("TLS", "none: the server is on this machine")
        else:
            findings.yellow("TLS", "none: patient data crosses the network in clear", "Use https (server.allow_http)")
        return
    if get_environ_proxies(settings.base_url):
        findings.green(
            "TLS", "the certificate is valid; a proxy stands before the server, so its end was not looked at"
        )
        return
    context = ssl.create_default_context(cafile=str(settings.ca_bundle) if settings.ca_bundle else None)
    if settings.client_certificate:
        context.load_cert_chain(settings.client_certificate, settings.client_key)
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as secured,
        ):
            ends, version = (secured.getpeercert() or {}).get("notAfter"), secured.version()
    except OSError as error:
        findings.yellow("TLS", f"the certificate could not be looked at: {type(error).__name__}", "Look at it by hand")
        return
    if not isinstance(ends, str):
        return
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)
    said = f"{version}, the certificate is valid until {until:%Y-%m-%d}"
    if until - datetime.now(UTC) < timedelta(days=_CERTIFICATE_DAYS):
        findings.yellow("TLS", said, "Have it renewed in time: no run works without it")
    else:
        findings.green("TLS", said)


def _clock(client: Client, settings: ServerSettings, findings: Findings) -> None:
    if client.server_time is None:
        findings.yellow(
            "clock", "the server sends no Date", "This machine's clock is used: keep it in step with the server's"
        )
        return
    apart = abs((client.server_time - datetime.now(UTC)).total_seconds())
    said = f"{apart:.0f} s" if apart < _CLOCK_SECONDS else f"{apart / 60:.0f} min"
    said = f"{said} apart from this machine's"
    if apart > 60 * settings.clock_tolerance_minutes:
        findings.red("clock", said, "Correct the wrong clock: no run begins like this", ExitCode.SERVER)
    elif apart > _CLOCK_SECONDS:
        findings.yellow("clock", said, "Keep both in step (NTP): results near midnight get the wrong day")
    else:
        findings.green("clock", said)


def look_at_source(server: ServerFeatures, settings: ServerSettings, site: Site, findings: Findings) -> None:
    """Whether a run can read what it needs."""
    needs = site.needs
    required = needed_to_read(needs, server)
    missing = capability.lacks(server.statement, required, writes=False)
    if missing:
        remedy = "Enable it, set the exclusions concerned to optional, or work on a bulk export (--from DIR)"
        findings.red("offers", f"not offered: {', '.join(missing)}", remedy, ExitCode.SERVER)
        return
    lacking = [kind for kind, need in needs.items() if need not in ("off", "if_offered") and not server.offers(kind)]
    if lacking:
        said = f"not offered, and not asked for: {', '.join(lacking)}"
        remedy = (
            "Assessments say that it was not checked, save for medicines where another type of theirs is read whole"
        )
        findings.yellow("offers", said, remedy)
    else:
        findings.green("offers", "every resource type that a run reads")
    with ExitStack() as stack:
        source = open_server(server, settings, site.mapper, needs, stack)
        if not server.searches_many_patients():
            findings.yellow(
                "searches", "one patient at a time", "A backfill takes long: raise server.connections, or use --bulk"
            )
        try:
            patients = _patients(source, server, site.policy.lookback_days)
        except ScreenerError as error:
            findings.error("searches", error)
            return
        if not patients:
            findings.yellow(
                "results",
                "no patient with a magnesium result in the lookback is found",
                "Look at `screener coverage`: the laboratory may use codes of its own, or the token may not see them",
            )
            return
        findings.green("results", "patients with a magnesium result are found")
        _records(source, patients, needs, findings)
        _nightly(source, server, settings.overlap_minutes, findings)
    _page_size(server.client, settings, findings)


def _patients(source: ServerSource, server: ServerFeatures, lookback_days: int) -> list[str]:
    scope = everyone(server.clock.date(), lookback_days)
    return list(islice(source.population(scope), _PATIENTS_READ))


def _records(source: ServerSource, patients: list[str], needs: Mapping[str, Need], findings: Findings) -> None:
    try:
        source.records(patients, ())
    except ScreenerError as error:
        findings.error("records", error)
        return
    reading = source.reading
    required = reading.required(needs)
    if required:
        remedy = source.lacks(required).remedy
        findings.red("records", f"cannot be read whole: {_said(required)}", remedy, ExitCode.SERVER)
    optional = {k: why for k, why in reading.not_whole.items() if k not in required and needs.get(k) != "off"}
    if optional:
        findings.yellow("records", f"cannot be read whole: {_said(optional)}", "Every assessment says it")
    for kind, one in reading.types.items():
        if one.ending is Ending.WHOLE and one.categories:
            remedy = "Every assessment says it; ask the vendor now and then whether there are others"
            findings.yellow("records", f"{kind} is read by the categories {one.categories}", remedy)
    read = [kind for kind, one in reading.types.items() if one.ending is Ending.WHOLE]
    findings.green(
        "records", f"read of {counted(len(patients), 'patient')}: {', '.join(['Patient', 'Observation', *read])}"
    )


def _said(types: Mapping[str, str]) -> str:
    return "; ".join(f"{kind} ({why})" for kind, why in types.items())


def _nightly(source: ServerSource, server: ServerFeatures, overlap_minutes: int, findings: Findings) -> None:
    since = instant_text(server.clock - timedelta(minutes=overlap_minutes))
    try:
        next(iter(source.population(Scope(Mode.NIGHTLY, since=since))), None)
    except ScreenerError as error:
        remedy = "Run over lists of patients, or by --bulk (docs/servers.md)"
        findings.red("nights", error.what, error.remedy or remedy, ExitCode.SERVER)
        return
    if source.reading.by_result_date:
        findings.yellow(
            "nights",
            "results are found by their own date, not by when they changed",
            "A correction of an older result is found by the next backfill: run one every week",
        )
    else:
        findings.green("nights", "results are found by when they changed")


class _Page(msgspec.Struct):
    entry: list[msgspec.Raw] | None = None
    link: list[dict[str, str]] | None = None


def _page_size(client: Client, settings: ServerSettings, findings: Findings) -> None:
    asked = [("code", _MAGNESIUM), ("_elements", "id"), ("_count", str(settings.page_size))]
    try:
        page: _Page = decode(client.get("Observation", asked, what="a page of results"), _Page, "a page", client.host)
    except ScreenerError as error:
        if is_about_the_type(error):  # its codes alone are refused: what a run asks was looked at above
            return
        findings.error("page size", error)
        return
    given = len(page.entry or ())
    more = any(link.get("relation") == "next" for link in page.link or ())
    if more and given < settings.page_size:
        findings.yellow(
            "page size", f"{given} of the {settings.page_size} that were asked for", f"Set server.page_size = {given}"
        )
    else:
        findings.green("page size", f"up to {settings.page_size} resources a page")


def look_at_grants(server: ServerFeatures, scopes: str, settings: ServerSettings, findings: Findings) -> None:
    """How the server knows us, and which scopes it did not grant."""
    if not (
        settings.client_id or settings.username or settings.token or settings.token_file or settings.credential_command
    ):
        if not settings.is_this_machine:
            findings.yellow("credentials", "none are configured", "docs/servers.md has the ways to name them")
        return
    kind = (
        "SMART Backend Services" if settings.client_id else "user and password" if settings.username else "bearer token"
    )
    lacking = server.client.not_granted(scopes.split())
    if lacking:
        findings.red("credentials", f"{kind}: not granted: {', '.join(lacking)}", "Have it granted", ExitCode.SERVER)
    elif settings.client_id:
        findings.green("credentials", f"{kind}: every scope that a run needs is granted")
    else:
        findings.green("credentials", f"{kind}; what it may do is seen below")
