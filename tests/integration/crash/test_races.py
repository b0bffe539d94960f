"""The clock and an event at the same row at the same moment: whoever comes second sees what the first did."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from services.chassis.db import Database
from services.chassis.ids import new_id
from services.orders import handlers, reconcilers
from tests.integration.orders.world import Orders
from tests.support.waiting import until
from tests.unit.orders import making

AGE = "update checkouts set since = since - interval '1 day'"
WAITING = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


async def test_a_checkout_that_is_being_paid_while_the_clock_looks_is_not_ended(
    database: Callable[[str], Awaitable[Any]],
) -> None:
    made = await database("orders")
    db = Database(made.dsn, name="races", size=4)
    orders = Orders(db, made.admin_dsn)
    waiting = await orders.awaiting_payment(new_id())
    await orders.as_admin(AGE)
    paid = making.verified(waiting.order_id, amount_paisa=waiting.total_paisa or 0)

    async def look() -> int:
        async with db.transaction() as tx:
            return await reconcilers.expire_unpaid.heal(tx, await tx.now())

    async with db.transaction() as tx:
        await handlers.consumer.subscriptions[paid.TOPIC].handler(tx, [paid])
        looking = asyncio.create_task(look())

        async def done_or_waiting() -> bool:
            return looking.done() or bool(await orders.rows(WAITING))

        await until(done_or_waiting)
    assert await looking == 0
    assert (await orders.read(waiting.order_id)).stage == "confirmed"
    told = await orders.told(waiting.order_id)
    assert "order.finalized" in told
    assert "order.expired" not in told
    await db.close()
