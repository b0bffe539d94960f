"""Writers that keep the outbox's rule (lock the key, then tell) and otherwise behave as badly as allowed."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

import asyncpg

from contracts.topics import PARTITIONS
from services.chassis.ids import new_id
from services.chassis.murmur2 import partition_of

PREPARE = """
    create table torture_key (key text primary key, seq bigint not null default 0);
    create table torture_queue (
        id bigint generated always as identity primary key, key text not null, key_seq bigint not null,
        event_id uuid not null, taken_until timestamptz not null default '-infinity'
    );
    create index torture_by_id on outbox (id);
"""
ADD_KEYS = "insert into torture_key (key) select 'key-' || n from generate_series(1, $1) as n"
LOCK = "select key, seq from torture_key where key = any($1) order by key for update"
COUNT = "update torture_key set seq = seq + $2 where key = any($1)"
TELL = """
    insert into outbox (part, topic, key, key_seq, event_id, subject_kind, payload,
                        correlation_id)
    select part, 'order.placed', key, seq, id, 'order', '{}',
           '00000000-0000-0000-0000-000000000000'
    from unnest($1::smallint[], $2::text[], $3::bigint[], $4::uuid[]) as told (part, key, seq, id)
"""
QUEUE = """
    insert into torture_queue (key, key_seq, event_id)
    select key, seq, id from unnest($1::text[], $2::bigint[], $3::uuid[]) as told (key, seq, id)
"""
TAKE_XID = "select pg_current_xact_id()"
KEYS = 120
MANNERS = ("plain", "slow", "rolled back", "savepoint", "early")
SHARES = (60, 2, 8, 10, 20)


@dataclass(frozen=True, slots=True)
class Writing:
    """How much is written, by how many at once; `queue` also fills a queue for the row lease."""

    rows: int = 50_000
    writers: int = 16
    slow_s: tuple[float, float] = (0.05, 0.4)
    pause_s: float = 0.0
    queue: bool = False
    seed: int = 1


async def prepare(dsn: str) -> None:
    """The tables the torture needs beside the outbox; `dsn` is the superuser's."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(PREPARE)
        await connection.execute(ADD_KEYS, KEYS)
    finally:
        await connection.close()


async def write(dsn: str, writing: Writing, enough: Callable[[], bool] | None = None) -> None:
    """Write until about so many rows are committed, or until `enough` says so."""
    written = [0]
    done = enough or (lambda: written[0] >= writing.rows)
    writers = [Writer(dsn, writing, random.Random(f"{writing.seed}/{n}")) for n in range(writing.writers)]
    await asyncio.gather(*(one.work(done, written) for one in writers))


class _RollBackError(Exception):
    """Thrown to end a transaction the other way."""


class Writer:
    def __init__(self, dsn: str, writing: Writing, dice: random.Random) -> None:
        self.dsn, self.writing, self.dice = dsn, writing, dice

    async def work(self, done: Callable[[], bool], written: list[int]) -> None:
        connection = await asyncpg.connect(self.dsn)
        try:
            while not done():
                manner = self.dice.choices(MANNERS, SHARES)[0]
                try:
                    async with connection.transaction():
                        told = await self._transact(connection, manner)
                    written[0] += told  # only what is committed, and not across an await
                except _RollBackError:
                    continue
                await asyncio.sleep(self.dice.random() * self.writing.pause_s)
        finally:
            await connection.close()

    async def _transact(self, connection: asyncpg.Connection, manner: str) -> int:
        if manner == "early":  # its xid is older than those of transactions it will wait for
            await connection.execute(TAKE_XID)
            await asyncio.sleep(self.dice.random() * 0.01)
        keys = [f"key-{self.dice.randint(1, KEYS)}" for _ in range(self.dice.randint(1, 2))]
        if manner == "savepoint":
            nested = connection.transaction()
            await nested.start()
            await self._tell(connection, keys)
            await nested.rollback()
            async with connection.transaction():
                told = await self._tell(connection, keys)
        else:
            told = await self._tell(connection, keys)
        if manner == "slow":
            await asyncio.sleep(self.dice.uniform(*self.writing.slow_s))
        if manner == "rolled back":
            raise _RollBackError
        return told

    async def _tell(self, connection: asyncpg.Connection, keys: list[str]) -> int:
        """Lock the keys, count them on, tell: the rule that makes id order the order of a key."""
        each = self.dice.randint(1, 8)
        locked = await connection.fetch(LOCK, keys)
        rows = [
            (partition_of(row["key"].encode(), PARTITIONS), row["key"], row["seq"] + n, new_id())
            for n in range(1, each + 1)
            for row in locked
        ]
        parts, names, sequences, ids = map(list, zip(*rows, strict=True))
        await connection.execute(COUNT, keys, each)
        await connection.execute(TELL, parts, names, sequences, ids)
        if self.writing.queue:
            await connection.execute(QUEUE, names, sequences, ids)
        return len(rows)
