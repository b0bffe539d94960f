"""The ring makes room without anybody waiting, and only for days that are published."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import asyncpg
import pytest

from services.chassis.db import Tx
from services.chassis.rotation import KEEP_DAYS, SLOTS, empty_old_days, old_slots
from tests.conftest import Database
from tests.support.torture.writers import TELL
from tests.support.waiting import until

SLOT_OF_TODAY = "select ((extract(epoch from now())::bigint / 86400) % 8)::int"
DROP_WAITS = "select exists (select from pg_locks where not granted and relation = 'outbox'::regclass)"
PUBLISH_ALL = "update outbox_shard set snap = pg_current_snapshot()"
LATER = timedelta(days=KEEP_DAYS + 1)
EVENT = [0], ["key"], [1], ["0190163d-8694-739b-aea5-966c26f8ad91"]


@pytest.fixture
async def db(database: Callable[[str], Awaitable[Database]]) -> Database:
    return await database("orders")


@pytest.fixture
async def connection(db: Database) -> AsyncIterator[asyncpg.Connection]:
    """Of the service's own role: it must be allowed to do all this."""
    connection = await asyncpg.connect(db.dsn)
    yield connection
    await connection.close()


async def rotate(connection: asyncpg.Connection, now: datetime) -> int:
    async with connection.transaction():
        return await empty_old_days.heal(Tx(connection), now)


async def count(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("select count(*) from outbox"))


def test_today_and_the_days_kept_are_never_old() -> None:
    now = datetime(2026, 1, 9, 12, tzinfo=UTC)
    kept = {(int(now.timestamp()) // 86_400 - age) % SLOTS for age in range(KEEP_DAYS + 1)}
    assert sorted(old_slots(now) + list(kept)) == list(range(SLOTS))


async def test_a_published_day_is_emptied_once_it_is_old(connection: asyncpg.Connection) -> None:
    await connection.execute(TELL, *EVENT)
    await connection.execute(PUBLISH_ALL)
    today = await connection.fetchval("select now()")
    assert await rotate(connection, today) == 0
    assert await count(connection) == 1
    await until(partial(empties, connection, today + LATER), what="the day is emptied")
    assert await count(connection) == 0
    assert await rotate(connection, today + LATER) == 0, "an empty day costs no lock"


async def empties(connection: asyncpg.Connection, now: datetime) -> bool:
    """Transaction ids are the whole server's: a row is past only once older writers elsewhere have ended."""
    await connection.execute(PUBLISH_ALL)
    return await rotate(connection, now) == 1


async def test_a_day_that_one_shard_has_not_published_stays(connection: asyncpg.Connection) -> None:
    await connection.execute(TELL, *EVENT)
    await connection.execute(PUBLISH_ALL + " where part <> 7")
    assert await rotate(connection, await connection.fetchval("select now()") + LATER) == 0
    assert await count(connection) == 1


async def test_a_shard_that_is_catching_up_keeps_every_day(connection: asyncpg.Connection) -> None:
    await connection.execute(TELL, *EVENT)
    await connection.execute(PUBLISH_ALL)
    await connection.execute("update outbox_shard set page_to = pg_current_snapshot() where part = 7")
    assert await rotate(connection, await connection.fetchval("select now()") + LATER) == 0


async def insert_and_roll_back(connection: asyncpg.Connection) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(TELL, *EVENT)
    await transaction.rollback()


async def test_no_insert_waits_for_rotation_behind_an_idle_writer(
    db: Database, connection: asyncpg.Connection
) -> None:
    """An idle transaction that inserted holds the leaf; who waits for the leaf makes all others wait."""
    await connection.execute(TELL, *EVENT)
    await connection.execute(PUBLISH_ALL)
    later = await connection.fetchval("select now()") + LATER
    idle, teller = await asyncpg.connect(db.dsn), await asyncpg.connect(db.dsn)
    await teller.execute("set lock_timeout = '1s'")
    async with idle.transaction():
        await idle.execute(TELL, *EVENT)
        for _ in range(10):
            emptied, _ = await asyncio.gather(rotate(connection, later), insert_and_roll_back(teller))
            assert emptied == 0, "the leaf is in use"
    assert await count(connection) == 2
    await idle.close()
    await teller.close()


async def test_dropping_a_leaf_instead_would_make_inserts_wait(
    db: Database, connection: asyncpg.Connection
) -> None:
    """The negative control of the test above: what a ring of created and dropped partitions does."""
    idle, teller, admin = [await asyncpg.connect(dsn) for dsn in (db.dsn, db.dsn, db.admin_dsn)]
    await teller.execute("set lock_timeout = '1s'")
    unused = (await connection.fetchval(SLOT_OF_TODAY) + 1) % SLOTS
    transaction = idle.transaction()
    await transaction.start()
    await idle.execute(TELL, *EVENT)
    dropping = asyncio.create_task(admin.execute(f"drop table outbox_{unused}"))

    async def waiting() -> bool:
        return bool(await connection.fetchval(DROP_WAITS))

    await until(waiting)
    with pytest.raises(asyncpg.LockNotAvailableError):
        await teller.execute(TELL, *EVENT)
    await transaction.rollback()
    await dropping
    for one in (idle, teller, admin):
        await one.close()
