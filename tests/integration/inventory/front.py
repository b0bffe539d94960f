"""Inventory's HTTP front as callers meet it: real requests through the real application, with real tokens."""

import base64
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from services.chassis.http import make_app
from services.inventory import api
from services.inventory.settings import InventorySettings
from tests.integration.inventory.shop import Shop

ISSUER, AUDIENCE = "https://issuer.test", "kb-api"
ADMIN = UUID(int=99)


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _number(value: int) -> str:
    raw = value.to_bytes((value.bit_length() + 7) // 8)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def write_jwks(path: Path) -> None:
    public = _key().public_key().public_numbers()
    known = {"kty": "RSA", "kid": "test", "alg": "RS256", "n": _number(public.n), "e": _number(public.e)}
    path.write_text(json.dumps({"keys": [known]}))


def token(*roles: str, subject: UUID = ADMIN, vendor_id: UUID | None = None) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": str(subject), "iat": now, "exp": now + 600}
    claims |= {"roles": list(roles)} | ({"vendor_id": str(vendor_id)} if vendor_id else {})
    return jwt.encode(claims, _key(), "RS256", {"kid": "test", "typ": "at+jwt"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who asks; the token is made for each request: one made with the tests runs out."""

    role: str
    vendor_id: UUID | None = None

    def token(self) -> str:
        return token(self.role, vendor_id=self.vendor_id)


@dataclass(frozen=True, slots=True)
class Front:
    """Asks as somebody; every changing request gets an Idempotency-Key of its own unless one is given."""

    client: httpx2.AsyncClient

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        as_: Caller | None = None,
        key: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> httpx2.Response:
        headers = {"Idempotency-Key": key or uuid4().hex}
        if as_ is not None:
            headers["Authorization"] = f"Bearer {as_.token()}"
        return await self.client.request(method, path, json=body, headers=headers, params=params)


@asynccontextmanager
async def open_front(shop: Shop, folder: Path) -> AsyncIterator[Front]:
    jwks = folder / "jwks.json"
    write_jwks(jwks)
    settings = InventorySettings(database_url=shop.db.dsn, issuer=ISSUER, audience=AUDIENCE, jwks_file=jwks)
    app = make_app("inventory", routers=[api.router], state={"db": shop.db, "settings": settings})
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://inventory", timeout=10
    ) as client:
        yield Front(client)
