"""The readers everybody writes first. They are here to fail: a torture they survive proves nothing."""

import asyncio
import random
from collections.abc import Callable

import asyncpg

from tests.support.torture.judge import Fact

BY_ID = """
    select id, key, key_seq, event_id from outbox where id > $1 order by id limit 1000
"""
BELOW_HORIZON = """
    select xid, id, key, key_seq, event_id from outbox
    where xid < pg_snapshot_xmin(pg_current_snapshot()) and (xid, id) > ($1::text::xid8, $2)
    order by xid, id limit 1000
"""
TAKE_ROWS = """
    update torture_queue set taken_until = clock_timestamp() + interval '10 seconds'
    where id in (
        select id from torture_queue where taken_until < clock_timestamp()
        order by id limit 20 for update skip locked
    )
    returning id, key, key_seq, event_id
"""
DROP_ROWS = "delete from torture_queue where id = any($1)"


async def read_by_id(dsn: str, log: list[Fact], over: Callable[[], bool]) -> None:
    """Remember the last id, ask for what is above it."""
    connection, last = await asyncpg.connect(dsn), 0
    while True:
        finish = over()
        rows = await connection.fetch(BY_ID, last)
        log += [Fact(row["key"], row["key_seq"], row["event_id"]) for row in rows]
        last = rows[-1]["id"] if rows else last
        if finish and not rows:
            return await connection.close()
        await asyncio.sleep(0.002)


async def read_below_horizon(dsn: str, log: list[Fact], over: Callable[[], bool]) -> None:
    """Wait until nothing older is running, then read by transaction id."""
    connection, last = await asyncpg.connect(dsn), ("0", 0)
    while True:
        finish = over()
        rows = await connection.fetch(BELOW_HORIZON, *last)
        log += [Fact(row["key"], row["key_seq"], row["event_id"]) for row in rows]
        last = (str(rows[-1]["xid"]), rows[-1]["id"]) if rows else last
        if finish and not rows:
            return await connection.close()
        await asyncio.sleep(0.002)


async def lease_rows(dsn: str, log: list[Fact], over: Callable[[], bool], dice: random.Random) -> None:
    """One of several workers that take whatever rows are free, in order, and publish them."""
    connection = await asyncpg.connect(dsn)
    while True:
        finish = over()
        rows = sorted(await connection.fetch(TAKE_ROWS), key=lambda row: row["id"])
        await asyncio.sleep(dice.random() * 0.02)  # the broker
        log += [Fact(row["key"], row["key_seq"], row["event_id"]) for row in rows]
        await connection.execute(DROP_ROWS, [row["id"] for row in rows])
        if finish and not rows:
            return await connection.close()
