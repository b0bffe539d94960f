"""SIGKILL in the middle of everything: whatever dies, each order reaches its end without anybody's help."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from infra.demo.chapters import at_stage
from infra.demo.scene import Scene, eventually
from infra.people import Customer
from infra.replay.play import patiently
from tests.e2e.asking import every_promise_kept

pytestmark = pytest.mark.asyncio(loop_scope="session")

EACH = ("orders", "inventory", "payments", "gateway")
AT_ONCE = 4
"""Orders at each of the three moments."""


@dataclass(slots=True)
class Deal:
    """One order on its way: who buys, from whom, and the key of its only checkout."""

    buyer: Customer
    vendor_id: UUID
    key: str = field(default_factory=lambda: str(uuid4()))
    checkout: dict[str, Any] = field(default_factory=dict)
    item: dict[str, Any] = field(default_factory=dict)


async def a_deal(scene: Scene) -> Deal:
    """Something in the cart."""
    vendor_id, sku = await scene.goods("crash", price_paisa=81_000, stock=1)
    buyer = scene.customer()
    await buyer.wants(sku)
    return Deal(buyer, vendor_id)


async def place(deal: Deal) -> None:
    """Asked again with the same key when no answer came."""
    deal.checkout = await patiently(partial(deal.buyer.check_out, key=deal.key))


async def pay(scene: Scene, deal: Deal) -> None:
    """The money moves at once; the browser comes back to whatever is there."""
    await scene.pay(deal.checkout)


async def deliver(scene: Scene, deal: Deal) -> None:
    await move(scene, deal, "delivered")


async def move(scene: Scene, deal: Deal, status: str) -> None:
    """One step of the item; asked again with the same key when no answer came."""
    vendor = scene.vendor(deal.vendor_id)
    path = f"/v1/vendor/items/{deal.item['id']}/status"
    headers = {"if_match": f'"{deal.item["version"]}"', "idempotency_key": str(uuid4())}
    deal.item = await patiently(partial(vendor.call, "POST", path, {"new_status": status}, **headers))


async def confirmed(deal: Deal) -> None:
    look = partial(patiently, partial(deal.buyer.checkout, deal.checkout["id"]))
    await eventually(look, at_stage("confirmed"), "confirmed")


async def delivered(deal: Deal) -> None:
    look = partial(patiently, partial(deal.buyer.order, deal.checkout["id"]))
    await eventually(look, lambda order: order["status"] == "delivered", "delivered")


async def payable(deal: Deal) -> None:
    """The POST may have been answered while stock was not yet held."""
    look = partial(patiently, partial(deal.buyer.checkout, deal.checkout["id"]))
    deal.checkout, _ = await eventually(look, lambda one: one["payment"]["redirect"] is not None, "payable")


async def on_the_way(scene: Scene, deal: Deal) -> None:
    """Placed, paid, confirmed, and with the courier."""
    await place(deal)
    await pay(scene, deal)
    await confirmed(deal)
    order = await deal.buyer.order(deal.checkout["id"])
    deal.item = order["items"][0]
    for status in ("processing", "shipped"):
        await move(scene, deal, status)


async def all_of(step: Callable[[Deal], Awaitable[None]], deals: Sequence[Deal]) -> None:
    await asyncio.gather(*(step(deal) for deal in deals))


@pytest.mark.parametrize("victims", [*((one,) for one in EACH), EACH], ids=[*EACH, "all four at once"])
async def test_orders_reach_their_end_by_themselves(clean: Scene, victims: Sequence[str]) -> None:
    """Killed when the first of several orders is placed, the first paid, the first delivered."""
    deals = await asyncio.gather(*(a_deal(clean) for _ in range(3 * AT_ONCE)))
    new, unpaid, shipped = deals[:AT_ONCE], deals[AT_ONCE : 2 * AT_ONCE], deals[2 * AT_ONCE :]
    await all_of(place, unpaid)
    await all_of(partial(on_the_way, clean), shipped)
    moments = [
        [asyncio.create_task(place(deal)) for deal in new],
        [asyncio.create_task(pay(clean, deal)) for deal in unpaid],
        [asyncio.create_task(deliver(clean, deal)) for deal in shipped],
    ]
    for tasks in moments:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for name in victims:
        clean.stack.kill(name)
    await asyncio.gather(*(task for tasks in moments for task in tasks))
    await all_of(confirmed, unpaid)
    await all_of(delivered, shipped)
    await all_of(payable, new)
    await all_of(partial(pay, clean), new)
    await all_of(confirmed, new)
    for name in victims:
        await clean.stack.wait_ready(name)
    for deal in deals:
        assert [one["id"] for one in (await deal.buyer.call("GET", "/v1/orders"))["data"]] == [
            deal.checkout["id"]
        ]


async def test_after_every_crash_every_promise_is_kept(clean: Scene) -> None:
    assert await every_promise_kept(clean)
