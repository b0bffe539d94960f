"""What people ask to see: checkouts, orders, lists, a vendor's items; ownership stands in each query."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from services.chassis.db import Tx
from services.orders.domain import Checkout, Item, Order
from services.orders.store.checkouts import COLUMNS, checkout_of
from services.orders.store.orders import ITEM_COLUMNS, ORDER_COLUMNS, item_of, order_of, read_items

NEWEST: Final = UUID(int=2**128 - 1)
"""Before the newest id there is: the first page."""

READ_CHECKOUTS = f"""
    select {COLUMNS}, placed_at, updated_at,
           (select orders.order_number from orders where orders.order_id = checkouts.order_id) as order_number
    from unnest($1::uuid[], $2::uuid[]) as wanted(id, customer)
    join checkouts on checkouts.order_id = wanted.id and checkouts.customer_id = wanted.customer
    where deleted_at is null
"""  # noqa: S608 - composed of constants only

READ_ORDER = f"""
    select {ORDER_COLUMNS}
    from orders
    where order_id = $1 and customer_id = $2 and deleted_at is null
"""  # noqa: S608 - composed of constants only

ORDERS_OF_ITEMS = "select id, order_id from order_items where id = any($1::uuid[])"

SUMMARY: Final = """
    select checkouts.order_id, checkouts.stage, checkouts.method, checkouts.total_paisa, checkouts.placed_at,
           orders.status, orders.order_number
    from checkouts left join orders on orders.order_id = checkouts.order_id
"""

# Orders, and what may still become one or whose money is under way; not what ended quietly.
LIST_ORDERS = f"""
    {SUMMARY}
    where checkouts.customer_id = $1 and checkouts.order_id < $2 and checkouts.deleted_at is null
      and checkouts.stage not in ('rejected', 'expired', 'payment_failed', 'cancelled', 'refunded')
    order by checkouts.order_id desc
    limit $3
"""

SEARCH_ORDERS = f"""
    {SUMMARY}
    where checkouts.order_id < $1
      and ($2::uuid is null or checkouts.customer_id = $2)
      and ($3::text is null or checkouts.stage = $3)
      and ($4::text is null or orders.status = $4)
    order by checkouts.order_id desc
    limit $5
"""

# A vendor's items are read status by status, each from the index, and merged.
LIST_VENDOR_ITEMS = f"""
    select item.*, orders.order_number, orders.blocked
    from unnest($2::text[]) as wanted(status)
    cross join lateral (
        select {ITEM_COLUMNS}, order_id
        from order_items
        where order_items.vendor_id = $1 and order_items.status = wanted.status and order_items.id < $3
        order by order_items.id desc
        limit $4
    ) as item
    join orders on orders.order_id = item.order_id
    order by item.id desc
    limit $4
"""  # noqa: S608 - composed of constants only


@dataclass(frozen=True, slots=True)
class CheckoutSeen:
    """A checkout with the times its owner is shown."""

    checkout: Checkout
    placed_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Summary:
    """One row of a list: an order, or a checkout under way (without `status`)."""

    order_id: UUID
    stage: str
    method: str
    total_paisa: int | None
    placed_at: datetime
    status: str | None
    order_number: str | None


@dataclass(frozen=True, slots=True)
class ItemSeen:
    """An item in its order, as its vendor sees it."""

    item: Item
    order_id: UUID
    order_number: str
    blocked: bool


async def read_checkouts(tx: Tx, asked: Sequence[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], CheckoutSeen]:
    """Each `(checkout, customer)` that is one; those that are not that customer's are left out."""
    rows = await tx.fetch(READ_CHECKOUTS, *zip(*asked, strict=True)) if asked else ()
    return {
        (row["order_id"], row["customer_id"]): CheckoutSeen(
            checkout_of(row), row["placed_at"], row["updated_at"]
        )
        for row in rows
    }


async def read_order(tx: Tx, order_id: UUID, customer: UUID) -> Order | None:
    """This customer's order with its items; None when there is none."""
    row = await tx.fetchrow(READ_ORDER, order_id, customer)
    if row is None:
        return None
    return order_of(row, (await read_items(tx, [order_id])).get(order_id, ()))


async def orders_of_items(tx: Tx, item_ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """Which order each item belongs to, for ever; unknown items are left out."""
    return {row["id"]: row["order_id"] for row in await tx.fetch(ORDERS_OF_ITEMS, item_ids)}


async def list_orders(tx: Tx, customer: UUID, after: UUID | None, limit: int) -> list[Summary]:
    """This customer's orders and checkouts under way, newest first."""
    return _summaries(await tx.fetch(LIST_ORDERS, customer, after or NEWEST, limit))


async def search_orders(
    tx: Tx, after: UUID | None, customer: UUID | None, stage: str | None, status: str | None, limit: int
) -> list[Summary]:
    """Anybody's orders and checkouts, newest first, by what is given."""
    return _summaries(await tx.fetch(SEARCH_ORDERS, after or NEWEST, customer, stage, status, limit))


def _summaries(rows: Sequence[asyncpg.Record]) -> list[Summary]:
    return [
        Summary(
            row["order_id"],
            row["stage"],
            row["method"],
            row["total_paisa"],
            row["placed_at"],
            row["status"],
            row["order_number"],
        )
        for row in rows
    ]


async def list_vendor_items(
    tx: Tx, vendor: UUID, statuses: Sequence[str], after: UUID | None, limit: int
) -> list[ItemSeen]:
    """This vendor's items in these statuses, newest first."""
    rows = await tx.fetch(LIST_VENDOR_ITEMS, vendor, statuses, after or NEWEST, limit)
    return [ItemSeen(item_of(row), row["order_id"], row["order_number"], row["blocked"]) for row in rows]
