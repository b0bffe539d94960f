"""Two at the same row at the same moment: whoever comes second sees what the first did."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final
from uuid import UUID

import pytest

from services.chassis.db import Database
from services.chassis.decisions import Unchanged, Verdicts
from services.chassis.ids import new_id
from services.orders import handlers, reconcilers
from services.orders.actions import items
from services.orders.domain import Actor, ItemStatus, MoveItem, Order, RollUp
from tests.integration.orders.world import Orders
from tests.support.waiting import until
from tests.unit.orders import making

AGE: Final = "update checkouts set since = since - interval '1 day'"
WAITING: Final = """
    select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
"""
WALK: Final = (ItemStatus.PROCESSING, ItemStatus.SHIPPED, ItemStatus.DELIVERED)


@pytest.fixture
async def orders(database: Callable[[str], Awaitable[Any]]) -> AsyncIterator[Orders]:
    made = await database("orders")
    db = Database(made.dsn, name="races", size=4)
    yield Orders(db, made.admin_dsn)
    await db.close()


async def until_done_or_waiting(orders: Orders, second: asyncio.Task[Any]) -> None:
    """The second has got as far as it can while the first is at it."""

    async def done_or_waiting() -> bool:
        return second.done() or bool(await orders.rows(WAITING))

    await until(done_or_waiting)


async def test_a_checkout_that_is_being_paid_while_the_clock_looks_is_not_ended(orders: Orders) -> None:
    waiting = await orders.awaiting_payment(new_id())
    await orders.as_admin(AGE)
    paid = making.verified(waiting.order_id, amount_paisa=waiting.total_paisa or 0)

    async def look() -> int:
        async with orders.db.transaction() as tx:
            return await reconcilers.expire_unpaid.heal(tx, await tx.now())

    async with orders.db.transaction() as tx:
        await handlers.consumer.subscriptions[paid.TOPIC].handler(tx, [paid])
        looking = asyncio.create_task(look())
        await until_done_or_waiting(orders, looking)
    assert await looking == 0
    assert (await orders.read(waiting.order_id)).stage == "confirmed"
    told = await orders.told(waiting.order_id)
    assert "order.finalized" in told
    assert "order.expired" not in told


async def _delivered(orders: Orders) -> UUID:
    """An order whose one item is delivered, and which does not say so yet."""
    confirmed = await orders.confirmed(new_id(), kurta=1)
    for status in WALK:
        command = MoveItem(confirmed.order_id, confirmed.lines[0].id, status, Actor("admin", new_id()), "")
        async with orders.db.transaction() as tx:
            await items.move_items(tx, [command])
    return confirmed.order_id


async def test_a_roll_up_waits_for_another_one_of_its_order_and_finds_it_done(orders: Orders) -> None:
    order_id = await _delivered(orders)

    async def roll_up() -> Verdicts[Order]:
        async with orders.db.transaction() as tx:
            return await items.roll_up(tx, [RollUp(order_id)])

    async with orders.db.transaction() as tx:
        await items.roll_up(tx, [RollUp(order_id)])
        second = asyncio.create_task(roll_up())
        await until_done_or_waiting(orders, second)
    assert (await second).outcomes == (Unchanged(),)
    assert (await orders.told(order_id)).count("order.delivered") == 1
