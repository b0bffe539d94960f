"""Emptying the outbox ring: a day's leaf is truncated once it is old enough and every cursor is past it."""

from datetime import datetime
from typing import Final

import asyncpg

from services.chassis.db import Tx
from services.chassis.reconciler import every

SLOTS: Final = 8
KEEP_DAYS: Final = 3
"""Published events stay so long in the table, for republishing and for looking."""
DAY_S: Final = 86_400

CURSORS: Final = """
    select min(pg_snapshot_xmin(snap)::text::bigint) as past, bool_or(page_to is not null) as catching_up
    from outbox_shard
"""
# A literal leaf name: a parameter cannot name a table. The names are made here from a number.
NEWEST: Final = "select xid from outbox_{slot} order by xid desc limit 1"
# A waiting lock makes everybody else wait behind it, so it waits for a moment and comes back later: a good
# deal less than the 50 ms that an insert may be held up at most.
LOCK: Final = "set local lock_timeout = '20ms'; lock table outbox_{slot} in access exclusive mode"
EMPTY: Final = "truncate outbox_{slot}"


@every(seconds=300)
async def empty_old_days(tx: Tx, now: datetime) -> int:
    """The oldest day that everybody is past makes room; one a run, because each costs an exclusive lock."""
    for slot in old_slots(now):
        if await _is_past(tx, slot) and await _truncate(tx, slot):
            return 1
    return 0


def old_slots(now: datetime) -> list[int]:
    """The leaves outside of the days kept, oldest first."""
    today = int(now.timestamp()) // DAY_S
    return [(today - age) % SLOTS for age in range(SLOTS - 1, KEEP_DAYS, -1)]


async def _is_past(tx: Tx, slot: int) -> bool:
    """Whether the leaf has rows and every one of them is below every cursor."""
    newest = await tx.fetchval(NEWEST.format(slot=slot))
    cursors = await tx.fetchrow(CURSORS)
    assert cursors is not None, "the query has no group by, so it always has one row"
    return newest is not None and not cursors["catching_up"] and newest < cursors["past"]


async def _truncate(tx: Tx, slot: int) -> bool:
    """Look again under the lock, then empty; False when somebody is using the leaf or has added to it."""
    try:
        async with tx.connection.transaction():
            await tx.execute(LOCK.format(slot=slot))
            if not await _is_past(tx, slot):
                return False
            await tx.execute(EMPTY.format(slot=slot))
    except asyncpg.LockNotAvailableError:
        return False
    return True
