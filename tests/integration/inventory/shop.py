"""A shop to test in: something on its shelves, events heard as the service hears them, and its books."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from contracts.event import Event
from services.chassis.db import Database, Tx
from services.chassis.decisions import Verdicts
from services.inventory.domain import Order
from services.inventory.handlers import consumer
from tests.unit.inventory.examples import VENDOR

FILL = """
    with vendor as (
        insert into vendors (id, name, delivery_charge_paisa) values ($1, 'Vendor', 150)
        on conflict do nothing
    ), product as (
        insert into products (id, slug, vendor_id, title) values ($1, 'kurta', $1, 'Kurta')
        on conflict do nothing
    ), variant as (
        insert into variants (sku, product_id, price_paisa) select sku, $1, 1000 from unnest($2::text[]) sku
    ), shelf as (
        insert into stock (sku, on_hand, version)
        select sku, units, 2 from unnest($2::text[], $3::bigint[]) as opening (sku, units)
    ), why as (
        insert into adjustments (id, sku, delta, reason, made_by)
        select gen_random_uuid(), sku, units, 'opening', $1
        from unnest($2::text[], $3::bigint[]) as opening (sku, units)
        where units > 0
        returning id, sku, delta
    )
    insert into stock_movements (sku, kind, delta, adjustment_id) select sku, 'opening', delta, id from why
"""

WAITING = """
    select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
"""

ABOUT_TYPES = ("WITH RECURSIVE typeinfo_tree", "SELECT\n                        current_setting('jit')")

# The promises STK-1 to STK-4 as queries: each must find nothing.
BROKEN_PROMISES = {
    "on hand is not the sum of the ledger": """
        select sku from stock left join stock_movements using (sku)
        group by sku, on_hand having on_hand <> coalesce(sum(delta), 0)
    """,
    "reserved is not the sum of live holds": """
        select s.sku from stock s
        left join (select l.sku, sum(l.quantity) as units
                   from hold_lines l join holds using (order_id, hold_no)
                   where status = 'held' group by l.sku) live using (sku)
        where s.reserved <> coalesce(live.units, 0)
    """,
    "promised more than there is": "select sku from stock where not (0 <= reserved and reserved <= on_hand)",
    "a sale is not its hold's lines": """
        select order_id from (
            select order_id, hold_no, sku, quantity from hold_lines join holds using (order_id, hold_no)
            where status = 'consumed'
        ) sale full join (
            select order_id, hold_no, sku, -delta as quantity from stock_movements where kind = 'sold'
        ) entry using (order_id, hold_no, sku, quantity)
        where sale.sku is distinct from entry.sku or sale.quantity is distinct from entry.quantity
    """,
    "a tombstone or a refusal has lines": """
        select order_id from holds join hold_lines using (order_id, hold_no) where status = 'refused'
    """,
}


@dataclass(frozen=True, slots=True)
class Shop:
    """One inventory database; `admin_dsn` reaches it past the service's grants."""

    db: Database
    admin_dsn: str

    async def fill(self, **on_hand: int) -> None:
        async with self.db.transaction() as tx:
            await tx.execute(FILL, VENDOR, list(on_hand), list(on_hand.values()))

    async def hear(self, *events: Event) -> Verdicts[Order]:
        """One batch of one topic, through the service's own handler, in a transaction of its own."""
        handler: Callable[[Tx, Sequence[Any]], Awaitable[Verdicts[Order]]]
        handler = consumer.subscriptions[events[0].TOPIC].handler
        async with self.db.transaction() as tx:
            return await handler(tx, events)

    async def statements_of(self, *events: Event) -> int:
        """How many statements one batch takes; not `begin`, `commit` and the driver's own about types."""
        seen: list[str] = []
        async with self.db.transaction() as tx:
            handler = consumer.subscriptions[events[0].TOPIC].handler
            with tx.connection.query_logger(lambda record: seen.append(record.query)):
                await handler(tx, events)
        return sum(not query.lstrip().startswith(ABOUT_TYPES) for query in seen)

    async def until_waiting(self, sessions: int) -> None:
        """Returns when so many sessions of this database wait for a lock; bounded."""
        async with asyncio.timeout(10):
            while len(await self.rows(WAITING)) < sessions:  # noqa: ASYNC110 - the condition is another process's
                await asyncio.sleep(0.01)

    async def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        async with self.db.transaction() as tx:
            return [tuple(row) for row in await tx.fetch(query, *arguments)]

    async def units(self, sku: str = "a") -> tuple[int, int]:
        """On hand and reserved."""
        (row,) = await self.rows("select on_hand, reserved from stock where sku = $1", sku)
        return row[0], row[1]

    async def told(self, order_id: UUID) -> list[tuple[str, int]]:
        """Topic and `ce_sequence` of everything told about an order."""
        query = "select topic, key_seq from outbox where key = $1 order by key_seq"
        admin = await asyncpg.connect(self.admin_dsn)
        try:
            return [tuple(row) for row in await admin.fetch(query, str(order_id))]
        finally:
            await admin.close()

    async def broken_promises(self) -> list[str]:
        return [text for text, query in BROKEN_PROMISES.items() if await self.rows(query)]
