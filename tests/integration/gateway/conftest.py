"""The gateway on a real port, in front of services whose answers a test decides."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from fastapi import FastAPI

from infra.issuer import Issuer
from services.chassis.http import make_app
from services.chassis.ids import new_id
from services.gateway.app import build
from services.gateway.settings import GatewaySettings
from tests.integration.gateway.stand import Stand
from tests.support.tokens import AUDIENCE, NAME, tokens_in
from tests.support.web import serving


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a token, at the gateway."""

    client: httpx2.AsyncClient
    id: UUID
    token: str

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"authorization": f"Bearer {self.token}"} | named
        return await self.client.request(method, path, json=body, headers=sent)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway and what stands behind it."""

    url: str
    client: httpx2.AsyncClient
    app: FastAPI
    stand: Stand
    issuer: Issuer

    def person(self, *roles: str, lives_s: int = 600, vendor_id: UUID | None = None) -> Person:
        who = new_id()
        token = self.issuer.make_token(subject=who, roles=roles, vendor_id=vendor_id, lives_s=lives_s)
        return Person(self.client, who, token)

    def customer(self) -> Person:
        return self.person("customer")


Open = Callable[..., Any]


@pytest.fixture
async def stand() -> AsyncIterator[tuple[Stand, str]]:
    made = Stand()
    async with serving(made) as url:
        yield made, url


@pytest.fixture
def settings_for(tmp_path: Path, free_port: Callable[[], int]) -> Callable[..., GatewaySettings]:
    """Settings of a gateway without Kafka, unless an address is given."""
    tokens = tokens_in(tmp_path)

    def make(url: str, **said: Any) -> GatewaySettings:  # noqa: ANN401
        known: dict[str, Any] = {
            "orders_url": url,
            "inventory_url": url,
            "payments_url": url,
            "kafka": f"127.0.0.1:{free_port()}",
            "jwks_file": tokens.jwks,
            "issuer": NAME,
            "audience": AUDIENCE,
            "status_page": "https://shop.test/checkouts/{id}",
            "cors_origins": ("https://shop.test",),
        }
        return GatewaySettings(**known | said)

    return make


@pytest.fixture
async def gateway(
    stand: tuple[Stand, str], settings_for: Callable[..., GatewaySettings], tmp_path: Path
) -> AsyncIterator[Gateway]:
    behind, url = stand
    app = app_of(settings_for(url))
    async with serving(app) as address, httpx2.AsyncClient(base_url=address, trust_env=False) as client:
        yield Gateway(address, client, app, behind, tokens_in(tmp_path).issuer)


def app_of(settings: GatewaySettings) -> FastAPI:
    """The application as the process makes it."""
    service = build(settings)
    return make_app(
        service.name,
        routers=[service.router],
        state={"db": None, "settings": settings, **service.state},
        middleware=service.middleware,
        answer_within_s=service.answer_within_s,
    )
