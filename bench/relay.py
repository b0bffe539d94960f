"""U2: how fast a full outbox is drained onto the broker, beside producers that have nothing else to do."""

import asyncio
from functools import partial
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench import limits, machine
from bench.ground import PASSWORD, Ground
from bench.results import Gate, Report
from bench.wire import clock
from contracts.topics import BY_NAME, PARTITIONS
from infra import databases, topics
from services.chassis.migrate import migrate
from services.chassis.relay import Relay

SERVICE: Final = "orders"
DATABASE: Final = "relay"
TOPIC: Final = BY_NAME["order.placed"]
ROUNDS: Final = 3
WITHIN_S: Final = 120.0
LOOKS_EVERY_S: Final = 0.01

FILL: Final = """
    insert into outbox (part, topic, key, key_seq, event_id, subject_kind, payload)
    select n % 12, 'order.placed', gen_random_uuid()::text, n, gen_random_uuid(), 'order',
           decode(repeat('ab', 300), 'hex')
    from generate_series($1::int, $2::int) as n
"""
IN_ONE_TRANSACTION: Final = 500


async def measure(ground: Ground, events: int) -> Report:
    """Three rounds of each, the medians compared."""
    report = Report(
        "relay", f"U2: {events:,} events of 300 B onto the broker", ("who", "events/s", "CPU us/event")
    )
    found: dict[str, list[tuple[float, float]]] = {}
    for number in range(ROUNDS):
        raw = await limits.raw_topic(ground)
        await ground.settle()
        ways = {
            "bare send": partial(limits.produce_singly, ground, raw, events),
            "bare send_batch": partial(limits.produce_batched, ground, raw, events),
            "outbox relay": partial(_drain, ground, events, f"relay{number}."),
        }
        for name, send in ways.items():
            before = machine.own_cpu_seconds()
            seconds = await send()
            cpu = machine.own_cpu_seconds() - before
            found.setdefault(name, []).append((events / seconds, cpu / events * 1e6))
    rates = {name: _median([rate for rate, _ in runs]) for name, runs in found.items()}
    for name, runs in found.items():
        report.add(name, rates[name], round(_median([cpu for _, cpu in runs]), 1), runs=runs, who=name)
    report.gates.append(
        Gate("relay / bare send, events/s", rates["outbox relay"] / rates["bare send"], "at least", 0.5, 0.9)
    )
    return report


def _median(figures: list[float]) -> float:
    return sorted(figures)[len(figures) // 2]


async def _drain(ground: Ground, events: int, prefix: str) -> float:
    """Seconds from the relay's start to the last record on the broker."""
    dsn = await _fill(ground, events)
    await topics.create(ground.bootstrap, [TOPIC], prefix=prefix)
    relay = Relay(dsn, service=SERVICE, kafka=ground.bootstrap, topic_prefix=prefix)
    stopping, began = asyncio.Event(), clock()
    running = asyncio.create_task(relay.run(stopping))
    try:
        await _arrived(ground, prefix + TOPIC.name, events)
        return clock() - began
    finally:
        stopping.set()
        await running


async def _fill(ground: Ground, events: int) -> str:
    """A fresh outbox holding so many events, in transactions as large as a full batch."""
    await databases.drop(ground.admin_dsn, DATABASE)
    dsn = await databases.provision(ground.admin_dsn, SERVICE, PASSWORD, database=DATABASE)
    await migrate(ground.database(DATABASE), SERVICE)
    connection = await asyncpg.connect(ground.database(DATABASE))
    try:
        for first in range(0, events, IN_ONE_TRANSACTION):
            await connection.execute(FILL, first + 1, min(events, first + IN_ONE_TRANSACTION))
    finally:
        await connection.close()
    return dsn


async def _arrived(ground: Ground, topic: str, events: int) -> None:
    """Return once the partitions' ends add up."""
    partitions = [TopicPartition(topic, part) for part in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(bootstrap_servers=ground.bootstrap)
    await consumer.start()
    try:
        async with asyncio.timeout(WITHIN_S):
            while sum((await consumer.end_offsets(partitions)).values()) < events:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(LOOKS_EVERY_S)
    finally:
        await consumer.stop()
