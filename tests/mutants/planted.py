"""The bugs: each is the service code with one rule taken away, planted where the rule is expressed."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from weakref import WeakKeyDictionary

import asyncpg
from pytest import MonkeyPatch  # noqa: PT013 - only the name of a type

from services.chassis import batch, inbox, outbox, parking, window
from services.chassis.db import Database, Tx
from services.chassis.decisions import Outgoing
from services.chassis.leases import Shard
from services.chassis.listener import Listener
from services.chassis.records import Heard
from services.chassis.relay import Relay
from services.chassis.window import Cursor, Page, Snapshot
from services.orders import reconcilers
from services.orders.domain import Checkout
from services.orders.store import orders, timers

Plant = Callable[[MonkeyPatch], None]
DATABASE: Final[ContextVar[Database]] = ContextVar("database")


def _know_the_database(patch: MonkeyPatch) -> None:
    """From now on `DATABASE` is the one whose transaction is open."""
    real: Callable[..., AbstractAsyncContextManager[Tx]] = Database.transaction

    @asynccontextmanager
    async def transaction(self: Database, **said: int) -> AsyncIterator[Tx]:
        DATABASE.set(self)
        async with real(self, **said) as tx:
            yield tx

    patch.setattr(Database, "transaction", transaction)


def no_inbox(patch: MonkeyPatch) -> None:
    """Whatever is heard is heard for the first time."""

    async def claim(_: Tx, __: int, heard: Sequence[Heard]) -> inbox.Claimed:
        return inbox.Claimed(list(heard), may_be_blocked=True)

    patch.setattr(inbox, "claim", claim)


def inbox_in_its_own_transaction(patch: MonkeyPatch) -> None:
    """What is heard is noted for good before it has taken effect."""
    _know_the_database(patch)
    real = inbox.claim

    async def claim(tx: Tx, consumer: int, heard: Sequence[Heard]) -> inbox.Claimed:
        async with DATABASE.get().transaction() as own:
            claimed = await real(own, consumer, heard)
            tx.starts_at(await own.now())
        return claimed

    patch.setattr(inbox, "claim", claim)


def ack_before_work(patch: MonkeyPatch) -> None:
    """The offsets are committed first."""

    async def on_batch(self: Listener, msg: Any) -> None:  # noqa: ANN401 - a message of FastStream
        await msg.ack()
        await self._hear_all(msg.raw_message)

    patch.setattr(Listener, "_on_batch", on_batch)


def publish_before_commit(patch: MonkeyPatch) -> None:
    """What is told is visible to the relay, whatever becomes of the transaction."""
    _know_the_database(patch)
    real = outbox.tell

    async def tell(tx: Tx, outgoing: Sequence[Outgoing]) -> None:
        connection = await asyncpg.connect(DATABASE.get().dsn)
        try:
            await real(Tx(connection), outgoing)
        finally:
            await connection.close()
        tx.told += len(outgoing)

    patch.setattr(outbox, "tell", tell)


BY_ID: Final = f"""
    select {window.COLUMNS} from outbox where id > $1 and part = any($2) order by id limit $3
"""


def outbox_read_by_id(patch: MonkeyPatch) -> None:
    """The relay remembers the last id it has sent and asks for those above."""
    known: WeakKeyDictionary[Relay, dict[int, int]] = WeakKeyDictionary()

    async def read(self: Relay, reader: asyncpg.Connection, shards: Sequence[Shard]) -> Page:
        last, parts = known.setdefault(self, {}), [shard.part for shard in shards]
        for shard in shards:
            shard.busy = True
        after = min(last.get(part, 0) for part in parts)
        rows = await reader.fetch(BY_ID, after, parts, self.pace.page)
        fresh = [row for row in rows if row["id"] > last.get(row["part"], 0)]
        last.update({row["part"]: row["id"] for row in fresh})
        snap = Snapshot.parse(await reader.fetchval(window.CURRENT_SNAPSHOT))
        return Page(fresh, dict.fromkeys(parts, Cursor(snap)), full=len(rows) == self.pace.page)

    patch.setattr(Relay, "_read", read)


def no_lock_in_the_roll_up(patch: MonkeyPatch) -> None:
    """Whoever rolls up, or moves an item, reads the order without locking it."""
    patch.setattr(orders, "LOCK_ORDERS", orders.LOCK_ORDERS.replace("for update", ""))


def skip_locked_in_the_roll_up(patch: MonkeyPatch) -> None:
    """An order that somebody else has locked is passed over."""
    patch.setattr(orders, "LOCK_ORDERS", orders.LOCK_ORDERS.replace("for update", "for update skip locked"))


def expiry_from_process_memory(patch: MonkeyPatch) -> None:
    """A process ends what it has itself seen waiting in an earlier round; another one's it does not know."""
    seen: WeakKeyDictionary[Any, set[Any]] = WeakKeyDictionary()
    _know_the_database(patch)

    async def heal(tx: Tx, now: datetime, limits: reconcilers.Limits = reconcilers.DEFAULT) -> int:
        mine = seen.setdefault(DATABASE.get(), set())
        due = await timers.lock_unpaid(tx, now, limits.payment_grace_s, reconcilers.MOST)
        known: dict[Any, Checkout] = {key: one for key, one in due.items() if key in mine}
        mine |= due.keys()
        return await reconcilers._end(tx, known)  # noqa: SLF001 - the rest is as it was

    forgetful = replace(reconcilers.expire_unpaid, heal=heal)
    duties = tuple(forgetful if one.name == forgetful.name else one for one in reconcilers.ALL)
    patch.setattr(reconcilers, "expire_unpaid", forgetful)
    patch.setattr(reconcilers, "ALL", duties)


def reconciler_without_compare_and_set(patch: MonkeyPatch) -> None:
    """What is due is read, not locked: it may have moved on by the time it is ended."""
    patch.setattr(timers, "LOCK_UNPAID", timers.LOCK_UNPAID.replace("for update skip locked", ""))


def retry_that_swallows_an_error(patch: MonkeyPatch) -> None:
    """A batch whose transaction failed is as good as done."""

    async def patiently(
        hearing: batch.Hearing,
        heard: Sequence[Heard],
        parked: Sequence[parking.Parked],
        _: float,
        *,
        claiming: Sequence[Heard] = (),
    ) -> None:
        try:
            async with hearing.db.transaction() as tx:
                await batch._transact(tx, hearing, heard, parked, claiming)  # noqa: SLF001
        except Exception:  # noqa: BLE001 - the bug
            return

    patch.setattr(batch, "_patiently", patiently)
