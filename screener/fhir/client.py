"""One pooled HTTP session to one FHIR server.

Every failure becomes one clear error without URL, body or patient data in it. The token goes to the origin of the FHIR base
only; redirects are not followed. Requests that may be repeated are repeated, with the server's own Retry-After honoured up to a cap.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, BinaryIO, Self, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import stamina
import structlog
import urllib3
from requests.utils import get_environ_proxies
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from screener.base.errors import (
    AuthorisationError,
    NotAuthenticated,
    PageExpired,
    RequestRefused,
    ServerError,
)
from screener.config.servers import ServerSettings
from screener.fhir.answer import Answer, http_date, retry_after
from screener.fhir.authorisation import Authorisation, Reply, authorisation
from screener.fhir.certificates import check_certificates, client_certificate
from screener.fhir.origin import Origin, checked_origin, origin_of
from screener.fhir.outcomes import outcome_codes
from screener.fhir.traffic import Retries, Traffic

log = structlog.get_logger()

T = TypeVar("T")

FHIR_JSON = "application/fhir+json"
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_MOST_REDIRECTS = 3  # of a download
_MOST_WAITS = 20  # that a server may ask for before one request
_CHUNK_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16  # compressed: no piece becomes large before its size is looked at


class _Transient(Exception):
    """A failure worth another try; `wait` is what the server asked for, in seconds."""

    def __init__(self, cause: ServerError, wait: float | None = None, why: str = "", *, is_pace: bool = False) -> None:
        """`cause` is raised when all attempts have failed; `why` is said before each new one. `is_pace`: the server only asks to wait
        (Retry-After)."""
        super().__init__(str(cause))
        self.cause = cause
        self.wait = wait
        self.is_pace = is_pace
        self.why = why or cause.what
        self.attempts = 0  # how often the request is sent at most


class Client:
    """Requests to one FHIR server. Not for several threads at once."""

    def __init__(
        self, settings: ServerSettings, authorised_by: Authorisation | None = None, retries: Retries | None = None
    ) -> None:
        """ConfigurationError for what cannot be used. `authorised_by`, `retries`: those of another client of the server."""
        self._settings = settings
        self.base_url = settings.base_url
        self.traffic = Traffic()
        self._origin: Origin = checked_origin(settings)
        check_certificates(settings)
        self._session = requests.Session()
        self._session.headers.update(
            {"Accept": FHIR_JSON, "Cache-Control": "no-cache", "User-Agent": "osteoporosis-screener"}
        )
        # The environment gives proxies and nothing else: no credentials of ~/.netrc, no REQUESTS_CA_BUNDLE (psf/requests#3929, #4726).
        self._session.trust_env = False
        self._session.verify = str(settings.ca_bundle) if settings.ca_bundle else True
        self._session.cert = client_certificate(settings)
        self._authorisation = authorised_by or authorisation(settings)
        self._retries = retries or Retries(settings.retries_per_run, 60 * settings.wait_minutes_per_run)
        self._base_answered = False  # a request below the base URL has succeeded
        self._next_at = 0.0  # monotonic: before that no request is sent
        self.search_by_post = True  # until the server refuses it
        self.counts_too_high: Counter[str] = Counter()  # searches by resource type: see screener.fhir.search
        self.server_time: datetime | None = None  # from the Date header of the first answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def another(self) -> "Client":
        """One more client of the same server, for another thread: with a session and counts of its own. Token and retries are shared."""
        return Client(self._settings, self._authorisation, self._retries)

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    @property
    def host(self) -> str:
        """Where the server is, for messages: host and port without path or user."""
        return urlsplit(self.base_url).netloc

    def get(
        self,
        url: str,
        params: Sequence[tuple[str, str]] = (),
        *,
        what: str,
        allow: Sequence[int] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """GET a path below the base or a link of the same origin. `what` names it in errors; `allow` lists
        statuses of 400 and above that the caller wants to see."""
        return self._send("GET", url, what=what, allow=allow, params=params, headers=headers or {})

    def download(self, url: str, sink: BinaryIO, *, what: str, with_token: bool) -> None:
        """GET a file of a bulk export into `sink`, which is emptied before each try. It may lie elsewhere: the token goes only to our
        own origin, and only `with_token` (the manifest's requiresAccessToken)."""

        def once() -> None:
            sink.seek(0)
            sink.truncate()
            self._download_once(url, sink, what, with_token=with_token)

        self._repeated(once)

    def check_download(self, url: str) -> None:
        """ServerError for an address that no file is fetched from: another origin, without https."""
        if urlsplit(url).scheme != "https" and origin_of(url) != self._origin:
            raise ServerError(f"{self.host} names a file of the export elsewhere and not by https", "Ask its vendor")

    def _download_once(
        self, url: str, sink: BinaryIO, what: str, *, with_token: bool, hops: int = 0, renewed: bool = False
    ) -> None:
        ours = origin_of(url) == self._origin
        self.check_download(url)
        headers = {"Accept": "application/fhir+ndjson"}
        if with_token and ours:
            headers.update(self._credentials())
        self._keep_pace()
        try:
            with self._session.get(
                url,
                headers=headers,
                stream=True,
                timeout=self._settings.timeout_seconds,
                allow_redirects=False,
                proxies=_proxies(url),
            ) as response:
                self.traffic.requests += 1
                elsewhere = urljoin(url, response.headers.get("Location", "")) if response.is_redirect else ""
                used = headers.get("Authorization", "") if response.status_code == HTTPStatus.UNAUTHORIZED else ""
                if not elsewhere and not (used and not renewed and self._authorisation.renew(used)):
                    self._take_body(response, sink, what)
                    return
        except requests.exceptions.RequestException as error:
            raise _Transient(self._unreachable(error, what)) from error
        if elsewhere and hops >= _MOST_REDIRECTS:
            raise ServerError(f"{self.host} redirects {what} again and again", "Ask its vendor")
        # Signed storage (cerner/fhir.cerner.com#899): the token goes only to our own origin.
        self._download_once(
            elsewhere or url,
            sink,
            what,
            with_token=with_token,
            hops=hops + bool(elsewhere),
            renewed=renewed or not elsewhere,
        )

    def _take_body(self, response: requests.Response, sink: BinaryIO, what: str) -> None:
        if response.status_code != HTTPStatus.OK:
            self._raise_for(Answer(response.status_code, response.headers, response.content), what, ())
            raise ServerError(f"{self.host} answered {response.status_code} to {what}", "Ask its vendor")
        for chunk in response.iter_content(_CHUNK_BYTES):
            self.traffic.bytes_read += len(chunk)
            sink.write(chunk)

    def post_search(self, resource_type: str, params: Sequence[tuple[str, str]]) -> Answer:
        """POST [type]/_search: parameters in the body, so that they are in no access log and have no length limit."""
        return self._send("POST", f"{resource_type}/_search", what=f"the search for {resource_type}", data=params)

    def write(
        self, method: str, path: str, body: bytes, *, what: str, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """POST or PUT a resource or a Bundle that may be sent twice: conditional creates and If-Match make it safe."""
        sent = {"Content-Type": FHIR_JSON, **(headers or {})}
        return self._send(method, path, what=what, allow=(409, 412), data=body, headers=sent)

    def delete(self, path: str, *, what: str) -> Answer:
        """DELETE a resource; one that is gone already is fine."""
        return self._send("DELETE", path, what=what, allow=(404, 410))

    def _send(self, method: str, url: str, *, what: str, allow: Sequence[int] = (), **arguments: Any) -> Answer:
        target = self._absolute(url)
        return self._repeated(lambda: self._once(method, target, what, allow, arguments))

    def _repeated(self, once: Callable[[], T]) -> T:
        """Call `once` until it succeeds; failures that may pass are tried again."""
        attempts = stamina.retry_context(
            on=self._again, attempts=self._settings.attempts, timeout=None, wait_max=self._settings.longest_wait_seconds
        )
        waits = iter(range(_MOST_WAITS))
        try:
            for attempt in attempts:
                with attempt:
                    self.traffic.retries += attempt.num > 1
                    return self._waited_for(once, waits)
        except _Transient as error:
            raise error.cause from None
        raise AssertionError("a retry loop ends by an answer or an error")

    def _waited_for(self, once: Callable[[], T], waits: Iterator[int]) -> T:
        """Call `once`, and again after each wait that the server asked for (Retry-After): that is its pace and no failure, as long as the
        limits of a request (`waits`) and of the run are kept."""
        for _ in waits:
            try:
                return once()
            except _Transient as error:
                if not error.is_pace or error.wait is None or not self._retries.may_wait(error.wait):
                    raise
                log.info("waiting_as_the_server_asks", why=error.why, seconds=round(error.wait, 1))
                self.traffic.retries += 1
                time.sleep(error.wait)
        return once()

    def _again(self, error: Exception) -> bool | float:
        """For stamina: whether to try again, and how long to wait where the server said so."""
        if not isinstance(error, _Transient):
            return False
        if not self._retries.take():
            error.cause = ServerError(
                f"{error.cause.what}; the run has used up its {self._settings.retries_per_run} retries",
                "Look at the server and the network; server.retries_per_run is the limit",
            )
            return False
        error.attempts = self._settings.attempts
        return True if error.wait is None else error.wait

    def _once(self, method: str, url: str, what: str, allow: Sequence[int], arguments: Mapping[str, Any]) -> Answer:
        credentials = self._credentials()
        answer = self._sent(method, url, what, arguments, credentials)
        if answer.status == HTTPStatus.UNAUTHORIZED and self._authorisation.renew(credentials.get("Authorization", "")):
            answer = self._sent(method, url, what, arguments, self._credentials())
        if origin_of(url) == self._origin:
            self.server_time = self.server_time or http_date(answer.headers.get("Date", ""))
        self._raise_for(answer, what, allow)
        return answer

    def not_granted(self, scopes: Sequence[str]) -> list[str]:
        """Those SMART scopes that our token is known not to have. Empty before the first request, and for other credentials."""
        return self._authorisation.not_granted(scopes)

    def _credentials(self) -> dict[str, str]:
        value = self._authorisation.header(self._ask_for_token)
        return {"Authorization": value} if value else {}

    def _ask_for_token(self, method: str, url: str, form: Mapping[str, str] | None) -> Reply:
        """A request to the authorisation server, which carries no credentials but those in the form."""
        what = "the request for a token" if method == "POST" else "its SMART configuration"
        answer = self._sent(method, url, what, {"data": form, "headers": {"Accept": "application/json"}}, {})
        if answer.status in _TRANSIENT:
            self._raise_for(answer, what, ())
        return Reply(answer.status, answer.body, http_date(answer.headers.get("Date", "")))

    def _sent(
        self, method: str, url: str, what: str, arguments: Mapping[str, Any], credentials: Mapping[str, str]
    ) -> Answer:
        self._keep_pace()
        try:
            response = self._session.request(
                method,
                url,
                timeout=self._settings.timeout_seconds,
                allow_redirects=False,
                stream=True,
                proxies=_proxies(url),
                **{**arguments, "headers": {**arguments.get("headers", {}), **credentials}},
            )
            with response:
                body = self._body(response, what)
        except requests.exceptions.SSLError as error:
            raise ServerError(
                f"{self.host} has a certificate that is not trusted ({what})", "Name its issuer in server.ca_bundle"
            ) from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _Transient(self._unreachable(error, what)) from error
        finally:
            self.traffic.requests += 1
        self.traffic.bytes_read += len(body)
        return Answer(response.status_code, response.headers, body)

    def _body(self, response: requests.Response, what: str) -> bytes:
        """The whole body, decompressed. ServerError where it is larger than any answer should be, or comes in too slowly."""
        most, until = self._settings.answer_megabytes << 20, time.monotonic() + self._settings.answer_seconds
        chunks: list[bytes] = []
        size = 0
        while chunk := response.raw.read1(_PIECE_BYTES, decode_content=True):
            chunks.append(chunk)
            size += len(chunk)
            if size > most:
                raise ServerError(
                    f"{self.host} answered more than {self._settings.answer_megabytes} MB to {what}",
                    "Lower server.page_size, or raise server.answer_megabytes",
                )
            if time.monotonic() > until:
                late = ServerError(
                    f"{self.host} had not answered {what} to the end after {self._settings.answer_seconds:g} s",
                    "Look at the server and the network; server.answer_seconds is the limit",
                )
                raise _Transient(late)
        return b"".join(chunks)

    def _keep_pace(self) -> None:
        """Wait until the configured rate allows the next request. Unused time is not saved for later."""
        if self._settings.requests_per_second:
            now = time.monotonic()
            time.sleep(max(self._next_at - now, 0.0))
            self._next_at = max(self._next_at, now) + 1 / self._settings.requests_per_second

    def _unreachable(self, error: Exception, what: str) -> ServerError:
        if isinstance(error, requests.exceptions.Timeout):
            seconds = self._settings.timeout_seconds
            return ServerError(
                f"{self.host} did not answer {what} within {seconds:g} s",
                "Raise server.timeout_seconds or look at the server",
            )
        return ServerError(
            f"Cannot reach {self.host} for {what} ({type(error).__name__})",
            "Check server.base_url, that the server is up, and the network between",
        )

    def _raise_for(self, answer: Answer, what: str, allow: Sequence[int]) -> None:
        status = answer.status
        self._base_answered |= status < 300
        if status < 300 or status in allow:
            return
        if status in _TRANSIENT:
            cause = ServerError(f"{self.host} kept answering {status} to {what}", "Try again when the server is well")
            wait = retry_after(answer, self._settings.longest_wait_seconds)
            pace = bool(wait) or (status == HTTPStatus.TOO_MANY_REQUESTS and wait is not None)
            raise _Transient(cause, wait, f"{self.host} answered {status} to {what}", is_pace=pace)
        if status < 400:
            raise ServerError(
                f"{self.host} redirects {what} ({status})",
                "Set server.base_url to where it leads: redirects are not followed",
            )
        if status in (401, 403):
            said = "does not know us (401)" if status == 401 else "does not allow this (403)"
            refused = NotAuthenticated if status == 401 else AuthorisationError
            raise refused(
                f"{self.host} {said}: {what}",
                "Check the credentials (docs: Servers) and the scopes that they were given",
            )
        if status == 410:
            raise PageExpired(f"{self.host} answered that {what} has expired (410)", "Ask again")
        raise RequestRefused(
            f"{self.host} answered {status} to {what}{outcome_codes(answer.body)}",
            "" if status == 404 and self._base_answered else _REMEDY.get(status, ""),
            status=status,
        )

    def is_ours(self, url: str) -> bool:
        """Whether an address, or a path below the base, is of the server's origin."""
        return origin_of(urljoin(f"{self.base_url}/", url)) == self._origin

    def _absolute(self, url: str) -> str:
        absolute = urljoin(f"{self.base_url}/", url)
        if not self.is_ours(absolute):
            raise ServerError(
                f"{self.host} gave a link to another origin",
                "The token is sent nowhere else; have the server's base URL mended",
            )
        return absolute


_REMEDY = {
    404: "Check that server.base_url is the FHIR base, which has /metadata below it",
    400: "The server does not understand this request; docs/servers.md names the search parameters that are needed",
}


def _say_again(details: RetryDetails) -> None:
    """What failed, and when it is tried again. stamina's own line would show addresses and bodies."""
    failed = details.caused_by
    if isinstance(failed, _Transient):
        log.warning(
            "request_failed_trying_again",
            why=failed.why,
            attempt=f"{details.retry_num + 1} of {failed.attempts}",
            next_in_seconds=round(details.wait_for, 1),
        )


set_on_retry_hooks([_say_again])


def _proxies(url: str) -> dict[str, str]:
    """The proxies that the environment names for an address."""
    return dict(get_environ_proxies(url))
