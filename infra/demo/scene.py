"""What a chapter of the demo may use: the shop's people, the payer, the stack, and a voice to tell with."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID, uuid4

from rich.console import Console

from infra.issuer import Issuer
from infra.people import Admin, Api, Customer, Person, Vendor
from infra.stack import Stack
from tests.fakes.esewa import PayResult, Simulator

T = TypeVar("T")
PATIENCE_S = 60.0


class StoryFailedError(RuntimeError):
    """The story did not come true; the message says where."""


@dataclass(slots=True)
class Scene:
    """One running system and everybody in it."""

    stack: Stack
    api: Api
    issuer: Issuer
    esewa: Simulator
    console: Console

    def say(self, text: str) -> None:
        self.console.print(f"  {text}", highlight=False)

    def customer(self) -> Customer:
        return Customer(self.api, self.issuer.make_token)

    def admin(self) -> Admin:
        return Admin(self.api, self.issuer.make_token)

    def vendor(self, vendor_id: UUID) -> Vendor:
        return Vendor(self.api, self.issuer.make_token, vendor_id)

    def operator(self) -> Person:
        return Person(self.api, self.issuer.make_token, "service")

    async def goods(self, name: str, *, price_paisa: int, stock: int) -> tuple[UUID, str]:
        """A new vendor with one thing on sale: the vendor's id and the SKU."""
        vendor_id, sku = uuid4(), f"{name}-{uuid4().hex[:8]}"
        variant = {"sku": sku, "price_paisa": price_paisa, "stock": stock}
        await self.admin().puts_on_sale(vendor_id, sku, [variant], title=name.capitalize())
        return vendor_id, sku

    async def pay(self, checkout: Mapping[str, Any], *, follow_return: bool = True) -> PayResult:
        """Pay at the gateway's own page; without `follow_return` the tab is closed right after."""
        redirect = checkout["payment"]["redirect"]
        return await self.esewa.pay(redirect["url"], redirect["fields"], follow_return=follow_return)

    async def available(self, slug: str) -> int:
        """Units of the only variant that are on sale."""
        product = await self.admin().call("GET", f"/v1/products/{slug}")
        units: int = product["variants"][0]["available"]
        return units


def expect(truth: object, otherwise: str) -> None:
    """The story goes on only if this is so."""
    if not truth:
        raise StoryFailedError(otherwise)


async def eventually(
    ask: Callable[[], Awaitable[T]], good: Callable[[T], bool], what: str
) -> tuple[T, float]:
    """The first good answer and the seconds it took; fails after `PATIENCE_S`."""
    begun = monotonic()
    while True:
        answer = await ask()
        if good(answer):
            return answer, monotonic() - begun
        if monotonic() - begun > PATIENCE_S:
            raise StoryFailedError(f"{what}: not within {PATIENCE_S:.0f} s, the last answer was {answer}")
        await asyncio.sleep(0.05)


def npr(paisa: int) -> str:
    """An amount as people read it."""
    return f"NPR {paisa / 100:,.2f}"
