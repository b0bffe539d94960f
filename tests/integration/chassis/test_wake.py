"""Relays are woken across processes, and never from within a business transaction."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import asyncpg
import pytest

from services.chassis.wake import CHANNEL, Waker
from tests.conftest import Database
from tests.support.torture.waking import torture_waking
from tests.support.waiting import until

Databases = Callable[[str], Awaitable[Database]]


async def test_who_holds_a_shard_hears_of_it_and_no_transaction_notified(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    fared = await torture_waking(tmp_path, orders=40)
    assert fared.published >= fared.placed == 40, (
        "woken by nobody, a relay of this test looks every ten minutes"
    )
    assert fared.hints > 0, "nobody was woken across processes"
    assert fared.inside == fared.functions == 0, fared
    assert fared.control_inside == 1, "the log does not show a notification inside a transaction"


Connect = Callable[[], Awaitable[asyncpg.Connection]]
END_LISTENERS = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and query ilike 'listen%'
"""


@pytest.fixture
async def own(database: Databases) -> Database:
    return await database("orders")


@pytest.fixture
def connect(own: Database) -> Connect:
    return lambda: asyncpg.connect(own.dsn)


class Listener:
    """One waker and what it has woken."""

    def __init__(self, connect: Connect, *, alone: bool = False) -> None:
        self.news = asyncio.Event()
        self.woken = 0
        self.waker = Waker(connect, news=self.news, wake=self.wake, alone=lambda: alone)

    def wake(self) -> None:
        self.woken += 1

    async def started(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.waker.keep())
        await until(self.is_listening)
        return task

    async def is_listening(self) -> bool:
        return self.woken > 0  # it wakes once when it begins to hear


@pytest.fixture
async def heard(connect: Connect) -> AsyncIterator[list[int]]:
    """A list that grows by the sender of every hint."""
    senders: list[int] = []
    connection = await connect()
    await connection.add_listener(CHANNEL, lambda _, sender, __, ___: senders.append(sender))
    yield senders
    await connection.close()


async def test_many_commits_are_passed_on_by_few_hints(connect: Connect, heard: list[int]) -> None:
    teller, other = Listener(connect), Listener(connect)
    tasks = [await teller.started(), await other.started()]
    for _ in range(1_000):
        teller.news.set()
        await asyncio.sleep(0)
    await until(lambda: _is(lambda: other.woken > 1 and bool(heard)), what="the other one to be woken")
    assert len(heard) < 100
    assert teller.woken == 1, "its own hint is no news to it"
    await end(tasks)


async def test_who_holds_every_shard_sends_no_hint(connect: Connect, heard: list[int]) -> None:
    alone, shared = Listener(connect, alone=True), Listener(connect)
    tasks = [await alone.started(), await shared.started()]
    alone.news.set()
    await until(lambda: _is(lambda: not alone.news.is_set()), what="the news to be taken")
    shared.news.set()
    await until(lambda: _is(lambda: bool(heard)), what="a hint")
    assert len(set(heard)) == 1
    assert alone.woken > 1 >= shared.woken
    await end(tasks)


async def test_a_lost_connection_is_noticed_at_once_and_said(own: Database, connect: Connect) -> None:
    listener = Listener(connect)
    task = await listener.started()
    admin = await asyncpg.connect(own.admin_dsn)
    await admin.execute(END_LISTENERS)
    await admin.close()
    with pytest.raises(ConnectionError, match="was lost"):
        await asyncio.wait_for(task, 30)


async def end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _is(found: Callable[[], bool]) -> bool:
    return found()
