"""A service hears its topics through the real broker: everything once, whatever arrives, whoever dies."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import CommitFailedError
from structlog.testing import capture_logs

from contracts.payments import PaymentDeclined, PaymentEvent, PaymentReturned
from services.chassis import batch, progress
from services.chassis import listener as listener_module
from services.chassis.consumer import Consumer
from services.chassis.db import Database, Tx
from services.chassis.decisions import Unchanged, Verdicts
from services.chassis.listener import Listener, Place, caught_up
from tests.support.records import Sent, send, sent
from tests.support.waiting import until

EFFECTS = "create table effects (topic text, key uuid, nr bigint, at bigint generated always as identity)"
INSERT = "insert into effects (topic, key, nr) select $1, * from unnest($2::uuid[], $3::bigint[])"


def returned(key: UUID) -> PaymentReturned:
    return PaymentReturned(subject_id=key, intent_id=uuid4(), attempt_id=uuid4(), provider="esewa")


def declined(key: UUID) -> PaymentDeclined:
    return PaymentDeclined(subject_id=key, intent_id=uuid4(), attempt_id=uuid4(), provider="esewa")


@dataclass
class World:
    kafka: str
    prefix: str
    dsn: str
    admin: asyncpg.Connection
    failing: float = 0.0

    def consumer(self, seed: int = 1) -> Consumer:
        """Writes what it hears down; now and then it fails at random, before or after writing."""
        chance = random.Random(seed)
        consumer = Consumer("notifications")

        async def note(tx: Tx, events: Sequence[PaymentEvent]) -> Verdicts[Any]:
            keys, numbers = [one.subject_id for one in events], [one.envelope.sequence for one in events]
            await tx.execute(INSERT, events[0].TOPIC, keys, numbers)
            if chance.random() < self.failing:
                raise ConnectionError("an injected fault")
            return Verdicts(tuple(Unchanged() for _ in events))

        consumer.on(PaymentReturned)(note)
        consumer.on(PaymentDeclined)(note)
        return consumer

    def place(self, instance: str = "notifications-0") -> Place:
        return Place(self.kafka, self.prefix, instance)

    async def counted(self) -> int:
        count: int = await self.admin.fetchval("select count(*) from effects")
        return count


@pytest.fixture
async def world(
    database: Callable[[str], Awaitable[Any]], kafka: str, topics: Callable[..., Awaitable[str]]
) -> AsyncIterator[World]:
    prefix = await topics("payment.returned", "payment.declined")
    made = await database("notifications")
    admin = await asyncpg.connect(made.admin_dsn)
    await admin.execute(EFFECTS)
    await admin.execute("grant select, insert on effects to kb_notifications")
    yield World(kafka, prefix, made.dsn, admin)
    await admin.close()


class running:  # noqa: N801 - reads as a statement: async with running(...)
    """A listener with its own pool, until the block ends."""

    def __init__(self, world: World, instance: str = "notifications-0", seed: int = 1) -> None:
        self.db = Database(world.dsn, name=instance)
        self.listener = Listener(world.consumer(seed), self.db, world.place(instance))

    async def __aenter__(self) -> Listener:
        await self.listener.start()
        return self.listener

    async def __aexit__(self, *_: object) -> None:
        await self.listener.stop()
        await self.db.close()


async def test_what_was_sent_is_heard_once_in_the_order_of_its_key(world: World) -> None:
    keys = [uuid4() for _ in range(20)]
    await send(
        world.kafka, world.prefix, [sent(returned(key), sequence=nr) for nr in range(1, 26) for key in keys]
    )
    async with running(world):
        await until(lambda: _reached(world, 500))
    for key in keys:
        rows = await world.admin.fetch("select nr from effects where key = $1 order by at", key)
        assert [row["nr"] for row in rows] == list(range(1, 26))


async def test_a_stranger_record_is_parked_and_the_next_good_one_goes_through(world: World) -> None:
    key = uuid4()
    good = sent(returned(key))
    nameless = tuple(pair for pair in good.headers if pair[0] != "ce_id")
    version = tuple(
        (name, b"np.kbstylish.payment.returned.v9" if name == "ce_type" else v) for name, v in good.headers
    )
    strangers = [
        Sent(good.topic, good.key, b"not json", good.headers),
        Sent(good.topic, good.key, b"\xff\xfe\x00", good.headers),
        Sent(good.topic, good.key, good.value, ()),
        Sent(good.topic, good.key, None, good.headers),
        Sent(good.topic, good.key, good.value, version),
        Sent(good.topic, str(uuid4()).encode(), good.value, good.headers),
        Sent(good.topic, None, good.value, good.headers),
        Sent(good.topic, good.key, good.value, (*nameless, ("ce_id", None))),
        Sent(good.topic, good.key, good.value, (*nameless, ("ce_id", b"\xff\xfe"))),
        Sent(good.topic, good.key, good.value, (*good.headers, ("reply_to", b"payment.declined"))),
    ]
    await send(world.kafka, world.prefix, [*strangers, sent(returned(key), sequence=2)])
    async with running(world):
        await until(lambda: _reached(world, 2))
    rows = await world.admin.fetch("select reason, state from inbox_parked order by id")
    assert len(rows) == 9  # the one with a foreign reply_to is only a good record from an odd sender
    assert {row["state"] for row in rows} == {"dead"}
    assert {row["reason"] for row in rows} == {
        "INVALID_BODY", "INVALID_ENVELOPE", "NULL_VALUE", "UNKNOWN_TYPE", "KEY_MISMATCH",
    }  # fmt: skip


async def test_everything_read_again_changes_nothing(world: World) -> None:
    await send(world.kafka, world.prefix, [sent(returned(uuid4())) for _ in range(300)])
    async with running(world):
        await until(lambda: _reached(world, 300))
        await until(lambda: caught_up(world.place(), "notifications", ["payment.returned"]))
    await _forget_offsets(world)
    async with running(world):
        await send(world.kafka, world.prefix, [sent(declined(uuid4()))])
        await until(
            lambda: caught_up(world.place(), "notifications", ["payment.returned", "payment.declined"])
        )
    assert await world.counted() == 301


async def test_a_member_says_when_it_has_partitions_and_that_it_is_not_stuck(world: World) -> None:
    async with running(world) as listener:
        await until(partial(_is_assigned, listener))
        await send(world.kafka, world.prefix, [sent(returned(uuid4())) for _ in range(50)])
        await until(partial(_reached, world, 50))
        assert not await listener.stuck()
    assert not listener.assigned


async def test_a_member_without_partitions_stands_by_and_is_ready(world: World) -> None:
    world.prefix += "narrow."
    await _make_narrow_topics(world)
    async with running(world, "a") as a, running(world, "b") as b, running(world, "c") as c:
        await until(partial(_share, [a, b, c], [0, 1, 1]))
        assert [one.missing() for one in (a, b, c)] == [None, None, None]


async def test_a_member_of_a_group_without_topics_is_not_ready_and_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "LOOK_S", 0.01)
    monkeypatch.setattr(listener_module, "SAY_EVERY_S", 0.0)
    world.prefix += "nowhere."
    db = Database(world.dsn, name="notifications-0")
    listener = Listener(world.consumer(), db, world.place())
    with capture_logs() as said:
        starting = asyncio.create_task(listener.start())
        await until(partial(_has_said, said, "its topics"))
        assert not listener.assigned
    starting.cancel()
    await asyncio.wait([starting])
    await listener.stop()


async def test_a_member_that_has_lost_its_coordinator_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "LOOK_S", 0.01)
    monkeypatch.setattr(listener_module, "SAY_EVERY_S", 0.0)
    async with running(world) as listener:
        await until(partial(_is_assigned, listener))
        with capture_logs() as said:
            listener.subscriber.consumer._coordinator.coordinator_id = None  # noqa: SLF001
            await until(partial(_has_said, said, "the coordinator of the group"))
        await until(partial(_misses_nothing, listener))


async def test_a_member_that_cannot_leave_in_good_order_stops_all_the_same(world: World) -> None:
    async with running(world) as listener:
        client = listener.subscriber.consumer
        leave = client.stop

        async def stumble() -> None:
            await leave()
            raise CommitFailedError

        client.stop = stumble


async def test_a_member_that_reads_no_more_says_that_it_is_stuck(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "STUCK_S", 0.0)
    async with running(world) as listener:
        await until(partial(_is_assigned, listener))
        for task in listener.subscriber.tasks:
            task.cancel()
        await send(world.kafka, world.prefix, [sent(returned(uuid4())) for _ in range(50)])
        await until(listener.stuck)


async def test_a_member_whose_batches_fail_knows_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "PATIENCE_S", 0.0)
    world.failing = 1.0
    await send(world.kafka, world.prefix, [sent(returned(uuid4()))])
    async with running(world) as listener:
        await until(partial(_has_failed, listener))
        world.failing = 0.0
        await until(partial(_reached, world, 1))


async def test_caught_up_is_said_only_when_every_partition_is_read(world: World) -> None:
    await send(world.kafka, world.prefix, [sent(returned(uuid4())) for _ in range(50)])
    assert not await caught_up(world.place(), "notifications", ["payment.returned"])
    assert await caught_up(world.place(), "notifications", ["payment.declined"])
    async with running(world):
        await until(lambda: caught_up(world.place(), "notifications", ["payment.returned"]))
    assert await world.counted() == 50


async def test_nobody_has_caught_up_with_a_topic_that_is_not_there(world: World) -> None:
    assert await caught_up(world.place(), "notifications", ["payment.declined"])
    assert not await caught_up(world.place(), "notifications", ["payment.declined", "payment.verified"])


async def test_members_come_and_go_with_faults_and_each_record_counts_once(world: World) -> None:
    world.failing = 0.2
    keys = [uuid4() for _ in range(60)]
    story = [
        sent(one(key), sequence=nr) for nr in range(1, 21) for key in keys for one in (returned, declined)
    ]
    sending = asyncio.create_task(send(world.kafka, world.prefix, story))
    for turn in range(3):
        async with running(world, "a", seed=turn), running(world, "b", seed=100 + turn):
            await until(partial(_reached, world, 500 * (turn + 1)), within_s=60)
    async with running(world, "a", seed=9):
        await until(lambda: _reached(world, len(story)), within_s=60)
    await sending
    doubled = await world.admin.fetch("select 1 from effects group by topic, key, nr having count(*) > 1")
    assert await world.counted() == len(story)
    assert doubled == []
    assert await world.admin.fetch(OUT_OF_ORDER) == []


OUT_OF_ORDER = """
    select key, nr from (
        select topic, key, nr, lag(nr) over (partition by topic, key order by at) as before from effects
    ) as walk
    where before >= nr
"""


async def _reached(world: World, count: int) -> bool:
    return await world.counted() >= count


async def _has_failed(listener: Listener) -> bool:
    return listener.progress.alive_at > 0


async def _share(listeners: Sequence[Listener], partitions: Sequence[int]) -> bool:
    """Whether all are ready, and have so many partitions, in whatever order."""
    found = [len(one.subscriber.consumer.assignment()) for one in listeners]
    return all(one.assigned for one in listeners) and sorted(found) == sorted(partitions)


async def _make_narrow_topics(world: World) -> None:
    names = [f"{world.prefix}{topic}" for topic in ("payment.returned", "payment.declined")]
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1) for name in names])
    finally:
        await admin.close()


async def _has_said(said: Sequence[MutableMapping[str, Any]], what: str) -> bool:
    return any(one["event"] == "not reading" and what in one["waiting_for"] for one in said)


async def _misses_nothing(listener: Listener) -> bool:
    return listener.missing() is None


async def _is_assigned(listener: Listener) -> bool:
    return listener.assigned


async def _forget_offsets(world: World) -> None:
    """Set the group back to the beginning, as an operator would."""
    places = [TopicPartition(f"{world.prefix}payment.returned", part) for part in range(12)]
    group = f"{world.prefix}notifications"
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka)
    client = AIOKafkaConsumer(bootstrap_servers=world.kafka, group_id=group, enable_auto_commit=False)
    await admin.start()
    await client.start()
    try:
        await until(lambda: _left(admin, group))
        client.assign(places)
        await client.commit(dict.fromkeys(places, 0))
    finally:
        await client.stop()
        await admin.close()


async def _left(admin: AIOKafkaAdminClient, group: str) -> bool:
    described = await admin.describe_consumer_groups([group])
    return not described[0].groups[0][5]
