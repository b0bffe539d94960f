"""The market of a run: what is put on sale, who comes when, and a last look at everything."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from random import Random
from time import monotonic
from typing import Any, Final
from uuid import UUID, uuid4

from infra.people import Admin
from tests.chaos.caller import Caller
from tests.chaos.clients import KINDS, LATE_S, PAY_WITHIN_S, Deal, Market, Ware

VENDORS: Final = 6
PLENTY: Final = 18
MANY: Final = 100_000
SCARCE_EVERY_S: Final = 5.0
UNITS_WANTED: Final = 0.6
"""Of scarce things, by the average customer."""
ROOM_S: Final = 25.0
"""So many seconds' worth of customers are in the shop at once; who comes later waits outside.

Where the machine is busy elsewhere a crowd without this bound only grows: it asks again and again for what it
was not answered, and the run shows how long the crowd lasts, not how long the system takes to heal.
"""
LEAVES_WITHIN_S: Final = 300.0
LAST_LOOKS_AT_ONCE: Final = 16
SLOW: Final[Mapping[str, float]] = {"late": LATE_S + 5.0, "cheating": PAY_WITHIN_S + 15.0}
"""Who needs so long is not let in when the run ends sooner."""


async def put_on_sale(admin: Admin, seconds: float, per_s: float) -> tuple[list[Ware], list[Ware]]:
    """What there is plenty of, and what there is half enough of; each vendor sells some of both."""
    vendors = [uuid4() for _ in range(VENDORS)]
    scarce = max(6, int(seconds / SCARCE_EVERY_S))
    plenty = [Ware(vendors[number % VENDORS], f"plenty-{number}") for number in range(PLENTY)]
    few = [Ware(vendors[number % VENDORS], f"scarce-{number}") for number in range(scarce)]
    # So few that an oversell shows at once.
    units = max(3, round(UNITS_WANTED * SCARCE_EVERY_S * per_s / 2))
    stock = {ware.sku: MANY for ware in plenty} | {ware.sku: units for ware in few}
    await _import(admin, "vendors", [_vendor(vendor_id) for vendor_id in vendors])
    await _import(admin, "products", [_product(ware) for ware in (*plenty, *few)])
    await _import(admin, "stock", [{"sku": sku, "on_hand_delta": units} for sku, units in stock.items()])
    return plenty, few


def _vendor(vendor_id: UUID) -> dict[str, Any]:
    return {"id": str(vendor_id), "name": f"Vendor {str(vendor_id)[:8]}", "delivery_charge_paisa": 5_000}


def _product(ware: Ware) -> dict[str, Any]:
    variants = [{"sku": ware.sku, "price_paisa": 99_900}]
    return {"slug": ware.sku, "vendor_id": str(ware.vendor_id), "title": ware.sku, "variants": variants}


async def _import(admin: Admin, part: str, rows: Sequence[dict[str, Any]]) -> None:
    path, key = "/v1/admin/catalogue/imports", str(uuid4())
    await admin.call("POST", path, {part: list(rows)}, idempotency_key=key)


@dataclass(slots=True)
class Crowd:
    """Everybody who comes until the market closes, at `per_s` customers a second on average."""

    market: Market
    seed: int
    per_s: float
    deals: list[Deal] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    async def come_and_go(self) -> None:
        """Returns when the market is closed and the last customer has left."""
        room, inside = asyncio.Semaphore(ceil(ROOM_S * self.per_s)), set[asyncio.Task[None]]()
        arrivals = Random(f"{self.seed} arrivals")
        try:
            while not self.market.closed.is_set():
                await asyncio.sleep(arrivals.expovariate(self.per_s))
                await room.acquire()
                task = asyncio.create_task(self._one(len(self.deals), room))
                inside.add(task)
                task.add_done_callback(inside.discard)
            await self._all_out(inside)
        finally:
            for task in inside:
                task.cancel()

    async def _all_out(self, inside: set[asyncio.Task[None]]) -> None:
        if not inside:
            return
        _, left = await asyncio.wait(inside, timeout=LEAVES_WITHIN_S)
        for task in left:
            task.cancel()
        self.broken += ["a customer never left"] * len(left)

    async def _one(self, number: int, room: asyncio.Semaphore) -> None:
        chance = Random(f"{self.seed} customer {number}")
        kind = self._kind(chance)
        deal = Deal(self.market, Caller(self.market.doors, f"{kind} {number}", "customer", chance), chance)
        self.deals.append(deal)
        try:
            await KINDS[kind][1](deal)
        except Exception as error:  # noqa: BLE001 - a client with a mistake makes the run red, not silent
            self.broken.append(f"a client broke: {deal.buyer.name}: {error!r}")
        finally:
            room.release()

    def _kind(self, chance: Random) -> str:
        left_s = max(0.0, self.market.begun + self.market.seconds - monotonic())
        weights = [0 if SLOW.get(kind, 0.0) > left_s else weight for kind, (weight, _) in KINDS.items()]
        return chance.choices(list(KINDS), weights)[0]

    async def last_look(self, placed: Mapping[str, frozenset[str]]) -> None:
        """Every checkout, and the order of each that is confirmed, once more through the API.

        Also those of a second tab, and those whose placing was never answered: `placed` has them by customer.
        """
        turns = asyncio.Semaphore(LAST_LOOKS_AT_ONCE)

        async def look(buyer: Caller, checkout_id: str) -> None:
            async with turns:
                seen = await buyer.insist("final look", "GET", f"/v1/checkouts/{checkout_id}")
                if seen.body.get("stage") == "confirmed":
                    await buyer.insist("final order", "GET", f"/v1/orders/{checkout_id}")

        await asyncio.gather(
            *(
                look(deal.buyer, checkout_id)
                for deal in self.deals
                for checkout_id in sorted(_known(deal) | placed.get(str(deal.buyer.id), frozenset()))
            )
        )


def _known(deal: Deal) -> set[str]:
    return {deal.checkout_id} - {""}
