"""An authorisation server, and a front of a FHIR server that takes its tokens only: SMART Backend Services as sites run them.

The authorisation server is Authlib's. A token may last for a second, may lack scopes, and may be revoked before any request.
"""

import json
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749.errors import InvalidClientError
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from flask import Flask, Response, request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from werkzeug.serving import make_server

Json = dict[str, Any]

CLIENT = "screener-at-a-site"
_METHOD = JWTBearerClientAssertion.CLIENT_AUTH_METHOD
_PASSED_ON = ("Prefer", "If-Match", "If-None-Exist", "Content-Type", "Accept")
_PASSED_BACK = ("Content-Type", "Location", "ETag", "Last-Modified", "Content-Location", "Retry-After", "X-Progress")
_OPEN_FILES = re.compile(rb'("requiresAccessToken": ?)false')  # of an export: behind this front they are not open
_LETTER = {"GET": "rs", "POST": "c", "PUT": "u", "DELETE": "d"}


@dataclass
class Issued:
    """A token that was given, until when (time.monotonic), and for what."""

    until: float
    scope: str


@dataclass
class Guarded:
    """The front, and what it does. `keys`: the client's JWK Set."""

    behind: str
    keys: Json = field(default_factory=dict)
    token_seconds: int = 300
    withheld: Sequence[str] = ()  # scopes that it does not grant
    scopes_supported: Sequence[str] = ("system/*.cruds",)
    revoke_before: int = -1  # the request before which all tokens are revoked, the first is 0
    base_url: str = ""
    issued: dict[str, Issued] = field(default_factory=dict)
    scopes_asked: list[str] = field(default_factory=list)
    trace: list[tuple[str, int]] = field(default_factory=list)  # "GET Patient" and the status

    def settings(self, keys: Path) -> dict[str, str]:
        """The environment of a job that is the client."""
        return {
            "SCREENER_SERVER_BASE_URL": self.base_url,
            "SCREENER_SERVER_CLIENT_ID": CLIENT,
            "SCREENER_SERVER_PRIVATE_KEYS": str(keys),
        }

    def forbidden(self, method: str, path: str, scopes: str) -> bool:
        """Whether a token of these scopes allows no such request."""
        kind, _, rest = path.partition("?")[0].strip("/").partition("/")
        if not kind[:1].isupper() or rest.startswith("$"):
            return False
        letters = "rs" if rest == "_search" else _LETTER[method]
        return not any(
            of in (f"system/{kind}", "system/*") and set(has) & set(letters)
            for of, _, has in (scope.rpartition(".") for scope in scopes.replace(".read", ".rs").split())
        )


class _Client:
    """The one client, as Authlib asks for it."""

    def __init__(self, front: Guarded) -> None:
        self._front = front

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == _METHOD

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"

    def get_allowed_scope(self, scope: str) -> str:
        self._front.scopes_asked.append(scope)
        return " ".join(one for one in scope.split() if one not in self._front.withheld)


@contextmanager
def guarded(behind: str, keys: Json) -> Iterator[Guarded]:
    """The front of the FHIR server `behind`, on a free loopback port."""
    front = Guarded(behind, keys)
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # http on loopback
    server = make_server("127.0.0.1", 0, _app(front), threaded=True)
    front.base_url = f"http://127.0.0.1:{server.server_port}/fhir"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        server.server_close()
        del os.environ["AUTHLIB_INSECURE_TRANSPORT"]


def _app(front: Guarded) -> Flask:
    app = Flask(__name__)
    client, used = _Client(front), set[str]()

    class Assertion(JWTBearerClientAssertion):
        def get_audiences(self) -> list[str]:
            return [front.base_url.replace("/fhir", "/auth/token")]

        def validate_jti(self, claims: Json, jti: str) -> bool:
            new = jti not in used
            used.add(jti)
            return new

        def resolve_client_public_key(self, client: _Client) -> KeySet:
            return KeySet.import_key_set(front.keys)  # type: ignore[arg-type]

        def process_assertion_claims(self, assertion: str, resolve_key: KeySet) -> Json:
            """As Authlib does it, with the algorithms that SMART asks for: Authlib takes RS256 and its like only."""
            try:
                token = jwt.decode(assertion, resolve_key, algorithms=["ES384", "RS384"])
            except (JoseError, ValueError) as error:
                raise InvalidClientError from error
            self.verify_claims(token.claims)
            return token.claims

    class Grant(ClientCredentialsGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = (_METHOD,)

    def save(token: Json, _: Any) -> None:
        front.issued[token["access_token"]] = Issued(time.monotonic() + token["expires_in"], token["scope"])

    authority = AuthorizationServer(app, query_client=lambda name: client if name == CLIENT else None, save_token=save)
    authority.register_grant(Grant)
    authority.register_client_auth_method(_METHOD, Assertion(leeway=10))

    @app.post("/auth/token")
    def token() -> Any:
        app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"client_credentials": front.token_seconds}
        authority.load_config(app.config)
        return authority.create_token_response()

    @app.get("/fhir/.well-known/smart-configuration")
    def configuration() -> Json:
        endpoint = front.base_url.replace("/fhir", "/auth/token")
        return {"token_endpoint": endpoint, "scopes_supported": list(front.scopes_supported)}

    @app.route("/fhir", methods=["POST"], defaults={"path": ""})
    @app.route("/fhir/<path:path>", methods=["GET", "POST", "PUT", "DELETE"])
    def fhir(path: str) -> Response:
        if len(front.trace) == front.revoke_before:
            front.revoke_before = -1
            front.issued.clear()
        answer = _answer(front, path)
        front.trace.append((f"{request.method} {path}".strip(), answer.status_code))
        return answer

    return app


def _answer(front: Guarded, path: str) -> Response:
    token = front.issued.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
    if token is None or token.until < time.monotonic():
        return Response(status=401)
    body = request.get_data()
    wanted = [(request.method, path)]
    if not path:
        entries = json.loads(body)["entry"]
        wanted = [(entry["request"]["method"], entry["request"]["url"]) for entry in entries]
    if any(front.forbidden(method, url, token.scope) for method, url in wanted):
        return Response(status=403)
    found = requests.request(
        request.method,
        f"{front.behind}/{path}".rstrip("/"),
        params=request.query_string.decode(),
        data=body.replace(front.base_url.encode(), front.behind.encode()),
        headers={name: request.headers[name] for name in _PASSED_ON if name in request.headers},
        timeout=60,
    )
    theirs, ours = front.behind, front.base_url
    headers = {name: found.headers[name].replace(theirs, ours) for name in _PASSED_BACK if name in found.headers}
    content = found.content.replace(theirs.encode(), ours.encode())
    return Response(_OPEN_FILES.sub(rb"\1true", content), found.status_code, headers)
