"""Carts in the database: what customers put in, what checkouts took and what came back."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.chassis.db import Tx
from services.orders.domain import ReturnLines, TakeReturned

LOCK_CARTS = """
    select user_id, sku, returned_from, quantity, now() as now
    from cart_lines
    where user_id = any($1::uuid[]) and expires_at > now()
    order by user_id, sku, returned_from
    for update
"""

RETURN_LINES = """
    insert into cart_lines (user_id, sku, returned_from, quantity)
    select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::int[])
    on conflict do nothing
"""

# Locked in the order every checkout locks its cart in, so that the two cannot deadlock.
TAKE_RETURNED = """
    with gone as (
        select cart_lines.user_id, cart_lines.sku, cart_lines.returned_from
        from cart_lines
        join unnest($1::uuid[], $2::uuid[]) as taken(user_id, order_id)
          on cart_lines.user_id = taken.user_id and cart_lines.returned_from = taken.order_id
        order by 1, 2, 3
        for update of cart_lines
    )
    delete from cart_lines
    using gone
    where cart_lines.user_id = gone.user_id and cart_lines.sku = gone.sku
      and cart_lines.returned_from = gone.returned_from
"""

READ_CART = """
    select sku, sum(quantity)::int as quantity, max(expires_at) as expires_at
    from cart_lines
    where user_id = $1 and expires_at > now()
    group by sku
    order by sku
"""

# In the order every checkout locks its cart in: the statement after it goes through the lines as it likes.
LOCK_SKU = """
    select from cart_lines where user_id = $1 and sku = $2 order by returned_from for update
"""

# One statement, so that a reader never sees the SKU twice; `$3` 0 only removes.
PUT_LINE = """
    with mine as (
        select sku from cart_lines where user_id = $1 and expires_at > now() and sku <> $2 group by sku
    ),
    gone as (
        delete from cart_lines
        where user_id = $1 and sku = $2
          and (returned_from <> '00000000-0000-0000-0000-000000000000' or $3::int = 0)
    )
    insert into cart_lines (user_id, sku, quantity)
    select $1, $2, $3 where $3 > 0 and (select count(*) from mine) < $4
    on conflict (user_id, sku, returned_from) do update
    set quantity = excluded.quantity, expires_at = excluded.expires_at
    returning sku
"""

EXPIRE_LINES = """
    delete from cart_lines
    where ctid = any (array(
        select ctid from cart_lines where expires_at <= $1 order by expires_at limit $2 for update skip locked
    ))
    returning 1
"""


class CartLine(NamedTuple):
    """One row of a cart; a SKU may have several, from different checkouts it came back from."""

    user_id: UUID
    sku: str
    returned_from: UUID
    quantity: int


@dataclass(frozen=True, slots=True)
class CartSum:
    """All of one SKU in a cart."""

    sku: str
    quantity: int
    expires_at: datetime


async def lock_carts(tx: Tx, users: Iterable[UUID]) -> list[CartLine]:
    """The lines of these carts, locked in key order: a second checkout waits here and then finds none."""
    rows = await tx.fetch(LOCK_CARTS, list(users))
    if rows:
        tx.starts_at(rows[0]["now"])
    return [CartLine(*row[:4]) for row in rows]


async def return_lines(tx: Tx, ended: Sequence[ReturnLines]) -> None:
    """The lines of ended checkouts, back in the carts for another 30 days; the checkouts are locked."""
    rows = [(one.customer_id, line.sku, one.order_id, line.quantity) for one in ended for line in one.lines]
    if rows:
        await tx.execute(RETURN_LINES, *zip(*rows, strict=True))


async def take_returned(tx: Tx, taken: Sequence[TakeReturned]) -> None:
    """What came back from these checkouts leaves the carts: it is bought after all."""
    if taken:
        await tx.execute(TAKE_RETURNED, [one.customer_id for one in taken], [one.order_id for one in taken])


async def read_cart(tx: Tx, user: UUID) -> list[CartSum]:
    """The cart as its owner sees it: one line per SKU."""
    return [
        CartSum(row["sku"], row["quantity"], row["expires_at"]) for row in await tx.fetch(READ_CART, user)
    ]


async def put_line(tx: Tx, user: UUID, sku: str, quantity: int, most: int) -> bool:
    """This SKU, this often, instead of all its lines; 0 removes. False when `most` others leave no room."""
    await tx.execute(LOCK_SKU, user, sku)
    rows = await tx.fetch(PUT_LINE, user, sku, quantity, most)
    return bool(rows) or quantity == 0


async def expire_lines(tx: Tx, now: datetime, limit: int) -> int:
    """Forget lines past their 30 days, at most `limit`; returns how many."""
    return len(await tx.fetch(EXPIRE_LINES, now, limit))
