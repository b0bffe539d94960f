"""Around the relay: the backlog is visible without one, a restored database publishes again, spans link."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import asyncpg
import pytest

from contracts.topics import PARTITIONS
from services.chassis import outbox_reset
from services.chassis.outbox_backlog import measure
from services.chassis.relay import Relay
from tests.conftest import Database
from tests.support.torture.judge import Fact, committed
from tests.support.torture.stub_broker import StubBroker, StubSink
from tests.support.torture.writers import TELL
from tests.support.waiting import until

IDS = [UUID(int=n) for n in range(1, 5)]


@pytest.fixture
async def db(database: Callable[[str], Awaitable[Database]]) -> Database:
    return await database("orders")


@pytest.fixture
async def connection(db: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(db.dsn)
    yield connection
    await connection.close()


async def tell(connection: asyncpg.Connection, ids: list[UUID]) -> None:
    numbers = [one.int for one in ids]
    await connection.execute(TELL, [3] * len(ids), ["key"] * len(ids), numbers, ids)


async def publish_all(db: Database) -> list[Fact]:
    """Everything unpublished, by a relay of its own that ends afterwards."""
    stub, stopping = StubBroker(), asyncio.Event()
    relay = Relay(db.dsn, service="orders", kafka="", sink=StubSink(stub))
    running = asyncio.create_task(relay.run(stopping))

    async def all_published() -> bool:
        return (await relay.health()).depth == 0

    await until(all_published)
    stopping.set()
    await running
    return stub.log


async def test_the_shards_are_as_many_as_the_partitions(connection: asyncpg.Connection) -> None:
    assert await connection.fetchval("select count(*) from outbox_shard") == PARTITIONS


async def test_without_a_relay_the_backlog_shows_and_grows_old(connection: asyncpg.Connection) -> None:
    assert (await measure(connection)).depth == 0
    await tell(connection, IDS)
    first = await measure(connection)
    later = await measure(connection)
    assert (first.depth, first.owned, first.shards) == (4, 0, PARTITIONS)
    assert later.oldest_age_s > first.oldest_age_s > 0


async def test_a_page_in_progress_counts_only_what_is_left_of_it(connection: asyncpg.Connection) -> None:
    await tell(connection, IDS)
    ids = [row["id"] for row in await connection.fetch("select id from outbox order by id")]
    pin = "update outbox_shard set page_to = pg_current_snapshot(), page_after = $1"
    await connection.execute(pin, ids[2])
    assert (await measure(connection)).depth == 1


async def test_of_a_long_backlog_what_is_published_already_does_not_hide_the_rest(
    connection: asyncpg.Connection,
) -> None:
    await tell(connection, IDS)
    ids = [row["id"] for row in await connection.fetch("select id from outbox order by id")]
    pin = "update outbox_shard set page_to = pg_current_snapshot(), page_after = $1"
    await connection.execute(pin, ids[1])
    found = await measure(connection, most=2)
    assert (found.depth, found.oldest_age_s > 0) == (2, True)
    assert (await measure(connection, most=1)).depth == 1


async def test_after_a_restore_what_was_unpublished_is_published_once(
    db: Database, connection: asyncpg.Connection
) -> None:
    """The rows of another cluster have ids of transactions that have not begun here."""
    await tell(connection, IDS[:2])
    assert {one.event_id for one in await publish_all(db)} == set(IDS[:2])
    await tell(connection, IDS[2:])
    admin = await asyncpg.connect(db.admin_dsn)
    shift = "set xid = (xid::text::bigint + 1000000000)::text::xid8"
    await admin.execute(f"update outbox {shift}")
    await admin.execute(
        "update outbox_shard set snap = format('%s:%s:', x, x)::pg_snapshot"
        " from (select xid as x from outbox order by id offset 2 limit 1) as unpublished"
    )
    assert await outbox_reset.reset(admin, "orders", actor=UUID(int=7), reason="restored") == 2
    await admin.close()
    assert [one.event_id for one in await publish_all(db)] == IDS[2:]
    assert await publish_all(db) == []
    assert set(await committed(db.dsn)) == set(IDS[2:])
