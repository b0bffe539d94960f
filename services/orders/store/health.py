"""How the work of orders stands: checkouts by stage, what is stuck, orders without items."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from services.chassis.db import Tx

# Of each stage the oldest are looked at; what is under way is in an index of its own, and few.
UNDER_WAY: Final = """
    select wanted.stage, waiting.n, waiting.oldest_s
    from unnest($1::text[]) as wanted(stage)
    cross join lateral (
        select count(*)::int as n, coalesce(extract(epoch from now() - min(since)), 0)::float8 as oldest_s
        from (
            select since from checkouts
            where checkouts.stage = wanted.stage and checkouts.stage in (
                'reserving', 'awaiting_phone', 'awaiting_payment', 'verifying', 'on_hold', 'processing')
            order by since
            limit $2
        ) as oldest
    ) as waiting
"""

NEWEST_CHECKOUTS: Final = """
    select stage, count(*)::int as n
    from (select stage from checkouts where order_id >= $1 order by order_id desc limit $2) as newest
    group by stage
"""

NEWEST_ORDERS: Final = """
    select status, count(*)::int as n
    from (select status from orders where order_id >= $1 order by order_id desc limit $2) as newest
    group by status
"""

WITHOUT_ITEMS: Final = """
    select count(*)::int
    from (select order_id from orders where order_id >= $1 order by order_id desc limit $2) as newest
    where not exists (select from order_items where order_items.order_id = newest.order_id)
"""

# Longer in a stage than its timer allows. Stock that a review gave back is not waited for any more; what is
# paid and waits for its stock is not the timer's, see `timers.paid_unreserved`.
STUCK_CHECKOUTS: Final = """
    select wanted.stage, count(*)::int as n
    from unnest($1::text[], $2::float8[]) as wanted(stage, limit_s)
    cross join lateral (
        select from checkouts
        where checkouts.stage = wanted.stage and checkouts.stage in (
                'reserving', 'awaiting_phone', 'awaiting_payment', 'verifying', 'on_hold', 'processing')
          and since <= now() - make_interval(secs => wanted.limit_s)
          and (checkouts.stage not in ('awaiting_payment', 'verifying')
               or since <= now() - make_interval(secs => wanted.limit_s + pay_within_s))
          and (checkouts.stage <> 'on_hold' or hold <> 'none')
          and (checkouts.stage <> 'reserving' or paid_at is null)
        limit $3
    ) as late
    group by wanted.stage
"""


class Waiting(NamedTuple):
    """How many checkouts are in a stage, and how long the first of them has been, in seconds."""

    number: int
    oldest_s: float


async def under_way(tx: Tx, stages: Sequence[str], most: int) -> dict[str, Waiting]:
    """The checkouts in each of these stages, which must be stages under way."""
    rows = await tx.fetch(UNDER_WAY, stages, most)
    return {row["stage"]: Waiting(row["n"], row["oldest_s"]) for row in rows}


async def newest_checkouts(tx: Tx, since: UUID, most: int) -> dict[str, int]:
    """The stages of checkouts placed since this id."""
    return {row["stage"]: row["n"] for row in await tx.fetch(NEWEST_CHECKOUTS, since, most)}


async def newest_orders(tx: Tx, since: UUID, most: int) -> dict[str, int]:
    """The statuses of orders whose checkout was placed since this id."""
    return {row["status"]: row["n"] for row in await tx.fetch(NEWEST_ORDERS, since, most)}


async def orders_without_items(tx: Tx, since: UUID, most: int) -> int:
    """Orders with nothing in them: there must be none."""
    found: int = await tx.fetchval(WITHOUT_ITEMS, since, most)
    return found


async def stuck_checkouts(tx: Tx, limits: Mapping[str, float], most: int) -> dict[str, int]:
    """Checkouts that are longer in a stage than it takes, in seconds without the time to pay, if any."""
    rows = await tx.fetch(STUCK_CHECKOUTS, list(limits), [float(one) for one in limits.values()], most)
    return {row["stage"]: row["n"] for row in rows}
