"""Tokens that are missing, forged, old or of another kind open nothing, at the gateway and behind it."""

import json
from collections.abc import Callable
from time import time
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from infra.demo.scene import Scene
from infra.keys import key_id
from tests.e2e.asking import ask, refused

pytestmark = pytest.mark.asyncio(loop_scope="session")

Change = dict[str, object]


def claims(scene: Scene, **changed: object) -> dict[str, Any]:
    """What the issuer would sign, but for what is changed; None leaves a claim out."""
    now = int(time())
    said = {
        "iss": scene.issuer.name,
        "aud": scene.issuer.audience,
        "sub": str(uuid4()),
        "roles": ["customer"],
        "iat": now,
        "exp": now + 600,
    }
    return {name: value for name, value in (said | changed).items() if value is not None}


def signed(scene: Scene, header: Change | None = None, **changed: object) -> str:
    """A token by the real key."""
    headers = {"typ": "at+jwt", "kid": key_id(scene.issuer.key)} | (header or {})
    return jwt.encode(claims(scene, **changed), scene.issuer.key, "RS256", headers)


def with_the_public_key(scene: Scene) -> str:
    """HS256 with the public key as its secret, which a verifier that trusts `alg` would accept."""
    pem = scene.issuer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    words = jwt.utils.base64url_encode
    header = {"typ": "at+jwt", "kid": key_id(scene.issuer.key), "alg": "HS256"}
    said = b".".join(words(json.dumps(part).encode()) for part in (header, claims(scene)))
    hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    return (said + b"." + words(hmac.sign(said, pem))).decode()


def of_another_key(scene: Scene) -> str:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    headers = {"typ": "at+jwt", "kid": key_id(scene.issuer.key)}
    return jwt.encode(claims(scene), key, "RS256", headers)


def unsigned(scene: Scene) -> str:
    return jwt.encode(claims(scene), "", "none", {"typ": "at+jwt", "kid": key_id(scene.issuer.key)})


def altered(scene: Scene) -> str:
    """Another subject under the signature of the first."""
    head, _, signature = signed(scene).split(".")
    return f"{head}.{signed(scene, roles=['admin']).split('.')[1]}.{signature}"


BAD: dict[str, Callable[[Scene], str]] = {
    "signed by another key": of_another_key,
    "not signed": unsigned,
    "HS256 with the public key": with_the_public_key,
    "its body exchanged": altered,
    "its signature cut": lambda scene: signed(scene)[:-8],
    "expired": lambda scene: signed(scene, iat=int(time()) - 700, exp=int(time()) - 100),
    "not valid yet": lambda scene: signed(scene, nbf=int(time()) + 100),
    "from the future": lambda scene: signed(scene, iat=int(time()) + 100, exp=int(time()) + 200),
    "good for 30 years": lambda scene: signed(scene, exp=int(time()) + 30 * 365 * 86_400),
    "of the wrong type": lambda scene: signed(scene, {"typ": "JWT"}),
    "a refresh token": lambda scene: signed(scene, {"typ": "refresh+jwt"}),
    "with an unknown key id": lambda scene: signed(scene, {"kid": "somebody"}),
    "for somebody else": lambda scene: signed(scene, aud="another-api"),
    "from somebody else": lambda scene: signed(scene, iss="https://elsewhere.invalid"),
    "without an end": lambda scene: signed(scene, exp=None),
    "without a subject": lambda scene: signed(scene, sub=None),
    "whose subject is no id": lambda scene: signed(scene, sub="root"),
    "with an invented role": lambda scene: signed(scene, roles=["emperor"]),
    "with no role": lambda scene: signed(scene, roles=[]),
    "not a token at all": lambda _: "x.y.z",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
async def test_a_bad_token_opens_nothing(scene: Scene, bad: Callable[[Scene], str]) -> None:
    token = bad(scene)
    answer = await ask(scene, "GET", "/v1/cart", token)
    refused(answer, 401, "INVALID_TOKEN")
    assert "invalid_token" in answer.headers["www-authenticate"]
    for service, (method, path) in BEHIND.items():
        url = f"{scene.stack.addresses[service]}{path}"
        refused(await ask(scene, method, url, token), 401, "INVALID_TOKEN")


BEHIND = {
    "orders": ("GET", "/v1/cart"),
    "inventory": ("DELETE", "/v1/admin/products/anything"),
    "payments": ("GET", f"/internal/intents/{uuid4()}"),
}
"""A route of each service that is not for everybody."""


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic dXNlcjpwYXNz", "token"])
async def test_without_a_bearer_token_nothing_opens(scene: Scene, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    answer = await ask(scene, "GET", "/v1/cart", headers=headers)
    refused(answer, 401, "UNAUTHENTICATED")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_the_same_claims_rightly_signed_open_the_cart(scene: Scene) -> None:
    answer = await ask(scene, "GET", "/v1/cart", signed(scene))
    assert (answer.status_code, answer.json()["lines"]) == (200, [])
