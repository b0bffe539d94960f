"""The holds of orders: locked by order id, read with their lines, saved as decided."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from uuid import UUID

import asyncpg

from services.chassis.db import Tx
from services.inventory.domain import Hold, HoldStatus, Line, Order

# The row is the lock: an event that comes first must leave one, so that those after it meet there.
# `do update` and not `do nothing`, because only the former waits for and locks a row that is already there.
OPEN_ORDERS = """
    insert into hold_orders as known (order_id)
    select order_id from unnest($1::uuid[]) as wanted (order_id) order by order_id
    on conflict (order_id) do update set seq = known.seq
    returning order_id, seq, closes_all, xmax = 0 as is_new
"""

LOCK_ORDERS = """
    select order_id, seq, closes_all, false as is_new
    from hold_orders
    where order_id = any($1::uuid[])
    order by order_id
    for update
"""

# A statement of its own after the lock: only a new snapshot sees what the lock's last holder wrote.
READ_HOLDS = """
    select h.order_id, h.hold_no, h.status,
           l.sku, l.quantity, l.price_paisa, l.vendor_id, l.delivery_paisa, l.slug, l.title
    from holds h
    left join hold_lines l on l.order_id = h.order_id and l.hold_no = h.hold_no
    where h.order_id = any($1::uuid[])
    order by h.order_id, h.hold_no, l.sku
"""

READ_RETURNED = """
    select order_id, order_item_id
    from stock_movements
    where kind = 'returned' and order_item_id = any($1::uuid[])
"""

# The status it leaves is compared, so that a hold ends once even if a lock were forgotten.
CLOSE_HOLDS = """
    update holds
    set status = done.status, closed_at = now()
    from unnest($1::uuid[], $2::int[], $3::text[]) as done (order_id, hold_no, status)
    where holds.order_id = done.order_id and holds.hold_no = done.hold_no and holds.status = 'held'
"""

SAVE_ORDERS = """
    with counted as (
        update hold_orders
        set seq = decided.seq, closes_all = decided.closes_all
        from unnest($1::uuid[], $2::bigint[], $3::boolean[]) as decided (order_id, seq, closes_all)
        where hold_orders.order_id = decided.order_id
    ), opened as (
        insert into holds (order_id, hold_no, status, closed_at)
        select order_id, hold_no, status, case when status <> 'held' then now() end
        from unnest($4::uuid[], $5::int[], $6::text[]) as new (order_id, hold_no, status)
    )
    insert into hold_lines (order_id, hold_no, sku, quantity,
                            price_paisa, vendor_id, delivery_paisa, slug, title)
    select * from unnest($7::uuid[], $8::int[], $9::text[], $10::int[],
                         $11::bigint[], $12::uuid[], $13::bigint[], $14::text[], $15::text[])
"""

OLD_HOLDS = """
    select order_id, hold_no, opened_at
    from holds
    where status = 'held' and opened_at < $1
    order by order_id
    limit $2
"""

LINE_COLUMNS = 9


async def open_orders(tx: Tx, order_ids: Iterable[UUID]) -> dict[UUID, Order]:
    """The orders, locked in id order; one nobody has heard of gets its row, so it is locked too."""
    return await _with_holds(tx, await tx.fetch(OPEN_ORDERS, _distinct(order_ids)))


async def lock_orders(tx: Tx, order_ids: Iterable[UUID]) -> dict[UUID, Order]:
    """The orders that are known, locked in id order."""
    return await _with_holds(tx, await tx.fetch(LOCK_ORDERS, _distinct(order_ids)))


async def returned_items(tx: Tx, item_ids: Sequence[UUID]) -> dict[UUID, frozenset[UUID]]:
    """By order: which of these items have come back already."""
    returned = defaultdict(set)
    for row in await tx.fetch(READ_RETURNED, item_ids):
        returned[row["order_id"]].add(row["order_item_id"])
    return {order_id: frozenset(items) for order_id, items in returned.items()}


async def save_orders(tx: Tx, before: Mapping[UUID, Order], after: Mapping[UUID, Order]) -> None:
    """Write what differs: holds that closed first, because an order has at most one live hold."""
    closed, opened, counted = _differences(before, after)
    if closed:
        await tx.execute(CLOSE_HOLDS, *_columns(closed, 3))
    if opened or counted:
        lines = [(order_id, hold.hold_no, *line) for order_id, hold in opened for line in hold.lines]
        holds = [(order_id, hold.hold_no, hold.status.value) for order_id, hold in opened]
        await tx.execute(
            SAVE_ORDERS, *_columns(counted, 3), *_columns(holds, 3), *_columns(lines, LINE_COLUMNS)
        )


async def old_holds(tx: Tx, before: datetime, limit: int) -> list[asyncpg.Record]:
    """Holds that live since before this time, oldest order first."""
    return await tx.fetch(OLD_HOLDS, before, limit)


async def _with_holds(tx: Tx, rows: Sequence[asyncpg.Record]) -> dict[UUID, Order]:
    known = [order_id for order_id, _, _, is_new in rows if not is_new]
    holds = await _read_holds(tx, known) if known else {}
    return {
        order_id: Order(order_id, seq, closes_all, holds.get(order_id, ()))
        for order_id, seq, closes_all, _ in rows
    }


async def _read_holds(tx: Tx, order_ids: Sequence[UUID]) -> dict[UUID, tuple[Hold, ...]]:
    holds: defaultdict[UUID, tuple[Hold, ...]] = defaultdict(tuple)
    rows = await tx.fetch(READ_HOLDS, order_ids)
    for (order_id, hold_no, status), lines in groupby(rows, key=itemgetter(0, 1, 2)):
        frozen = tuple([Line(*row[3:]) for row in lines if row[3] is not None])
        holds[order_id] += (Hold(hold_no, HoldStatus(status), frozen),)
    return holds


def _differences(
    before: Mapping[UUID, Order], after: Mapping[UUID, Order]
) -> tuple[list[tuple[UUID, int, str]], list[tuple[UUID, Hold]], list[tuple[UUID, int, bool]]]:
    """Holds that closed, holds that are new, and orders whose own row changed."""
    closed, opened, counted = [], [], []
    for order_id, order in after.items():
        old = before[order_id]
        known = {hold.hold_no: hold.status for hold in old.holds}
        for hold in order.holds:
            if hold.hold_no not in known:
                opened.append((order_id, hold))
            elif hold.status is not known[hold.hold_no]:
                closed.append((order_id, hold.hold_no, hold.status.value))
        if (order.seq, order.closes_all) != (old.seq, old.closes_all):
            counted.append((order_id, order.seq, order.closes_all))
    return closed, opened, counted


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[Sequence[object]]:
    """Rows as the columns that `unnest` takes."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


def _distinct(ids: Iterable[UUID]) -> list[UUID]:
    return list(dict.fromkeys(ids))
