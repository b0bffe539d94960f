"""The listener: one Kafka consumer per process for all topics of its service, through FastStream."""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaMessage

from contracts.topics import consumer_number
from services.chassis.batch import Hearing, hear
from services.chassis.committed import committed
from services.chassis.consumer import Consumer
from services.chassis.db import Database
from services.chassis.offsets import Batch, Offsets
from services.chassis.progress import Progress
from services.chassis.records import Heard, Malformed, Record, read, record_of

LOG = structlog.get_logger("listener")
DRAIN_S = 20.0
STOP_S = 7.0
REWIND_PAUSE_S = 0.5
FETCH_BYTES = 8 * 1024 * 1024
PARTITION_FETCH_BYTES = 256 * 1024
"""Of each partition so much waits in memory at most, however far behind we are: the client holds one fetch
each. Not less than a full batch of the relay, or a partition would be read only when it comes first."""
LOOK_S = 1.0
LOOK_MS = 1000
SAY_EVERY_S = 60.0
ASK_S = 10.0
COMMITTED_WITHIN_S = 1.5
COMMITS_LOOKED_AT = 5


class _RawCodec:
    """Bodies stay bytes: one unreadable record must not take its batch along."""

    async def encode(self, msg: Any, serializer: Any = None) -> tuple[Any, str]:  # noqa: ANN401, ARG002
        return msg, "application/json"

    async def decode(self, msg: Any) -> Any:  # noqa: ANN401
        return msg.body

    async def encode_batch(self, msgs: Sequence[Any], serializer: Any = None) -> list[tuple[Any, str]]:  # noqa: ANN401, ARG002
        return [(one, "application/json") for one in msgs]

    async def decode_batch(self, msg: Any) -> Any:  # noqa: ANN401
        return msg  # what the handler takes


def _printable(record: Any) -> Any:  # noqa: ANN401 - aiokafka's ConsumerRecord
    if all(value is not None and value.isascii() for _, value in record.headers):
        return record
    headers = tuple(
        (name, (value or b"").decode("utf-8", "replace").encode()) for name, value in record.headers
    )
    return dataclasses.replace(record, headers=headers)


async def tolerant_parser(records: Sequence[Any], original: Any) -> Any:  # noqa: ANN401 - FastStream's protocol
    """A header that is null or not UTF-8 would make FastStream skip the record without a word.

    FastStream parses only the first record, for its bookkeeping; we read them all, at a tenth of the cost.
    """
    message = await original((_printable(records[0]),))
    message.raw_message = tuple(records)
    return message


def _wait_until_there_is_some(client: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    """FastStream sleeps after each look that found nothing, for as long as it took: so none finds nothing."""
    look = client.getmany

    async def getmany(*partitions: TopicPartition, **how: Any) -> Any:  # noqa: ANN401
        while not (records := await look(*partitions, **how | {"timeout_ms": LOOK_MS})):
            pass
        return records

    client.getmany = getmany


class Drain(ConsumerRebalanceListener):  # type: ignore[misc]
    """Holds a revocation until the batch in flight is committed; bounded: the inbox is the real fence."""

    def __init__(self, offsets: Offsets) -> None:
        self.offsets = offsets
        self.idle = asyncio.Event()
        self.idle.set()
        self.joined = False

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Wait for the batch; aiokafka keeps heartbeating meanwhile."""
        self.joined = False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.idle.wait(), DRAIN_S)
        await self.offsets.give_up()
        LOG.debug("revoked", partitions=len(revoked))

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """The group has taken us in, perhaps without anything to read."""
        self.joined = True
        LOG.debug("assigned", partitions=len(assigned))


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where to listen: brokers, topic prefix, this member's stable name, the largest batch."""

    kafka: str
    prefix: str
    instance: str
    batch_size: int = 500


class Listener:
    """Feeds one service's consumer; made anew for every connection, since a stopped one is spent."""

    def __init__(self, consumer: Consumer, db: Database, place: Place) -> None:
        self.consumer = consumer
        self.db = db
        self.place = place
        self.offsets = Offsets(lambda: self.subscriber.consumer)
        self.drain = Drain(self.offsets)
        self.group = f"{place.prefix}{consumer.service}"
        self.progress = Progress()
        self.tasks: list[asyncio.Task[None]] = []
        self.broker = self._broker()
        self.subscriber = self._subscribe()

    def _broker(self) -> KafkaBroker:
        return KafkaBroker(
            self.place.kafka,
            client_id=self.place.instance,
            ack_policy=AckPolicy.NACK_ON_ERROR,
            allow_auto_create_topics=False,
            # Injecting arguments takes a thread and two switches to it, of every batch.
            apply_types=False,
            consumer_only=True,
            graceful_timeout=5.0,
            logger=logging.getLogger("listener.broker"),
            log_level=logging.DEBUG,
        )

    def _subscribe(self) -> Any:  # noqa: ANN401 - FastStream's generic subscriber
        subscriber = self.broker.subscriber(
            *(f"{self.place.prefix}{topic}" for topic in self.consumer.subscriptions),
            group_id=self.group,
            group_instance_id=f"{self.group}.{self.place.instance}",
            auto_offset_reset="earliest",
            batch=True,
            max_records=self.place.batch_size,
            batch_timeout_ms=5,
            fetch_max_wait_ms=500,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=3_000,
            rebalance_timeout_ms=30_000,
            max_poll_interval_ms=300_000,
            ack_policy=AckPolicy.NACK_ON_ERROR,
            codec=_RawCodec(),
            parser=tolerant_parser,
            listener=self.drain,
            no_reply=True,
        )
        subscriber(self._on_batch)
        return subscriber

    async def _on_batch(self, msg: KafkaMessage) -> None:
        self.drain.idle.clear()
        try:
            await self._hear_all(msg.raw_message)
            # Inside the busy window, after the database commit.
            msg.consumer = Batch(self.offsets, msg.raw_message)
            await msg.ack()
            await self.offsets.note_all()
        except Exception:
            self._note_life()
            # FastStream rewinds and reads again at once; a failure that stays must not spin.
            await asyncio.sleep(REWIND_PAUSE_S)
            raise
        finally:
            self.drain.idle.set()

    async def _hear_all(self, raws: Sequence[Any]) -> None:
        # A transaction per topic: two topics in one could take the same rows in different orders.
        for topic, records in self._by_topic(raws).items():
            subscription = self.consumer.subscriptions[topic]
            now_ms = time.time_ns() // 1_000_000
            found = [read(record, subscription.event, now_ms) for record in records]
            number = consumer_number(self.consumer.service, topic)
            hearing = Hearing(self.db, number, subscription, alive=self._note_life)
            await hear(
                hearing,
                [one for one in found if isinstance(one, Heard)],
                [one for one in found if isinstance(one, Malformed)],
            )

    def _note_life(self) -> None:
        self.progress.note_life(time.monotonic())

    def _by_topic(self, raws: Sequence[Any]) -> dict[str, list[Record]]:
        by_topic: dict[str, list[Record]] = {}
        for raw in raws:
            record = record_of(raw, self.place.prefix)
            by_topic.setdefault(record.topic, []).append(record)
        return by_topic

    async def start(self) -> None:
        """Connect and join; raises KafkaError when the broker cannot be reached."""
        self.tasks.append(asyncio.create_task(self._say_what_is_missing(), name="listener watch"))
        await self.broker.start()
        _wait_until_there_is_some(self.subscriber.consumer)
        self.tasks.append(asyncio.create_task(self.offsets.keep(), name="listener offsets"))

    async def stop(self) -> None:
        """Drain and leave; bounded, because a client of a dead broker may hang, and never in the way."""
        for task in self.tasks:
            task.cancel()
        try:
            await self.offsets.end()
            await asyncio.wait_for(self.broker.stop(), STOP_S)
        except Exception as error:  # noqa: BLE001 - what FastStream gathers is an ExceptionGroup of anything
            LOG.warning("not left in good order", group=self.group, error=repr(error)[:500])

    @property
    def assigned(self) -> bool:
        """Whether the group has given this member its share: none, with more members than partitions."""
        client = self.subscriber.consumer
        return client is not None and (self.drain.joined or bool(client.assignment()))

    def missing(self) -> str | None:
        """What keeps this member from reading, as far as it knows; None when nothing does."""
        client = self.subscriber.consumer
        if client is None or client._coordinator is None:  # noqa: SLF001 - it has no public face
            return "the broker and its topics"
        if client._coordinator.coordinator_id is None:  # noqa: SLF001
            return "the coordinator of the group"
        return None if self.assigned else "the other members of the group"

    async def _say_what_is_missing(self) -> None:
        """A group that cannot be joined raises nothing anywhere: so it is said, once a minute."""
        good_at = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            if (missing := self.missing()) is None:
                good_at = time.monotonic()
            elif time.monotonic() - good_at >= SAY_EVERY_S:
                LOG.warning("not reading", group=self.group, waiting_for=missing)
                good_at = time.monotonic()

    async def stuck(self) -> bool:
        """Whether some partition has records to read and is not read although nothing keeps us from it."""
        client = self.subscriber.consumer
        if client is None:
            return False
        try:
            async with asyncio.timeout(LOOK_S):
                places = [(tp, client.highwater(tp), await client.position(tp)) for tp in client.assignment()]
        except (IllegalStateError, TimeoutError):
            return False  # a rebalance is under way, or the broker that knows our position is away
        return self.progress.is_stuck(places, time.monotonic())


async def caught_up(place: Place, service: str, topics: Sequence[str]) -> bool:
    """Whether the service's group has committed up to the ends these topics have now, on every partition.

    A topic that the broker does not know (lost, or not made yet) has no end that could have been reached, and
    of a broker that does not answer nobody knows the ends.
    """
    try:
        async with asyncio.timeout(ASK_S):
            return await _caught_up(place, service, topics)
    except (KafkaError, OSError, TimeoutError) as error:
        LOG.warning("cannot ask how far we have read", group=service, error=repr(error)[:200])
        return False


async def _caught_up(place: Place, service: str, topics: Sequence[str]) -> bool:
    names = [f"{place.prefix}{topic}" for topic in topics]
    admin = AIOKafkaAdminClient(bootstrap_servers=place.kafka, client_id=f"{place.instance}.offsets")
    try:
        await admin.start()
        described = await admin.describe_topics(names)
        if not all(topic["partitions"] for topic in described):
            return False
        ends = await _ends(place, described)
        # Where much is told there is always something unread: what counts is what was there when we asked.
        for _ in range(COMMITS_LOOKED_AT):
            at = await committed(admin, f"{place.prefix}{service}", ends)
            if all(at.get(tp, 0) >= end for tp, end in ends.items()):
                return True
            await asyncio.sleep(COMMITTED_WITHIN_S / COMMITS_LOOKED_AT)
    finally:
        await admin.close()
    return False


async def _ends(place: Place, described: Sequence[dict[str, Any]]) -> dict[TopicPartition, int]:
    partitions = [
        TopicPartition(topic["topic"], one["partition"]) for topic in described for one in topic["partitions"]
    ]
    client = AIOKafkaConsumer(bootstrap_servers=place.kafka, client_id=f"{place.instance}.ends")
    try:
        await client.start()
        ends: dict[TopicPartition, int] = await client.end_offsets(partitions)
    finally:
        await client.stop()
    return ends
