"""Live hints: whoever waits for an order hears within milliseconds that something about it was told."""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, Final
from uuid import UUID

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.orders import OrderState
from contracts.payments import PaymentOpened
from contracts.topics import PARTITIONS

TOPICS: Final = (OrderState.TOPIC, PaymentOpened.TOPIC)
POLL_BLIND_S: Final = 0.25
POLL_S: Final = 1.0
FETCH_WAIT_MS: Final = 500
MOST_RECORDS: Final = 500
FETCH_BYTES: Final = 4 * 1024 * 1024
PARTITION_FETCH_BYTES: Final = 256 * 1024
REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Told:
    """What the topics have said of one order lately: its newest stage, and whether an attempt was opened."""

    stage: str = ""
    version: int = 0
    is_opened: bool = False

    def and_state(self, stage: str, version: int) -> "Told":
        """The same after a snapshot; an older one (a record told twice) changes nothing."""
        return replace(self, stage=stage, version=version) if version > self.version else self


NOTHING: Final = Told()


class Woken(Enum):
    """Why a waiter goes on."""

    HINT = auto()
    SILENCE = auto()
    """Nothing came for a while: the owner may be asked, in case a hint was lost."""
    OVER = auto()


class Watch:
    """One waiter on one order. Hints coalesce: however many came, one look at the owner answers them all."""

    def __init__(self, live: "Live", key: bytes) -> None:
        self._live = live
        self._key = key
        self._hint = asyncio.Event()

    @property
    def told(self) -> Told:
        """What is known of this order from hints, also from those before the watch began."""
        return self._live.told(self._key)

    @property
    def is_hinted(self) -> bool:
        """Whether there is something to look at."""
        return self._hint.is_set()

    def wake(self) -> None:
        """Something was told about this order."""
        self._hint.set()

    async def hint(self) -> None:
        """The next hint, however long it takes."""
        await self._hint.wait()

    async def wait(self, most_s: float) -> Woken:
        """Until the next hint, at most `most_s`; silence is said after 1 s, without Kafka after 250 ms."""
        patience = POLL_S if self._live.hears else POLL_BLIND_S
        try:
            async with asyncio.timeout(min(most_s, patience)):
                await self.hint()
        except TimeoutError:
            return Woken.SILENCE if most_s > patience else Woken.OVER
        self._hint.clear()
        return Woken.HINT


class Live:
    """A reader of all partitions without a group, from the end on: hints for those who wait now.

    Nothing is decided by a hint, so records that are missed while Kafka is away cost a poll, not a truth.
    What was told lately is kept for the newest 10,000 orders: a POST whose news came before its answer
    need not ask whether there is any.
    """

    def __init__(self, kafka: str, topic_prefix: str) -> None:
        self._kafka = kafka
        self._prefix = topic_prefix
        self._watches: defaultdict[bytes, set[Watch]] = defaultdict(set)
        self._told: OrderedDict[bytes, Told] = OrderedDict()
        self.hears = False

    @contextmanager
    def watch(self, order_id: UUID) -> Iterator[Watch]:
        """Hear about one order; ask its owner after this, so that nothing falls in between."""
        key = str(order_id).encode()
        watch = Watch(self, key)
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

    def told(self, key: bytes) -> Told:
        """What the topics said of the order with this key; empty for one that is not remembered."""
        return self._told.get(key, NOTHING)

    async def run(self) -> None:
        """Read for ever; raises when Kafka goes away, to be started again."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._kafka,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
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
        places = [
            TopicPartition(self._prefix + topic, part) for topic in TOPICS for part in range(PARTITIONS)
        ]
        consumer.assign(places)
        await consumer.seek_to_end(*places)
        for place in places:
            await consumer.position(place)

    def _wake(self, batches: dict[Any, Sequence[Any]]) -> None:
        for place, records in batches.items():
            is_state = place.topic.endswith(OrderState.TOPIC)
            for record in records:
                if record.key:
                    self._remember(record.key, _read(self.told(record.key), record.value, is_state=is_state))
                    for watch in self._watches.get(record.key, ()):
                        watch.wake()

    def _remember(self, key: bytes, told: Told) -> None:
        self._told[key] = told
        self._told.move_to_end(key)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)


def _read(before: Told, value: bytes | None, *, is_state: bool) -> Told:
    """What is known after this record; one that cannot be read is only a hint."""
    if not is_state:
        return replace(before, is_opened=True)
    try:
        body = orjson.loads(value or b"")
        return before.and_state(str(body["stage"]), int(body["version"]))
    except (ValueError, TypeError, KeyError):
        return before
