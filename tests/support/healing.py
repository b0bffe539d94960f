"""A process that does nothing but heal: `python -m tests.support.healing DSN`; it ends with SIGTERM."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from datetime import datetime

from services.chassis.db import Database, Tx
from services.chassis.reconciler import every, keep_running

DUE = "select id from work where due_at <= $1 and not exists (select from moves where moves.id = work.id)"
MOVE = "insert into moves (id, pid) select id, $2 from unnest($1::int[]) as id"
RAN = "insert into runs (pid) values ($1)"


@every(seconds=0.3)
async def move_once(tx: Tx, now: datetime) -> int:
    """Reads, then writes, and takes no lock of its own: two at once would move everything twice."""
    found = [row["id"] for row in await tx.fetch(DUE, now)]
    await tx.execute(MOVE, found, os.getpid())
    await tx.execute(RAN, os.getpid())
    return len(found)


async def _read(_: Sequence[str]) -> bool:
    return True


async def _heal(dsn: str) -> None:
    stopping, db = asyncio.Event(), Database(dsn, name=f"healing {os.getpid()}", size=2)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await keep_running(move_once, db, _read, stopping)
    await db.close()


if __name__ == "__main__":
    asyncio.run(_heal(sys.argv[1]))
