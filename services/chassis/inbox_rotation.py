"""Emptying the inbox ring: the day that is about to be written again is truncated while nobody uses it."""

from datetime import datetime
from typing import Final

import asyncpg

from services.chassis.db import Tx
from services.chassis.inbox import SLOTS
from services.chassis.reconciler import every

DAY_S: Final = 86_400
AHEAD_DAYS: Final = 2
"""The slot of the day after tomorrow: 38 days old, more than a day beyond `RING_DAYS`."""

# A literal leaf name: a parameter cannot name a table. The names are made here from a number.
IN_USE: Final = "select exists (select from inbox_{slot})"
# A waiting lock makes everybody else wait behind it, so it waits for a moment and comes back later.
LOCK: Final = "set local lock_timeout = '20ms'; lock table inbox_{slot} in access exclusive mode"
EMPTY: Final = "truncate inbox_{slot}"


@every(seconds=3600)
async def empty_old_inbox_days(tx: Tx, now: datetime) -> int:
    """Forget the ids of a day whose slot is needed soon; a leaf that is busy is tried again next time."""
    slot = slot_to_empty(now)
    if not await tx.fetchval(IN_USE.format(slot=slot)):
        return 0
    try:
        async with tx.connection.transaction():
            await tx.execute(LOCK.format(slot=slot))
            await tx.execute(EMPTY.format(slot=slot))
    except asyncpg.LockNotAvailableError:
        return 0
    return 1


def slot_to_empty(now: datetime) -> int:
    """The slot that holds what is 38 days old and will hold the day after tomorrow."""
    return (int(now.timestamp()) // DAY_S + AHEAD_DAYS) % SLOTS
