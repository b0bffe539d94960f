"""Who publishes which shard: leases with an epoch, renewed by a task and a connection of their own."""

import asyncio
import math
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import asyncpg
import structlog

from services.chassis import parked_rows
from services.chassis.db import Tx
from services.chassis.outbox_metrics import FENCED, ORDER_VIOLATION, TAKEOVER
from services.chassis.window import Cursor, Snapshot

LOG = structlog.get_logger("relay")

MARK_ALIVE: Final = """
    with gone as (
        delete from outbox_relay
        where owner <> $1 and (seen_at < clock_timestamp() - 10 * $2::interval or ($3 and owner like $4))
    )
    insert into outbox_relay (owner, seen_at) values ($1, clock_timestamp())
    on conflict (owner) do update set seen_at = excluded.seen_at
"""
COUNT_ALIVE: Final = "select count(*) from outbox_relay where seen_at >= clock_timestamp() - $1::interval"
MARK_GONE: Final = "delete from outbox_relay where owner = $1"

# Saves the cursors and renews the leases at once. Rows are locked in order: two relays may save side by side.
# A shard that does not come back has a new owner.
RENEW: Final = """
    with mine as materialized (
        select part, epoch from outbox_shard
        where part = any($3::smallint[]) and owner = $1
        order by part
        for update
    )
    update outbox_shard as shard
    set lease_until = clock_timestamp() + $2::interval, snap = new.snap::pg_snapshot,
        page_to = new.page_to::pg_snapshot, page_after = new.page_after, saved_at = clock_timestamp()
    from unnest($3::smallint[], $4::bigint[], $5::text[], $6::text[], $7::bigint[])
         as new (part, epoch, snap, page_to, page_after)
    join mine using (part, epoch)
    where shard.part = new.part
    returning shard.part
"""
# A predecessor of the same name is over when its successor starts, so its shards need not run out first; nor
# those that we own and no longer hold, after we lost the database for a while.
CLAIM: Final = """
    with free as materialized (
        select part, owner from outbox_shard
        where lease_until < clock_timestamp() or (owner = $1 and part <> all($6::smallint[]))
              or ($4 and owner <> $1 and owner like $5)
        order by random()
        limit $3
        for update skip locked
    )
    update outbox_shard as shard
    set owner = $1, epoch = shard.epoch + 1, lease_until = clock_timestamp() + $2::interval
    from free
    where shard.part = free.part
    returning shard.part, shard.epoch, shard.snap::text as snap, shard.page_to::text as page_to,
              shard.page_after, free.owner is not null as taken_over
"""
HAND_BACK: Final = """
    update outbox_shard as shard
    set owner = null, lease_until = '-infinity', snap = old.snap::pg_snapshot,
        page_to = old.page_to::pg_snapshot, page_after = old.page_after, saved_at = clock_timestamp()
    from unnest($2::smallint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[])
         as old (part, epoch, snap, page_to, page_after)
    where shard.part = old.part and shard.epoch = old.epoch and shard.owner = $1
"""
IDLE_AFTER_S: Final = 30
# One that was handed back has no lease; it is idle since its cursor was saved.
IDLE: Final = """
    select count(*)::int from outbox_shard
    where greatest(lease_until, saved_at) < clock_timestamp() - make_interval(secs => $1)
"""
COUNT_SHARDS: Final = "select count(*) from outbox_shard"
REMEMBERED_KEYS: Final = 10_000
SAFETY: Final = 0.8
"""The share of a lease in which its owner still publishes; the rest covers a clock that runs differently."""


async def idle_shards(tx: Tx) -> int:
    """Shards that nobody has published for half a minute."""
    idle: int = await tx.fetchval(IDLE, IDLE_AFTER_S)
    return idle


@dataclass(slots=True)
class Shard:
    """One Kafka partition of every topic of the service, while this relay holds it."""

    part: int
    epoch: int
    cursor: Cursor
    deadline: float
    """On the loop's clock; nothing is sent after it."""
    blocked: set[tuple[str, str]] = field(default_factory=set)
    """(topic, key) behind a parked record."""
    look_again_at: float = 0.0
    """When to ask whether somebody wants a parked key sent; on the loop's clock."""
    behind: bool = True
    """May have a long way to go: reads apart from the others until it is level with them."""
    busy: bool = False
    leaving: bool = False
    """Goes to another relay as soon as nothing of it is in flight."""
    retry_at: float = 0.0
    failures: int = 0
    sending: Sequence[asyncpg.Record] = ()
    """What it is about to send, in the round that began at `round_at`; on the loop's clock."""
    round_at: float = 0.0
    unclear: int = 0
    """Rounds in a row that failed without a word of whose fault it was, the last of them at `unclear_at`."""
    unclear_at: float = 0.0
    fails_alone: Counter[str] = field(default_factory=Counter)
    """Topic -> rounds in which the broker took other topics, and not what is here of this one."""
    last: dict[tuple[str, str], int] = field(default_factory=dict)
    """The last sequence of recent (topic, key)s, to notice a broken order."""

    def check_order(self, rows: Sequence[asyncpg.Record]) -> None:
        """Count rows that are not above the last one of their key; it must never happen (EVT-3)."""
        last = self.last
        if len(last) > REMEMBERED_KEYS:
            last.clear()
        for row in rows:
            key = row["topic"], row["key"]
            if row["key_seq"] <= last.get(key, -1):
                ORDER_VIOLATION.inc()
                LOG.error(
                    "order of a key broken", topic=row["topic"], key=row["key"], sequence=row["key_seq"]
                )
            last[key] = row["key_seq"]


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a lease lasts and how often it is renewed and saved, in seconds."""

    lease_s: float = 10.0
    renew_s: float = 1.0
    """Also how long a shard that was handed back waits for its next owner, at most."""
    save_s: float = 0.25


class Leases:
    """The shards this relay holds. Only its own task and connection write `outbox_shard`."""

    def __init__(
        self, connect: Callable[[], Awaitable[asyncpg.Connection]], instance: str, terms: Terms
    ) -> None:
        self.owner = f"{instance}/{secrets.token_hex(4)}"
        self.held: dict[int, Shard] = {}
        self.terms = terms
        self.gained: Callable[[], None] = lambda: None
        """Called when there are new shards to publish."""
        self._connect = connect
        self._connection: asyncpg.Connection | None = None
        self._one_statement = asyncio.Lock()
        self._soon = asyncio.Event()
        self._predecessors = instance.replace("\\", r"\\").replace("_", r"\_").replace("%", r"\%") + "/%"
        self._first = True

    def save_soon(self) -> None:
        """A cursor moved, or a shard may leave: save within `save_s`."""
        self._soon.set()

    async def keep(self) -> None:
        """Renew, save and share for ever; raises what the database raises, and can be called again."""
        loop = asyncio.get_running_loop()
        beat_at = 0.0
        try:
            while True:
                self._soon.clear()
                if loop.time() >= beat_at:
                    beat_at = loop.time() + self.terms.renew_s
                    await self._beat()
                else:
                    await self._renew()
                await asyncio.sleep(self.terms.save_s)
                await _wait(self._soon, beat_at - loop.time())
        finally:
            await self._disconnect()

    async def hand_back_all(self) -> None:
        """Give every shard up at once, so that others need not wait for the leases to run out."""
        try:
            async with self.connection() as connection:
                await self._hand_back(connection, list(self.held.values()))
                await connection.execute(MARK_GONE, self.owner)
        finally:
            self.held.clear()
            await self._disconnect()

    async def _beat(self) -> None:
        async with self.connection() as connection:
            lease = timedelta(seconds=self.terms.lease_s)
            await connection.execute(MARK_ALIVE, self.owner, lease, self._first, self._predecessors)
            alive = await connection.fetchval(COUNT_ALIVE, lease)
            shards = await connection.fetchval(COUNT_SHARDS)
        await self._renew()
        share = math.ceil(shards / max(1, alive))
        if len(self.held) < share:
            await self._claim(share - len(self.held))
        self._let_go(len(self.held) - share)
        await self._renew()

    def _let_go(self, surplus: int) -> None:
        staying = [shard for shard in self.held.values() if not shard.leaving]
        for shard in staying[: max(0, surplus - (len(self.held) - len(staying)))]:
            shard.leaving = True

    async def _renew(self) -> None:
        """Save every cursor, renew every lease; a leaving shard goes once nothing of it is in flight."""
        if not self.held:
            return
        async with self.connection() as connection:
            await self._hand_back(
                connection, [one for one in self.held.values() if one.leaving and not one.busy]
            )
            shards = list(self.held.values())
            asked_at = asyncio.get_running_loop().time()
            lease = timedelta(seconds=self.terms.lease_s)
            rows = await connection.fetch(RENEW, self.owner, lease, *_columns(shards))
        self._keep_only({row["part"] for row in rows}, shards, asked_at + SAFETY * self.terms.lease_s)

    def _keep_only(self, kept: set[int], shards: Sequence[Shard], deadline: float) -> None:
        for shard in shards:
            if shard.part in kept:
                shard.deadline = deadline
            elif self.held.get(shard.part) is shard:
                self._drop(shard)
                FENCED.inc()
                LOG.warning("fenced", part=shard.part, epoch=shard.epoch)

    def _drop(self, shard: Shard) -> None:
        shard.deadline = 0.0
        del self.held[shard.part]

    async def _claim(self, wanted: int) -> None:
        lease = timedelta(seconds=self.terms.lease_s)
        async with self.connection() as connection:
            asked_at = asyncio.get_running_loop().time()
            rows = await connection.fetch(
                CLAIM, self.owner, lease, wanted, self._first, self._predecessors, list(self.held)
            )
            self._first = False
            blocked = {row["part"]: await parked_rows.blocked(connection, row["part"]) for row in rows}
        deadline = asked_at + SAFETY * self.terms.lease_s
        for row in rows:
            shard = Shard(row["part"], row["epoch"], _cursor(row), deadline)
            shard.blocked = blocked[shard.part]
            self.held[shard.part] = shard
            TAKEOVER.inc(row["taken_over"])
        if rows:
            LOG.info("claimed", parts=sorted(row["part"] for row in rows), owner=self.owner)
            self.gained()

    async def _hand_back(self, connection: asyncpg.Connection, shards: Sequence[Shard]) -> None:
        if not shards:
            return
        for shard in shards:
            self._drop(shard)
        await connection.execute(HAND_BACK, self.owner, *_columns(shards))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """The connection of the leases, for one at a time."""
        async with self._one_statement:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            yield self._connection

    async def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _columns(shards: Sequence[Shard]) -> tuple[list[int], list[int], list[str], list[str | None], list[int]]:
    cursors = [shard.cursor for shard in shards]
    return (
        [shard.part for shard in shards],
        [shard.epoch for shard in shards],
        [str(cursor.snap) for cursor in cursors],
        [None if cursor.page_to is None else str(cursor.page_to) for cursor in cursors],
        [cursor.page_after for cursor in cursors],
    )


def _cursor(row: asyncpg.Record) -> Cursor:
    page_to = None if row["page_to"] is None else Snapshot.parse(row["page_to"])
    return Cursor(Snapshot.parse(row["snap"]), page_to, row["page_after"])


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        return
