"""Faults of records and groups: intruders, everything heard again, copies, records nobody can read."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from time import monotonic
from typing import Final
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from contracts.topics import BY_NAME, PARTITIONS
from infra.audit.records import FACTS
from infra.audit.topics import heard_by
from tests.chaos.ground import Ground, Injection, chance_of, hit
from tests.chaos.schedule import Planned

WITHIN_S: Final = 15.0
STAYS_S: Final = 1.5
COPIED: Final = 40
"""The last records of each partition that is copied from."""
PARTITIONS_COPIED: Final = 10
COPIES: Final = 3
STRANGERS: Final = 4
GONE_WITHIN_S: Final = 60.0
REFUSE: Final = """
    set lock_timeout = 5000;
    create or replace function nemesis() returns trigger language plpgsql as $$
        begin raise exception 'refused by the nemesis'; end $$;
    create or replace trigger nemesis before insert on {table} for each row
        when (md5(new.{column}::text) < '4') execute function nemesis();
"""


@asynccontextmanager
async def _intruder(ground: Ground, service: str) -> AsyncIterator[AIOKafkaConsumer]:
    """One more member of the service's group, which takes its share of partitions and handles nothing."""
    consumer = AIOKafkaConsumer(
        *heard_by(service),
        bootstrap_servers=ground.kafka,
        group_id=service,
        client_id="intruder",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=10_000,
        heartbeat_interval_ms=1_000,
        request_timeout_ms=10_000,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            await consumer.start()
            while not consumer.assignment():  # noqa: ASYNC110 - the client tells it in no other way
                await asyncio.sleep(0.1)
        yield consumer
    finally:
        async with asyncio.timeout(WITHIN_S):
            await consumer.stop()


async def rebalance_storm(ground: Ground, planned: Planned) -> str:
    """A member comes and goes: every share is taken from everybody and given out again."""
    until, times = monotonic() + planned.lasts_s, 0
    while times == 0 or monotonic() < until:
        async with _intruder(ground, planned.target):
            await asyncio.sleep(STAYS_S)
        times += 1
    return f"{times} times in the group of {planned.target}"


async def hear_again(ground: Ground, planned: Planned) -> str:
    """Of all partitions that fall to the intruder the group has, from now on, read nothing."""
    async with _intruder(ground, planned.target) as consumer:
        share = consumer.assignment()
        await consumer.commit(dict.fromkeys(share, 0))
    return f"{hit(len(share))} partitions of {planned.target}"


async def copy_records(ground: Ground, planned: Planned) -> str:
    """Each of some late records three times more, in any order: an old copy after a new event."""
    chance = chance_of(planned)
    places = [
        TopicPartition(name, part) for name, topic in BY_NAME.items() for part in range(topic.partitions)
    ]
    found = await _latest(ground, places, chance)
    copies = found * COPIES
    chance.shuffle(copies)
    async with _producer(ground) as producer:
        for one in copies:
            await producer.send(
                one.topic, one.value, key=one.key, partition=one.partition, headers=list(one.headers)
            )
        await producer.flush()
    return f"{hit(len(copies))} copies of {len(found)} records"


async def _latest(ground: Ground, places: Sequence[TopicPartition], chance: Random) -> list[ConsumerRecord]:
    """The end of some partitions that are not empty."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=ground.kafka, enable_auto_commit=False, request_timeout_ms=10_000
    )
    found: list[ConsumerRecord] = []
    try:
        async with asyncio.timeout(WITHIN_S):
            await consumer.start()
            consumer.assign(places)  # so that it learns at once who leads them all
            consumer.pause(*places)
            ends = {place: end for place, end in (await consumer.end_offsets(places)).items() if end}
            chosen = chance.sample(sorted(ends), min(PARTITIONS_COPIED, len(ends)))
            consumer.assign(chosen)
            for place in chosen:
                consumer.seek(place, max(0, ends[place] - COPIED))
            while records := await consumer.getmany(timeout_ms=500):
                found += [one for batch in records.values() for one in batch]
    finally:
        async with asyncio.timeout(WITHIN_S):
            await consumer.stop()
    return found


@asynccontextmanager
async def _producer(ground: Ground) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=ground.kafka, acks="all", request_timeout_ms=10_000)
    try:
        async with asyncio.timeout(WITHIN_S):
            await producer.start()
            yield producer
    finally:
        async with asyncio.timeout(WITHIN_S):
            await producer.stop()


async def poison(ground: Ground, planned: Planned) -> str:
    """Records that nobody can read; their keys are noted, for nobody of ours has told them."""
    chance = chance_of(planned)
    topics = chance.choices(heard_by(planned.target), k=STRANGERS)
    async with _producer(ground) as producer:
        for topic in topics:
            key, value, headers = _stranger(chance, topic)
            part = chance.randrange(PARTITIONS)
            # Noted before it is sent: a lost answer does not mean a lost record.
            ground.planted.add(key)
            await producer.send_and_wait(topic, value, key=key, partition=part, headers=headers)
    return f"{len(topics)} records on topics of {planned.target}"


def _stranger(chance: Random, topic: str) -> tuple[bytes, bytes | None, list[tuple[str, bytes]]]:
    """Key, value, headers; with a readable id only where no promise asks for what is in the body."""
    key = str(UUID(int=chance.getrandbits(128), version=4)).encode()
    value = chance.choice((None, b"", b"[1, 2]", b"{not json", b"\xff\xfe", b'{"a": NaN}'))
    if topic in FACTS:
        return key, value, []
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(UUID(int=chance.getrandbits(128), version=4)),
        "ce_type": BY_NAME[topic].event.type_name(),
        "ce_sequence": f"{1:020d}",
    }
    return key, value, [(name, text.encode()) for name, text in headers.items()]


async def refuse_keys(ground: Ground, planned: Planned) -> str:
    """One key in four cannot be stored for a while: its events are parked, and drained when it is over."""
    service, table, column = planned.target.split(".")
    try:
        async with ground.admin(service) as connection:
            await connection.execute(REFUSE.format(table=table, column=column))
        await asyncio.sleep(planned.lasts_s)
    finally:
        await _accept_again(ground, service, table)
    return table


async def _accept_again(ground: Ground, service: str, table: str) -> None:
    """Tried until it is done: the server may be down just now."""
    async with asyncio.timeout(GONE_WITHIN_S):
        while True:
            try:
                async with ground.admin(service) as connection:
                    await connection.execute(f"drop trigger if exists nemesis on {table}")
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.5)
            else:
                return


FAULTS: Final[Mapping[str, Injection]] = {
    "rebalance storm": rebalance_storm,
    "hear everything again": hear_again,
    "copies of records": copy_records,
    "poison records": poison,
    "keys that fail": refuse_keys,
}
