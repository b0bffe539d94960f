"""Tokens: what a caller can prove, and every known way of pretending."""

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from time import time
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.datastructures import Headers

from infra.keys import key_id
from services.chassis.auth import TokenVerifier, bearer
from services.chassis.errors import Problem
from tests.support.tokens import AUDIENCE, NAME, jwk_of, private_key, tokens_in

SUBJECT = uuid4()


@pytest.fixture
def verifier(tmp_path: Path) -> TokenVerifier:
    return TokenVerifier(tokens_in(tmp_path).jwks, issuer=NAME, audience=AUDIENCE)


def claims(**other: object) -> dict[str, Any]:
    now = int(time())
    honest = {
        "iss": NAME,
        "aud": AUDIENCE,
        "sub": str(SUBJECT),
        "roles": ["customer"],
        "iat": now,
        "exp": now + 600,
    }
    return {name: value for name, value in (honest | other).items() if value is not None}


def header(**other: object) -> dict[str, Any]:
    honest = {"typ": "at+jwt", "kid": key_id(private_key())}
    return {name: value for name, value in (honest | other).items() if value is not None}


def signed(said: Mapping[str, Any] | None = None, named: Mapping[str, Any] | None = None) -> str:
    return jwt.encode(dict(said or claims()), private_key(), "RS256", dict(named or header()))


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned() -> str:
    return f"{part(header(alg='none'))}.{part(claims())}."


def signed_with_the_public_key() -> str:
    """HS256 with what everybody knows as the secret: accepted where the algorithm is taken from the token."""
    public = private_key().public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head, body = part(header(alg="HS256")), part(claims())
    import hmac  # noqa: PLC0415
    from hashlib import sha256  # noqa: PLC0415

    mac = hmac.new(pem, f"{head}.{body}".encode(), sha256).digest()
    return f"{head}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def signed_by_a_stranger() -> str:
    stranger = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    return jwt.encode(claims(), stranger, "RS256", header())


def changed_payload() -> str:
    head, _, signature = signed().split(".")
    return f"{head}.{part(claims(roles=['admin']))}.{signature}"


def lived(iat: int, exp: int) -> Callable[[], str]:
    return lambda: signed(claims(iat=int(time()) + iat, exp=int(time()) + exp))


ATTACKS: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "not a token": lambda: "abc",
    "two parts": lambda: "a.b",
    "not ascii": lambda: "प्र.ति.मा",
    "algorithm none": unsigned,
    "HS256 with the public key": signed_with_the_public_key,
    "another key": signed_by_a_stranger,
    "changed payload": changed_payload,
    "cut signature": lambda: signed()[:-10],
    "no signature": lambda: signed().rpartition(".")[0] + ".",
    "expired": lived(-700, -100),
    "issued in the future": lived(100, 200),
    "not yet valid": lambda: signed(claims(nbf=int(time()) + 100)),
    "good for thirty years": lived(0, 30 * 365 * 86_400),
    "good for an hour and a second": lived(0, 3_601),
    "expires before it was issued": lived(-10, -20),
    "no exp": lambda: signed(claims(exp=None)),
    "no iat": lambda: signed(claims(iat=None)),
    "no aud": lambda: signed(claims(aud=None)),
    "no iss": lambda: signed(claims(iss=None)),
    "no sub": lambda: signed(claims(sub=None)),
    "no roles": lambda: signed(claims(roles=None)),
    "another audience": lambda: signed(claims(aud="other-api")),
    "another issuer": lambda: signed(claims(iss="https://elsewhere.test")),
    "refresh token": lambda: signed(named=header(typ="refresh+jwt")),
    "plain type": lambda: signed(named=header(typ="JWT")),
    "type as a number": lambda: f"{part(header(alg='RS256', typ=5))}.{part(claims())}.c2ln",
    "no type": lambda: signed(named=header(typ="")),
    "unknown kid": lambda: signed(named=header(kid="other")),
    "no kid": lambda: signed(named=header(kid=None)),
    "unknown crit": lambda: signed(named=header(crit=["x"], x=1)),
    "unknown role": lambda: signed(claims(roles=["customer", "root"])),
    "empty roles": lambda: signed(claims(roles=[])),
    "roles as text": lambda: signed(claims(roles="admin")),
    "roles as numbers": lambda: signed(claims(roles=[1])),
    "roles as lists": lambda: signed(claims(roles=[["admin"]])),
    "subject not an id": lambda: signed(claims(sub="root")),
    "subject in another spelling": lambda: signed(claims(sub=SUBJECT.hex)),
    "vendor without its id": lambda: signed(claims(roles=["vendor"])),
    "vendor id not an id": lambda: signed(claims(roles=["vendor"], vendor_id="me")),
    "exp as text": lambda: signed(claims(exp="9999999999")),
    "exp not a number": lambda: signed(claims(exp="soon")),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_without_saying_why(verifier: TokenVerifier, attack: str) -> None:
    token = ATTACKS[attack]()
    for _ in range(2):  # the second time it must not have been remembered
        with pytest.raises(Problem) as refused:
            verifier.verify(token)
        assert (refused.value.status, refused.value.code, refused.value.detail) == (401, "INVALID_TOKEN", "")
        assert refused.value.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_honest_token_before_it_opens_no_door_to_an_attack(verifier: TokenVerifier, attack: str) -> None:
    verifier.verify(signed())
    with pytest.raises(Problem) as refused:
        verifier.verify(ATTACKS[attack]())
    assert refused.value.status == 401


def test_an_honest_token_names_its_subject_and_roles(verifier: TokenVerifier, tmp_path: Path) -> None:
    vendor = uuid4()
    token = tokens_in(tmp_path).issuer.make_token(
        subject=SUBJECT, roles=["vendor", "customer"], vendor_id=vendor
    )
    principal = verifier.verify(token)
    assert principal.subject == SUBJECT
    assert principal.roles == {"vendor", "customer"}
    assert principal.vendor_id == vendor
    assert verifier.verify(token) is principal


def test_an_hour_is_not_too_long(verifier: TokenVerifier) -> None:
    assert verifier.verify(lived(0, 3_600)()).subject == SUBJECT


def test_a_remembered_token_ends_with_its_time(
    verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = signed(claims(iat=int(time()) - 3_000, exp=int(time()) + 500))
    verifier.verify(token)
    later = time() + 600
    monkeypatch.setattr("services.chassis.auth.time", lambda: later)
    monkeypatch.setattr("jwt.api_jwt.datetime", _clock_at(later))
    with pytest.raises(Problem):
        verifier.verify(token)


def _clock_at(seconds: float) -> type:
    from datetime import datetime, tzinfo  # noqa: PLC0415

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Later":
            return cls.fromtimestamp(seconds, tz)

    return Later


def test_a_new_key_is_found_once_its_file_has_changed(verifier: TokenVerifier) -> None:
    fresh = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    token = jwt.encode(claims(), fresh, "RS256", header(kid=key_id(fresh)))
    with pytest.raises(Problem):
        verifier.verify(token)
    verifier.jwks_file.write_text(json.dumps({"keys": [jwk_of(private_key()), jwk_of(fresh)]}))
    assert verifier.verify(token).subject == SUBJECT
    assert verifier.verify(signed()).subject == SUBJECT


def test_a_key_that_was_taken_out_signs_nothing_any_more(verifier: TokenVerifier) -> None:
    token = signed()
    verifier.verify(token)
    fresh = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    verifier.jwks_file.write_text(json.dumps({"keys": [jwk_of(fresh)]}))
    verifier.verify(jwt.encode(claims(), fresh, "RS256", header(kid=key_id(fresh))))
    with pytest.raises(Problem):
        verifier.verify(token)


def test_remembered_tokens_are_bounded(verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.chassis.auth.REMEMBERED", 3)
    for number in range(5):
        verifier.verify(signed(claims(jti=str(number))))
    assert len(verifier.verified) == 3


@pytest.mark.parametrize(
    "given",
    [[], [""], ["Basic YTpi"], ["Bearer"], ["Bearer "], ["Bearer a.b.c", "Bearer a.b.c"], ["Bearera.b.c"]],
)
def test_anything_but_one_bearer_token_is_a_401(given: list[str]) -> None:
    headers = Headers(raw=[(b"authorization", value.encode()) for value in given])
    with pytest.raises(Problem) as refused:
        bearer(headers)
    assert refused.value.status == 401
    assert refused.value.headers["WWW-Authenticate"] == 'Bearer realm="kb-api"'
