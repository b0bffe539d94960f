"""How the work of inventory stands: holds by status, and those that are too old."""

from datetime import datetime
from typing import Final
from uuid import UUID

from services.chassis.db import Tx

NEWEST_HOLDS: Final = """
    select status, count(*)::int as n
    from (select status from holds where order_id >= $1 order by order_id desc limit $2) as newest
    group by status
"""

HELD: Final = "select count(*)::int from (select from holds where status = 'held' limit $1) as live"

OLD_HOLDS: Final = """
    select count(*)::int
    from (select opened_at from holds where status = 'held' order by order_id limit $2) as oldest
    where opened_at < $1
"""


async def newest_holds(tx: Tx, since: UUID, most: int) -> dict[str, int]:
    """The statuses of holds of orders placed since this id."""
    return {row["status"]: row["n"] for row in await tx.fetch(NEWEST_HOLDS, since, most)}


async def held(tx: Tx, most: int) -> int:
    """Holds that keep stock now."""
    found: int = await tx.fetchval(HELD, most)
    return found


async def old(tx: Tx, before: datetime, most: int) -> int:
    """Those of them that were opened before this time."""
    found: int = await tx.fetchval(OLD_HOLDS, before, most)
    return found
