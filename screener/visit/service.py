"""Answers one call: read her records with what the call brings, judge by the job's rules, make the card."""

from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime

import structlog
from pydantic import SecretStr

from screener.assessment.reconcile import ACTIVE
from screener.assessment.resource import Json
from screener.base.addresses import same_address
from screener.base.errors import AuthorisationError, ScreenerError, ServerError
from screener.clinical.judge import Verdict
from screener.clinical.records import PatientRecord
from screener.config.servers import ServerSettings
from screener.config.settings import OutputSettings, VisitSettings
from screener.fhir import capability
from screener.fhir.client import Client
from screener.run.deciding import cannot_judge, judge, read
from screener.run.opening import open_server
from screener.run.servers import ServerFeatures
from screener.run.site import Site
from screener.stores.server_destination import ServerDestination
from screener.visit import prefetch
from screener.visit.cards import card
from screener.visit.hooks import HOOK, SERVICE_ID, Call, Card, Link, Refused

log = structlog.get_logger()


class Service:
    """The service of a site. Calls may come from several threads."""

    def __init__(self, site: Site, visit: VisitSettings, server: ServerSettings, output: OutputSettings) -> None:
        """`server`: the one that calls may name where `visit` names none. InputError for a list of objections that cannot be read."""
        self._site, self._visit, self._server, self._output = site, visit, server, output
        self._statements: dict[str, capability.Capability] = {}
        site.rules(datetime.now(UTC))  # what cannot be read is said now

    def discovery(self) -> Json:
        """The answer of /cds-services."""
        service = {
            "hook": HOOK,
            "id": SERVICE_ID,
            "title": self._site.writer.texts("assessment"),
            "description": "Says what is known of the risk of osteoporosis from results on record. It writes nothing.",
            "prefetch": prefetch.templates(self._site.mapper, self._site.needs),
            "usageRequirements": "A FHIR access token that may read what the prefetch names, or the prefetch itself.",
        }
        return {"services": [service]}

    def cards(self, call: Call) -> list[Card]:
        """The card of the call's patient, or none. Refused where the call does not let her be read."""
        site = self._site
        links: Sequence[Link] = ()
        if lacking := prefetch.missing(call.prefetch, site.needs):
            record, links = self._read(call, lacking)
        else:
            bases = [base for base in (call.fhir_server, self._expected) if base]
            record = prefetch.record(call.patient, call.prefetch, site.mapper, site.needs, bases)
        found = card(self._judged(record), site.writer, self._visit.risk_percent, links)
        return [found] if found else []

    def _judged(self, record: PatientRecord) -> Verdict:
        """By the rules of this moment: whoever objected a minute ago is left out."""
        with self._site.with_state_of_now() as site:
            rules = site.rules(datetime.now(UTC))
        (verdict,) = judge([record], rules, cannot_judge)
        if verdict.reason == "patient_missing":
            raise Refused(404, "There is no such patient, or the call's token does not show her")
        return verdict

    def _read(self, call: Call, lacking: Sequence[str]) -> tuple[PatientRecord, Sequence[Link]]:
        """Her record from the call's FHIR server by the call's token, and links to the assessments that stand."""
        if not call.token or not call.fhir_server:
            raise Refused(
                412,
                f"The prefetch lacks {', '.join(lacking)}, and the call brings no fhirServer with fhirAuthorization",
            )
        if not same_address(call.fhir_server, self._expected):
            raise Refused(403, "The call names another FHIR server than this service is for (visit.fhir_server)")
        with ExitStack() as stack:
            server = self._connected(call, stack)
            source = open_server(server, self._server, self._site.mapper, self._site.needs, stack)
            try:
                (record,) = read(source, [call.patient], {call.patient})
            except AuthorisationError as error:
                raise Refused(403, f"The call's token does not allow what is needed: {error.what}") from error
            except ScreenerError as error:
                refused = source.reading.required(
                    self._site.needs
                )  # the token does not show a type that a verdict needs
                raise Refused(403 if refused else 502, error.what) from error
            return record, self._links(server.client, call.patient)

    @property
    def _expected(self) -> str:
        """The FHIR base that calls may name."""
        return self._visit.fhir_server or self._server.base_url

    def _connected(self, call: Call, stack: ExitStack) -> ServerFeatures:
        settings = self._with_token(call)
        try:
            client = stack.enter_context(Client(settings))
            statement = self._statements.get(call.fhir_server)
            if statement is None:
                statement = self._statements[call.fhir_server] = capability.read(client)
        except ServerError as error:
            raise Refused(502, error.what) from error
        return ServerFeatures(client, datetime.now(UTC), statement)

    def _with_token(self, call: Call) -> ServerSettings:
        """The site's settings of the server, with the call's token in place of the job's own credentials."""
        none = {"token_file": None, "username": "", "password": None, "password_file": None, "credential_command": ""}
        own = {"base_url": call.fhir_server, "token": SecretStr(call.token), "client_id": "", "private_keys": None}
        limits = {"attempts": 1, "timeout_seconds": self._visit.seconds}
        return self._server.model_copy(update={**none, **own, **limits})

    def _links(self, client: Client, patient: str) -> Sequence[Link]:
        """To the assessments that stand, where the token may see them."""
        canonical = self._site.writer.canonical
        with (
            suppress(ScreenerError),
            closing(ServerDestination(client, self._server, canonical, self._output)) as destination,
        ):
            standing = destination.standing([patient]).get(patient, ())
            found = [resource for resource in standing if resource.get("status") in ACTIVE]
            return [Link(_label(resource), f"{client.base_url}/RiskAssessment/{resource['id']}") for resource in found]
        return ()


def _label(assessment: Json) -> str:
    """Which of the two assessments it is, in the words that the job wrote."""
    codings = assessment.get("method", {}).get("coding", ())
    return next((str(one["display"]) for one in codings if one.get("display")), "RiskAssessment")
