"""A connection may end at any moment; whoever was using it learns that running again may help."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from services.chassis.db import Database, Tx
from services.chassis.errors import is_transient
from tests.support.waiting import until

END = "select pg_terminate_backend($1)"
GONE = "select not exists (select from pg_stat_activity where pid = $1)"


Work = Callable[[Tx], Awaitable[object]]


@dataclass
class Cut:
    """A pool, and somebody who ends its connections."""

    db: Database
    admin: asyncpg.Connection

    async def end(self, tx: Tx) -> None:
        """End the connection of this transaction while it does nothing."""
        pid = await tx.fetchval("select pg_backend_pid()")
        await self.admin.fetchval(END, pid)
        await until(lambda: self.admin.fetchval(GONE, pid))

    async def stand_still(self, tx: Tx) -> None:
        """Do nothing until the server has had enough of it."""
        pid = await tx.fetchval("select pg_backend_pid()")
        await tx.execute("set local idle_in_transaction_session_timeout = '20ms'")
        await until(lambda: self.admin.fetchval(GONE, pid))

    async def failure(self, *works: Work) -> Exception:
        """What the user of a transaction sees in which these things are done one after the other."""
        try:
            async with self.db.transaction() as tx:
                for work in works:
                    await work(tx)
        except Exception as error:  # noqa: BLE001 - which one it is, is the question
            return error
        pytest.fail("the transaction was committed")


async def ask(tx: Tx) -> None:
    await tx.fetch("select 1")


async def write_to_a_standby(tx: Tx) -> None:
    await tx.execute("set transaction read only")
    await tx.execute("insert into inbox_block (consumer, key) values (1, 'key')")


async def ask_wrongly(tx: Tx) -> None:
    await tx.fetch("select $1::int", 1, 2)


@pytest.fixture
async def cut(database: Callable[[str], Awaitable[Any]]) -> AsyncIterator[Cut]:
    made = await database("notifications")
    admin, db = await asyncpg.connect(made.admin_dsn), Database(made.dsn, name="test")
    yield Cut(db, admin)
    await db.close()
    await admin.close()


async def test_a_connection_that_ends_between_two_statements_is_worth_another_try(cut: Cut) -> None:
    assert is_transient(await cut.failure(cut.end, ask))


async def test_a_connection_that_ends_before_the_commit_is_worth_another_try(cut: Cut) -> None:
    assert is_transient(await cut.failure(cut.end))


async def test_a_transaction_that_stood_still_for_too_long_is_worth_another_try(cut: Cut) -> None:
    assert is_transient(await cut.failure(cut.stand_still, ask))


async def test_a_server_that_only_reads_for_now_is_worth_another_try(cut: Cut) -> None:
    assert is_transient(await cut.failure(write_to_a_standby))


@pytest.mark.parametrize(
    "full", [asyncpg.DiskFullError, asyncpg.OutOfMemoryError, asyncpg.TooManyConnectionsError]
)
def test_a_server_that_is_full_is_worth_another_try(full: type[Exception]) -> None:
    assert is_transient(full("no room"))


async def test_a_mistake_of_ours_is_not(cut: Cut) -> None:
    assert not is_transient(await cut.failure(ask_wrongly))


async def test_who_is_cancelled_without_a_connection_does_not_try_again(cut: Cut) -> None:
    lost = asyncio.Event()

    async def wait_for_ever(_: Tx) -> None:
        lost.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(cut.failure(cut.end, wait_for_ever))
    await lost.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_the_pool_is_whole_after_its_connections_were_cut(cut: Cut) -> None:
    for _ in range(2 * cut.db.size):
        await cut.failure(cut.end, ask)
    async with cut.db.transaction() as tx:
        assert await tx.fetchval("select 1") == 1


async def test_a_connection_is_made_in_peace_and_waited_for_in_turn(
    cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy server it takes longer to make one than to be handed one over."""
    monkeypatch.setattr("services.chassis.db.ACQUIRE_S", 0.0)
    async with AsyncExitStack() as all_of_them:
        for _ in range(cut.db.size):
            await all_of_them.enter_async_context(cut.db.transaction())
        assert isinstance(await cut.failure(ask), TimeoutError)
