"""Orders looked through page by page, whatever their age; and the switch that pauses the roll-up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from contracts.event import NIL
from services.chassis.db import Tx
from services.orders.domain import Order
from services.orders.store.orders import ORDER_COLUMNS, order_of, read_items

ROLLUP: Final = "rollup"
FIRST: Final = NIL
"""Before the first id there is."""

PAGE_OF_ORDERS = f"""
    select {ORDER_COLUMNS}
    from orders
    where order_id > $1
    order by order_id
    limit $2
"""  # noqa: S608 - composed of constants only

# Whatever is asked for, only one page of orders is looked at: a table of millions is walked in small steps.
EMPTY_ORDERS = """
    with page as (
        select order_id, order_number, status, created_at
        from orders where order_id > $1 order by order_id limit $2
    )
    select page.*, not exists (select from order_items where order_items.order_id = page.order_id) as is_empty
    from page
    order by order_id
"""

READ_SWITCH = """
    select off_until, reason, set_by, set_at from switches where name = $1 and off_until > now()
"""
IS_OFF = "select exists (select from switches where name = $1 and off_until > now())"
SWITCH_OFF = """
    insert into switches (name, off_until, reason, set_by)
    select switch, now() + lasts, why, who
    from unnest(array[$1::text], array[$2::interval], array[$3::text], array[$4::uuid])
         as said(switch, lasts, why, who)
    where switch is not null
    on conflict (name) do update
    set off_until = excluded.off_until, reason = excluded.reason, set_by = excluded.set_by, set_at = now()
    returning off_until
"""
SWITCH_ON = "update switches set off_until = now() where name = $1 and off_until > now() returning name"


@dataclass(frozen=True, slots=True)
class Pause:
    """The roll-up rests until then; by whom and why."""

    until: datetime
    reason: str
    by: UUID
    since: datetime


@dataclass(frozen=True, slots=True)
class EmptyOrder:
    """An order without items, as only an import can leave one."""

    order_id: UUID
    order_number: str
    status: str
    created_at: datetime


async def page_of_orders(tx: Tx, after: UUID, most: int) -> list[Order]:
    """The next orders after this id with their items, not locked."""
    rows = await tx.fetch(PAGE_OF_ORDERS, after, most)
    items = await read_items(tx, [row["order_id"] for row in rows]) if rows else {}
    return [order_of(row, items.get(row["order_id"], ())) for row in rows]


async def empty_orders(tx: Tx, after: UUID, most: int) -> tuple[Sequence[EmptyOrder], int, UUID | None]:
    """Those without items among the next `most` orders; how many were looked at; where to go on."""
    rows = await tx.fetch(EMPTY_ORDERS, after, most)
    found = [
        EmptyOrder(row["order_id"], row["order_number"], row["status"], row["created_at"])
        for row in rows
        if row["is_empty"]
    ]
    return found, len(rows), rows[-1]["order_id"] if len(rows) == most else None


async def is_rollup_paused(tx: Tx) -> bool:
    """Whether the roll-up rests now, in every replica."""
    paused: bool = await tx.fetchval(IS_OFF, ROLLUP)
    return paused


async def read_pause(tx: Tx) -> Pause | None:
    """The pause that is in force."""
    row = await tx.fetchrow(READ_SWITCH, ROLLUP)
    return None if row is None else Pause(row["off_until"], row["reason"], row["set_by"], row["set_at"])


async def pause_rollup(tx: Tx, lasts: timedelta, reason: str, by: UUID) -> datetime:
    """Let the roll-up rest so long from now; a pause in force is replaced."""
    until: datetime = await tx.fetchval(SWITCH_OFF, ROLLUP, lasts, reason, by)
    return until


async def resume_rollup(tx: Tx) -> bool:
    """End the pause; False when there was none."""
    return await tx.fetchval(SWITCH_ON, ROLLUP) is not None
