"""The broker away for long while events are told: none is lost, nobody helps, and the backlog drains fast."""

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from bench.ground import Ground
from bench.wire import clock
from contracts.topics import BY_NAME, PARTITIONS
from infra import topics
from services.chassis import outbox_backlog
from services.chassis.outbox_metrics import PRODUCER_REBUILD
from services.chassis.relay import Relay

PREFIX: Final = "gate6."
TOPIC: Final = BY_NAME["order.placed"]
CHUNK: Final = 500
SOME: Final = 1_000
WITHIN_S: Final = 300.0
LOOKS_EVERY_S: Final = 0.05
FULL_S: Final = 900.0
"""The outage the gate is about: 15 minutes."""
ABANDONED_AFTER_S: Final = 15.0
"""A send waits for 10 s; in a shorter outage than this no producer needs to be replaced."""
FILL: Final = """
    insert into outbox (part, topic, key, key_seq, event_id, subject_kind, payload)
    select n % 12, 'order.placed', gen_random_uuid()::text, n, gen_random_uuid(), 'order',
           decode(repeat('ab', 300), 'hex')
    from generate_series($1::int, $2::int) as n
"""
TOLD: Final = "select event_id from outbox"

# The negative control: rows that are given up after ten tries, 1, 2, 4, ... 256 s apart (of the full length).
MAKE_QUEUE: Final = """
    create table impatient_queue (id int primary key, tries int not null default 0, due timestamptz not null)
"""
FILL_QUEUE: Final = (
    "insert into impatient_queue (id, due) select n, now() from generate_series(1, $1::int) as n"
)
MOST_TRIES: Final = 10
FAIL: Final = """
    update impatient_queue
    set tries = tries + 1, due = clock_timestamp() + make_interval(secs => $1 * 2 ^ tries)
    where due <= clock_timestamp()
"""
GIVE_UP: Final = "delete from impatient_queue where tries >= $1"
LEFT: Final = "select count(*) from impatient_queue"


@dataclass(frozen=True, slots=True)
class Outage:
    """What was told while the broker was away, and what became of it."""

    told: int
    lost: int
    first_s: float
    """From the broker's return to the first event."""
    drained_per_s: float
    replaced: int
    """Producers that were replaced by themselves."""
    control_lost: int


async def torture_outage(ground: Ground, dsn: str, *, away_s: float, events: int) -> Outage:
    """SIGSTOP: connections stay open and nobody answers; meanwhile events are told at an even rate."""
    assert ground.broker_pid is not None
    await topics.create(ground.bootstrap, [TOPIC], prefix=PREFIX)
    relay, stopping = (
        Relay(dsn, service="orders", kafka=ground.bootstrap, topic_prefix=PREFIX),
        asyncio.Event(),
    )
    connection = await asyncpg.connect(dsn)
    relaying = asyncio.create_task(relay.run(stopping))
    try:
        await connection.execute(FILL, 1, SOME)
        await _published(connection)
        replaced = _replaced()
        control = await _away(ground, connection, away_s=away_s, events=events)
        back = clock()
        await _more_than(ground, SOME)
        first = clock()
        await _published(connection)
        done = clock()
        told = {row["event_id"] for row in await connection.fetch(TOLD)}
    finally:
        stopping.set()
        await relaying
        await connection.close()
    lost = told - await _arrived(ground)
    return Outage(
        len(told), len(lost), first - back, events / (done - first), round(_replaced() - replaced), control
    )


async def _away(ground: Ground, connection: asyncpg.Connection, *, away_s: float, events: int) -> int:
    """Tells all of it, and returns what the control has given up."""
    assert ground.broker_pid is not None
    os.kill(ground.broker_pid, signal.SIGSTOP)
    try:
        began = clock()
        control = asyncio.create_task(_impatient(ground, began + away_s, away_s / FULL_S))
        for told in range(0, events, CHUNK):
            await asyncio.sleep(max(0.0, began + away_s * told / events - clock()))
            await connection.execute(FILL, SOME + told + 1, SOME + min(told + CHUNK, events))
        return await control
    finally:
        os.kill(ground.broker_pid, signal.SIGCONT)


async def _impatient(ground: Ground, until: float, scale: float) -> int:
    """Ask the broker whenever something is due; count what is given up because it never answered."""
    connection = await asyncpg.connect(ground.database("gate_outage"))
    try:
        await connection.execute(MAKE_QUEUE)
        await connection.execute(FILL_QUEUE, SOME)
        while clock() < until:
            if not await _answers(ground.bootstrap, 0.5 * scale):
                await connection.execute(FAIL, scale)
                await connection.execute(GIVE_UP, MOST_TRIES)
            await asyncio.sleep(min(LOOKS_EVERY_S, max(0.0, until - clock())))
        return SOME - int(await connection.fetchval(LEFT))
    finally:
        await connection.close()


async def _answers(bootstrap: str, within_s: float) -> bool:
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        async with asyncio.timeout(within_s):
            await client.bootstrap()
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(client.close(), 1.0)
    return True


async def _published(connection: asyncpg.Connection) -> None:
    async with asyncio.timeout(WITHIN_S):
        while (await outbox_backlog.measure(connection)).depth:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(LOOKS_EVERY_S)


async def _more_than(ground: Ground, count: int) -> None:
    """Return once there are more records than that."""
    consumer = AIOKafkaConsumer(bootstrap_servers=ground.bootstrap)
    await consumer.start()
    try:
        async with asyncio.timeout(WITHIN_S):
            while sum((await consumer.end_offsets(_places())).values()) <= count:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(LOOKS_EVERY_S)
    finally:
        await consumer.stop()


async def _arrived(ground: Ground) -> set[UUID]:
    """The ids of all events in the topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=ground.bootstrap)
    await consumer.start()
    found: set[UUID] = set()
    try:
        consumer.assign(_places())
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(_places())
        while not all([await consumer.position(place) >= end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=1_000)).values():
                found |= {UUID(dict(one.headers)["ce_id"].decode()) for one in records}
    finally:
        await consumer.stop()
    return found


def _places() -> list[TopicPartition]:
    return [TopicPartition(PREFIX + TOPIC.name, part) for part in range(PARTITIONS)]


def _replaced() -> float:
    return sum(sample.value for metric in PRODUCER_REBUILD.collect() for sample in metric.samples
               if sample.name.endswith("_total"))  # fmt: skip
