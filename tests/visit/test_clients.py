"""Who may call: JWTs by clocks that differ, and JWTs that nobody would send."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from screener.fhir import keys
from screener.visit.clients import Clients
from screener.visit.hooks import Refused

NOW = 1_800_000_000
OURS = keys.new("ES384")
SERVICE = "https://cds.hospital.example"


@pytest.fixture
def clients(tmp_path: Path) -> Clients:
    file = tmp_path / "clients.json"
    file.write_text(json.dumps({"https://ehr.example": keys.public([OURS])}))
    return Clients.of_file(file, frozenset({SERVICE}))


def signed(**changes: Any) -> str:
    claims = {"iss": "https://ehr.example", "aud": SERVICE, "iat": NOW, "exp": NOW + 300, "jti": "1", **changes}
    return f"Bearer {keys.signed({k: v for k, v in claims.items() if v is not None}, OURS)}"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"iat": NOW + 90, "exp": NOW + 390},  # its clock is ahead
        {"iat": NOW + 240, "exp": NOW + 500, "nbf": NOW + 240},
        {"iat": NOW - 320, "exp": NOW - 20},  # and behind
        {"nbf": NOW - 5},
        {"iat": NOW + 0.5, "exp": NOW + 60.5},
    ],
)
def test_clocks_may_differ_by_some_minutes(clients: Clients, changes: dict[str, Any]) -> None:
    clients.check(signed(**changes), NOW)
    with pytest.raises(Refused, match="used before"):
        clients.check(signed(**changes), NOW)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"iat": NOW + 400, "exp": NOW + 600}, "clock is 400 s ahead"),
        ({"nbf": NOW + 3600}, "clock is 3600 s ahead"),
        ({"iat": NOW - 400, "exp": NOW - 100}, "expired 100 s ago"),
        ({"exp": NOW + 601}, "longer than ten minutes"),
        ({"exp": 10**400}, "iat, exp"),
        ({"exp": True}, "iat, exp"),
        ({"exp": "soon"}, "iat, exp"),
        ({"iat": None}, "iat, exp"),
        ({"nbf": "soon"}, "nbf"),
        ({"iat": -(10**300), "exp": NOW}, "longer than ten minutes"),
        ({"aud": [["x"]]}, "another service"),
        ({"jti": 5}, "no name"),
    ],
)
def test_what_is_wrong_with_a_jwt_is_named(clients: Clients, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        clients.check(signed(**changes), NOW)
    assert caught.value.status == 401


def token_of(head: str, claims: str) -> str:
    parts = (base64.urlsafe_b64encode(text.encode()).decode().rstrip("=") for text in (head, claims))
    return ".".join([*parts, "x"])


DEEP = "[" * 50_000 + "]" * 50_000


@pytest.mark.parametrize(
    "token",
    [
        "a.b.c",
        "...",
        "x" * 100_000,
        token_of(DEEP, "{}"),
        token_of('{"alg": "ES384"}', DEEP),
        token_of('{"alg": "none"}', "{}"),
        token_of('{"alg": 5, "crit": [1]}', "{}"),
        token_of('{"alg": "ES384", "kid": {}}', "{}"),
        "\u00e9.\u00e9.\u00e9",
    ],
)
def test_a_jwt_that_nobody_signed_is_refused(clients: Clients, token: str) -> None:
    with pytest.raises(Refused) as caught:
        clients.check(f"Bearer {token}", NOW)
    assert caught.value.status == 401


@pytest.mark.parametrize("payload", [DEEP, "5", "null", '"x"', "[]", '{"iss": []}'])
def test_a_signed_jwt_whose_claims_are_none_is_refused(clients: Clients, payload: str) -> None:
    from joserfc import jws  # noqa: PLC0415
    from joserfc.jwk import ECKey  # noqa: PLC0415

    key = ECKey.import_key(OURS)
    token = jws.serialize_compact({"alg": "ES384"}, payload.encode(), key, algorithms=["ES384"])
    with pytest.raises(Refused) as caught:
        clients.check(f"Bearer {token}", NOW)
    assert caught.value.status == 401
