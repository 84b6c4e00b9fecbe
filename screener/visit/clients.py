"""Who may call: a CDS client signs a JWT for each call (cds-hooks.hl7.org/2.0/#trusting-cds-clients)."""

import time
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from screener.base.errors import ConfigurationError
from screener.visit.hooks import Refused

_ALGORITHMS = ["ES384", "RS384"]
_LEEWAY_SECONDS = 30
_AHEAD_SECONDS = 300  # clocks of record systems are minutes off; a JWT of the future can still be used only once
_LONGEST_SECONDS = 600  # a JWT that is valid for longer is refused: it could be used again for as long
_REMEDY = 'It is JSON: {"https://ehr.hospital.example": {"keys": [...]}}, the public keys of each client by its `iss`'


class Clients:
    """The clients that are trusted, by issuer, and the calls that were made: no JWT is taken twice."""

    def __init__(self, keys: Mapping[str, KeySet], audiences: frozenset[str]) -> None:
        self._keys, self._audiences = keys, audiences
        self._seen: dict[tuple[str, str], float] = {}

    @classmethod
    def of_file(cls, file: Path, audiences: frozenset[str]) -> "Clients":
        """ConfigurationError for a file that holds no keys. `audiences`: the URLs under which the service is called."""
        try:
            found = msgspec.json.decode(file.read_bytes(), type=dict[str, dict[str, Any]])
            keys = {issuer: KeySet.import_key_set(given) for issuer, given in found.items()}  # type: ignore[arg-type]
        except OSError as error:
            raise ConfigurationError(f"Cannot read {file.absolute()}: {error.strerror}", _REMEDY) from error
        except (msgspec.DecodeError, JoseError, ValueError, KeyError, TypeError):
            raise ConfigurationError(f"{file.name} holds no public keys of CDS clients", _REMEDY) from None
        if not keys:
            raise ConfigurationError(f"{file.name} names no CDS client", _REMEDY)
        return cls(keys, audiences)

    def check(self, authorization: str, now: float | None = None) -> None:
        """Refused (401) unless the header is a JWT of a client that we know, for us, not expired, and not seen before."""
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or not token:
            raise Refused(401, "The call needs a JWT of the CDS client (Authorization: Bearer)")
        claims = self._claims(token.strip())
        instant = time.time() if now is None else now
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if not any(str(one).rstrip("/") in self._audiences for one in audiences):
            raise Refused(401, "The JWT is for another service (aud)")
        ends, begins = _instant(claims.get("exp")), _instant(claims.get("iat"))
        not_before = _instant(claims["nbf"]) if "nbf" in claims else begins
        if ends is None or begins is None or not_before is None:
            raise Refused(401, "The JWT does not say when it is valid (iat, exp; nbf where it has one)")
        if ends - begins > _LONGEST_SECONDS:
            raise Refused(401, "The JWT is valid for longer than ten minutes")
        if instant > ends + _LEEWAY_SECONDS:
            raise Refused(401, f"The JWT expired {round(instant - ends)} s ago by this machine's clock (exp)")
        if instant < max(begins, not_before) - _AHEAD_SECONDS:
            ahead = round(max(begins, not_before) - instant)
            raise Refused(
                401, f"The JWT is not valid yet: the client's clock is {ahead} s ahead of this machine's (iat, nbf)"
            )
        self._once(str(claims["iss"]), claims.get("jti"), instant, ends)

    def _claims(self, token: str) -> dict[str, Any]:
        for issuer, keys in self._keys.items():
            try:
                claims = jwt.decode(token, keys, algorithms=_ALGORITHMS).claims
            except (JoseError, ValueError, TypeError, OverflowError, RecursionError):
                continue  # not signed by these keys, or no JWT at all
            if claims.get("iss") == issuer:
                return dict(claims)
        raise Refused(401, "The JWT is not signed by a client that is known here (iss, signature)")

    def _once(self, issuer: str, name: object, now: float, ends: float) -> None:
        if not isinstance(name, str) or not name:
            raise Refused(401, "The JWT has no name (jti)")
        self._seen = {key: until for key, until in self._seen.items() if until >= now}
        if (issuer, name) in self._seen:
            raise Refused(401, "The JWT was used before (jti)")
        self._seen[issuer, name] = ends + _LEEWAY_SECONDS


def _instant(claim: object) -> float | None:
    """A NumericDate (RFC 7519); None for what is none."""
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        return None
    try:
        number = float(claim)
    except OverflowError:
        return None
    return number if isfinite(number) else None
