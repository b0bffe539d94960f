"""The relay, ended between reading, sending and saving its cursor: copies perhaps, never a gap."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg

from contracts.payments import PaymentReturned
from contracts.topics import PARTITIONS
from services.chassis import outbox
from services.chassis.db import Database
from services.chassis.decisions import Outgoing
from services.chassis.ids import new_id
from services.chassis.murmur2 import partition_of
from tests.support.crash.fate import Blow, Fate, Way, When
from tests.support.crash.ground import Ground
from tests.support.crash.relaying import MortalRelay, live
from tests.support.torture.judge import committed, judge
from tests.support.torture.stub_broker import StubBroker
from tests.support.waiting import until

MakeDatabase = Callable[[str], Awaitable[Any]]


def returned(key: UUID) -> PaymentReturned:
    return PaymentReturned(subject_id=key, intent_id=new_id(), attempt_id=new_id(), provider="esewa")


async def tell(db: Database, keys: list[UUID], sequence: int) -> None:
    async with db.transaction() as tx:
        await outbox.tell(tx, [Outgoing(returned(key), sequence) for key in keys])


def beside(key: UUID) -> UUID:
    """Another key of the same partition."""
    part = partition_of(str(key).encode(), PARTITIONS)
    return next(one for one in iter(new_id, None) if partition_of(str(one).encode(), PARTITIONS) == part)


def places(steps: list[str]) -> list[int]:
    """Of the same step again and again the first is tried: a look is a look."""
    return [place for place, step in enumerate(steps) if place == 0 or step != steps[place - 1]]


async def test_a_relay_that_ends_at_any_step_is_followed_by_one_that_leaves_no_gap(
    database: MakeDatabase,
) -> None:
    made = await database("payments")
    admin = await asyncpg.connect(made.admin_dsn)
    db, ground = Database(made.dsn, name="teller", size=2), Ground(admin)
    keys = [new_id() for _ in range(4)]
    for sequence in (1, 2, 3):
        await tell(db, keys, sequence)
    await db.close()
    await ground.keep()
    truth = await committed(made.admin_dsn)
    undisturbed = Fate()
    await live(made.dsn, admin, StubBroker(), undisturbed)
    assert "(send)" in undisturbed.steps
    for place in places(undisturbed.steps):
        for when in When:
            await ground.until_alone()
            await ground.put_back()
            broker = StubBroker()
            await live(made.dsn, admin, broker, Fate(Blow(place, when, Way.KILLED)))
            await ground.until_alone()
            await live(made.dsn, admin, broker, Fate())
            fared = judge(broker.log, truth)
            assert fared.flawless, f"{when.value} {undisturbed.steps[place]}: {fared}"
    await admin.close()


async def test_what_was_told_first_and_committed_last_is_published(database: MakeDatabase) -> None:
    made = await database("payments")
    db, broker, stopping = Database(made.dsn, name="teller", size=2), StubBroker(), asyncio.Event()
    relay, first = MortalRelay(made.dsn, broker, Fate()), new_id()
    running = asyncio.create_task(relay.run(stopping))

    async def arrived(count: int) -> bool:
        return len(broker.first) == count

    try:
        async with db.transaction() as slow:
            await outbox.tell(slow, [Outgoing(returned(first), 1)])
            await tell(db, [beside(first)], 1)
            await until(lambda: arrived(1), within_s=10)
        await until(lambda: arrived(2), within_s=10)
    finally:
        stopping.set()
        await running
        await db.close()
