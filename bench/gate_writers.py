"""Tortures of those who write: rotation beside an idle writer, waking, and the queues that grow slow."""

import asyncio
import contextlib
import math
import statistics
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import asyncpg

from bench.wire import clock
from services.chassis.db import Tx
from services.chassis.rotation import KEEP_DAYS, SLOTS, empty_old_days
from services.chassis.wake import CHANNEL, Waker
from tests.support.torture.writers import TELL

BESIDE_NONE_S: Final = 0.01
WAITS_FOR_ALL: Final = """
    select exists (
        select from pg_locks
        where not granted and mode = 'AccessExclusiveLock'
              and database = (select oid from pg_database where datname = current_database())
    )
"""
EVENT: Final = ([0], ["key"], [1], ["0190163d-8694-739b-aea5-966c26f8ad91"])
PUBLISH_ALL: Final = "update outbox_shard set snap = pg_current_snapshot()"
LATER: Final = timedelta(days=KEEP_DAYS + 1)
SLOT_OF_TODAY: Final = "select ((extract(epoch from now())::bigint / 86400) % 8)::int"
PAGE: Final = 500
WRITERS: Final = 32
SLOW_FLUSH: Final = {"commit_delay": "1000", "commit_siblings": "0"}
"""Microseconds, and how many others must be writing for it."""
WAYS: Final = ("none", "after the commit", "in transaction")
NOTIFY: Final = f"select pg_notify('{CHANNEL}', '')"

MAKE_QUEUE: Final = """
    create table deleting_queue (
        id bigint generated always as identity primary key,
        taken_until timestamptz not null default '-infinity',
        payload bytea not null
    )
"""
FILL_QUEUE: Final = """
    insert into deleting_queue (payload)
    select decode(repeat('ab', 250), 'hex') from generate_series(1, $1::int)
"""
TAKE: Final = """
    update deleting_queue set taken_until = clock_timestamp() + interval '10 s'
    where id in (select id from deleting_queue where taken_until < clock_timestamp() order by id limit $1
                 for update skip locked)
    returning id
"""
DROP: Final = "delete from deleting_queue where id = any($1)"

MAKE_KEYS: Final = (
    "create table wake_keys (id int primary key, n bigint not null default 0) with (fillfactor = 50)"
)
FILL_KEYS: Final = "insert into wake_keys (id) select generate_series(1, $1::int)"
COUNT: Final = "update wake_keys set n = n + 1 where id = $1"


@dataclass(frozen=True, slots=True)
class Pages:
    """Milliseconds a page took at the beginning and at the end."""

    first_ms: float
    last_ms: float


async def torture_deleting_queue(dsn: str, *, backlog: int) -> Pages:
    """Rows leased and deleted page by page; another session keeps what was deleted from being cleared."""
    connection, pin = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    try:
        await connection.execute(MAKE_QUEUE)
        await connection.execute(FILL_QUEUE, backlog)
        await connection.execute("analyze deleting_queue")
        await pin.execute("begin isolation level repeatable read; select count(*) from outbox_shard")
        times = [await _take_page(connection) for _ in range(backlog // PAGE)]
    finally:
        await pin.close()
        await connection.close()
    tenth = max(1, len(times) // 10)
    return Pages(statistics.median(times[:tenth]) * 1e3, statistics.median(times[-tenth:]) * 1e3)


async def _take_page(connection: asyncpg.Connection) -> float:
    began = clock()
    rows = await connection.fetch(TAKE, PAGE)
    await connection.execute(DROP, [row["id"] for row in rows])
    return clock() - began


@dataclass(frozen=True, slots=True)
class Rotation:
    """How long inserts took that began while a rotation waited for its lock, and some beside none.

    The longest of hundreds says what else the machine was busy with, so the 99th percentile is judged.
    """

    p50_ms: float
    p99_ms: float
    longest_ms: float
    longest_beside_none_ms: float
    blocked: int
    """Inserts that waited for a lock longer than 50 ms."""


async def torture_rotation(dsn: str, *, rounds: int) -> Rotation:
    """Inserts while the ring wants to empty their own leaf, and somebody who has told something is idle."""
    connection, idle, teller, look = [await asyncpg.connect(dsn) for _ in range(4)]
    took: dict[bool, list[float]] = {True: [], False: []}
    try:
        later = await connection.fetchval("select now()") + LATER
        await teller.execute("set lock_timeout = '50ms'")
        for number in range(2 * rounds):
            await teller.execute(TELL, *EVENT)
            await connection.execute(PUBLISH_ALL)
            transaction = idle.transaction()
            await transaction.start()
            await idle.execute(TELL, *EVENT)
            rotates = number % 2 == 0
            beside = _rotate(connection, later) if rotates else asyncio.sleep(BESIDE_NONE_S)
            took[rotates].append(await _insert_beside(look, teller, beside))
            await transaction.rollback()
    finally:
        for one in (connection, idle, teller, look):
            await one.close()
    beside_rotation = sorted(took[True])
    return Rotation(
        p50_ms=statistics.median(beside_rotation),
        p99_ms=beside_rotation[int(0.99 * (len(beside_rotation) - 1))],
        longest_ms=beside_rotation[-1],
        longest_beside_none_ms=max(took[False]),
        blocked=sum(map(math.isinf, beside_rotation)),
    )


async def _insert_beside(
    look: asyncpg.Connection, teller: asyncpg.Connection, beside: Coroutine[Any, Any, None]
) -> float:
    """Milliseconds of an insert that begins when what happens beside it waits for its lock, or is over."""
    task = asyncio.create_task(beside)
    while not task.done() and not await look.fetchval(WAITS_FOR_ALL):
        pass
    took = await _timed_insert(teller)
    await task
    return took


async def _rotate(connection: asyncpg.Connection, now: object) -> None:
    async with connection.transaction():
        await empty_old_days.heal(Tx(connection), now)  # type: ignore[arg-type]


async def _timed_insert(connection: asyncpg.Connection) -> float:
    """Milliseconds; infinitely many when a lock was not to be had in time."""
    began = clock()
    try:
        await connection.execute(TELL, *EVENT)
    except asyncpg.LockNotAvailableError:
        return math.inf
    return (clock() - began) * 1e3


async def insert_while_dropping(dsn: str, admin_dsn: str) -> float:
    """Milliseconds an insert waits (at most 1,000) when a partition is dropped beside an idle writer."""
    idle, teller, admin, look = [await asyncpg.connect(one) for one in (dsn, dsn, admin_dsn, admin_dsn)]
    try:
        unused = (await look.fetchval(SLOT_OF_TODAY) + 1) % SLOTS
        await teller.execute("set lock_timeout = '1s'")
        transaction = idle.transaction()
        await transaction.start()
        await idle.execute(TELL, *EVENT)
        dropping = asyncio.create_task(admin.execute(f"drop table outbox_{int(unused)}"))
        waits = "select exists (select from pg_locks where not granted and relation = 'outbox'::regclass)"
        async with asyncio.timeout(10):
            while not await look.fetchval(waits):  # noqa: ASYNC110 - nobody tells of a lock being waited for
                await asyncio.sleep(0.01)
        began = clock()
        with contextlib.suppress(asyncpg.LockNotAvailableError):
            await teller.execute(TELL, *EVENT)
        waited = (clock() - began) * 1e3
        await transaction.rollback()
        await dropping
        return waited
    finally:
        for one in (idle, teller, admin, look):
            await one.close()


@dataclass(frozen=True, slots=True)
class Rates:
    """Commits per second, and by how much hints change them: the middle of rounds judged one by one."""

    plain: float
    hinting: float
    ratio: float
    ratio_inside: float


async def commit_rates(dsn: str, *, rounds: int, seconds: float) -> Rates:
    """What 32 writers commit without hints, with hints after the commit, and with `NOTIFY` inside.

    The three take turns, so what disturbs the machine for a while disturbs a round and not one of them. Every
    flush takes 1 ms longer than this machine's: the leader of a group commit waits so long while it holds the
    lock, as a slower disk would. `dsn` is the superuser's, `seconds` are those of one turn.
    """
    async with asyncpg.create_pool(
        dsn, min_size=WRITERS, max_size=WRITERS, server_settings=SLOW_FLUSH
    ) as pool:
        await pool.execute(MAKE_KEYS)
        await pool.execute(FILL_KEYS, WRITERS)
        turns = [[await _commits(dsn, pool, wake, seconds) for wake in WAYS] for _ in range(rounds)]
    plain, hinting, _ = [statistics.median(found) for found in zip(*turns, strict=True)]
    return Rates(
        plain,
        hinting,
        ratio=statistics.median(hinting / plain for plain, hinting, _ in turns),
        ratio_inside=statistics.median(inside / plain for plain, _, inside in turns),
    )


async def _commits(dsn: str, pool: asyncpg.Pool, wake: str, seconds: float) -> float:
    until, news = clock() + seconds, asyncio.Event()
    async with _woken(dsn, news):
        counts = await asyncio.gather(
            *(_write(pool, key, wake, news, until) for key in range(1, WRITERS + 1))
        )
    return sum(counts) / seconds


async def _write(pool: asyncpg.Pool, key: int, wake: str, news: asyncio.Event, until: float) -> int:
    count = 0
    async with pool.acquire() as connection:
        while clock() < until:
            async with connection.transaction():
                await connection.execute(COUNT, key)
                await connection.execute(TELL, *EVENT)
                if wake == "in transaction":
                    await connection.execute(NOTIFY)
            if wake == "after the commit":
                news.set()
            count += 1
    return count


@contextlib.asynccontextmanager
async def _woken(dsn: str, news: asyncio.Event) -> AsyncIterator[None]:
    """The waker of the writers' process, and that of another one which listens."""

    def waker(heard: asyncio.Event, told: asyncio.Event) -> Waker:
        return Waker(lambda: asyncpg.connect(dsn), news=told, wake=heard.set, alone=lambda: False)

    ready = asyncio.Event(), asyncio.Event()
    tasks = [
        asyncio.create_task(waker(heard, told).keep())
        for heard, told in zip(ready, (news, asyncio.Event()), strict=True)
    ]
    try:
        async with asyncio.timeout(10):
            for one in ready:
                await one.wait()
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
