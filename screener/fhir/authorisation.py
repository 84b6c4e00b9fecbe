"""What requests to a FHIR server carry: a token, a user and password, or a token of SMART Backend Services.

SMART Backend Services (hl7.org/fhir/smart-app-launch/backend-services.html): the server's SMART configuration names its token
endpoint; we sign a JWT with our private key and get a token for some minutes. There are no refresh tokens: another is asked for
before one expires, and once where one is refused.
"""

import base64
import shlex
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import structlog

from screener.base.errors import AuthorisationError, ConfigurationError, ServerError
from screener.config.servers import ServerSettings
from screener.fhir import keys
from screener.fhir.reads import leniently

log = structlog.get_logger()

T = TypeVar("T")

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_SECONDS = 60  # SMART allows five minutes; Keycloak takes one (HeliosSoftware/hfs#1437)
_EARLY_SECONDS = 30  # a token is renewed so long before it expires, or after three quarters of a shorter life
_CLOCK_SECONDS = 5  # clocks that differ by less are in step
_COMMAND_SECONDS = 60
_TOKEN_SECONDS = 300  # where the server does not say how long a token lasts
_ALL = "system/*.cruds"  # of commands that load something, and name no scopes
_OK = 200


class Reply(NamedTuple):
    """An answer of the authorisation server; `date` from its header."""

    status: int
    body: bytes
    date: datetime | None


Send = Callable[[str, str, Mapping[str, str] | None], Reply]  # method, URL, form


class Authorisation(Protocol):
    """What requests carry. One for all connections to a server; for several threads."""

    def header(self, send: Send) -> str:
        """The value of Authorization, "" for none. `send` makes requests to the authorisation server."""

    def not_granted(self, scopes: Sequence[str]) -> list[str]:
        """Those scopes that the last token is known not to have."""

    def renew(self, refused: str) -> bool:
        """After a 401 to the header `refused`: whether `header` gives, or may give, another."""


class Token:
    """A token that somebody else renews: in the environment, a file, or printed by a command (drajer-health/eCRNow#235)."""

    def __init__(self, read: Callable[[], str]) -> None:
        """`read`: gives the token as it is now. Raises what it raises."""
        self._read = read
        self._token = read()
        self._lock = threading.Lock()

    def header(self, send: Send) -> str:  # noqa: ARG002
        """The bearer token, "" where there is none."""
        with self._lock:
            return f"Bearer {self._token}" if self._token else ""

    def not_granted(self, scopes: Sequence[str]) -> list[str]:  # noqa: ARG002
        """None is known."""
        return []

    def renew(self, refused: str) -> bool:
        """Read it again, once for all connections that were refused."""
        with self._lock:
            if refused == f"Bearer {self._token}":
                self._token = self._read()
            return bool(self._token) and f"Bearer {self._token}" != refused


class Basic:
    """User and password (RFC 7617)."""

    def __init__(self, user: str, password: str) -> None:
        self._header = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def header(self, send: Send) -> str:  # noqa: ARG002
        """The same each time."""
        return self._header

    def not_granted(self, scopes: Sequence[str]) -> list[str]:  # noqa: ARG002
        """None is known."""
        return []

    def renew(self, refused: str) -> bool:  # noqa: ARG002
        """There is no other."""
        return False


class _SmartConfiguration(msgspec.Struct):
    token_endpoint: str | None = None
    scopes_supported: list[str] | None = None


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: float | None = None
    scope: str | None = None


class _Refused(msgspec.Struct):
    error: str = ""


# RFC 6749, 5.2: a server's own words may hold what we sent, and stay where they are.
_ERRORS = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)


class Smart:
    """Tokens of SMART Backend Services."""

    def __init__(self, settings: ServerSettings) -> None:
        """ConfigurationError for keys that cannot be used."""
        self._settings = settings
        self._signing_key()
        self._token = ""
        self._scopes_granted: Sequence[str] = ()
        self._renew_at = 0.0  # monotonic
        self._ahead_seconds = 0.0  # their clock before ours
        self._endpoint = settings.token_url
        self._supported: Sequence[str] = ()
        self._lock = threading.Lock()

    def header(self, send: Send) -> str:
        """A token that has not expired. AuthorisationError where none is given."""
        with self._lock:
            if not self._token or time.monotonic() >= self._renew_at:
                self._take(self._granted(send))
            return f"Bearer {self._token}"

    def not_granted(self, scopes: Sequence[str]) -> list[str]:
        """Those that the answer which gave the token does not name; none where it names no scopes at all."""
        granted = self._scopes_granted
        return [scope for scope in scopes if granted and not _covers(granted, scope)]

    def renew(self, refused: str) -> bool:
        """Forget the token that was refused; the next request asks for another."""
        with self._lock:
            if refused == f"Bearer {self._token}":
                self._token = ""
        return True

    def _granted(self, send: Send) -> _Granted:
        if not self._endpoint:
            self._discover(send)
        if not self._settings.allows(self._endpoint):
            raise ServerError("The token endpoint is not reached by https", "Check server.token_url, or ask its vendor")
        reply = self._asked(send)
        if reply.status != _OK and reply.date and self._clocks_differ(reply.date):
            reply = self._asked(send)
        granted = _decoded(reply.body, _Granted) if reply.status == _OK else None
        if granted is None or not granted.access_token:
            refused = _decoded(reply.body, _Refused)
            code = f", {refused.error}" if refused and refused.error in _ERRORS else ""
            raise AuthorisationError(
                f"The authorisation server gave no token ({reply.status}{code})",
                "Check server.client_id, the scopes, and that the public keys are registered there (screener keys public)",
            )
        return granted

    def _take(self, granted: _Granted) -> None:
        self._scopes_granted = (granted.scope or "").split()
        self._token = granted.access_token
        lasts = _TOKEN_SECONDS if granted.expires_in is None else granted.expires_in
        self._renew_at = time.monotonic() + max(lasts - _EARLY_SECONDS, lasts * 0.75)
        log.info("token_granted", seconds=lasts)

    def _scopes(self) -> list[str]:
        return in_version((self._settings.scopes or _ALL).split(), self._supported)

    def _asked(self, send: Send) -> Reply:
        form = {
            "grant_type": "client_credentials",
            "scope": " ".join(self._scopes()),
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": self._assertion(),
        }
        return send("POST", self._endpoint, form)

    def _clocks_differ(self, theirs: datetime) -> bool:
        """Learn the clock of the authorisation server: by a wrong one an assertion has expired, or lasts too long."""
        before, self._ahead_seconds = self._ahead_seconds, theirs.timestamp() - time.time()
        return abs(self._ahead_seconds - before) > _CLOCK_SECONDS

    def _discover(self, send: Send) -> None:
        reply = send("GET", f"{self._settings.base_url}/.well-known/smart-configuration", None)
        found = _decoded(reply.body, _SmartConfiguration) if reply.status == _OK else None
        if found is None or not found.token_endpoint:
            raise ServerError(
                f"The server names no token endpoint at .well-known/smart-configuration ({reply.status})",
                "Set server.token_url",
            )
        self._endpoint, self._supported = found.token_endpoint, found.scopes_supported or ()

    def _signing_key(self) -> keys.Key:
        """Read each time: keys are rotated while `screener schedule` runs."""
        assert self._settings.private_keys is not None  # noqa: S101 - ServerSettings: client_id needs private_keys
        return keys.read(self._settings.private_keys)[0]

    def _assertion(self) -> str:
        client, now = self._settings.client_id, int(time.time() + self._ahead_seconds)
        claims = {
            "iss": client,
            "sub": client,
            "aud": self._endpoint,
            "jti": str(uuid.uuid4()),
            "iat": now,
            "exp": now + _ASSERTION_SECONDS,
        }
        return keys.signed(claims, self._signing_key())


def _decoded(body: bytes, kind: type[T]) -> T | None:
    try:
        return leniently(body, kind)  # some servers send expires_in as text
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def in_version(scopes: Sequence[str], supported: Sequence[str]) -> list[str]:
    """The scopes as the server has them: of SMART v2 (`.rs`), or of v1 (`.read`, `.write`) where it names these only."""
    named = [scope for scope in supported if scope.startswith("system/")]
    if not named or any(scope.rpartition(".")[2] not in ("read", "write", "*") for scope in named):
        return list(scopes)
    found = []
    for scope in scopes:
        resource, _, letters = scope.rpartition(".")
        found += [f"{resource}.read"] if set(letters) & set("rs") else []
        found += [f"{resource}.write"] if set(letters) & set("cud") else []
    return found


def _covers(granted: Sequence[str], asked: str) -> bool:
    """Whether the scopes that were granted allow together what a scope asks for."""
    resource, _, need = asked.rpartition(".")
    have: set[str] = set()
    for scope in granted:
        of, _, letters = scope.rpartition(".")
        if of in (resource, "system/*"):
            have.update(_LETTERS.get(letters, letters))
    return have.issuperset(_LETTERS.get(need, need))


_LETTERS = {"read": "rs", "write": "cud", "*": "cruds"}  # of SMART v1


def authorisation(settings: ServerSettings) -> Authorisation:
    """What the settings ask for: one for all connections. ConfigurationError for files and commands that cannot be used."""
    if settings.client_id:
        return Smart(settings)
    if settings.username:
        given = settings.password.get_secret_value() if settings.password else ""
        return Basic(settings.username, _secret(given, settings.password_file, settings.credential_command))
    given = settings.token.get_secret_value() if settings.token else ""
    return Token(lambda: _secret(given, settings.token_file, settings.credential_command))


def _secret(given: str, file: Path | None, command: str) -> str:
    if given or (file is None and not command):
        return given
    source, found = (file.name, keys.read_private(file)) if file else ("server.credential_command", _printed(command))
    try:
        secret = found.decode().strip()
    except UnicodeDecodeError:
        raise ConfigurationError(f"What {source} holds is not text in UTF-8", "It holds the secret alone") from None
    if not secret:
        raise ConfigurationError(f"{source} gave nothing", "It must give the secret alone")
    return secret


def _printed(command: str) -> bytes:
    try:
        words = shlex.split(command)
        return subprocess.run(words, capture_output=True, check=True, timeout=_COMMAND_SECONDS).stdout  # noqa: S603 - the site's own
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ConfigurationError(
            f"server.credential_command gave nothing ({type(error).__name__})",
            "Call it by hand as the user of this job: it must print the secret, and end with 0",
        ) from None
