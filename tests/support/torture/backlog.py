"""Gate 3: catching up costs the same from first page to last, also beside a session that pins xmin."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import orjson

from services.chassis.relay import SESSION
from services.chassis.window import READ_LISTED, Backlog, Cursor, Snapshot

FILL = """
    insert into outbox (part, topic, key, key_seq, event_id, subject_kind, payload)
    select n % 12, 'order.placed', 'key-' || n % 5000, n, gen_random_uuid(),
           'order', decode(repeat('ab', 250), 'hex')
    from generate_series(1, $1) as n
"""
DEAD = """
    select coalesce(sum(n_dead_tup + n_tup_upd + n_tup_del), 0) from pg_stat_user_tables
    where relname like 'outbox%' and relname ~ '[0-9]$'
"""
PAGE = 500
IN_ONE_TRANSACTION = 10_000


@dataclass(frozen=True, slots=True)
class BacklogTorture:
    """A page costs the same all along when both ratios are near 1."""

    drained: int
    first_ms: float
    last_ms: float
    first_buffers: float
    last_buffers: float
    dead_rows: int


async def torture_backlog(dsn: str, *, backlog: int, drain: int, pinned: bool = True) -> BacklogTorture:
    """Read `drain` of `backlog` rows in pages, while another session keeps an old snapshot."""
    connection = await asyncpg.connect(dsn, server_settings=SESSION)
    pin = await asyncpg.connect(dsn)
    try:
        start = Snapshot.parse(await connection.fetchval("select pg_current_snapshot()::text"))
        if pinned:
            await pin.execute("begin isolation level repeatable read; select count(*) from outbox_shard")
        for _ in range(0, backlog, IN_ONE_TRANSACTION):
            await connection.execute(FILL, IN_ONE_TRANSACTION)
        times, buffers = await _drain(connection, Cursor(start), drain)
        return BacklogTorture(
            len(times) * PAGE,
            *_ends(times),
            *_ends(buffers),
            dead_rows=int(await connection.fetchval(DEAD)),
        )
    finally:
        await pin.close()
        await connection.close()


async def _drain(
    connection: asyncpg.Connection, cursor: Cursor, rows: int
) -> tuple[list[float], list[float]]:
    times: list[float] = []
    buffers: list[float] = []
    backlog = await Backlog.list(connection, cursor)
    parts = list(range(12))
    after = 0
    for _ in range(rows // PAGE):
        cursor = Cursor(backlog.snap, backlog.page_to, after)
        if not backlog.serves(cursor):
            backlog = await Backlog.list(connection, cursor)
        started = time.perf_counter()
        page = await backlog.read(connection, parts, after, PAGE)
        times.append(1000 * (time.perf_counter() - started))
        buffers.append(await _buffers(connection, page.rows, parts))
        after = page.rows[-1]["id"]
    return times, buffers


async def _buffers(connection: asyncpg.Connection, rows: Sequence[asyncpg.Record], parts: list[int]) -> float:
    """Pages the same read touches, which no busy machine can change."""
    xids, ids = [row["xid"] for row in rows], [row["id"] for row in rows]
    explain = f"explain (analyze, buffers, timing off, format json) {READ_LISTED}"
    [plan] = orjson.loads(await connection.fetchval(explain, xids, ids, parts))
    return float(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


def _ends(values: list[float]) -> tuple[float, float]:
    """The medians of the first and the last tenth."""
    tenth = max(1, len(values) // 10)
    return statistics.median(values[:tenth]), statistics.median(values[-tenth:])
