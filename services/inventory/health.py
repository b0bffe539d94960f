"""What inventory says about its own work: holds by status, and those older than any checkout."""

from datetime import datetime
from typing import Any

from services.chassis.business import DAY, MOST, newest_since
from services.chassis.db import Tx
from services.inventory.reconcilers import OLD_AFTER
from services.inventory.store import health


async def numbers(tx: Tx, now: datetime) -> dict[str, Any]:
    """Holds by status, and those nobody has ended."""
    return {
        "counts": {
            "holds_last_day": await health.newest_holds(tx, newest_since(now - DAY), MOST),
            "held": await health.held(tx, MOST),
        },
        "stuck": {"holds": await health.old(tx, now - OLD_AFTER, MOST)},
    }
