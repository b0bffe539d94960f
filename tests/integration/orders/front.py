"""The HTTP front of orders as callers meet it: real requests through the real application, real tokens."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2

from services.chassis.back_pressure import Pressure
from services.chassis.http import make_app
from services.chassis.ids import new_id
from services.orders import app as wiring
from services.orders.addresses import Addresses
from services.orders.settings import OrdersSettings
from tests.integration.orders.world import Orders
from tests.support.tokens import AUDIENCE, NAME, tokens_in

ADDRESS = {
    "name": "Sita Sharma",
    "phone": "+977 9800000001",
    "line1": "Ward 3",
    "city": "Lalitpur",
    "district": "Lalitpur",
}
CHECKOUT = {"payment_method": "esewa", "shipping_address": ADDRESS}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a token; every changing request gets a key of its own unless one is given."""

    client: httpx2.AsyncClient
    token: str
    id: UUID

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        version: int | str | None = None,
    ) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.token}", "idempotency-key": key or str(new_id())}
        if version is not None:
            headers["if-match"] = f'"{version}"'
        return await self.client.request(method, path, json=body, headers=headers)

    async def gets(self, path: str) -> Any:  # noqa: ANN401 - JSON
        answer = await self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def checks_out(self, *, key: str | None = None, **quantities: int) -> Any:  # noqa: ANN401 - JSON
        for sku, quantity in (quantities or {"kurta": 1}).items():
            assert (await self.ask("PUT", f"/v1/cart/items/{sku}", {"quantity": quantity})).is_success
        answer = await self.ask("POST", "/v1/checkouts", CHECKOUT, key=key)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def moves(self, item: Any, new_status: str, **more: object) -> httpx2.Response:  # noqa: ANN401
        body = {"new_status": new_status, **more}
        return await self.ask("POST", f"/v1/vendor/items/{item['id']}/status", body, version=item["version"])


@dataclass(frozen=True, slots=True)
class Front:
    """The application, and people who ask it."""

    client: httpx2.AsyncClient
    make_token: Any
    addresses: Addresses

    def person(self, *roles: str, vendor_id: UUID | None = None, subject: UUID | None = None) -> Person:
        who = subject or new_id()
        token = self.make_token(subject=who, roles=list(roles), vendor_id=vendor_id)
        return Person(self.client, token, who)

    def customer(self, subject: UUID | None = None) -> Person:
        return self.person("customer", subject=subject)

    def vendor(self, vendor_id: UUID) -> Person:
        return self.person("vendor", vendor_id=vendor_id)


@asynccontextmanager
async def open_front(
    orders: Orders,
    folder: Path,
    *,
    pressure: Pressure | None = None,
    **said: Any,  # noqa: ANN401
) -> AsyncIterator[Front]:
    tokens, keys = tokens_in(folder), folder / "address-keys.json"
    keys.write_text(json.dumps({"current": "k1", "keys": {"k1": b64encode(bytes(32)).decode()}}))
    settings = OrdersSettings(
        database_url=orders.db.dsn,
        issuer=NAME,
        audience=AUDIENCE,
        jwks_file=tokens.jwks,
        address_key_file=keys,
        **said,
    )
    service = wiring.build(settings)
    state = {"db": orders.db, "settings": settings, "pressure": pressure, **service.state}
    app = make_app("orders", routers=[service.router], state=state)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://orders", timeout=10
    ) as client:
        yield Front(client, tokens.issuer.make_token, service.state["addresses"])
