"""What the machine, PostgreSQL and the broker can do at all: the denominators of every ratio."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.ground import Ground
from bench.latency import Spread, spread
from bench.load import poisson
from bench.results import Report
from bench.wire import clock
from contracts.topics import BY_NAME, PARTITIONS
from infra import topics

RATES: Final = (10, 100, 600)
PAYLOAD: Final = bytes(300)
FOR_S: Final = 1.5
WRITERS: Final = 8
ROWS: Final = 500
RECORDS: Final = 20_000
BATCHED_RECORDS: Final = 100_000
A_BATCH: Final = 100
PAGE: Final = bytes(8192)
MOST_BYTES: Final = 1 << 20

MAKE_TABLE: Final = """
    create table if not exists bench_limits (
        id bigint generated always as identity primary key, key uuid not null, payload bytea not null)
"""
INSERT_ONE: Final = "insert into bench_limits (key, payload) values ($1, $2)"
INSERT_MANY: Final = "insert into bench_limits (key, payload) select * from unnest($1::uuid[], $2::bytea[])"


async def measure(ground: Ground) -> Report:
    """All limits, one row each."""
    report = Report("limits", "What this machine can do at all", ("limit", "figure", "unit"))
    await ground.settle()
    report.add("fsync of an 8 kB page", fsyncs(ground.folder), "/s")
    await _measure_postgres(ground, report)
    await _measure_broker(ground, report)
    for rate, hop in (await hops(ground)).items():
        report.add(f"one raw hop at {rate}/s, p50 / p99", str(hop), "ms", rate=rate, p50=hop.p50, p99=hop.p99)
    return report


def fsyncs(folder: Path) -> float:
    """Pages written and flushed one after the other, per second."""
    path, count = folder / "fsync", 0
    with path.open("wb", buffering=0) as file:
        began = time.perf_counter()
        while (elapsed := time.perf_counter() - began) < FOR_S:
            file.seek(0)
            file.write(PAGE)
            os.fdatasync(file.fileno())
            count += 1
    path.unlink()
    return count / elapsed


async def _measure_postgres(ground: Ground, report: Report) -> None:
    async with asyncpg.create_pool(ground.admin_dsn, min_size=WRITERS, max_size=WRITERS) as pool:
        await pool.execute(MAKE_TABLE)
        one = lambda connection: connection.execute(INSERT_ONE, uuid4(), PAYLOAD)  # noqa: E731 - a statement with a name
        many = lambda connection: connection.execute(INSERT_MANY, [uuid4()] * ROWS, [PAYLOAD] * ROWS)  # noqa: E731
        for writers in (1, WRITERS):
            report.add(f"commits of one row, {writers} connections", await _repeat(pool, writers, one), "/s")
        report.add("rows by unnest, 500 at once", await _repeat(pool, 1, many) * ROWS, "/s")
        await pool.execute("drop table bench_limits")


async def _repeat(pool: asyncpg.Pool, writers: int, statement: Callable[[Any], Any]) -> float:
    """How often per second this many connections together run the statement."""
    until = clock() + FOR_S

    async def write() -> int:
        count = 0
        async with pool.acquire() as connection:
            while clock() < until:
                await statement(connection)
                count += 1
        return count

    began = clock()
    done = await asyncio.gather(*(write() for _ in range(writers)))
    return sum(done) / (clock() - began)


async def _measure_broker(ground: Ground, report: Report) -> None:
    topic = await raw_topic(ground)
    report.add("records by send", RECORDS / await produce_singly(ground, topic, RECORDS), "/s")
    seconds = await produce_batched(ground, topic, BATCHED_RECORDS)
    report.add("records by send_batch of 100", BATCHED_RECORDS / seconds, "/s")
    total = RECORDS + BATCHED_RECORDS
    report.add("records consumed", total / await _consume(ground, topic, total), "/s")


async def raw_topic(ground: Ground) -> str:
    """A fresh topic with as many partitions as the real ones."""
    prefix = f"raw{uuid4().hex[:8]}."
    declared = BY_NAME["order.placed"]
    await topics.create(ground.bootstrap, [declared], prefix=prefix)
    return prefix + declared.name


async def _producer(ground: Ground) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(
        bootstrap_servers=ground.bootstrap,
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_batch_size=MOST_BYTES // 4,
        max_request_size=MOST_BYTES,
    )
    await producer.start()
    return producer


async def produce_singly(ground: Ground, topic: str, records: int) -> float:
    """Seconds to send so many records, key by key, and have them acknowledged."""
    producer = await _producer(ground)
    try:
        keys = [str(uuid4()).encode() for _ in range(records)]
        began = clock()
        for start in range(0, records, 1000):
            waiting = [await producer.send(topic, PAYLOAD, key) for key in keys[start : start + 1000]]
            await asyncio.gather(*waiting)
        return clock() - began
    finally:
        await producer.stop()


async def produce_batched(ground: Ground, topic: str, records: int) -> float:
    """The same in batches made beforehand, one of each partition under way at a time."""
    producer = await _producer(ground)
    key = str(uuid4()).encode()

    async def fill(partition: int, batches: int) -> None:
        for _ in range(batches):
            batch = producer.create_batch()
            for _ in range(A_BATCH):
                batch.append(key=key, value=PAYLOAD, timestamp=None)
            await (await producer.send_batch(batch, topic, partition=partition))

    try:
        batches = records // A_BATCH
        share = [batches // PARTITIONS + (part < batches % PARTITIONS) for part in range(PARTITIONS)]
        began = clock()
        await asyncio.gather(*(fill(part, count) for part, count in enumerate(share)))
        return clock() - began
    finally:
        await producer.stop()


async def _consume(ground: Ground, topic: str, records: int) -> float:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=ground.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        began, seen = clock(), 0
        async with asyncio.timeout(60):
            while seen < records:
                found = await consumer.getmany(timeout_ms=1000, max_records=2000)
                seen += sum(map(len, found.values()))
        return clock() - began
    finally:
        await consumer.stop()


async def hops(ground: Ground, rates: tuple[int, ...] = RATES, seconds: float = 4.0) -> dict[int, Spread]:
    """One raw hop (intended send to received), by rate per second, nothing else going on."""
    topic = await raw_topic(ground)
    return {rate: await _hop(ground, topic, rate, max(seconds, 100 / rate)) for rate in rates}


async def _hop(ground: Ground, topic: str, rate: int, seconds: float) -> Spread:
    starts = poisson(rate, seconds)
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=ground.bootstrap, auto_offset_reset="latest")
    producer = await _producer(ground)
    await consumer.start()
    try:
        await consumer.seek_to_end()
        listening = asyncio.create_task(_receive(consumer, len(starts)))
        began = clock() + 0.2
        for start in starts:
            await asyncio.sleep(max(0.0, began + start - clock()))
            await producer.send(topic, repr(began + start).encode(), str(uuid4()).encode())
        async with asyncio.timeout(30):
            return spread(await listening)
    finally:
        await producer.stop()
        await consumer.stop()


async def _receive(consumer: AIOKafkaConsumer, count: int) -> list[float]:
    taken: list[float] = []
    while len(taken) < count:
        record = await consumer.getone()
        taken.append(clock() - float(record.value))
    return taken
