"""Orders and items in the database: creating, locking, moving items, rolling up."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from services.chassis.db import Tx
from services.orders.domain import (
    BlockShipping,
    Checkout,
    CreateOrder,
    Item,
    ItemMove,
    ItemStatus,
    Order,
    OrderStatus,
    OrderStep,
)
from services.orders.store.checkouts import cause_of, trace_of

# Each item brings its cause itself: a join to the orders, planned for ten rows, would be slow for hundreds.
INSERT_ORDERS = """
    with bought as (
        insert into order_items (order_id, line, id, sku, quantity, price_paisa, net_paisa, delivery_paisa,
                                 vendor_id, slug, title)
        select * from unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::text[], $5::int[], $6::bigint[],
                             $7::bigint[], $8::bigint[], $9::uuid[], $10::text[], $11::text[])
    ),
    made as (
        select * from unnest($12::uuid[], $13::uuid[], $14::text[], $15::text[], $16::bigint[],
                             $17::smallint[], $18::boolean[], $19::timestamptz[], $20::bigint[], $21::int[],
                             $22::uuid[], $23::text[])
             as made(order_id, customer_id, order_number, method, total_paisa, hold_no, blocked, created_at,
                     seq, version, cause, trace_id)
    ),
    of_orders as (
        insert into order_history (order_id, seq, new_status, cause, actor_type, reason, trace_id)
        select order_id, 1, 'confirmed', cause, 'system', 'finalized', trace_id from made
    ),
    of_items as (
        insert into item_history (item_id, seq, order_id, new_status, cause, actor_type, reason, trace_id)
        select id, 1, order_id, 'pending', cause, 'system', 'finalized', trace_id
        from unnest($3::uuid[], $1::uuid[], $24::uuid[], $25::text[]) as item(id, order_id, cause, trace_id)
    )
    insert into orders (order_id, customer_id, order_number, method, status, total_paisa, hold_no, blocked,
                        created_at, seq, version)
    select order_id, customer_id, order_number, method, 'confirmed', total_paisa, hold_no, blocked,
           created_at, seq, version
    from made
"""

ORDER_COLUMNS: Final = """
    order_id, customer_id, order_number, method, total_paisa, hold_no, created_at, status, delivered_at,
    blocked, seq, version, steps
"""
ITEM_COLUMNS: Final = """
    id, line, sku, quantity, price_paisa, vendor_id, slug, title, delivery_paisa, status, delivered_at,
    version
"""

LOCK_ORDERS = f"""
    select {ORDER_COLUMNS}, now() as now
    from orders
    where order_id = any($1::uuid[])
    order by order_id
    for update
"""  # noqa: S608 - composed of constants only

# Read by a statement of its own, after the lock: only what began later sees what was committed before it.
READ_ITEMS = f"""
    select {ITEM_COLUMNS}, order_id
    from order_items
    where order_id = any($1::uuid[])
    order by order_id, line
"""  # noqa: S608 - composed of constants only

SAVE_ORDERS = """
    with moved as (
        select * from unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::text[], $6::timestamptz[],
                             $7::uuid[], $8::text[], $9::uuid[], $10::text[], $11::text[])
             as moved(item_id, seq, order_id, old_status, new_status, delivered_at, cause, actor_type,
                      actor_id, reason, trace_id)
    ),
    items as (
        update order_items
        set status = last.new_status, delivered_at = last.delivered_at, version = last.seq
        from (select distinct on (item_id) * from moved order by item_id, seq desc) as last
        where order_items.id = last.item_id
    ),
    of_items as (
        insert into item_history (item_id, seq, order_id, old_status, new_status, cause, actor_type, actor_id,
                                  reason, trace_id)
        select item_id, seq, order_id, old_status, new_status, cause, actor_type, actor_id, reason, trace_id
        from moved
    ),
    of_orders as (
        insert into order_history (order_id, seq, old_status, new_status, cause, actor_type, reason, trace_id)
        select order_id, seq, old_status, new_status, cause, 'system', reason, trace_id
        from unnest($12::uuid[], $13::int[], $14::text[], $15::text[], $16::uuid[], $17::text[], $18::text[])
             as rolled(order_id, seq, old_status, new_status, cause, reason, trace_id)
    )
    update orders
    set status = new.status, delivered_at = new.delivered_at, seq = new.seq, version = new.version,
        steps = new.steps
    from unnest($19::uuid[], $20::text[], $21::timestamptz[], $22::bigint[], $23::int[], $24::int[])
         as new(order_id, status, delivered_at, seq, version, steps)
    where orders.order_id = new.order_id
"""

BLOCK_SHIPPING = """
    update orders
    set blocked = said.blocked, version = version + 1
    from unnest($1::uuid[], $2::boolean[]) as said(order_id, blocked)
    where orders.order_id = said.order_id and orders.blocked <> said.blocked
"""


async def insert_orders(tx: Tx, created: Sequence[CreateOrder], saved: Mapping[UUID, Checkout]) -> None:
    """Orders and their items, with the first row of each history; `saved` tells where the counters stand."""
    if not created:
        return
    items = [_new_item(one.order.order_id, item) for one in created for item in one.order.items]
    orders = [_new_order(one, saved[one.order.order_id]) for one in created]
    causes = [(*cause_of(one.cause), trace_of(one.cause)) for one in created for _ in one.order.items]
    await tx.execute(
        INSERT_ORDERS, *zip(*items, strict=True), *zip(*orders, strict=True), *zip(*causes, strict=True)
    )


def _new_item(order_id: UUID, item: Item) -> tuple[object, ...]:
    return (
        order_id,
        item.line,
        item.id,
        item.sku,
        item.quantity,
        item.price_paisa,
        item.net_paisa,
        item.delivery_paisa,
        item.vendor_id,
        item.slug,
        item.title,
    )


def _new_order(one: CreateOrder, saved: Checkout) -> tuple[object, ...]:
    order = one.order
    return (
        order.order_id,
        order.customer_id,
        order.order_number,
        order.method,
        order.total_paisa,
        order.hold_no,
        order.blocked,
        order.created_at,
        saved.seq,
        saved.version,
        *cause_of(one.cause),
        trace_of(one.cause),
    )


async def lock_orders(tx: Tx, order_ids: Iterable[UUID]) -> dict[UUID, Order]:
    """The orders with their items, locked in id order; READ COMMITTED: the items are the latest committed."""
    rows = await tx.fetch(LOCK_ORDERS, list(order_ids))
    if not rows:
        return {}
    tx.starts_at(rows[0]["now"])
    items = await read_items(tx, [row["order_id"] for row in rows])
    return {row["order_id"]: order_of(row, items.get(row["order_id"], ())) for row in rows}


async def read_items(tx: Tx, order_ids: Sequence[UUID]) -> dict[UUID, tuple[Item, ...]]:
    """The items of these orders, in line order."""
    items: dict[UUID, list[Item]] = {}
    for row in await tx.fetch(READ_ITEMS, order_ids):
        items.setdefault(row["order_id"], []).append(item_of(row))
    return {order_id: tuple(some) for order_id, some in items.items()}


def order_of(row: asyncpg.Record, items: tuple[Item, ...]) -> Order:
    """The row as a value."""
    return Order(
        order_id=row["order_id"],
        customer_id=row["customer_id"],
        order_number=row["order_number"],
        method=row["method"],
        total_paisa=row["total_paisa"],
        hold_no=row["hold_no"],
        created_at=row["created_at"],
        items=items,
        status=OrderStatus(row["status"]),
        delivered_at=row["delivered_at"],
        blocked=row["blocked"],
        seq=row["seq"],
        version=row["version"],
        steps=row["steps"],
    )


def item_of(row: asyncpg.Record) -> Item:
    """The row as a value."""
    return Item(
        id=row["id"],
        line=row["line"],
        sku=row["sku"],
        quantity=row["quantity"],
        price_paisa=row["price_paisa"],
        vendor_id=row["vendor_id"],
        slug=row["slug"],
        title=row["title"],
        delivery_paisa=row["delivery_paisa"],
        status=ItemStatus(row["status"]),
        delivered_at=row["delivered_at"],
        version=row["version"],
    )


async def save_orders(
    tx: Tx, changed: Mapping[UUID, Order], moves: Sequence[ItemMove], steps: Sequence[OrderStep]
) -> None:
    """Moved items, rolled-up orders and a row of history for each; the orders are locked already."""
    if not changed:
        return
    orders = [
        (one.order_id, one.status.value, one.delivered_at, one.seq, one.version, one.steps)
        for one in changed.values()
    ]
    await tx.execute(
        SAVE_ORDERS,
        *_columns([_move(one) for one in moves], 11),
        *_columns([_step(one) for one in steps], 7),
        *_columns(orders, 6),
    )


def _move(one: ItemMove) -> tuple[object, ...]:
    return (
        one.item_id,
        one.seq,
        one.order_id,
        one.old.value,
        one.new.value,
        one.delivered_at,
        *cause_of(one.cause),
        one.actor.type,
        one.actor.id,
        one.reason,
        trace_of(one.cause),
    )


def _step(one: OrderStep) -> tuple[object, ...]:
    return (
        one.order_id,
        one.seq,
        one.old.value,
        one.new.value,
        *cause_of(one.cause),
        one.reason,
        trace_of(one.cause),
    )


async def block_shipping(tx: Tx, blocks: Sequence[BlockShipping]) -> None:
    """What may ship and what not; the checkouts are locked, and orders come after checkouts."""
    if blocks:
        last = {one.order_id: one.blocked for one in blocks}
        await tx.execute(BLOCK_SHIPPING, list(last), list(last.values()))


def _columns(rows: Sequence[Sequence[object]], width: int) -> Sequence[Sequence[object]]:
    return list(zip(*rows, strict=True)) if rows else ((),) * width
