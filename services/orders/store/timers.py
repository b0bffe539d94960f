"""What should have moved by now: checkouts past a limit, orders whose status is not what their items say."""

from datetime import datetime
from typing import Final
from uuid import UUID

from contracts.topics import PARTITIONS
from services.chassis.db import Tx
from services.chassis.murmur2 import partition_of
from services.orders.domain import Checkout
from services.orders.store.checkouts import COLUMNS, locked

# The condition is evaluated again on the locked row: what moved meanwhile is left out. The stages are written
# out, because a plan made for any stage could not use the index of those that are under way.
LOCK_DUE: Final = f"""
    select {COLUMNS}, now() as now
    from checkouts
    where %s and since <= $1::timestamptz - make_interval(secs => $2)
    order by since
    limit $3
    for update skip locked
"""  # noqa: S608 - composed of constants only

LOCK_UNRESERVED = LOCK_DUE % "stage = 'reserving' and asked and paid_at is null"
FIND_UNRESERVED: Final = """
    select exists (
        select from checkouts
        where stage = 'reserving' and since <= $1::timestamptz - make_interval(secs => $2)
    )
"""
SPARE_ASKED: Final = """
    with waiting as (
        select order_id
        from checkouts
        where stage = 'reserving' and asked and paid_at is null
        order by since
        limit $1
        for no key update skip locked
    )
    update checkouts
    set since = least(now(), since + coalesce(
        (select now() - last_run_at from reconciler_runs where name = $2), interval '1 year'))
    from waiting
    where checkouts.order_id = waiting.order_id
    returning checkouts.order_id
"""
# Each checkout has its own time to pay; the grace alone lets the index narrow the search.
UNPAID: Final = """
    stage in ('awaiting_payment', 'verifying')
    and since <= $1::timestamptz - make_interval(secs => $2 + pay_within_s)
"""
LOCK_UNPAID = LOCK_DUE % UNPAID
FIND_UNPAID = f"""
    select exists (
        select from checkouts
        where {UNPAID} and since <= $1::timestamptz - make_interval(secs => $2)
    )
"""  # noqa: S608 - composed of constants only
LOCK_UNCONFIRMED = LOCK_DUE % "stage = 'awaiting_phone'"
LOCK_REVIEWED = LOCK_DUE % "stage = 'on_hold' and hold <> 'none'"
LOCK_UNPROCESSED = LOCK_DUE % "stage = 'processing'"

# The shard of an order id is a hash that only we can compute: it is written down for the few that are late,
# so that those of a shard that stands still take nobody's place below.
UNSHARDED = """
    select order_id
    from checkouts
    where stage = 'reserving' and not asked and part is null
      and since <= $1::timestamptz - make_interval(secs => $2)
    order by since
    limit $3
    for no key update skip locked
"""

NAME_SHARDS = """
    update checkouts
    set part = wanted.part
    from unnest($1::uuid[], $2::smallint[]) as wanted(order_id, part)
    where checkouts.order_id = wanted.order_id
"""

# What a shard's snapshot sees is published; the two minutes count from when that is known. A transaction that
# this server has yet to begin was another server's: the database came by dump, and since its cursor is ours
# again, what was unpublished has been told anew.
MARK_ASKED = """
    with gone as (
        select order_id
        from checkouts join outbox_shard using (part)
        where stage = 'reserving' and not asked
          and (pg_visible_in_snapshot(placed_xid, snap)
               or placed_xid >= pg_snapshot_xmax(pg_current_snapshot())
                  and pg_snapshot_xmax(snap) <= pg_snapshot_xmax(pg_current_snapshot()))
        order by since
        limit $1
        for no key update of checkouts skip locked
    )
    update checkouts
    set asked = true, since = now()
    from gone
    where checkouts.order_id = gone.order_id
"""

PAID_UNRESERVED = """
    select order_id
    from checkouts
    where stage = 'reserving' and paid_at is not null and since <= $1::timestamptz - make_interval(secs => $2)
    order by since
    limit $3
"""

UNREFUNDED = """
    select order_id
    from checkouts
    where stage = 'refund_pending' and since <= $1::timestamptz - make_interval(secs => $2)
    order by since
    limit $3
"""

MISROLLED = """
    select order_id
    from orders
    where status = 'confirmed' and not exists (
        select from order_items
        where order_items.order_id = orders.order_id
          and order_items.status in ('pending', 'processing', 'shipped'))
      and exists (select from order_items where order_items.order_id = orders.order_id)
    order by order_id
    limit $1
"""


async def lock_unreserved(tx: Tx, now: datetime, limit_s: float, most: int) -> dict[UUID, Checkout]:
    """Unpaid checkouts that inventory was asked about so long ago; busy ones are left for the next round."""
    return locked(tx, await tx.fetch(LOCK_UNRESERVED, now, limit_s, most))


async def any_unreserved(tx: Tx, now: datetime, limit_s: float) -> bool:
    """Whether any checkout has waited so long for inventory, whoever is to blame."""
    found: bool = await tx.fetchval(FIND_UNRESERVED, now, limit_s)
    return found


async def spare_asked(tx: Tx, duty: str, most: int) -> int:
    """Let the time since this duty's last round not count for what inventory was asked; returns how many."""
    return len(await tx.fetch(SPARE_ASKED, most, duty))


async def lock_unpaid(tx: Tx, now: datetime, grace_s: float, most: int) -> dict[UUID, Checkout]:
    """Checkouts whose own time to pay is over since `grace_s`, locked."""
    return locked(tx, await tx.fetch(LOCK_UNPAID, now, grace_s, most))


async def any_unpaid(tx: Tx, now: datetime, grace_s: float) -> bool:
    """Whether there is any of them."""
    found: bool = await tx.fetchval(FIND_UNPAID, now, grace_s)
    return found


async def lock_unconfirmed(tx: Tx, now: datetime, limit_s: float, most: int) -> dict[UUID, Checkout]:
    """Checkouts that wait for a phone number for so long, locked."""
    return locked(tx, await tx.fetch(LOCK_UNCONFIRMED, now, limit_s, most))


async def lock_reviewed(tx: Tx, now: datetime, limit_s: float, most: int) -> dict[UUID, Checkout]:
    """Checkouts on hold for so long that still hold stock, locked."""
    return locked(tx, await tx.fetch(LOCK_REVIEWED, now, limit_s, most))


async def lock_unprocessed(tx: Tx, now: datetime, limit_s: float, most: int) -> dict[UUID, Checkout]:
    """Paid checkouts that wait for their second hold for so long, locked."""
    return locked(tx, await tx.fetch(LOCK_UNPROCESSED, now, limit_s, most))


async def mark_asked(tx: Tx, now: datetime, older_than_s: float, most: int) -> None:
    """Note which `order.placed` have left the outbox; an outage of the relay is not inventory's silence."""
    unsharded = await tx.fetch(UNSHARDED, now, older_than_s, most)
    if unsharded:
        ids = [row["order_id"] for row in unsharded]
        parts = [partition_of(str(order_id).encode(), PARTITIONS) for order_id in ids]
        await tx.execute(NAME_SHARDS, ids, parts)
    await tx.execute(MARK_ASKED, most)


async def find_misrolled(tx: Tx, most: int) -> list[UUID]:
    """Orders still `confirmed` although none of their items is open."""
    return [row["order_id"] for row in await tx.fetch(MISROLLED, most)]


async def paid_unreserved(tx: Tx, now: datetime, limit_s: float, most: int) -> list[UUID]:
    """Checkouts that were paid and still wait for the first word about their stock, oldest first."""
    return [row["order_id"] for row in await tx.fetch(PAID_UNRESERVED, now, limit_s, most)]


async def unrefunded(tx: Tx, now: datetime, limit_s: float, most: int) -> list[UUID]:
    """Checkouts whose money has been on its way back for so long, oldest first."""
    return [row["order_id"] for row in await tx.fetch(UNREFUNDED, now, limit_s, most)]
