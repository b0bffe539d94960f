"""What the broker knows: topics, ends, committed offsets, and every record from offset 0."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
from aiokafka.structs import OffsetAndMetadata

from infra.audit.records import Log, Place, read
from infra.audit.topics import of_this_installation

TIMEOUT_MS: Final = 30_000
STUCK_S: Final = 30.0
COORDINATED_WITHIN_S: Final = 30.0
UNCOORDINATED: Final = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
FETCH_BYTES: Final = 32 * 2**20
"""At most so much of the topics is in memory at a time."""

Offsets = dict[Place, int]


@dataclass(slots=True)
class Broker:
    """A connection that belongs to no group and commits nothing."""

    prefix: str
    admin: AIOKafkaAdminClient
    consumer: AIOKafkaConsumer
    partitions: list[TopicPartition] = field(default_factory=list)

    async def find_topics(self) -> None:
        """Look which topics there are; called once, before anything else."""
        names = of_this_installation(await self.admin.list_topics(), self.prefix)
        described = await self.admin.describe_topics(sorted(names)) if names else []
        self.partitions = [
            TopicPartition(topic["topic"], one["partition"])
            for topic in described
            for one in topic["partitions"]
        ]
        if self.partitions:
            # Assigned so that the client learns at once who leads them (asking about others takes
            # seconds), and paused so that nothing is fetched before it is read.
            self.consumer.assign(self.partitions)
            self.consumer.pause(*self.partitions)

    def place(self, partition: TopicPartition) -> Place:
        return partition.topic.removeprefix(self.prefix), partition.partition

    async def ends(self) -> Offsets:
        """Where each partition ends now."""
        found = await self.consumer.end_offsets(self.partitions) if self.partitions else {}
        return {self.place(partition): offset for partition, offset in found.items()}

    async def committed(self, service: str) -> Offsets:
        """How far the service's group has read, on the partitions where it has committed anything."""
        async with asyncio.timeout(COORDINATED_WITHIN_S):
            offsets = await self._offsets_of(f"{self.prefix}{service}")
        return {
            self.place(partition): one.offset
            for partition, one in offsets.items()
            if one.offset >= 0 and partition.topic.startswith(self.prefix)
        }

    async def _offsets_of(self, group: str) -> dict[TopicPartition, OffsetAndMetadata]:
        """Asked again while nobody coordinates: a new broker makes its topic of offsets when first asked."""
        while True:
            try:
                found: dict[TopicPartition, OffsetAndMetadata]
                found = await self.admin.list_consumer_group_offsets(group)
            except UNCOORDINATED:
                await asyncio.sleep(0.1)
            else:
                return found

    async def read_all(self, ends: Mapping[Place, int]) -> Log:
        """Every record below these ends, per partition in offset order."""
        log = Log()
        begins = await self.consumer.beginning_offsets(self.partitions) if self.partitions else {}
        open_ = {one for one, begin in begins.items() if begin < ends[self.place(one)]}
        if open_:
            self.consumer.assign(open_)
            await self.consumer.seek_to_beginning(*open_)
        while open_:
            async with asyncio.timeout(STUCK_S):
                done = await self._read_some(open_, ends, log)
            if done:
                self.consumer.pause(*done)
                open_ -= done
        return log

    async def _read_some(
        self, open_: set[TopicPartition], ends: Mapping[Place, int], log: Log
    ) -> set[TopicPartition]:
        """Read on until something arrives; returns the partitions that are read to their ends now.

        The position may pass offsets that hold no record: what compaction removed, or control records.
        """
        while not (batches := await self.consumer.getmany(*open_, timeout_ms=100)):
            if done := await self._at_end(open_, ends):
                return done
        for partition, records in batches.items():
            (topic, _), end = self.place(partition), ends[self.place(partition)]
            for raw in records:
                if raw.offset < end:
                    log.keep(read(raw, topic))
        return await self._at_end(set(batches), ends)

    async def _at_end(self, some: set[TopicPartition], ends: Mapping[Place, int]) -> set[TopicPartition]:
        return {one for one in some if await self.consumer.position(one) >= ends[self.place(one)]}


@asynccontextmanager
async def connect(bootstrap: str, prefix: str) -> AsyncIterator[Broker]:
    """The broker, its topics looked up."""
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap, client_id="kb-audit", request_timeout_ms=TIMEOUT_MS
    )
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        client_id="kb-audit",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_bytes=FETCH_BYTES,
        request_timeout_ms=TIMEOUT_MS,
    )
    try:
        await admin.start()
        await consumer.start()
        broker = Broker(prefix, admin, consumer)
        await broker.find_topics()
        yield broker
    finally:
        await consumer.stop()
        await admin.close()
