"""The people of a shop as clients of the public API: customer, vendor, admin."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Self
from uuid import UUID, uuid4

import httpx2

TIMEOUT = httpx2.Timeout(10.0, connect=2.0)
BUSY: Final = 503
COMES_AGAIN_FOR_S: Final = 30.0
"""So long the same request is sent again to who answers that it is busy."""
ADDRESS: Mapping[str, str] = {
    "name": "Sita Sharma",
    "phone": "+9779800000001",
    "line1": "Ward 3, Jhamsikhel",
    "city": "Lalitpur",
    "district": "Lalitpur",
}

TokenMaker = Callable[..., str]
"""`make_token(subject=UUID, roles=[...], vendor_id=UUID | None) -> str`."""


class ApiError(RuntimeError):
    """The API refused; `status`, `code` and the whole problem document say why."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('code', '?')}: {problem.get('detail', '')}")
        self.status = status
        self.code = str(problem.get("code", ""))
        self.problem = problem


@dataclass(slots=True)
class Api:
    """One connection pool to the gateway, shared by everybody."""

    base_url: str
    client: httpx2.AsyncClient

    @classmethod
    def at(cls, base_url: str, *, connections: int = 64) -> Self:
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        return cls(base_url, httpx2.AsyncClient(base_url=base_url, timeout=TIMEOUT, limits=limits))

    async def close(self) -> None:
        await self.client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        token: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The JSON answer; raises ApiError for every refusal, and for 503 when it lasts.

        503 with `Retry-After` says that nothing was decided: the same request is sent again when it says so.
        """
        sent = {"authorization": f"Bearer {token}"} | dict(headers or {})
        give_up = monotonic() + COMES_AGAIN_FOR_S
        while True:
            answer = await self.client.request(method, path, json=body, headers=sent)
            if answer.status_code != BUSY or "retry-after" not in answer.headers or monotonic() > give_up:
                break
            await asyncio.sleep(float(answer.headers["retry-after"]))
        found: dict[str, Any] = answer.json() if answer.content else {}
        if answer.is_error:
            raise ApiError(answer.status_code, found)
        return found


class Person:
    """Somebody with a token."""

    def __init__(
        self,
        api: Api,
        make_token: TokenMaker,
        role: str,
        *,
        subject: UUID | None = None,
        vendor_id: UUID | None = None,
    ) -> None:
        self.api = api
        self.id = subject or uuid4()
        self.vendor_id = vendor_id
        self.token = make_token(subject=self.id, roles=[role], vendor_id=vendor_id)

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> dict[str, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.api.call(method, path, self.token, body, named)


class Customer(Person):
    """Fills a cart, checks out, looks, cancels."""

    def __init__(self, api: Api, make_token: TokenMaker, *, subject: UUID | None = None) -> None:
        super().__init__(api, make_token, "customer", subject=subject)

    async def wants(self, sku: str, quantity: int = 1) -> None:
        await self.call("PUT", f"/v1/cart/items/{sku}", {"quantity": quantity})

    async def check_out(self, *, method: str = "esewa", key: str | None = None) -> dict[str, Any]:
        """The checkout with the redirect to pay; raises ApiError 409 with the reasons if nothing is held."""
        body = {"payment_method": method, "shipping_address": dict(ADDRESS)}
        return await self.call("POST", "/v1/checkouts", body, idempotency_key=key or str(uuid4()))

    async def checkout(self, checkout_id: str) -> dict[str, Any]:
        return await self.call("GET", f"/v1/checkouts/{checkout_id}")

    async def order(self, order_id: str) -> dict[str, Any]:
        return await self.call("GET", f"/v1/orders/{order_id}")


class Vendor(Person):
    """Moves the items of one vendor."""

    def __init__(self, api: Api, make_token: TokenMaker, vendor_id: UUID) -> None:
        super().__init__(api, make_token, "vendor", vendor_id=vendor_id)

    async def move(self, item: Mapping[str, Any], new_status: str, **more: object) -> dict[str, Any]:
        """Move one item on; `item` as read, its version guards against another's change in between."""
        body = {"new_status": new_status, **more}
        headers = {"if_match": f'"{item["version"]}"', "idempotency_key": str(uuid4())}
        return await self.call("POST", f"/v1/vendor/items/{item['id']}/status", body, **headers)


class Admin(Person):
    """Keeps the catalogue."""

    def __init__(self, api: Api, make_token: TokenMaker) -> None:
        super().__init__(api, make_token, "admin")

    async def puts_on_sale(
        self, vendor_id: UUID, slug: str, variants: Sequence[Mapping[str, Any]], *, title: str | None = None
    ) -> None:
        """A product with variants `[{sku, price_paisa, stock}]`, its vendor made if it is new."""
        await self.call(
            "PUT",
            f"/v1/admin/vendors/{vendor_id}",
            {"name": f"Vendor {str(vendor_id)[:8]}", "delivery_charge_paisa": 10_000},
        )
        body = {
            "vendor_id": str(vendor_id),
            "title": title or slug,
            "variants": [{"sku": v["sku"], "price_paisa": v["price_paisa"]} for v in variants],
        }
        await self.call("PUT", f"/v1/admin/products/{slug}", body)
        for one in variants:
            if one.get("stock"):
                await self.call(
                    "POST",
                    f"/v1/admin/stock/{one['sku']}/adjustments",
                    {"delta": one["stock"], "reason": "received"},
                    idempotency_key=str(uuid4()),
                )
