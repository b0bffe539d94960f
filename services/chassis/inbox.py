"""The inbox: each event takes effect once, because its id is written in the transaction of its effect."""

from collections.abc import Sequence
from dataclasses import dataclass
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
           case when count(*) < cardinality($3::uuid[]) then array_agg(event_id) end as ids,
           exists (select from inbox_block where consumer = $1) as blocks
    from fresh
"""

# A statement of its own: its snapshot is taken after CLAIM has waited, or a zombie's block would be missed.
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


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a consumer hears for the first time, in order, and whether some of it may be blocked."""

    fresh: list[Heard]
    may_be_blocked: bool


async def claim(tx: Tx, consumer: int, heard: Sequence[Heard]) -> Claimed:
    """Those of these events that this consumer hears for the first time, in their order.

    Next to never is anything of a consumer blocked, so the claim asks that in passing. Its snapshot may be
    older than the block of a zombie it has waited for; but then what it waited for is a duplicate now.
    """
    first: dict[UUID, Heard] = {}
    for one in heard:
        first.setdefault(one.event_id, one)
    slots = [slot_of(event_id) for event_id in first]
    ((now, count, ids, blocks),) = await tx.fetch(CLAIM, consumer, slots, list(first))
    tx.starts_at(now)
    if count == len(first):
        return Claimed(list(first.values()), blocks)
    fresh = frozenset(ids or ())
    return Claimed([one for event_id, one in first.items() if event_id in fresh], may_be_blocked=True)


async def blocked_keys(tx: Tx, consumer: int, claimed: Claimed) -> frozenset[str]:
    """The keys of what was claimed that wait behind a parked record, locked against being unblocked."""
    if not claimed.fresh or not claimed.may_be_blocked:
        return frozenset()
    rows = await tx.fetch(BLOCKED, consumer, list({one.key for one in claimed.fresh}))
    return frozenset(row["key"] for row in rows)
