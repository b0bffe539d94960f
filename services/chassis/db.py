"""The database: one pool per process, and `Tx`, the open transaction that everything is done in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
import orjson
from asyncpg.protocol import protocol

ACQUIRE_S = 2.0
CONNECT_S = 5.0
COMMAND_S = 10.0
SERVER_SETTINGS = {
    "jit": "off",
    "statement_timeout": "8000",
    "lock_timeout": "2000",
    "idle_in_transaction_session_timeout": "15000",
    "timezone": "UTC",
    # Every statement of a service finds few rows by key: nested loops over indexes are right at any table
    # size. A plan made while a table was empty (and cached) would scan it when it is full.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
}


# asyncpg asks two abstract base classes about every element of every array, a seventh of our CPU; all arrays
# here are lists or tuples. Where a release of it keeps these names elsewhere, only the speed is lost.
for _name in ("IterableABC", "SizedABC"):
    if hasattr(protocol, _name):
        setattr(protocol, _name, (list, tuple))


class Tx:
    """An open transaction. Its clock is the database's, read once."""

    __slots__ = ("_now", "connection", "counted", "told")

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - a pool hands out a proxy
        self.connection = connection
        self.told = 0
        self.counted: list[Callable[[], None]] = []
        """What to count once this is committed: what is rolled back has not happened."""
        self._now: datetime | None = None

    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """All rows."""
        rows: list[asyncpg.Record] = await self.connection.fetch(statement, *arguments)
        return rows

    async def fetchrow(self, statement: str, *arguments: object) -> asyncpg.Record | None:
        """The first row, if any."""
        row: asyncpg.Record | None = await self.connection.fetchrow(statement, *arguments)
        return row

    async def fetchval(self, statement: str, *arguments: object) -> Any:  # noqa: ANN401 - any SQL type
        """The first column of the first row."""
        return await self.connection.fetchval(statement, *arguments)

    async def execute(self, statement: str, *arguments: object) -> None:
        """A statement without an answer; with arguments it is prepared and cached like the others."""
        if arguments:
            await self.connection.fetch(statement, *arguments)
        else:
            await self.connection.execute(statement)

    async def now(self) -> datetime:
        """The transaction's own time, UTC: what every business deadline is compared with."""
        if self._now is None:
            self._now = await self.connection.fetchval("select now()")
        return self._now

    def starts_at(self, now: datetime) -> None:
        """Remember the transaction's time when a statement has brought it along anyway."""
        self._now = now


async def prepare_connection(connection: asyncpg.Connection) -> None:
    """JSON is given and taken as Python's values, as every statement of ours expects."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda data: orjson.loads(data[1:]),
    )


async def _keep_session(_: asyncpg.Connection) -> None:
    """Nobody uses session state, so a released connection needs no reset (a third of its cost)."""


def _patience(pool: asyncpg.Pool) -> float:
    """Making a connection takes a busy server longer; cut short, it would only be begun again."""
    to_be_made = not pool.get_idle_size() and pool.get_size() < pool.get_max_size()
    return CONNECT_S if to_be_made else ACQUIRE_S


def _is_lost(connection: Any) -> bool:  # noqa: ANN401 - a pool hands out a proxy
    """Whether it has ended; one that ended between two statements was taken back by the pool already."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


class Database:
    """The pool of one process, and the signal that something was told and committed."""

    def __init__(self, dsn: str, *, name: str, size: int = 10) -> None:
        self.dsn = dsn
        self.name = name
        self.size = size
        self.told = asyncio.Event()
        self.news = asyncio.Event()
        """The same, for whoever passes it on to other processes: each clears its own."""
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def pool(self) -> asyncpg.Pool:
        """The pool; it opens no connection by itself, so a service can start before its database."""
        if self._pool is None:
            async with self._opening:
                if self._pool is None:
                    self._pool = await self._make_pool()
        return self._pool

    async def _make_pool(self) -> asyncpg.Pool:
        return await asyncpg.create_pool(
            self.dsn,
            min_size=0,
            max_size=self.size,
            init=prepare_connection,
            reset=_keep_session,
            command_timeout=COMMAND_S,
            max_inactive_connection_lifetime=0,
            server_settings=SERVER_SETTINGS | {"application_name": self.name},
        )

    async def close(self) -> None:
        """Give every connection back; what still runs after 5 s is cut."""
        if self._pool is None:
            return
        try:
            await asyncio.wait_for(self._pool.close(), 5)
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def transaction(self, *, lock_timeout_ms: int | None = None) -> AsyncIterator[Tx]:
        """One READ COMMITTED transaction; wakes the relay once what it told is committed.

        Raises ConnectionError when the connection was lost: whether the commit happened is then unknown.
        """
        pool = await self.pool()
        async with pool.acquire(timeout=_patience(pool)) as connection:
            try:
                async with connection.transaction():
                    if lock_timeout_ms is not None:
                        await connection.execute(f"set local lock_timeout = {int(lock_timeout_ms)}")
                    tx = Tx(connection)
                    yield tx
            except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                if isinstance(error.__context__, asyncio.CancelledError):
                    raise asyncio.CancelledError from error  # it is only the rollback that failed
                if _is_lost(connection):
                    msg = "the database connection was lost"
                    raise ConnectionError(msg) from error
                raise
            for count in tx.counted:
                count()
            if tx.told:
                self.told.set()
                self.news.set()
