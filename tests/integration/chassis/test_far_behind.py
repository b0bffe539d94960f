"""A consumer that is far behind: its batches grow to their bound, its memory does not."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

from contracts.payments import PaymentReturned
from services.chassis.consumer import Consumer
from services.chassis.db import Database, Tx
from services.chassis.decisions import Unchanged, Verdicts
from services.chassis.listener import FETCH_BYTES, PARTITION_FETCH_BYTES, Listener, Place
from tests.support.records import send, sent
from tests.support.waiting import until

BEHIND = 4_000
KEYS = 24
"""Enough to reach most partitions."""


def returned(key: UUID) -> PaymentReturned:
    return PaymentReturned(subject_id=key, intent_id=uuid4(), attempt_id=uuid4(), provider="esewa")


async def test_batches_grow_to_500_and_what_waits_in_memory_is_bounded(
    database: Callable[[str], Awaitable[Any]], kafka: str, topics: Callable[..., Awaitable[str]]
) -> None:
    prefix, made = await topics("payment.returned"), await database("notifications")
    keys = [uuid4() for _ in range(KEYS)]
    await send(
        kafka, prefix, [sent(returned(keys[place % KEYS]), sequence=place + 1) for place in range(BEHIND)]
    )
    sizes: list[int] = []
    go = asyncio.Event()
    consumer = Consumer("notifications")

    async def note(_: Tx, events: Sequence[PaymentReturned]) -> Verdicts[Any]:
        sizes.append(len(events))
        await go.wait()
        return Verdicts(tuple(Unchanged() for _ in events))

    consumer.on(PaymentReturned)(note)
    db = Database(made.dsn, name="far behind", size=2)
    listener = Listener(consumer, db, Place(kafka, prefix, "notifications-0"))

    async def begun() -> bool:
        return bool(sizes)

    async def through() -> bool:
        return sum(sizes) == BEHIND

    try:
        await listener.start()
        await until(begun, what="the first batch")
        client = listener.subscriber.consumer
        assert client._fetcher._fetch_max_bytes == FETCH_BYTES  # noqa: SLF001 - it has no public face
        assert client._fetcher._max_partition_fetch_bytes == PARTITION_FETCH_BYTES  # noqa: SLF001
        go.set()
        await until(through, what="everything is heard")
    finally:
        go.set()
        await listener.stop()
        await db.close()
    assert max(sizes) == 500, "batches grow to their bound and not beyond"
    assert sum(sizes) / len(sizes) > 100, "many records share a transaction"
