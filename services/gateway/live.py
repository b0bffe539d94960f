"""Live hints: whoever waits for an order hears within milliseconds that something about it was told."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.orders import OrderState
from contracts.payments import PaymentOpened
from contracts.topics import PARTITIONS

TOPICS: Final = (OrderState.TOPIC, PaymentOpened.TOPIC)
POLL_BLIND_S: Final = 0.25
POLL_S: Final = 1.0
FETCH_WAIT_MS: Final = 500
MOST_RECORDS: Final = 500


class Watch:
    """One waiter on one order. Hints coalesce: however many came, one look at the owner answers them all."""

    def __init__(self, live: "Live") -> None:
        self._live = live
        self._hint = asyncio.Event()

    def wake(self) -> None:
        """Something was told about this order."""
        self._hint.set()

    @property
    def is_hinted(self) -> bool:
        """Whether there is something to look at."""
        return self._hint.is_set()

    async def hint(self) -> None:
        """The next hint, however long it takes."""
        await self._hint.wait()

    async def wait(self, most_s: float) -> bool:
        """Until the next hint, at most `most_s`; without Kafka only 250 ms, so that the owner is asked again.

        Returns whether time is left: a look at the owner is worth it.
        """
        patience = POLL_S if self._live.hears else POLL_BLIND_S
        try:
            async with asyncio.timeout(min(most_s, patience)):
                await self.hint()
        except TimeoutError:
            return most_s > patience
        self._hint.clear()
        return True


class Live:
    """A reader of all partitions without a group, from the end on: hints for those who wait now.

    Nothing is decided by a hint, so records that are missed while Kafka is away cost a poll, not a truth.
    """

    def __init__(self, kafka: str, topic_prefix: str) -> None:
        self._kafka = kafka
        self._topics = [topic_prefix + topic for topic in TOPICS]
        self._watches: defaultdict[bytes, set[Watch]] = defaultdict(set)
        self.hears = False

    @contextmanager
    def watch(self, order_id: UUID) -> Iterator[Watch]:
        """Hear about one order; ask its owner after this, so that nothing falls in between."""
        watch, key = Watch(self), str(order_id).encode()
        self._watches[key].add(watch)
        try:
            yield watch
        finally:
            self._watches[key].discard(watch)
            if not self._watches[key]:
                del self._watches[key]

    @property
    def watched(self) -> int:
        """How many orders somebody waits for."""
        return len(self._watches)

    async def run(self) -> None:
        """Read for ever; raises when Kafka goes away, to be started again."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._kafka,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            request_timeout_ms=10_000,
        )
        try:
            await consumer.start()
            await self._start_at_the_end(consumer)
            self.hears = True
            while True:
                self._wake(await consumer.getmany(timeout_ms=1000, max_records=MOST_RECORDS))
        finally:
            self.hears = False
            await consumer.stop()

    async def _start_at_the_end(self, consumer: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        places = [TopicPartition(topic, part) for topic in self._topics for part in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_end(*places)
        for place in places:
            await consumer.position(place)

    def _wake(self, batches: dict[Any, Sequence[Any]]) -> None:
        if not self._watches:
            return
        for records in batches.values():
            for record in records:
                for watch in self._watches.get(record.key, ()):
                    watch.wake()
