"""Door 3, the clock: what should have moved by now. Nothing here frees stock; orders ends holds."""

from datetime import datetime, timedelta
from typing import Final

import structlog

from services.chassis.db import Tx
from services.chassis.reconciler import STUCK, every
from services.inventory.store import holds

OLD_AFTER: Final = timedelta(hours=6)
"""The longest way through the stages of a checkout that holds stock takes less; see its timers in orders."""
MOST_AT_ONCE: Final = 500

LOG = structlog.get_logger("inventory")


@every(seconds=60, alarm=STUCK.labels("hold"))
async def alarm_old_holds(tx: Tx, now: datetime) -> int:
    """Somebody must look: the checkout behind such a hold has ended without a word, or orders is gone."""
    old = await holds.old_holds(tx, now - OLD_AFTER, MOST_AT_ONCE)
    for one in old:
        since = one["opened_at"].isoformat()
        LOG.error("old hold", order_id=str(one["order_id"]), hold_no=one["hold_no"], since=since)
    return len(old)
