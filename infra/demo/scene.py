"""What a chapter of the demo may use: the shop's people, the payer, the system, and a voice to tell with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID, uuid4

from rich.console import Console

from infra.installation import Installation
from infra.issuer import Issuer
from infra.parts import AUDIENCE, ISSUER
from infra.people import Admin, Api, Customer, Person, Vendor
from tests.fakes.esewa import PayResult, Simulator

T = TypeVar("T")
PATIENCE_S = 120.0
"""Longer than the minute after which payments first asks about an attempt by itself."""
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
"""A customer may ask a hundred times a minute; whoever waits must not be refused for it."""


class StoryFailedError(RuntimeError):
    """The story did not come true; the message says where."""


@dataclass(slots=True)
class Scene:
    """One running system and everybody in it."""

    stack: Installation
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


@asynccontextmanager
async def scene_on(system: Installation, console: Console) -> AsyncIterator[Scene]:
    """The people of that system, until the end of the block."""
    addresses = system.addresses
    issuer = Issuer.read(system.keys.issuer_pem, ISSUER, AUDIENCE)
    api = Api.at(addresses["gateway"])
    try:
        async with Simulator(
            addresses["esewa"], addresses["esewa-control"], published=system.published
        ) as esewa:
            yield Scene(system, api, issuer, esewa, console)
    finally:
        await api.close()


def expect(truth: object, otherwise: str) -> None:
    """The story goes on only if this is so."""
    if not truth:
        raise StoryFailedError(otherwise)


async def eventually(
    ask: Callable[[], Awaitable[T]], good: Callable[[T], bool], what: str
) -> tuple[T, float]:
    """The first good answer and the seconds it took; fails after `PATIENCE_S`."""
    begun, pause_s = monotonic(), FIRST_PAUSE_S
    while True:
        answer = await ask()
        if good(answer):
            return answer, monotonic() - begun
        if monotonic() - begun > PATIENCE_S:
            raise StoryFailedError(f"{what}: not within {PATIENCE_S:.0f} s, the last answer was {answer}")
        await asyncio.sleep(pause_s)
        pause_s = min(1.3 * pause_s, LONGEST_PAUSE_S)


def npr(paisa: int) -> str:
    """An amount as people read it."""
    return f"NPR {paisa / 100:,.2f}"
