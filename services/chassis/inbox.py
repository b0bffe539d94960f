"""The inbox: each event takes effect once, because its id is written in the transaction of its effect."""

from collections.abc import Sequence
from uuid import UUID

from services.chassis.db import Tx
from services.chassis.ids import DAY_MS, millis_of
from services.chassis.records import Heard

SLOTS = 40

# Sorted: two owners of a partition cannot deadlock. It waits for a zombie's uncommitted copy: the fence.
CLAIM = """
    with fresh as (
        insert into inbox (slot, consumer, event_id)
        select slot, $1, event_id from unnest($2::smallint[], $3::uuid[]) as heard (slot, event_id)
        order by slot, event_id
        on conflict do nothing
        returning event_id
    )
    select now() as now, count(*) as fresh,
           case when count(*) < cardinality($3::uuid[]) then array_agg(event_id) end as ids
    from fresh
"""

# A statement of its own: its snapshot must be taken after CLAIM has waited, or a zombie's block is missed.
# Only asked where anything of the consumer is blocked at all, which is next to never.
ANY_BLOCKED = """
    select exists (select from inbox_block where consumer = $1)
"""

# FOR SHARE: whoever unblocks a key locks it FOR UPDATE, so none is while a batch decides to wait behind it.
BLOCKED = """
    select key from inbox_block
    where consumer = $1 and key = any($2::text[])
    order by key
    for share
"""


def slot_of(event_id: UUID) -> int:
    """The ring slot of an event id: its day, modulo the ring. A pure function, so the id stays unique."""
    return millis_of(event_id) // DAY_MS % SLOTS


async def claim(tx: Tx, consumer: int, heard: Sequence[Heard]) -> list[Heard]:
    """Those of these events that this consumer hears for the first time, in their order."""
    first: dict[UUID, Heard] = {}
    for one in heard:
        first.setdefault(one.event_id, one)
    slots = [slot_of(event_id) for event_id in first]
    ((now, count, ids),) = await tx.fetch(CLAIM, consumer, slots, list(first))
    tx.starts_at(now)
    if count == len(first):
        return list(first.values())
    fresh = frozenset(ids or ())
    return [one for event_id, one in first.items() if event_id in fresh]


async def blocked_keys(tx: Tx, consumer: int, keys: Sequence[str]) -> frozenset[str]:
    """Those of these keys that wait behind a parked record, locked against being unblocked meanwhile."""
    if not await tx.fetchval(ANY_BLOCKED, consumer):
        return frozenset()
    rows = await tx.fetch(BLOCKED, consumer, list(keys))
    return frozenset(row["key"] for row in rows)
