"""The keys that sign our requests for tokens: a JWK Set in a file that is its owner's only. The first key signs."""

import uuid
from pathlib import Path
from typing import Any, Literal

import msgspec

from model.atomic import write_whole
from screener.base.errors import ConfigurationError

Algorithm = Literal["ES384", "RS384"]  # SMART Backend Services: servers know at least one of them

Key = dict[str, Any]

_PUBLIC = frozenset({"kty", "kid", "crv", "x", "y", "n", "e", "alg", "use"})
_OTHERS = 0o007  # a group may read: containers get files that way
_MAKE = "Make one: screener keys new --out FILE"


def new(algorithm: Algorithm) -> Key:
    """A private key as a JWK, with an id of its own: P-384, or RSA of 3072 bits."""
    from joserfc.jwk import ECKey, RSAKey

    made = ECKey.generate_key("P-384") if algorithm == "ES384" else RSAKey.generate_key(3072)
    return {**made.as_dict(private=True), "kid": str(uuid.uuid4()), "alg": algorithm, "use": "sig"}


def signed(claims: dict[str, Any], key: Key) -> str:
    """The claims as a JWT, signed by the key."""
    from joserfc import jwk, jwt

    header = {"alg": key["alg"], "kid": key["kid"], "typ": "JWT"}
    return jwt.encode(header, claims, jwk.import_key(key), algorithms=[key["alg"]])


def write(file: Path, keys: list[Key]) -> None:
    """Write the private keys, for the owner only. OSError where the file cannot be written."""
    write_whole(file, [msgspec.json.format(msgspec.json.encode({"keys": keys}), indent=2), b"\n"], private=True)


def read(file: Path) -> list[Key]:
    """The private keys; the first one signs. ConfigurationError for a file that is open to others or holds no such keys."""
    try:
        found: list[Key] = msgspec.json.decode(read_private(file), type=dict[str, list[Key]]).get("keys", [])
    except msgspec.MsgspecError:
        raise ConfigurationError(f"{file.name} is no JWK Set", _MAKE) from None
    if not found or not all({"d", "kid"} <= key.keys() and key.get("alg") in ("ES384", "RS384") for key in found):
        raise ConfigurationError(f"{file.name} holds something else than private keys for ES384 or RS384", _MAKE)
    return found


def read_private(file: Path) -> bytes:
    """The contents of a file that holds a secret. ConfigurationError where it cannot be read, or everybody may read it."""
    try:
        if file.stat().st_mode & _OTHERS:
            raise ConfigurationError(
                f"{file} holds a secret and is open to every user of this machine",
                f"chmod 600 {file}, and renew what is in it",
            )
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"Cannot read {file.absolute()}: {error.strerror}", "Check the path and its permissions"
        ) from error


def public(keys: list[Key]) -> dict[str, list[Key]]:
    """The JWK Set to register at the authorisation server: no private part is in it."""
    return {"keys": [{name: value for name, value in key.items() if name in _PUBLIC} for key in keys]}
