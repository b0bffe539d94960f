"""Every service begins anew, process after process, twice, while people buy: nobody notices."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from rich.console import Console

from infra import restart
from infra.demo.chapters import at_stage
from infra.demo.scene import Scene, eventually, scene_on
from infra.people import Customer, Vendor
from infra.progress import silent
from infra.stack import Stack
from tests.e2e.asking import every_promise_kept
from tests.e2e.conftest import SETTINGS
from tests.support.doors import Doors, UnansweredError

pytestmark = pytest.mark.asyncio(loop_scope="session")

BUYERS = 3
ROUNDS = 2
TWO_OF_EACH = dict.fromkeys(("orders", "inventory", "payments", "gateway"), 2)


@asynccontextmanager
async def two_of_everything(folder: Path) -> AsyncIterator[tuple[Scene, Doors]]:
    async with (
        Stack(folder, replicas=TWO_OF_EACH, env=SETTINGS, report=silent) as stack,
        scene_on(stack, Console(quiet=True)) as scene,
    ):
        doors = Doors.of([stack.addresses["gateway-0"], stack.addresses["gateway-1"]])
        try:
            yield scene, doors
        finally:
            await doors.close()


async def one_order(scene: Scene, doors: Doors, goods: tuple[UUID, str]) -> str:
    """From an empty cart to delivered; every answer comes through the two doors."""
    vendor_id, sku = goods
    buyer = Customer(doors, scene.issuer.make_token)
    await buyer.wants(sku)
    checkout = await buyer.check_out()
    look = partial(buyer.checkout, checkout["id"])
    checkout, _ = await eventually(look, lambda one: one["payment"]["redirect"] is not None, "payable")
    await scene.pay(checkout, follow_return=False)
    await eventually(look, at_stage("confirmed"), "confirmed")
    vendor = Vendor(doors, scene.issuer.make_token, vendor_id)
    order = await buyer.order(checkout["id"])
    for item in order["items"]:
        for status in ("processing", "shipped", "delivered"):
            item = await vendor.move(item, status)  # noqa: PLW2901 - the item as it is now
    await eventually(
        partial(buyer.order, checkout["id"]), lambda one: one["status"] == "delivered", "delivered"
    )
    return str(checkout["id"])


async def keep_buying(scene: Scene, doors: Doors, goods: tuple[UUID, str], done: asyncio.Event) -> list[str]:
    """Order after order; what has begun is brought to its end."""
    delivered: list[str] = []
    while not done.is_set():
        with suppress(UnansweredError):  # it is in `doors.failed`, with what it was
            delivered.append(await one_order(scene, doors, goods))
    return delivered


async def test_a_rolling_restart_under_load_fails_nobody_and_leaves_nothing_behind(
    tmp_path_factory: pytest.TempPathFactory, record_property: Callable[[str, object], None]
) -> None:
    folder = tmp_path_factory.mktemp("rolling")
    async with two_of_everything(folder) as (scene, doors):
        done = asyncio.Event()
        shelves = [await scene.goods("rolling", price_paisa=50_000, stock=10_000) for _ in range(BUYERS)]
        buyers = [asyncio.create_task(keep_buying(scene, doors, goods, done)) for goods in shelves]
        restarted: list[str] = []
        try:
            for _ in range(ROUNDS):
                restarted += await restart.roll(folder, say=lambda _: None)
        finally:
            done.set()
            delivered = [one for orders in await asyncio.gather(*buyers) for one in orders]
        assert len(restarted) == ROUNDS * sum(TWO_OF_EACH.values())
        assert doors.failed == []
        assert doors.refused, "the clients have met gateways that were away"
        assert len(delivered) >= BUYERS
        for name in ("answered", "refused", "busy"):
            record_property(name, getattr(doors, name))
        record_property("orders", len(delivered))
        assert await every_promise_kept(scene)
